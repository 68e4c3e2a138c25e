"""Tests with real jobs. A package, so that its sandbox ends with its last test."""
