"""Clients of the API server and of Ray heads, and the parsing of their responses."""
