"""Ray heads: their Dashboard API and how requests reach it."""
