"""How Ray heads are reached, and how much at once: ways, addresses, limits. No answer is read here.

Two ways, by setting: directly to the head's Service, or through the API server's service proxy. The address is built from
names that a tenant can write, so they must be single DNS labels; status.dashboardURL is never used.
"""

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import aiohttp
from aiohttp.abc import AbstractResolver

from raysweep import names
from raysweep.clients.connection.connectors import route
from raysweep.clients.parsing.common import LABEL
from raysweep.clients.ray.fair_semaphore import FairSemaphore
from raysweep.clients.ray.resolver import FairResolver
from raysweep.core.model.facts import RayCluster

LIST_CAP = 4 * 2**20
ONE_CAP = 2**20
SMALL = 64 * 2**10
"""As much of a body as every look may hold without asking; also all that is read of an error's text."""
TINY = 8 * 2**10
"""As much of a body as is parsed at once on the event loop: some 2 ms at the worst."""
CONNECT_WITHIN = timedelta(seconds=2)
ANSWER_WITHIN = timedelta(seconds=5)

OVERALL, PER_NAMESPACE, PER_HEAD = 64, 8, 1
LARGE, LARGE_PER_NAMESPACE = 7, 3
"""So many bodies larger than SMALL at once: with SMALL for each of the OVERALL looks, 32 MiB in all."""
_CHUNK = 16 * 2**10

Answer = TypeVar("Answer")

NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""One DNS-1123 label: what a Namespace may be called."""
_NAME_SINCE_1_4 = re.compile(r"[a-z]([-a-z0-9]{0,51}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class HeadTransport:
    """How heads are reached: the session that asks, the address before /api/, and what stands in between."""

    session: aiohttp.ClientSession
    address: Callable[[RayCluster, str], str]
    proxy: str | None = None
    by_api_server: bool = False


def direct_transport(
    cluster_domain: str, proxy: str | None, resolver: AbstractResolver | None = None
) -> HeadTransport:
    """Straight to the head's Service. No environment proxies, no netrc, no cookies, no decompression.

    resolver: for the names of Services, by default the C library's, fair over namespaces.
    """
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, force_close=True, resolver=resolver or FairResolver()
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": names.APP_NAME},
        auto_decompress=False,
    )

    def address(cluster: RayCluster, service: str) -> str:
        port = cluster.dashboard_port or names.DASHBOARD_PORT
        return f"http://{service}.{cluster.namespace}.svc.{cluster_domain}:{port}"

    return HeadTransport(session, address, proxy)


def api_server_transport(server: str, session: aiohttp.ClientSession) -> HeadTransport:
    """Through services/proxy, with the operator's own credentials, as KubeRay's --use-kubernetes-proxy."""

    def address(cluster: RayCluster, service: str) -> str:
        port = names.DASHBOARD_PORT_NAME if cluster.dashboard_port else names.DASHBOARD_PORT
        return f"{server}/api/v1/namespaces/{cluster.namespace}/services/{service}:{port}/proxy"

    return HeadTransport(session, address, by_api_server=True)


def address_transport(
    address: str,
    headers: Mapping[str, str],
    *,
    verify: bool | Path = True,
    proxy: str | None = None,
) -> HeadTransport:
    """The dashboard at an address that a person named, as http://localhost:8265; every cluster's head is taken to be that one.

    verify: of https, a file with the CAs to trust, or False. headers: for whatever stands before it.
    """
    context = ssl.create_default_context(cafile=verify if isinstance(verify, Path) else None)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if verify is False:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    way = route(proxy, context)
    session = aiohttp.ClientSession(
        connector=way.connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": names.APP_NAME, **headers},
        auto_decompress=False,
    )
    return HeadTransport(session, lambda _cluster, _service: address.rstrip("/"), way.proxy)


def request_options(way: HeadTransport, headers: Mapping[str, str]) -> dict[str, Any]:
    """What every request to a head carries, and that neither redirects nor the environment lead it elsewhere."""
    options: dict[str, Any] = {"proxy": way.proxy} if way.proxy else {}
    return options | {
        "headers": {"Accept-Encoding": "identity", **headers},
        "timeout": aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN.total_seconds()),
        "allow_redirects": False,
        "read_bufsize": 2**14,
    }


def service_of(cluster: RayCluster) -> str:
    """The head's Service; ValueError where it, or the namespace, is none that can be asked for."""
    service = cluster.head_service or _usual_service(cluster.name)
    if not LABEL.fullmatch(service) or not NAMESPACE.fullmatch(cluster.namespace):
        raise ValueError(service)
    return service


def _usual_service(cluster: str) -> str:
    """The Service of a head whose RayCluster's status does not name one: `<cluster>-head-svc`.

    From KubeRay 1.4 on a RayCluster's name is a DNS-1035 label of at most 53 characters (util.ValidateRayClusterMetadata).
    Another one is from KubeRay up to 1.3, which takes the last 50 characters and writes an `r` in the place of a first
    character that is a digit or punctuation (util.CheckName).
    """
    name = f"{cluster}{names.HEAD_SERVICE_SUFFIX}"
    if _NAME_SINCE_1_4.fullmatch(cluster):
        return name
    name = name[-50:]
    return name if name[0].isalpha() else f"r{name[1:]}"


class TooLargeError(Exception):
    """The body is longer than a look may read."""


@dataclass
class ProbeLimits:
    """How many heads are asked at once, and what their answers may cost: fair over namespaces, so that one tenant's hung
    or hostile heads take neither all places nor everybody's time.

    - OVERALL looks, PER_NAMESPACE of them in one namespace, one question at a time per head.
    - 32 MiB of bodies. One that grows past SMALL waits for one of LARGE places. Its time stands still meanwhile, and the
      head's network buffers hold the rest: our own want of memory must not look like a head that does not answer.
    - One body larger than TINY is parsed at a time, in a thread, while its time stands still too.

    No place is held for longer than an answer may take, and namespaces take turns, so each wait ends.
    """

    overall: FairSemaphore = field(default_factory=lambda: FairSemaphore(OVERALL, PER_NAMESPACE))
    large: FairSemaphore = field(default_factory=lambda: FairSemaphore(LARGE, LARGE_PER_NAMESPACE))
    parsing: FairSemaphore = field(default_factory=lambda: FairSemaphore(1, 1))
    named: WeakValueDictionary[tuple[str, str], asyncio.Semaphore] = field(
        default_factory=WeakValueDictionary
    )

    @contextlib.asynccontextmanager
    async def hold(self, cluster: RayCluster, service: str) -> AsyncIterator[None]:
        """A place for one look."""
        key = (cluster.namespace, service)
        head = self.named.get(key)
        if head is None:
            head = self.named[key] = asyncio.Semaphore(PER_HEAD)
        async with head, self.overall.hold(cluster.namespace):
            yield

    @contextlib.asynccontextmanager
    async def body(
        self,
        response: aiohttp.ClientResponse,
        cap: int,
        deadline: asyncio.Timeout,
        namespace: str = "",
    ) -> AsyncIterator[bytearray]:
        """The whole body, for as long as the block lasts; TooLargeError past the cap. Content-Length is only a claim."""
        async with contextlib.AsyncExitStack() as place:
            body, has_place = bytearray(), False
            async for chunk in response.content.iter_chunked(_CHUNK):
                if len(body) + len(chunk) > cap:
                    raise TooLargeError
                if len(body) + len(chunk) > SMALL and not has_place:
                    async with _standing_still(deadline):
                        await place.enter_async_context(self.large.hold(namespace))
                    has_place = True
                body += chunk
            yield body

    async def parsed(
        self,
        body: bytearray,
        read: Callable[[bytearray], Answer],
        deadline: asyncio.Timeout,
        namespace: str = "",
    ) -> Answer:
        """What read makes of the body. What is not tiny is read in a thread: it may take 0.1 s, and the event loop none."""
        if len(body) <= TINY:
            return read(body)
        async with _standing_still(deadline), self.parsing.hold(namespace):
            return await asyncio.to_thread(read, body)


async def beginning(response: aiohttp.ClientResponse) -> str:
    """As much of an error's text as is read."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk[: SMALL - len(body)]
        if len(body) == SMALL:
            break
    return body.decode("utf-8", "replace").strip()


@contextlib.asynccontextmanager
async def _standing_still(deadline: asyncio.Timeout) -> AsyncIterator[None]:
    """The deadline moves by as long as the block lasts."""
    ends, clock = deadline.when(), asyncio.get_running_loop().time
    began = clock()
    deadline.reschedule(None)
    yield
    deadline.reschedule(None if ends is None else ends + clock() - began)
