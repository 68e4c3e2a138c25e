"""The Ray head's Dashboard REST API, GET only: what a head says, or why it said nothing usable. It never judges.

Facts: docs.ray.io "Ray Jobs REST API" and "State API"; measured on Ray 2.9 to 2.60.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar, cast
from urllib.parse import quote

import aiohttp
from yarl import URL

from raysweep.clients import heads
from raysweep.clients.heads import ANSWER_WITHIN, LIST_CAP, ONE_CAP, Limits, TooLargeError, Way
from raysweep.clients.parsing_heads import parse_entry, parse_node_states
from raysweep.clients.tokens import NO_TOKEN, NoTokenError, Tokens
from raysweep.core.facts import HeadList, HeadSilent, JobEntry, RayCluster
from raysweep.core.finished import is_unfinished
from raysweep.core.text import plain, quoted

TRIES = 3
PAUSE_UP_TO = timedelta(seconds=1)
"""Between two tries of one look, with full jitter. How long that head is left alone after a fruitless look is no client's
matter: core/remember.py has the RayJob wait, from 30 s to 5 minutes by the settings silent_again_after and _at_most."""
DEAD = "DEAD"
"""Of a node, in ray.util.state.common.NodeState."""

Answer = TypeVar("Answer")


class UnusableError(Exception):
    """No usable answer; the text says why."""

    def __init__(self, message: str, *, no_head: bool = False) -> None:
        super().__init__(message)
        self.no_head = no_head


class UnauthorizedError(Exception):
    """Ray itself wants a token (401), or another one (403)."""


@dataclass(frozen=True)
class _Question(Generic[Answer]):
    """One GET: where, how much of an answer, what makes a value of it (UnusableError: not this), and Ray's words for none."""

    path: str
    cap: int
    read: Callable[[bytearray], Answer]
    none: tuple[str, Answer] | None = None


@dataclass(frozen=True)
class _Head:
    """A head that may be asked now. The headers may hold a token, so they are in no repr."""

    base: str
    headers: Mapping[str, str] = field(repr=False)


class Dashboard:
    """Asks Ray heads. Answers are values; nothing here raises for what a head, or something in its place, does.

    Where tokens are read, ApiError is raised for an API server that does not answer: that is no fault of the head.
    """

    def __init__(
        self,
        way: Way,
        now: Callable[[], datetime],
        on_look: Callable[[str], None],
        *,
        tokens: Tokens | None = None,
        limits: Limits | None = None,
        pause_up_to: timedelta = PAUSE_UP_TO,
        answer_within: timedelta = ANSWER_WITHIN,
    ) -> None:
        """on_look is told of each look's end: answered, unauthorized or unreachable. tokens: only where the setting says so."""
        self._way = way
        self._now = now
        self._on_look = on_look
        self._tokens = tokens
        self._pause_up_to = pause_up_to
        self._answer_within = answer_within
        self._limits = limits or Limits()

    @property
    def reads_tokens(self) -> bool:
        """Whether heads are asked with their tokens (setting head_tokens)."""
        return self._tokens is not None

    async def close(self) -> None:
        """Closes the connections."""
        await self._way.session.close()

    async def jobs(self, cluster: RayCluster, job_id: str = "") -> HeadList | HeadSilent:
        """GET /api/jobs/: every submission and driver of that head.

        job_id: whose RayJob asks, "" where its only submission is it. Where that job is at work, its node must be alive.
        """

        async def ask(head: _Head) -> HeadList:
            try:
                found = await self._get(head, _Question("/api/jobs/", LIST_CAP, self._list))
            except TooLargeError:
                return HeadList((), self._now(), unreadable=f"it is larger than {LIST_CAP // 2**20} MiB")
            own = [entry for entry in found.entries if entry.type == "SUBMISSION" and job_id in ("", entry.submission_id)]
            if len(own) == 1:
                await self._check_node(head, own[0])
            return found

        return await self._look(cluster, ask)

    async def job(self, cluster: RayCluster, job_id: str) -> HeadList | HeadSilent:
        """GET /api/jobs/{ID}: a list of that one submission, or an empty one where Ray says that there is no such job."""
        try:
            segment = _segment(job_id)
        except ValueError:
            return self._silent(f"{quoted(job_id)} is no ID that can be asked for")

        def read(body: bytearray) -> HeadList:
            return HeadList((_one(body, job_id),), self._now(), whole=False)

        async def ask(head: _Head) -> HeadList:
            none = (f"Job {job_id} does not exist", HeadList((), self._now(), whole=False))
            try:
                found = await self._get(head, _Question(f"/api/jobs/{segment}", ONE_CAP, read, none))
            except TooLargeError:
                raise UnusableError(f"the answer is larger than {ONE_CAP // 2**20} MiB") from None
            for entry in found.entries:
                await self._check_node(head, entry)
            return found

        return await self._look(cluster, ask)

    async def _look(self, cluster: RayCluster, ask: Callable[[_Head], Awaitable[HeadList]]) -> HeadList | HeadSilent:
        try:
            service = heads.service_of(cluster)
        except ValueError as error:
            return self._silent(f"{quoted(str(error))} is no name of a Service, so nothing is asked there")
        try:
            async with self._limits.hold(cluster, service):
                token = await self._tokens.header(cluster, service) if self._tokens else NO_TOKEN
                answer = await ask(_Head(self._way.address(cluster, service), token))
        except NoTokenError as error:
            return self._silent(str(error), unauthorized=not error.no_head, no_head=error.no_head)
        except UnauthorizedError as error:
            return self._silent(str(error), unauthorized=True)
        except UnusableError as error:
            return self._silent(str(error), no_head=error.no_head)
        self._on_look("answered")
        return answer

    def _silent(self, detail: str, *, unauthorized: bool = False, no_head: bool = False) -> HeadSilent:
        self._on_look("unauthorized" if unauthorized else "unreachable")
        return HeadSilent(detail, unauthorized, no_head)

    def _list(self, body: bytearray) -> HeadList:
        return _entries(body, self._now())

    async def _check_node(self, head: _Head, entry: JobEntry) -> None:
        """A zombie head calls a job RUNNING for ever whose node is dead. Without an answer about nodes the entry stands."""
        if not entry.node_id or not is_unfinished(entry):
            return
        path = f"/api/v0/nodes?filter_keys=node_id&filter_predicates=%3D&filter_values={quote(entry.node_id, safe='')}"
        try:
            states = await self._get(head, _Question(path, ONE_CAP, _node_states))
        except (UnusableError, UnauthorizedError, TooLargeError):
            return
        if states.get(entry.node_id) == DEAD:
            raise UnusableError(f"it calls {quoted(entry.submission_id)} {quoted(entry.status)}, but its node is {DEAD}")

    async def _get(self, head: _Head, question: _Question[Answer]) -> Answer:
        for attempt in range(TRIES):
            try:
                return await self._try(head, question)
            except UnusableError:
                if attempt == TRIES - 1:
                    raise
                await asyncio.sleep(random.uniform(0, self._pause_up_to.total_seconds()))
        raise AssertionError("the last try returns or raises")

    async def _try(self, head: _Head, question: _Question[Answer]) -> Answer:
        try:
            async with (
                asyncio.timeout(self._answer_within.total_seconds()) as deadline,
                self._way.session.get(
                    URL(head.base + question.path, encoded=True),
                    **heads.request_options(self._way, {"Accept": "application/json", **head.headers}),
                ) as response,
            ):
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise UnusableError("it sent a compressed body")
                if response.status != 200:
                    return self._refused(response.status, await heads.beginning(response), question)
                async with self._limits.body(response, question.cap, deadline) as body:
                    return question.read(body)
        except TimeoutError as error:
            raise UnusableError(f"{type(error).__name__}: no answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            said = f"{type(error).__name__}: {plain(error)}" if str(error) else type(error).__name__
            raise UnusableError(said, no_head=heads.nobody_is_there(self._way, error)) from error

    def _refused(self, status: int, text: str, question: _Question[Answer]) -> Answer:
        """404, 401 and 403 count only in Ray's own words (JobHead, ray token_auth); a proxy's page or a Status do not."""
        if question.none and (status, text) == (404, question.none[0].strip()):
            return question.none[1]
        if (status == 401 and text.startswith("Unauthorized: ")) or (status == 403 and text.startswith("Forbidden: ")):
            raise UnauthorizedError(f"{status} {plain(text)}")
        raise UnusableError(f"HTTP {status} {plain(text)}", no_head=heads.says_nobody_is_there(self._way, status, text))


def _segment(job_id: str) -> str:
    """The ID as one segment of a path; ValueError for three that would be another path, and for half characters."""
    if job_id in ("", ".", ".."):
        raise ValueError("no segment of a path")
    return quote(job_id, safe="")


def _json(body: bytearray) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise UnusableError(f"200 with a body that is no JSON: {quoted(body[:100].decode('utf-8', 'replace'))}") from None


def _entries(body: bytearray, answered_at: datetime) -> HeadList:
    found = _json(body)
    if not isinstance(found, list):
        raise UnusableError("200 with JSON that is no list of jobs")
    entries: list[JobEntry] = []
    unreadable = ""
    for position, entry in enumerate(cast("list[object]", found)):
        try:
            entries.append(parse_entry(entry))
        except ValueError as error:
            unreadable = unreadable or f"entry {position}: {plain(error)}"
    return HeadList(tuple(entries), answered_at, unreadable)


def _one(body: bytearray, job_id: str) -> JobEntry:
    try:
        entry = parse_entry(_json(body))
    except ValueError as error:
        raise UnusableError(f"200 with JSON that is no job: {plain(error)}") from None
    if (entry.type, entry.submission_id) != ("SUBMISSION", job_id):
        raise UnusableError(f"200 with another job: {quoted(entry.type)} {quoted(entry.submission_id or entry.job_id)}")
    return entry


def _node_states(body: bytearray) -> Mapping[str, str]:
    try:
        return parse_node_states(_json(body))
    except ValueError as error:
        raise UnusableError(f"200 with JSON that is no list of nodes: {plain(error)}") from None
