"""The API server: requests, errors, pages, watches, Leases."""
