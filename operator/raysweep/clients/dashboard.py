"""The Ray head's Dashboard REST API, GET only: what a head says, or why it said nothing usable. It never judges.

Two ways, by setting: directly to the head's Service, or through the API server's service proxy. The address is built from
names that a tenant can write, so they must be single DNS labels; status.dashboardURL is never used.
Facts: docs.ray.io "Ray Jobs REST API"; measured on Ray 2.9 to 2.60.
"""

import asyncio
import contextlib
import json
import random
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast
from weakref import WeakValueDictionary

import aiohttp

from raysweep import names
from raysweep.clients.parsing import LABEL, parse_entry
from raysweep.core.facts import HeadList, HeadSilent, JobEntry, RayCluster
from raysweep.core.text import plain, quoted

LIST_CAP = 4 * 2**20
ERROR_TEXT = 4 * 2**10
"""How much of an error's body is read; Ray's own texts are far shorter."""
TRIES = 3
PAUSE_UP_TO = timedelta(seconds=1)
"""Between two tries of one look, with full jitter."""
TIMEOUT = aiohttp.ClientTimeout(total=5, sock_connect=2)

OVERALL, PER_NAMESPACE, PER_HEAD = 64, 8, 1

NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""One DNS-1123 label: what a Namespace may be called."""


@dataclass(frozen=True, slots=True)
class Way:
    """How heads are reached: the session that asks, the address before /api/, and a forward proxy where one is set."""

    session: aiohttp.ClientSession
    address: Callable[[RayCluster, str], str]
    proxy: str | None = None


def directly(cluster_domain: str, proxy: str | None) -> Way:
    """Straight to the head's Service. No environment proxies, no netrc, no cookies, no decompression."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": names.MANAGER},
        auto_decompress=False,
    )

    def address(cluster: RayCluster, service: str) -> str:
        port = cluster.dashboard_port or names.DASHBOARD_PORT
        return f"http://{service}.{cluster.namespace}.svc.{cluster_domain}:{port}"

    return Way(session, address, proxy)


def through_api_server(server: str, session: aiohttp.ClientSession) -> Way:
    """Through services/proxy, with the operator's own credentials, as KubeRay's --use-kubernetes-proxy."""

    def address(cluster: RayCluster, service: str) -> str:
        port = names.DASHBOARD_PORT_NAME if cluster.dashboard_port else names.DASHBOARD_PORT
        return f"{server}/api/v1/namespaces/{cluster.namespace}/services/{service}:{port}/proxy"

    return Way(session, address)


class UnusableError(Exception):
    """No usable answer; the text says why."""


class UnauthorizedError(Exception):
    """Ray itself wants a token (401), or another one (403)."""


class TooLargeError(Exception):
    """The body is longer than a look may read."""


@dataclass
class _Places:
    """How many may be asked at once: overall, in one namespace, and one question at a time per head."""

    overall: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(OVERALL))
    named: WeakValueDictionary[tuple[str, ...], asyncio.Semaphore] = field(default_factory=WeakValueDictionary)

    @contextlib.asynccontextmanager
    async def hold(self, cluster: RayCluster, service: str) -> AsyncIterator[None]:
        head = self._named((cluster.namespace, service), PER_HEAD)
        namespace = self._named((cluster.namespace,), PER_NAMESPACE)
        async with head, namespace, self.overall:
            yield

    def _named(self, key: tuple[str, ...], size: int) -> asyncio.Semaphore:
        found = self.named.get(key)
        if found is None:
            found = self.named[key] = asyncio.Semaphore(size)
        return found


class Dashboard:
    """Asks Ray heads. Answers are values; nothing here raises for what a head, or something in its place, does."""

    def __init__(
        self, way: Way, now: Callable[[], datetime], on_look: Callable[[str], None], *, pause_up_to: timedelta = PAUSE_UP_TO
    ) -> None:
        """on_look is told of each look's end: answered, unauthorized or unreachable."""
        self._way = way
        self._now = now
        self._on_look = on_look
        self._pause_up_to = pause_up_to
        self._places = _Places()

    async def close(self) -> None:
        """Closes the connections."""
        await self._way.session.close()

    async def jobs(self, cluster: RayCluster) -> HeadList | HeadSilent:
        """GET /api/jobs/: every submission and driver of that head."""
        service = cluster.head_service or f"{cluster.name}{names.HEAD_SERVICE_SUFFIX}"
        if not LABEL.fullmatch(service) or not NAMESPACE.fullmatch(cluster.namespace):
            return self._silent(f"{quoted(service)} is no name of a Service, so nothing is asked there")
        async with self._places.hold(cluster, service):
            return await self._list(f"{self._way.address(cluster, service)}/api/jobs/")

    async def _list(self, url: str) -> HeadList | HeadSilent:
        try:
            answer = _entries(await self._get_with_retries(url, LIST_CAP), self._now())
        except TooLargeError:
            answer = HeadList((), self._now(), unreadable=f"it is larger than {LIST_CAP // 2**20} MiB")
        except UnauthorizedError as error:
            return self._silent(str(error), unauthorized=True)
        except UnusableError as error:
            return self._silent(str(error))
        self._on_look("answered")
        return answer

    def _silent(self, detail: str, *, unauthorized: bool = False) -> HeadSilent:
        self._on_look("unauthorized" if unauthorized else "unreachable")
        return HeadSilent(detail, unauthorized)

    async def _get_with_retries(self, url: str, cap: int) -> bytes:
        for attempt in range(TRIES):
            try:
                return await self._get(url, cap)
            except UnusableError:
                if attempt == TRIES - 1:
                    raise
                await asyncio.sleep(random.uniform(0, self._pause_up_to.total_seconds()))
        raise AssertionError("the last try returns or raises")

    async def _get(self, url: str, cap: int) -> bytes:
        options: dict[str, Any] = {"proxy": self._way.proxy} if self._way.proxy else {}
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        try:
            async with self._way.session.get(url, headers=headers, timeout=TIMEOUT, allow_redirects=False, **options) as response:
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise UnusableError("it sent a compressed body")
                if response.status != 200:
                    raise _refusal(response.status, await response.content.read(ERROR_TEXT))
                return await _read(response, cap)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise UnusableError(f"{type(error).__name__}: {plain(error)}" if str(error) else type(error).__name__) from error


async def _read(response: aiohttp.ClientResponse, cap: int) -> bytes:
    """The body, counted while it streams in: Content-Length is only a claim."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(64 * 2**10):
        body += chunk
        if len(body) > cap:
            raise TooLargeError
    return bytes(body)


def _refusal(status: int, body: bytes) -> Exception:
    """401 and 403 mean a token only in Ray's own words (ray token_auth); a proxy's page or a Kubernetes Status do not."""
    text = body.decode("utf-8", "replace").strip()
    if (status == 401 and text.startswith("Unauthorized: ")) or (status == 403 and text.startswith("Forbidden: ")):
        return UnauthorizedError(f"{status} {plain(text)}")
    return UnusableError(f"HTTP {status} {plain(text)}")


def _entries(body: bytes, answered_at: datetime) -> HeadList:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise UnusableError(f"200 with a body that is no JSON: {quoted(body[:100].decode('utf-8', 'replace'))}") from None
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
