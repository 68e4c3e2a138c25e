"""An answer that stays current until Ctrl-C, by watches on the API server.

On a terminal it is drawn in place, elsewhere it is printed again when it changes.
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
from raysweep.core.model.facts import Policy
from raysweep.interrupts import InterruptedByUserError, ctrl_c, run_until_interrupted

AT_LEAST = timedelta(seconds=0.5)
"""Between two answers: changes that come together make one answer."""
AT_MOST = timedelta(seconds=1)
"""Between two answers: time alone changes them."""
REST = 9
"""The pause after an answer, in times of what it took: a large plan takes a tenth of a CPU."""
LONGEST_REST = timedelta(seconds=3)
FOR_PEOPLE = ("table", "wide", "text")


async def until_ctrl_c(options: Options, work: Callable[[Session], Awaitable[int]]) -> int:
    """The exit code of the work, or that of Ctrl-C."""

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
    """When to make the answer anew, and what its reader should know about how current it is."""

    news: News
    is_news: bool = True  # whether more than time has passed since the last answer
    _tasks: Sequence[asyncio.Task[None]] = ()
    _printed: set[str] = field(default_factory=set)

    async def next(self, busy_for: timedelta) -> None:
        """Returns after a change, or after a second. busy_for: how long the last answer took."""
        rest = max(AT_LEAST, min(REST * busy_for, LONGEST_REST))
        await asyncio.sleep(rest.total_seconds())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout((AT_MOST - AT_LEAST).total_seconds()):
                await self.news.changed.wait()
        for task in self._tasks:
            if task.done():
                task.result()  # a reflector never ends, so this raises what ended it
        self.is_news = self.news.changed.is_set()
        self.news.changed.clear()

    def problems(self) -> list[str]:
        """What may be out of date, and why."""
        return [f"{kind} may be out of date: {why}" for kind, why in self.news.problems.items()]

    def print_notes(self, *notes: str) -> None:
        """Prints these notes, and what may not be watched, each once."""
        instead = f"so they are read again every {READ_AGAIN_AFTER.total_seconds():g} s"
        watches = self.news.forbidden.items()
        forbidden = [f"you may not watch {kind}, {instead}: {why}" for kind, why in watches]
        for note in (*notes, *forbidden):
            if note not in self._printed:
                self._printed.add(note)
                say(note)


@contextlib.asynccontextmanager
async def current(session: Session) -> AsyncIterator[Updates]:
    """Lists everything that a decision rests on, and keeps it current until the block ends.

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
    """In the order in which Session.list_all lists them."""
    known, kubernetes, namespace = session.known, session.kubernetes, session.namespace
    selector = session.options.selector
    rayjobs = Source(
        "RayJobs",
        session.read_rayjobs,
        lambda since: kubernetes.watch_rayjobs(namespace, since),
        known.upsert_rayjob,
        lambda rayjob: known.remove_rayjob(rayjob.uid),
    )
    labels = Source(
        "labels of RayJobs",
        session.read_selected,
        lambda since: kubernetes.watch_rayjob_uids(namespace, selector or "", since),
        known.selected.add,
        known.selected.discard,
    )
    rayclusters = Source(
        "RayClusters",
        session.read_rayclusters,
        lambda since: kubernetes.watch_rayclusters(namespace, since),
        known.upsert_raycluster,
        lambda cluster: known.remove_raycluster(cluster.uid),
    )
    namespaces = Source(
        "Namespaces",
        session.read_namespaces,
        lambda since: kubernetes.watch_namespaces(namespace, since),
        lambda changed: known.upsert_namespace(changed, None),
        lambda deleted: known.remove_namespace(deleted.name),
    )
    policies = Source(
        "RayJobCleanupPolicies",
        session.read_policies,
        kubernetes.watch_policies,
        lambda policy: _replace_policy(session, policy.uid, policy),
        lambda policy: _replace_policy(session, policy.uid, None),
    )
    sources: list[Source[Any]] = [rayjobs, labels, rayclusters, namespaces, policies]
    return [source for source in sources if selector or source is not labels]


def _replace_policy(session: Session, uid: str, policy: Policy | None) -> None:
    policies, confirmed_at = session.known.known_policies or ((), timedelta())
    others = tuple(other for other in policies if other.uid != uid)
    session.known.replace_policies((*others, policy) if policy else others, confirmed_at)


class Answer(Protocol):
    """One answer, for people and for programs. It is made of its parts only when they are needed."""

    @property
    def at(self) -> datetime:
        """The time of the answer."""

    def gist(self) -> object:
        """What is decided. If it changes, be it by time alone, the answer is printed again."""

    def content(self) -> object:
        """All of it, but how long it is until then. If something else than time changes it, the
        answer is printed again.
        """

    def lines(self, most: int | None = None) -> tuple[list[str], int]:
        """Lines for people, that many at least if there are more, and how many are left out."""

    def summary(self) -> list[str]:
        """Lines that are always shown, below the others."""

    def document(self) -> dict[str, Any]:
        """For JSON and YAML."""


Show = Callable[[Answer, Updates], None]


@contextlib.contextmanager
def answers(output: str, *, wrap: bool) -> Iterator[Show]:
    """Shows answers until the block ends, in place if people read them on a terminal.

    wrap: on a terminal, long lines are continued on the next line instead of being cut.
    """
    canvas = terminal.canvas(sys.stdout) if output in FOR_PEOPLE else None
    if canvas is None:
        yield _Printed(output).show
        return
    from raysweep.cli.common.progress_bars import (
        screen,
    )  # rich loads slowly, and a pipe does not need it

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
