"""Chooses the display of progress.

A terminal shows it in place (progress_bars.py). Elsewhere it is printed in plain lines
(progress_lines.py). With --quiet it is not shown.
"""

import sys

from raysweep.cli.common import terminal
from raysweep.cli.common.progress_lines import Lines, Say, ignore
from raysweep.submission.progress import Progress


def progress_for(say: Say, *, quiet: bool) -> Progress:
    """The display of progress that suits stderr."""
    if quiet:
        return Lines(ignore)
    canvas = terminal.canvas(sys.stderr)
    if canvas is None:
        return Lines(say)
    from raysweep.cli.common.progress_bars import Bars  # loads rich, which takes long

    return Bars(say, canvas)
