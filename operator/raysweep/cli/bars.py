"""What is drawn in place on a terminal, with the rich library: waits, bars, counts, and an answer that stays current.

Text is foreign in parts. So it has neither control characters nor markup by the time it is drawn, and is cut to the terminal's
width: a line that wraps could not be drawn over.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import IO, cast

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from raysweep.cli import drawing, show, terminal
from raysweep.cli.progress import Say, waiting
from raysweep.submission.progress import Report, Sent

DRAWS_PER_SECOND = 8
BAR_WIDTH = 24
MIB = 2**20


class _Console(Console):
    """Leaves the cursor as it is: one that was hidden would stay hidden after `kill -9`."""

    def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002 - rich's signature
        return False


class _Bytes(ProgressColumn):
    """`1.0 of 12.5 MiB, 2.3 MiB/s, 5 s left`. The rate is that of the whole upload, so it falls while nothing moves."""

    def render(self, task: Task) -> Text:
        sent, total, elapsed = task.completed, task.total or 0, task.elapsed
        if sent >= total:
            return Text(f"{sent / MIB:.1f} MiB, waiting for the head")
        told = f"{sent / MIB:.1f} of {total / MIB:.1f} MiB"
        if sent and elapsed:
            told += f", {sent / elapsed / MIB:.1f} MiB/s, {(total - sent) * elapsed / sent:.0f} s left"
        return Text(told)


class _Wait(ProgressColumn):
    """`0:01:30 waiting for the Ray head`. It is one column: a table takes from several what a narrow terminal lacks."""

    def render(self, task: Task) -> Text:
        elapsed = timedelta(seconds=int(task.elapsed or 0))
        return Text(f"{elapsed} {task.description}", no_wrap=True, overflow="ellipsis")


class Bars:
    """Progress at the foot of a terminal. What remains of it is a plain line, or nothing."""

    def __init__(self, say: Say, canvas: terminal.Canvas) -> None:
        self.say = say
        self._console = _console(canvas)

    @contextlib.contextmanager
    def wait(self, what: str) -> Iterator[Report]:
        """How long it has lasted, and its stage. How it ended remains, of a wait that has stages."""
        began, last = time.monotonic(), None
        bar = self._progress(_Wait(Column(no_wrap=True)))
        task = bar.add_task(self._shown(what), total=None)

        def report(stage: str) -> None:
            nonlocal last
            last = stage
            bar.update(task, description=self._shown(f"{what}: {stage}" if stage else what))

        try:
            with drawing.region(bar.live):
                yield report
                last = last if last is None else "done"
        finally:
            if last is not None:
                self.say(waiting(what, last, time.monotonic() - began))

    @contextlib.contextmanager
    def upload(self, what: str, size: int) -> Iterator[Sent]:
        """A bar, the bytes, the rate and the time that is left. What was sent, and how fast, remains."""
        began = time.monotonic()
        columns = (self._text(), BarColumn(BAR_WIDTH), _Bytes(Column(no_wrap=True)))
        bar = self._progress(*columns)
        task = bar.add_task("uploading", total=size)
        is_sent = False
        try:
            with drawing.region(bar.live):
                yield lambda sent: bar.update(task, completed=sent)
                is_sent = True
        finally:
            took = time.monotonic() - began
            sent = bar.tasks[0].completed
            if is_sent:
                self.say(f"uploaded {what} in {took:.0f} s")
            else:
                self.say(f"uploading {what}: {sent / MIB:.1f} MiB sent in {took:.0f} s")

    @contextlib.contextmanager
    def count(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """A bar with the number of items that are done. Nothing remains."""
        bar = self._progress(self._text(), BarColumn(BAR_WIDTH), MofNCompleteColumn(table_column=Column(no_wrap=True)))
        task = bar.add_task(self._shown(what), total=total)
        with drawing.region(bar.live):
            yield lambda: bar.advance(task)

    def _progress(self, *columns: ProgressColumn) -> Progress:
        return Progress(
            *columns,
            console=self._console,
            refresh_per_second=DRAWS_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def _text(self) -> TextColumn:
        return TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))

    def _shown(self, text: str) -> str:
        return _shown(text, self._console)


class Screen:
    """An answer on a terminal that is replaced by the next one."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, body: Iterable[str], foot: Iterable[str] = (), *, wrap: bool = False) -> None:
        """Draws these lines. Of the body the end is left out if the terminal is too low, the foot is always there.

        wrap: lines that are too long go on below; else they are cut.
        """
        console = self._live.console
        rows, last = self._rows(body, wrap=wrap), self._rows(foot, wrap=True)
        room = max(console.height - 1 - len(last), 1)
        if len(rows) > room:
            more = f"... {len(rows) - room + 1} more lines: the terminal is too low to show them"
            rows = [*rows[: room - 1], *self._rows([more], wrap=False)[:1]]
        self._live.update(Text("\n").join([*rows, *last][: console.height]), refresh=True)

    def _rows(self, lines: Iterable[str], *, wrap: bool) -> list[Text]:
        console = self._live.console
        rows: list[Text] = []
        for line in lines:
            text = Text(_shown(line, console))
            if wrap:
                rows += text.wrap(console, console.width, overflow="fold")
            else:
                text.truncate(console.width, overflow="ellipsis")
                rows.append(text)
        return rows


@contextlib.contextmanager
def screen(canvas: terminal.Canvas) -> Iterator[Screen]:
    """What it showed last remains."""
    live = Live(console=_console(canvas), auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    with drawing.region(live):
        yield Screen(live)


def _console(canvas: terminal.Canvas) -> Console:
    return _Console(file=cast("IO[str]", canvas), force_terminal=True, markup=False, emoji=False, highlight=False)


def _shown(text: str, console: Console) -> str:
    """As the terminal will show it, so that it can be measured."""
    return show.safe(text).encode(console.encoding, "backslashreplace").decode(console.encoding)
