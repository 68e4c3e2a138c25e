"""The one region of the terminal that is drawn in place, and lines that are printed above it.

Nothing slow is imported here: the module that draws has already loaded the library (bars.py).
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from raysweep.cli.common import formatting, terminal

if TYPE_CHECKING:
    from rich.live import Live

_current: "Live | None" = None


def print_line(text: str) -> None:
    """Prints one line on stderr, without control characters, above the region if there is one."""
    if _current is None or terminal.canvas(sys.stderr) is None:
        click.echo(formatting.safe(text), err=True)
    else:
        _current.console.print(formatting.safe(text), soft_wrap=True)


@contextlib.contextmanager
def region(live: "Live") -> Iterator[None]:
    """Draws it until the block ends. The cursor is then at the start of a line."""
    global _current  # noqa: PLW0603 - a process has one terminal
    with live:
        _current = live
        try:
            yield
        finally:
            _current = None
