"""Measurements: each prints a table and writes JSON. No assertion enters here."""
