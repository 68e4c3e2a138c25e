"""The Ray head's Dashboard REST API, GET only: what a head says, or why it said nothing usable. It never judges.

Facts: docs.ray.io "Ray Jobs REST API" and "State API"; measured on Ray 2.9 to 2.60.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Generic, TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from raysweep.clients.parsing import bounded_json
from raysweep.clients.parsing.bounded_json import NotJsonError
from raysweep.clients.parsing.ray_head import parse_entry, parse_node_states
from raysweep.clients.ray import endpoint, error_messages
from raysweep.clients.ray.endpoint import (
    ANSWER_WITHIN,
    LIST_CAP,
    ONE_CAP,
    HeadTransport,
    ProbeLimits,
    TooLargeError,
)
from raysweep.clients.ray.tokens import NO_TOKEN, NoServiceError, NoTokenError, Tokens
from raysweep.core.head_report import own_submissions
from raysweep.core.job_status import is_unfinished, shown_status
from raysweep.core.model.facts import HeadList, HeadSilent, JobEntry, RayCluster
from raysweep.core.text import quoted

TRIES = 3
"""Of the question that a look is for. What is asked besides is asked once: without an answer the job is kept anyway."""
MOST_ENTRIES = 10_000
"""Entries of one list. Ray's own weigh at least 330 bytes, so a real list of LIST_CAP has hardly more."""
PAUSE_UP_TO = timedelta(seconds=1)
"""Between two tries of one look, with full jitter. How long that head is left alone after a fruitless look is no client's
matter: core/update_memory.py has the RayJob wait, from 30 s to 5 minutes by the settings silent_probe_after and _at_most."""
DEAD = "DEAD"
"""Of a node, in ray.util.state.common.NodeState."""

Answer = TypeVar("Answer")


class UnusableError(Exception):
    """No usable answer; the text says why, in words of our own (error_messages)."""


class DeadNodeError(UnusableError):
    """The head calls the RayJob's job unfinished, and the node of its driver DEAD.

    listed: the head's whole list of jobs; None if only that job was asked for, or the list cannot be read.
    """

    def __init__(self, message: str, listed: tuple[JobEntry, ...] | None) -> None:
        super().__init__(message)
        self.listed = listed


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
    namespace: str
    headers: Mapping[str, str] = field(repr=False)


class Dashboard:
    """Asks Ray heads. Answers are values; nothing here raises for what a head, or something in its place, does.

    Where tokens are read, ApiError is raised for an API server that does not answer: that is no fault of the head.
    """

    def __init__(
        self,
        way: HeadTransport,
        now: Callable[[], datetime],
        on_probe: Callable[[str], None],
        *,
        tokens: Tokens | None = None,
        limits: ProbeLimits | None = None,
        pause_up_to: timedelta = PAUSE_UP_TO,
        answer_within: timedelta = ANSWER_WITHIN,
    ) -> None:
        """on_probe is told of each look's end: answered, unauthorized or unreachable. tokens: only where the setting says so."""
        self._way = way
        self._now = now
        self._on_look = on_probe
        self._tokens = tokens
        self._pause_up_to = pause_up_to
        self._answer_within = answer_within
        self._limits = limits or ProbeLimits()

    @property
    def reads_tokens(self) -> bool:
        """Whether heads are asked with their tokens (setting head_tokens)."""
        return self._tokens is not None

    async def close(self) -> None:
        """Closes the connections."""
        await self._way.session.close()

    async def jobs(self, cluster: RayCluster, job_id: str = "") -> HeadList | HeadSilent:
        """GET /api/jobs/: every submission and driver of that head.

        job_id: whose RayJob asks, "" if its only submission is it. If that job is unfinished, its node must be alive.
        Of a list that cannot be read as a whole, that one job is asked for by its ID too.
        """

        async def ask(head: _Head) -> HeadList:
            try:
                found = await self._get(head, _Question("/api/jobs/", LIST_CAP, self._list))
            except TooLargeError:
                found = HeadList(
                    (), self._now(), unreadable=f"it is larger than {LIST_CAP // 2**20} MiB"
                )
            if found.unreadable and not own_submissions(found.entries, job_id):
                found = replace(found, entries=(*found.entries, *await self._entry(head, job_id)))
            own = own_submissions(found.entries, job_id)
            if len(own) == 1 and (job_id or not found.unreadable):
                await self._check_node(head, own[0], None if found.unreadable else found.entries)
            return found

        return await self._probe(cluster, ask)

    async def job(self, cluster: RayCluster, job_id: str) -> HeadList | HeadSilent:
        """GET /api/jobs/{ID}: a list of that one submission, or an empty one where Ray says that there is no such job."""
        try:
            question = _by_id(job_id)
        except ValueError:
            return self._silent(f"{quoted(job_id)} is no ID that can be asked for")

        async def ask(head: _Head) -> HeadList:
            try:
                entries = await self._get(head, question)
            except TooLargeError:
                raise UnusableError(f"the answer is larger than {ONE_CAP // 2**20} MiB") from None
            found = HeadList(entries, self._now(), whole=False)
            for entry in entries:
                await self._check_node(head, entry)
            return found

        return await self._probe(cluster, ask)

    async def _probe(
        self, cluster: RayCluster, ask: Callable[[_Head], Awaitable[HeadList]]
    ) -> HeadList | HeadSilent:
        try:
            service = endpoint.service_of(cluster)
        except ValueError as error:
            return self._silent(
                f"{quoted(str(error))} is no name of a Service, so nothing is asked there"
            )
        try:
            async with self._limits.hold(cluster, service):
                token = await self._tokens.header(cluster, service) if self._tokens else NO_TOKEN
                head = _Head(self._way.address(cluster, service), cluster.namespace, token)
                answer = await ask(head)
        except NoTokenError as error:
            return self._silent(str(error), unauthorized=not isinstance(error, NoServiceError))
        except UnauthorizedError as error:
            return self._silent(str(error), unauthorized=True)
        except DeadNodeError as error:
            return replace(self._silent(str(error)), node_is_dead=True, listed=error.listed)
        except UnusableError as error:
            return self._silent(str(error))
        self._on_look("answered")
        return answer

    def _silent(self, detail: str, *, unauthorized: bool = False) -> HeadSilent:
        self._on_look("unauthorized" if unauthorized else "unreachable")
        return HeadSilent(detail, unauthorized)

    def _list(self, body: bytearray) -> HeadList:
        return _entries(body, self._now())

    async def _entry(self, head: _Head, job_id: str) -> tuple[JobEntry, ...]:
        """The entry of that job by its ID; none if there is no ID, or no usable answer."""
        try:
            return await self._get(head, _by_id(job_id), tries=1)
        except (ValueError, UnusableError, UnauthorizedError, TooLargeError):
            return ()

    async def _check_node(
        self, head: _Head, entry: JobEntry, listed: tuple[JobEntry, ...] | None = None
    ) -> None:
        """A zombie head calls a job RUNNING for ever whose node is dead. Without an answer about nodes the entry stands.

        Raises DeadNodeError.
        """
        if not entry.node_id or not is_unfinished(entry):
            return
        path = f"/api/v0/nodes?filter_keys=node_id&filter_predicates=%3D&filter_values={quote(entry.node_id, safe='')}"
        try:
            states = await self._get(head, _Question(path, ONE_CAP, _node_states), tries=1)
        except (UnusableError, UnauthorizedError, TooLargeError):
            return
        if states.get(entry.node_id) == DEAD:
            said = f"the head says {quoted(entry.submission_id)} is {shown_status(entry)}"
            raise DeadNodeError(f"{said}, but its node is {DEAD}", listed)

    async def _get(self, head: _Head, question: _Question[Answer], *, tries: int = TRIES) -> Answer:
        for attempt in range(tries):
            try:
                return await self._try(head, question)
            except UnusableError:
                if attempt == tries - 1:
                    raise
                await asyncio.sleep(random.uniform(0, self._pause_up_to.total_seconds()))
        raise AssertionError("the last try returns or raises")

    async def _try(self, head: _Head, question: _Question[Answer]) -> Answer:
        try:
            async with (
                asyncio.timeout(self._answer_within.total_seconds()) as deadline,
                self._way.session.get(
                    URL(head.base + question.path, encoded=True),
                    **endpoint.request_options(
                        self._way, {"Accept": "application/json", **head.headers}
                    ),
                ) as response,
            ):
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise UnusableError("it sent a compressed body")
                if response.status != 200:
                    return self._refused(
                        response.status, await endpoint.beginning(response), question
                    )
                async with self._limits.body(
                    response, question.cap, deadline, head.namespace
                ) as body:
                    return await self._limits.parsed(body, question.read, deadline, head.namespace)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnusableError(error_messages.failure(error)) from error

    def _refused(self, status: int, text: str, question: _Question[Answer]) -> Answer:
        """404, 401 and 403 count only in Ray's own words (JobHead, ray token_auth); a proxy's page or a Status do not."""
        if question.none and (status, text) == (404, question.none[0].strip()):
            return question.none[1]
        if status in error_messages.UNAUTHORIZED and text.startswith(
            error_messages.UNAUTHORIZED[status]
        ):
            raise UnauthorizedError(error_messages.unauthorized(status, text))
        by_api_server = self._way.by_api_server
        raise UnusableError(error_messages.refusal(status, text, by_api_server=by_api_server))


def _by_id(job_id: str) -> _Question[tuple[JobEntry, ...]]:
    """GET /api/jobs/{ID}, the one entry or none. ValueError as for _segment."""

    def read(body: bytearray) -> tuple[JobEntry, ...]:
        return (_one(body, job_id),)

    none = (f"Job {job_id} does not exist", ())
    return _Question(f"/api/jobs/{_segment(job_id)}", ONE_CAP, read, none)


def _segment(job_id: str) -> str:
    """The ID as one segment of a path; ValueError for three that would be another path, and for half characters."""
    if job_id in ("", ".", ".."):
        raise ValueError("no segment of a path")
    return quote(job_id, safe="")


def _entries(body: bytearray, answered_at: datetime) -> HeadList:
    """The list, up to the first entry that cannot be read. UnusableError if that far it is not a JSON list."""
    entries: list[JobEntry] = []
    unreadable = ""
    try:
        for item in bounded_json.items(body):
            if len(entries) == MOST_ENTRIES:
                unreadable = f"more than {MOST_ENTRIES:,} entries"
                break
            entries.append(parse_entry(item))
    except NotJsonError as error:
        raise UnusableError(f"200 with a body that is {error}") from None
    except ValueError as error:
        unreadable = f"entry {len(entries)}: {error}"
    return HeadList(tuple(entries), answered_at, unreadable)


def _one(body: bytearray, job_id: str) -> JobEntry:
    try:
        entry = parse_entry(_json(body))
    except ValueError as error:
        raise UnusableError(f"200 with JSON that is not a job: {error}") from None
    if (entry.type, entry.submission_id) != ("SUBMISSION", job_id):
        raise UnusableError("200 with another job than the one asked for")
    return entry


def _node_states(body: bytearray) -> Mapping[str, str]:
    try:
        return parse_node_states(_json(body))
    except ValueError as error:
        raise UnusableError(f"200 with JSON that is not a list of nodes: {error}") from None


def _json(body: bytearray) -> object:
    try:
        return bounded_json.value(body)
    except NotJsonError as error:
        raise UnusableError(f"200 with a body that is {error}") from None
