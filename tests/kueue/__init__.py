"""Tests with the real Kueue. A package, so that its sandbox ends with its last test."""
