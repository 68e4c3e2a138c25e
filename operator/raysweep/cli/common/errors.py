"""The error that ends a command with one sentence."""


class FailedError(Exception):
    """The command cannot continue. The text is one sentence for the user."""
