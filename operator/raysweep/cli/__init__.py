"""The command line. It acts as its user and decides with the operator's own checks."""
