"""Everything that crosses the network, and the parsing of what comes back. Nothing is decided here."""
