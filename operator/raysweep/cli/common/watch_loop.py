"""An answer that stays current until Ctrl-C, by watches on the API server.

A terminal shows it in place. Elsewhere it is printed again when it changes.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import click

from raysweep.cli.common import formatting, terminal
from raysweep.cli.common.options import EXIT_INTERRUPTED, Options
from raysweep.cli.common.reflector import READ_AGAIN_AFTER, News, Reflector, Source
from raysweep.cli.common.session import Session, open_session, say
from raysweep.core.model.facts import Namespace, Policy, RayCluster, RayJob
from raysweep.interrupts import InterruptedByUserError, ctrl_c, run_until_interrupted

SHORTEST_PAUSE = timedelta(seconds=0.5)
"""Between two answers. Changes that come together make one answer."""
LONGEST_WAIT = timedelta(seconds=1)
"""For a change. Time alone changes an answer too."""
PAUSE_FACTOR = 9
"""The pause after an answer as a multiple of its duration: a large plan uses a tenth of a CPU."""
LONGEST_PAUSE = timedelta(seconds=3)
FOR_PEOPLE = ("table", "wide", "text")


async def until_ctrl_c(options: Options, work: Callable[[Session], Awaitable[int]]) -> int:
    """Runs the work until Ctrl-C. Returns the exit code."""

    async def in_session() -> int:
        async with open_session(options) as session:
            return await work(session)

    async with ctrl_c() as pressed:
        try:
            return await run_until_interrupted(pressed.first, in_session())
        except InterruptedByUserError:
            return EXIT_INTERRUPTED


@dataclass
class Updates:
    """When to make the next answer, and notes about how current it is."""

    news: News
    is_news: bool = True  # whether more than time has passed since the last answer
    _tasks: Sequence[asyncio.Task[None]] = ()
    _printed: set[str] = field(default_factory=set)

    async def next(self, busy_for: timedelta) -> None:
        """Waits for a change, or for a second. busy_for: how long the last answer took."""
        pause = max(SHORTEST_PAUSE, min(PAUSE_FACTOR * busy_for, LONGEST_PAUSE))
        await asyncio.sleep(pause.total_seconds())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout((LONGEST_WAIT - SHORTEST_PAUSE).total_seconds()):
                await self.news.changed.wait()
        for task in self._tasks:
            if task.done():
                task.result()  # a reflector never ends, so this raises what ended it
        self.is_news = self.news.changed.is_set()
        self.news.changed.clear()

    def problems(self) -> list[str]:
        """What may be out of date, and why."""
        problems = self.news.problems.items()
        return [f"{kind} may be out of date: {error}" for kind, error in problems]

    def print_notes(self, *notes: str) -> None:
        """Prints each note once, and what the user may not watch."""
        period = f"{READ_AGAIN_AFTER.total_seconds():g} s"
        forbidden = [
            f"you may not watch {kind}, so they are read again every {period}: {error}"
            for kind, error in self.news.forbidden.items()
        ]
        for note in (*notes, *forbidden):
            if note not in self._printed:
                self._printed.add(note)
                say(note)


@contextlib.asynccontextmanager
async def current(session: Session) -> AsyncIterator[Updates]:
    """Lists everything that decisions use, and keeps it current until the block ends.

    Raises ApiError, FailedError.
    """
    news = News()
    reflectors = [Reflector(source, news) for source in _sources(session)]
    for reflector in reflectors:
        await reflector.read()
    news.changed.clear()
    tasks = [asyncio.create_task(reflector.run()) for reflector in reflectors]
    try:
        yield Updates(news, _tasks=tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _sources(session: Session) -> list[Source[Any]]:
    """The kinds of objects, in the order in which Session.list_all lists them."""
    sources: list[Source[Any]] = [_rayjobs(session)]
    if session.options.selector:
        sources.append(_labels(session, session.options.selector))
    return [*sources, _rayclusters(session), _namespaces(session), _policies(session)]


def _rayjobs(session: Session) -> Source[RayJob]:
    return Source(
        "RayJobs",
        session.read_rayjobs,
        lambda since: session.kubernetes.watch_rayjobs(session.namespace, since),
        session.snapshot.upsert_rayjob,
        lambda rayjob: session.snapshot.remove_rayjob(rayjob.uid),
    )


def _labels(session: Session, selector: str) -> Source[str]:
    return Source(
        "labels of RayJobs",
        session.read_selected,
        lambda since: session.kubernetes.watch_rayjob_uids(session.namespace, selector, since),
        session.snapshot.selected.add,
        session.snapshot.selected.discard,
    )


def _rayclusters(session: Session) -> Source[RayCluster]:
    return Source(
        "RayClusters",
        session.read_rayclusters,
        lambda since: session.kubernetes.watch_rayclusters(session.namespace, since),
        session.snapshot.upsert_raycluster,
        lambda cluster: session.snapshot.remove_raycluster(cluster.uid),
    )


def _namespaces(session: Session) -> Source[Namespace]:
    return Source(
        "Namespaces",
        session.read_namespaces,
        lambda since: session.kubernetes.watch_namespaces(session.namespace, since),
        lambda namespace: session.snapshot.upsert_namespace(namespace, None),
        lambda namespace: session.snapshot.remove_namespace(namespace.name),
    )


def _policies(session: Session) -> Source[Policy]:
    return Source(
        "RayJobCleanupPolicies",
        session.read_policies,
        session.kubernetes.watch_policies,
        lambda policy: _replace_policy(session, policy.uid, policy),
        lambda policy: _replace_policy(session, policy.uid, None),
    )


def _replace_policy(session: Session, uid: str, policy: Policy | None) -> None:
    policies, confirmed_at = session.snapshot.listed_policies or ((), timedelta())
    changed = tuple(other for other in policies if other.uid != uid)
    if policy:
        changed = (*changed, policy)
    session.snapshot.replace_policies(changed, confirmed_at)


class Answer(Protocol):
    """One answer, for people and for programs."""

    @property
    def at(self) -> datetime:
        """The time of the answer."""

    def gist(self) -> object:
        """The decisions. The answer is printed again if they change, even by time alone."""

    def content(self) -> object:
        """Everything but the time left. The answer is printed again if it changes, unless only
        time has passed.
        """

    def lines(self, most: int | None = None) -> tuple[list[str], int]:
        """Lines for people, at least `most` if there are as many, and how many are left out."""

    def summary(self) -> list[str]:
        """Lines that are always shown, below the others."""

    def document(self) -> dict[str, Any]:
        """The answer for JSON and YAML."""


Show = Callable[[Answer, Updates], None]


@contextlib.contextmanager
def answers(output: str, *, wrap: bool) -> Iterator[Show]:
    """Shows answers until the block ends. On a terminal it replaces the last answer.

    wrap: on a terminal, long lines are continued on the next line instead of being cut.
    """
    canvas = terminal.canvas(sys.stdout) if output in FOR_PEOPLE else None
    if canvas is None:
        yield _Printed(output).show
        return
    from raysweep.cli.common.progress_bars import screen  # loads rich, which takes long

    with screen(canvas) as drawn:

        def show_in_place(answer: Answer, updates: Updates) -> None:
            foot = f"as of {formatting.rfc3339(answer.at)}; press Ctrl-C to end"
            drawn.show(answer.lines, [*answer.summary(), *updates.problems(), foot], wrap=wrap)

        yield show_in_place


@dataclass
class _Printed:
    """Prints an answer if it differs from the last one."""

    output: str
    _last: Answer | None = None

    def show(self, answer: Answer, updates: Updates) -> None:
        updates.print_notes(*updates.problems())
        last = self._last
        if last and not _differs(last, answer, is_news=updates.is_news):
            return
        self._last = answer
        if self.output == "json":
            click.echo(formatting.json_line(answer.document()))
        elif self.output == "yaml":
            click.echo(f"---\n{formatting.serialized(answer.document(), self.output)}")
        else:
            separator = [""] if last else []
            click.echo("\n".join([*separator, *answer.lines()[0], *answer.summary()]))


def _differs(last: Answer, answer: Answer, *, is_news: bool) -> bool:
    return last.gist() != answer.gist() or (is_news and last.content() != answer.content())
