"""Tests of the sandbox. A package, so that its sandbox ends with its last test."""
