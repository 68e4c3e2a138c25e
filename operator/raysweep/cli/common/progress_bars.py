"""Progress and answers that a terminal shows in place, drawn with the rich library.

Text is drawn without control characters and without markup, because parts of it are foreign. It is
cut to the width of the terminal: a line that wraps cannot be redrawn.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import IO, cast

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.table import Column
from rich.text import Text

from raysweep.cli.common import drawing, formatting, terminal
from raysweep.cli.common.progress_lines import Say, Wait
from raysweep.submission.progress import BytesSent, Report

Body = Callable[[int], tuple[list[str], int]]
"""Returns at least so many lines, if there are as many, and how many are left out."""

DRAWS_PER_SECOND = 8
BAR_WIDTH = 24
MIB = 2**20


class Bars:
    """Progress at the foot of a terminal. A plain line remains of it, or nothing."""

    def __init__(self, say: Say, canvas: terminal.Canvas) -> None:
        self.say = say
        self._console = _console(canvas)

    @contextlib.contextmanager
    def wait(self, title: str) -> Iterator[Report]:
        """Shows the elapsed time and the stage. If stages are reported, a line remains."""
        wait = Wait(title)
        last_stage: str | None = None
        progress = self._progress(_WaitColumn(Column(no_wrap=True)))
        task = progress.add_task(self._safe(title), total=None)

        def report(stage: str, title: str = "") -> None:
            nonlocal last_stage
            line = wait.line(last_stage or "")
            is_new = wait.turn_to(title)
            description = f"{wait.title}: {stage}" if stage else wait.title
            progress.update(task, description=self._safe(description))
            if is_new:
                progress.reset(task)
            if is_new and last_stage is not None:
                self.say(line)
            last_stage = stage

        try:
            with drawing.region(progress.live):
                yield report
            if last_stage is not None:
                last_stage = "done"
        finally:
            if last_stage is not None:
                self.say(wait.line(last_stage))

    @contextlib.contextmanager
    def upload(self, title: str, size: int) -> Iterator[BytesSent]:
        """Shows a bar, the bytes, the rate and the remaining time. A line with the total stays."""
        began = time.monotonic()
        bytes_column = _Bytes(Column(no_wrap=True))
        progress = self._progress(self._text_column(), BarColumn(BAR_WIDTH), bytes_column)
        task = progress.add_task("uploading", total=size)
        is_done = False
        try:
            with drawing.region(progress.live):
                yield lambda sent: progress.update(task, completed=sent)
            is_done = True
        finally:
            seconds = time.monotonic() - began
            sent = progress.tasks[0].completed / MIB
            if is_done:
                self.say(f"uploaded {title} in {seconds:.0f} s")
            else:
                self.say(f"uploading {title}: {sent:.1f} MiB sent in {seconds:.0f} s")

    @contextlib.contextmanager
    def count(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        """Shows a bar and how many of the items are done. Nothing remains."""
        count_column = MofNCompleteColumn(table_column=Column(no_wrap=True))
        progress = self._progress(self._text_column(), BarColumn(BAR_WIDTH), count_column)
        task = progress.add_task(self._safe(title), total=total)
        with drawing.region(progress.live):
            yield lambda: progress.advance(task)

    def _progress(self, *columns: ProgressColumn) -> Progress:
        return Progress(
            *columns,
            console=self._console,
            refresh_per_second=DRAWS_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def _text_column(self) -> TextColumn:
        column = Column(no_wrap=True, overflow="ellipsis")
        return TextColumn("{task.description}", markup=False, table_column=column)

    def _safe(self, text: str) -> str:
        return _safe(text, self._console)


class Screen:
    """An answer on a terminal. The next answer replaces it."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, body: Body, foot: Iterable[str] = (), *, wrap: bool = False) -> None:
        """Draws these lines. If the terminal is too low, the end of the body is left out.

        wrap: long lines of the body are continued on the next line instead of being cut.
        """
        height = self._live.console.height
        last_rows = self._rows(foot, wrap=True)
        room = max(height - 1 - len(last_rows), 1)
        lines, hidden = body(room)
        rows = self._rows(lines, wrap=wrap)
        if hidden or len(rows) > room:
            hidden += max(len(rows) - room + 1, 0)
            note = f"... {hidden} more lines: the terminal is too low to show them"
            rows = [*rows[: room - 1], *self._rows([note], wrap=False)]
        self._live.update(Text("\n").join([*rows, *last_rows][:height]), refresh=True)

    def _rows(self, lines: Iterable[str], *, wrap: bool) -> list[Text]:
        console = self._live.console
        rows: list[Text] = []
        for line in lines:
            text = Text(_safe(line, console))
            if wrap:
                rows += text.wrap(console, console.width, overflow="fold")
            else:
                text.truncate(console.width, overflow="ellipsis")
                rows.append(text)
        return rows


@contextlib.contextmanager
def screen(canvas: terminal.Canvas) -> Iterator[Screen]:
    """A screen until the block ends. The last answer remains."""
    live = Live(
        console=_console(canvas),
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with drawing.region(live):
        yield Screen(live)


class _WaitColumn(ProgressColumn):
    """`0:01:30 waiting for the Ray head`.

    One column, because a table shrinks its first columns on a narrow terminal.
    """

    def render(self, task: Task) -> Text:
        elapsed = timedelta(seconds=int(task.elapsed or 0))
        return Text(f"{elapsed} {task.description}", no_wrap=True, overflow="ellipsis")


class _Bytes(ProgressColumn):
    """`1.0 of 12.5 MiB, 2.3 MiB/s, 5 s left`. The rate is the mean since the upload began."""

    def render(self, task: Task) -> Text:
        sent, total, elapsed = task.completed, task.total or 0, task.elapsed
        if sent >= total:
            return Text(f"{sent / MIB:.1f} MiB, waiting for the head")
        text = f"{sent / MIB:.1f} of {total / MIB:.1f} MiB"
        if sent and elapsed:
            rate = sent / elapsed
            text += f", {rate / MIB:.1f} MiB/s, {(total - sent) / rate:.0f} s left"
        return Text(text)


class _Console(Console):
    """Never hides the cursor: after `kill -9` it would stay hidden."""

    def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002 - rich's signature
        return False


def _console(canvas: terminal.Canvas) -> Console:
    file = cast("IO[str]", canvas)
    return _Console(file=file, force_terminal=True, markup=False, emoji=False, highlight=False)


def _safe(text: str, console: Console) -> str:
    """The text without control characters, and as the terminal shows it, so that it is measured."""
    encoding = console.encoding
    return formatting.safe(text).encode(encoding, "backslashreplace").decode(encoding)
