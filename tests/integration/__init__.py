"""Tests on a real API server. A package, so that its sandbox ends with its last test."""
