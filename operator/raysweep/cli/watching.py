"""An answer that stays current until Ctrl-C: from watches, drawn in place on a terminal, printed again on a change elsewhere."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import click

from raysweep.cli import show, terminal
from raysweep.cli.interrupts import ctrl_c
from raysweep.cli.options import EXIT_INTERRUPTED, Options
from raysweep.cli.reflector import READ_AGAIN_AFTER, News, Reflector, Source
from raysweep.cli.session import Session, open_session, say
from raysweep.core.facts import Policy
from raysweep.submission.submit import InterruptedByUserError, unless

NO_SOONER_THAN = timedelta(seconds=0.5)
"""Between two answers: changes that come together make one."""
AT_LATEST_AFTER = timedelta(seconds=1)
"""Time alone changes answers, and how long it is until then."""
REST = 9
"""Judging takes a tenth of the time at most."""
FOR_PEOPLE = ("table", "wide", "text")


@dataclass
class Updates:
    """Tells when an answer is to be made anew, and what a reader should know about how current it is."""

    news: News
    is_news: bool = True  # whether more than time has passed since the answer before
    _tasks: Sequence[asyncio.Task[None]] = ()
    _told: set[str] = field(default_factory=set)

    async def next(self, judged_for: timedelta) -> None:
        """Returns when something has changed, and after a second at the latest."""
        await asyncio.sleep(max(NO_SOONER_THAN, REST * judged_for).total_seconds())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout((AT_LATEST_AFTER - NO_SOONER_THAN).total_seconds()):
                await self.news.changed.wait()
        for task in self._tasks:
            if task.done():
                task.result()  # it ends by an error of ours alone
        self.is_news = self.news.changed.is_set()
        self.news.changed.clear()

    def problems(self) -> list[str]:
        """What is not current now, and why."""
        return [f"{kind} may be out of date: {error}" for kind, error in self.news.problems.items()]

    def tell(self, *notes: str) -> None:
        """Prints notes, and what may not be watched, each once."""
        every = f"{READ_AGAIN_AFTER.total_seconds():g} s"
        unwatched = (
            f"you may not watch {kind}, so they are read again every {every}: {error}"
            for kind, error in self.news.unwatched.items()
        )
        for note in (*notes, *unwatched):
            if note not in self._told:
                self._told.add(note)
                say(note)


async def until_ctrl_c(options: Options, work: Callable[[Session], Awaitable[int]]) -> int:
    """The exit code of the work, or that of Ctrl-C."""

    async def opened() -> int:
        async with open_session(options) as session:
            return await work(session)

    async with ctrl_c() as pressed:
        try:
            return await unless(pressed.first, opened())
        except InterruptedByUserError:
            return EXIT_INTERRUPTED


@contextlib.asynccontextmanager
async def current(session: Session) -> AsyncIterator[Updates]:
    """Lists everything that a decision rests on, and keeps it current while the block lasts. Raises ApiError, FailedError."""
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
    """In the order of Session.list_all."""
    known, asks, namespace = session.known, session.kubernetes, session.namespace
    selector = session.options.selector
    sources: list[Source[Any]] = [
        Source(
            "RayJobs",
            session.read_rayjobs,
            lambda since: asks.watch_rayjobs(namespace, since),
            known.saw_rayjob,
            lambda rayjob: known.lost_rayjob(rayjob.uid),
        )
    ]
    if selector:
        sources.append(
            Source(
                "labels of RayJobs",
                session.read_selected,
                lambda since: asks.watch_rayjob_uids(namespace, selector, since),
                lambda uid: known.selected.add(uid),  # noqa: PLW0108 - each list makes another set
                lambda uid: known.selected.discard(uid),  # noqa: PLW0108
            )
        )
    sources += [
        Source(
            "RayClusters",
            session.read_rayclusters,
            lambda since: asks.watch_rayclusters(namespace, since),
            known.saw_raycluster,
            lambda cluster: known.lost_raycluster(cluster.uid),
        ),
        Source(
            "Namespaces",
            session.read_namespaces,
            lambda since: asks.watch_namespaces(namespace, since),
            lambda seen: known.saw_namespace(seen, None),
            lambda seen: known.lost_namespace(seen.name),
        ),
        Source(
            "RayJobCleanupPolicies",
            session.read_policies,
            asks.watch_policies,
            lambda policy: _replace(session, policy, policy),
            lambda policy: _replace(session, policy, None),
        ),
    ]
    return sources


def _replace(session: Session, old: Policy, new: Policy | None) -> None:
    """Of the known policies the one of this uid."""
    policies, at = session.known.known_policies or ((), timedelta())
    others = tuple(policy for policy in policies if policy.uid != old.uid)
    session.known.saw_policies((*others, new) if new else others, at)


@dataclass(frozen=True)
class Answer:
    """One answer. gist: what is decided; content: all of it, but how long it is until then.

    The gist may change by time alone; what else time alone changes is no reason to print the answer again.
    """

    at: datetime
    gist: object
    content: object
    text: Sequence[str]
    summary: Sequence[str] = ()
    json: dict[str, Any] = field(default_factory=dict)


Show = Callable[[Answer, Updates], None]


@contextlib.contextmanager
def answers(output: str, *, wrap: bool) -> Iterator[Show]:
    """How answers are shown: in place if stdout is a terminal and people read it, else one after the other.

    wrap: on a terminal, lines that are too long go on below; else they are cut.
    """
    canvas = terminal.canvas(sys.stdout) if output in FOR_PEOPLE else None
    if canvas is None:
        yield _Printed(output).show
        return
    from raysweep.cli.bars import screen  # rich loads slowly: not for a pipe

    with screen(canvas) as drawn:

        def show_in_place(answer: Answer, updates: Updates) -> None:
            foot = f"as of {show.written(answer.at)}; press Ctrl-C to end"
            drawn.show(answer.text, [*answer.summary, *updates.problems(), foot], wrap=wrap)

        yield show_in_place


@dataclass
class _Printed:
    """Prints an answer if it says something else than the one before."""

    output: str
    _last: Answer | None = None

    def show(self, answer: Answer, updates: Updates) -> None:
        updates.tell(*updates.problems())
        last = self._last
        if last and last.gist == answer.gist and (not updates.is_news or last.content == answer.content):
            return
        self._last = answer
        if self.output == "json":
            click.echo(show.one_line(answer.json))
        elif self.output == "yaml":
            click.echo(f"---\n{show.machine(answer.json, self.output)}")
        else:
            click.echo("\n".join([*([""] if last else []), *answer.text, *answer.summary]))
