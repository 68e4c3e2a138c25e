"""The API server: sessions, lists, watches, Leases and their errors."""
