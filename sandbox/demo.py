"""The command of `make demo`. It handles signals before the slow imports."""

import sys

from sandbox.signals import Signals


def main() -> int:
    """Runs the demo. Returns its exit code."""
    signals = Signals()
    signals.listen()
    from sandbox import lifetime, story

    return lifetime.run(story.tell, signals)


if __name__ == "__main__":
    sys.exit(main())
