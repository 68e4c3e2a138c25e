"""The client of a Ray head's Dashboard REST API. It only reads, and returns what the head reports.

Sources: docs.ray.io "Ray Jobs REST API" and "State API", and measurements on Ray 2.9 to 2.60.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Generic, TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from raysweep.clients.parsing import bounded_json
from raysweep.clients.parsing.bounded_json import NotJsonError
from raysweep.clients.parsing.ray_head import parse_entry, parse_node_states
from raysweep.clients.ray.error_messages import (
    UNAUTHORIZED_PREFIXES,
    exception_message,
    status_message,
    unauthorized_message,
)
from raysweep.clients.ray.probe_limits import (
    ANSWER_WITHIN,
    LIST_CAP,
    ONE_CAP,
    TINY,
    BodyTooLargeError,
    ProbeLimits,
    read_error_text,
)
from raysweep.clients.ray.tokens import NO_TOKEN, NoServiceError, NoTokenError, Tokens
from raysweep.clients.ray.transport import HeadTransport, head_service, request_options
from raysweep.core.head_report import decisive_entries, own_submissions
from raysweep.core.job_status import is_unfinished, shown_status
from raysweep.core.model.facts import HeadList, HeadSilent, JobEntry, RayCluster
from raysweep.core.text import quoted

TRIES = 3
"""How often the main request of a probe is sent. Further requests are sent once."""
MOST_ENTRIES = 10_000
"""Entries of one list. Ray writes at least 330 bytes for each, so hardly more fit in LIST_CAP."""
PAUSE_UP_TO = timedelta(seconds=1)
"""The longest pause between two tries of one probe. The pause is random.

core/update_memory.py decides when the next probe of a silent head is due.
"""
DEAD = "DEAD"
"""A node's state in ray.util.state.common.NodeState."""

Value = TypeVar("Value")


class UnusableError(Exception):
    """No response is usable. The text says why, without foreign texts (error_messages)."""


class DeadNodeError(UnusableError):
    """The head reports that the job has not ended, but the node of its driver is DEAD.

    `listed` is the head's whole list of jobs. It is None if only that job was requested, or if
    the list cannot be read.
    """

    def __init__(self, message: str, listed: tuple[JobEntry, ...] | None) -> None:
        super().__init__(message)
        self.listed = listed


class UnauthorizedError(Exception):
    """Ray requires a token (401) or another token (403)."""


@dataclass(frozen=True)
class _Request(Generic[Value]):
    """One GET request to a head.

    `parse` raises UnusableError for an unexpected body. `missing` is the text of a 404 for a
    resource that does not exist, and the value to return for it.
    """

    path: str
    max_bytes: int
    parse: Callable[[bytearray], Value]
    missing: tuple[str, Value] | None = None


@dataclass(frozen=True)
class _Head:
    """A head to send requests to. The headers may hold a token, so the repr leaves them out."""

    base: str
    namespace: str
    headers: Mapping[str, str] = field(repr=False)


class Dashboard:
    """Probes Ray heads. Whatever a head or a server in its place sends is returned as a value.

    If tokens are read, ApiError is raised when the API server fails.
    """

    def __init__(
        self,
        transport: HeadTransport,
        now: Callable[[], datetime],
        on_probe: Callable[[str], None],
        *,
        tokens: Tokens | None = None,
        limits: ProbeLimits | None = None,
        pause_up_to: timedelta = PAUSE_UP_TO,
        answer_within: timedelta = ANSWER_WITHIN,
    ) -> None:
        """`on_probe` is called with the result of each probe: answered, unauthorized, unreachable.

        `tokens` is given if the setting head_tokens is on.
        """
        self._transport = transport
        self._now = now
        self._on_probe = on_probe
        self._tokens = tokens
        self._pause_up_to = pause_up_to
        self._answer_within = answer_within
        self._limits = limits or ProbeLimits()

    @property
    def reads_tokens(self) -> bool:
        """Whether requests to heads carry their tokens (setting head_tokens)."""
        return self._tokens is not None

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.session.close()

    async def jobs(
        self, cluster: RayCluster, job_id: str = "", *, only_decisive: bool = False
    ) -> HeadList | HeadSilent:
        """GET /api/jobs/: all submissions and drivers of a head.

        `job_id` is the RayJob's submission. If it is empty, the only submission of the list counts
        as the RayJob's. If that job has not ended, its node must be alive. If the list cannot be
        read as a whole, the RayJob's submission is requested by its ID too.

        With `only_decisive` the result has the entries that a decision needs (decisive_entries).
        """
        parse = partial(self._parse_list, job_id=job_id if only_decisive else None)
        return await self._probe(cluster, lambda head: self._jobs(head, job_id, parse))

    async def job(self, cluster: RayCluster, job_id: str) -> HeadList | HeadSilent:
        """GET /api/jobs/ID: a list of that submission, empty if Ray reports that it is missing."""
        try:
            request = _job_request(job_id)
        except ValueError:
            return self._silent(f"{quoted(job_id)} is not a valid submission ID")
        return await self._probe(cluster, lambda head: self._job(head, request))

    async def _jobs(
        self, head: _Head, job_id: str, parse: Callable[[bytearray], HeadList]
    ) -> HeadList:
        try:
            jobs = await self._get(head, _Request("/api/jobs/", LIST_CAP, parse))
        except BodyTooLargeError:
            problem = f"it is larger than {LIST_CAP // 2**20} MiB"
            jobs = HeadList((), self._now(), unreadable=problem)
        if jobs.unreadable and not own_submissions(jobs.entries, job_id):
            entries = (*jobs.entries, *await self._entry_by_id(head, job_id))
            jobs = replace(jobs, entries=entries)
        candidates = own_submissions(jobs.entries, job_id)
        if len(candidates) == 1 and (job_id or not jobs.unreadable):
            listed = None if jobs.unreadable else jobs.entries
            await self._check_node(head, candidates[0], listed)
        return jobs

    async def _job(self, head: _Head, request: _Request[tuple[JobEntry, ...]]) -> HeadList:
        try:
            entries = await self._get(head, request)
        except BodyTooLargeError:
            raise UnusableError(f"the answer is larger than {ONE_CAP // 2**20} MiB") from None
        jobs = HeadList(entries, self._now(), whole=False)
        for entry in entries:
            await self._check_node(head, entry)
        return jobs

    async def _probe(
        self, cluster: RayCluster, ask: Callable[[_Head], Awaitable[HeadList]]
    ) -> HeadList | HeadSilent:
        try:
            service = head_service(cluster)
        except ValueError as error:
            return self._silent(
                f"{quoted(str(error))} is not a valid name of a Service, so no request is sent"
            )
        try:
            async with self._limits.head(cluster, service):
                jobs = await ask(await self._head(cluster, service))
        except NoServiceError as error:
            return self._silent(str(error))
        except (NoTokenError, UnauthorizedError) as error:
            return self._silent(str(error), unauthorized=True)
        except DeadNodeError as error:
            return replace(self._silent(str(error)), node_is_dead=True, listed=error.listed)
        except UnusableError as error:
            return self._silent(str(error))
        self._on_probe("answered")
        return jobs

    async def _head(self, cluster: RayCluster, service: str) -> _Head:
        headers = NO_TOKEN
        if self._tokens:
            headers = await self._tokens.header(cluster, service)
        return _Head(self._transport.address(cluster, service), cluster.namespace, headers)

    def _silent(self, detail: str, *, unauthorized: bool = False) -> HeadSilent:
        self._on_probe("unauthorized" if unauthorized else "unreachable")
        return HeadSilent(detail, unauthorized)

    def _parse_list(self, body: bytearray, job_id: str | None) -> HeadList:
        """The list. With a job ID, even an empty one, only the entries that decide about it."""
        jobs = _parse_list(body, self._now())
        if job_id is None:
            return jobs
        return replace(jobs, entries=decisive_entries(jobs.entries, job_id))

    async def _entry_by_id(self, head: _Head, job_id: str) -> tuple[JobEntry, ...]:
        """The entry of a submission, requested by its ID. Empty without a usable answer."""
        try:
            return await self._get(head, _job_request(job_id), tries=1)
        except (ValueError, UnusableError, UnauthorizedError, BodyTooLargeError):
            return ()

    async def _check_node(
        self, head: _Head, entry: JobEntry, listed: tuple[JobEntry, ...] | None = None
    ) -> None:
        """Raises DeadNodeError if the job has not ended and the node of its driver is dead.

        A head reports RUNNING forever for a job whose node died. Without an answer about nodes
        the entry is believed.
        """
        if not entry.node_id or not is_unfinished(entry):
            return
        node = quote(entry.node_id, safe="")
        query = f"filter_keys=node_id&filter_predicates=%3D&filter_values={node}"
        request = _Request(f"/api/v0/nodes?{query}", ONE_CAP, _parse_node_states)
        try:
            states = await self._get(head, request, tries=1)
        except (UnusableError, UnauthorizedError, BodyTooLargeError):
            return
        if states.get(entry.node_id) == DEAD:
            report = f"the head says {quoted(entry.submission_id)} is {shown_status(entry)}"
            raise DeadNodeError(f"{report}, but its node is {DEAD}", listed)

    async def _get(self, head: _Head, request: _Request[Value], *, tries: int = TRIES) -> Value:
        """Sends a request, and sends it again after a random pause if no response is usable."""
        for number in range(tries - 1):
            try:
                return await self._send(head, request, is_retry=number > 0)
            except UnusableError:
                await asyncio.sleep(random.uniform(0, self._pause_up_to.total_seconds()))
        return await self._send(head, request, is_retry=tries > 1)

    async def _send(self, head: _Head, request: _Request[Value], *, is_retry: bool) -> Value:
        url = URL(head.base + request.path, encoded=True)
        headers = {"Accept": "application/json", **head.headers}
        options = request_options(self._transport, headers)
        try:
            async with (
                self._limits.request(head.namespace, is_retry=is_retry),
                asyncio.timeout(self._answer_within.total_seconds()) as deadline,
                self._transport.session.get(url, **options) as response,
            ):
                return await self._read(response, request, deadline, head.namespace)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnusableError(exception_message(error)) from error

    async def _read(
        self,
        response: aiohttp.ClientResponse,
        request: _Request[Value],
        deadline: asyncio.Timeout,
        namespace: str,
    ) -> Value:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise UnusableError("the head sent a compressed body")
        if response.status != 200:
            text = await read_error_text(response, TINY)
            return self._refused(response.status, text, request)
        limits = self._limits
        async with limits.body(response, request.max_bytes, deadline, namespace) as body:
            return await limits.parsed(body, request.parse, deadline, namespace)

    def _refused(self, status: int, text: str, request: _Request[Value]) -> Value:
        """The value of a 404 that Ray itself sent. Raises UnauthorizedError or UnusableError.

        401, 403 and 404 count only with Ray's own text (JobHead, ray token_auth), since a proxy or
        the API server may send them too.
        """
        if request.missing and (status, text) == (404, request.missing[0].strip()):
            return request.missing[1]
        prefix = UNAUTHORIZED_PREFIXES.get(status)
        if prefix and text.startswith(prefix):
            raise UnauthorizedError(unauthorized_message(status, text))
        by_api_server = self._transport.by_api_server
        raise UnusableError(status_message(status, text, by_api_server=by_api_server))


def _job_request(job_id: str) -> _Request[tuple[JobEntry, ...]]:
    """GET /api/jobs/ID. Raises ValueError if the ID cannot be one segment of a path."""
    if job_id in ("", ".", ".."):
        raise ValueError("not a segment of a path")
    segment = quote(job_id, safe="")  # raises ValueError for half a surrogate pair

    def parse(body: bytearray) -> tuple[JobEntry, ...]:
        return (_parse_job(body, job_id),)

    missing = (f"Job {job_id} does not exist", ())
    return _Request(f"/api/jobs/{segment}", ONE_CAP, parse, missing)


def _parse_list(body: bytearray, answered_at: datetime) -> HeadList:
    """The list up to the first invalid entry. Raises UnusableError if the body is not a list."""
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


def _parse_job(body: bytearray, job_id: str) -> JobEntry:
    try:
        entry = parse_entry(_parse_json(body))
    except ValueError as error:
        raise UnusableError(f"200 with JSON that is not a job: {error}") from None
    if (entry.type, entry.submission_id) != ("SUBMISSION", job_id):
        raise UnusableError("200 with a job other than the requested one")
    return entry


def _parse_node_states(body: bytearray) -> Mapping[str, str]:
    try:
        return parse_node_states(_parse_json(body))
    except ValueError as error:
        raise UnusableError(f"200 with JSON that is not a list of nodes: {error}") from None


def _parse_json(body: bytearray) -> object:
    try:
        return bounded_json.value(body)
    except NotJsonError as error:
        raise UnusableError(f"200 with a body that is {error}") from None
