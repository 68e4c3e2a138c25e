"""The command line: it asks as its caller, judges with the operator's own ladder, and only reads. It decides nothing itself."""
