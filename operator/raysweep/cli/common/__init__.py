"""What several commands share: flags, the session, output, progress, and what they read of a cluster."""
