"""`raysweep completion`: shell completion."""
