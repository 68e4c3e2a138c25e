"""The region of the terminal that is redrawn in place, and lines that are printed above it.

Nothing slow is imported here. progress_bars.py, which draws, loads the library.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from raysweep.cli.common import formatting, terminal

if TYPE_CHECKING:
    from rich.live import Live

_region: "Live | None" = None


def print_line(text: str) -> None:
    """Prints one line on stderr, without control characters, above the region if there is one."""
    if _region is None or terminal.canvas(sys.stderr) is None:
        click.echo(formatting.safe(text), err=True)
    else:
        _region.console.print(formatting.safe(text), soft_wrap=True)


@contextlib.contextmanager
def region(live: "Live") -> Iterator[None]:
    """Draws the region until the block ends. The cursor is then at the start of a line."""
    global _region  # noqa: PLW0603 - a process has one terminal
    with live:
        _region = live
        try:
            yield
        finally:
            _region = None
