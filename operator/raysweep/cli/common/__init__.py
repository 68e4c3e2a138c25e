"""What several commands share: options, the session, output, progress and the snapshot."""
