"""The command of `make demo`. A signal is heard while the story is still being imported."""

import sys

from sandbox.signals import Signals


def main() -> int:
    """Runs the demo; its exit code."""
    signals = Signals()
    signals.listen()
    from sandbox import lifetime, story

    return lifetime.run(story.tell, signals)


if __name__ == "__main__":
    sys.exit(main())
