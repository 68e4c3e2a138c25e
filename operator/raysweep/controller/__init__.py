"""The operator's process: what it has seen, what is due when, how fast, and how it tells. Decisions are made in core/."""
