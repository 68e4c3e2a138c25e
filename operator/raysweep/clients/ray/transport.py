"""How requests reach Ray heads: directly, through the API server, or at a given address.

Addresses are built from names that a tenant can write, so each name must be one DNS label.
status.dashboardURL is never used.
"""

import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver

from raysweep import names
from raysweep.clients.connection.connectors import route
from raysweep.clients.parsing.common import LABEL
from raysweep.clients.ray.probe_limits import RECEIVE
from raysweep.clients.ray.resolver import FairResolver
from raysweep.core.model.facts import RayCluster

CONNECT_WITHIN = timedelta(seconds=2)
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""The name of a Namespace: one DNS-1123 label."""
MOST_HEADERS, LONGEST_HEADER = 64, 2 * 2**10
"""Of a response, to bound their memory. Ray sends less than 10, and proxies add a few."""
_NAME_SINCE_1_4 = re.compile(r"[a-z]([-a-z0-9]{0,51}[a-z0-9])?")


class _HeadSocket(socket.socket):
    """Returns at most RECEIVE bytes per read. asyncio asks for 256 KiB, and a response holds them
    until it is read.
    """

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        return super().recv(min(size, RECEIVE), flags)


@dataclass(frozen=True, slots=True)
class HeadTransport:
    """The session for requests to heads, and the address of each head without its /api/."""

    session: aiohttp.ClientSession
    address: Callable[[RayCluster, str], str]
    """Called with the RayCluster and the name of its head Service."""
    proxy: str | None = None
    by_api_server: bool = False


def direct_transport(
    cluster_domain: str, proxy: str | None, resolver: AbstractResolver | None = None
) -> HeadTransport:
    """Sends requests to the head's Service.

    Proxies of the environment, netrc, cookies and compression are not used. The default resolver
    is FairResolver.
    """
    connector = aiohttp.TCPConnector(
        limit=0,
        force_close=True,
        resolver=resolver or FairResolver(),
        socket_factory=lambda address: _HeadSocket(*address[:3]),
    )

    def address(cluster: RayCluster, service: str) -> str:
        port = cluster.dashboard_port or names.DASHBOARD_PORT
        return f"http://{service}.{cluster.namespace}.svc.{cluster_domain}:{port}"

    return HeadTransport(_session(connector), address, proxy)


def api_server_transport(server: str, session: aiohttp.ClientSession) -> HeadTransport:
    """Sends requests through services/proxy of the API server, as KubeRay can do too.

    The session carries the credentials for the API server.
    """

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
    """Sends requests for every RayCluster to one address, such as http://localhost:8265.

    `verify` is the file with the CAs to trust for https, or False. `headers` are for a gateway in
    front of the head.
    """
    context = ssl.create_default_context(cafile=verify if isinstance(verify, Path) else None)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if verify is False:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    proxied = route(proxy, context)
    base = address.rstrip("/")
    session = _session(proxied.connector, headers)
    return HeadTransport(session, lambda _cluster, _service: base, proxied.proxy)


def _session(
    connector: aiohttp.BaseConnector, headers: Mapping[str, str] | None = None
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": names.APP_NAME, **(headers or {})},
        auto_decompress=False,
    )


def request_options(transport: HeadTransport, headers: Mapping[str, str]) -> dict[str, Any]:
    """The options of every request to a head. Redirects are not followed."""
    options = {
        "headers": {"Accept-Encoding": "identity", **headers},
        "timeout": aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN.total_seconds()),
        "allow_redirects": False,
        "read_bufsize": RECEIVE,  # aiohttp stops reading at twice this size
        "max_headers": MOST_HEADERS,
        "max_field_size": LONGEST_HEADER,
    }
    if transport.proxy:
        options["proxy"] = transport.proxy
    return options


def head_service(cluster: RayCluster) -> str:
    """The head's Service. Raises ValueError if its name or the namespace is not a DNS label."""
    service = cluster.head_service or _default_head_service(cluster.name)
    if not LABEL.fullmatch(service) or not NAMESPACE.fullmatch(cluster.namespace):
        raise ValueError(service)
    return service


def _default_head_service(cluster: str) -> str:
    """The Service of a head if the RayCluster's status does not name it: `<cluster>-head-svc`.

    Since KubeRay 1.4 the name of a RayCluster is a DNS-1035 label of at most 53 characters
    (util.ValidateRayClusterMetadata). For other names KubeRay up to 1.3 takes the last 50
    characters, and replaces a first digit or punctuation mark with `r` (util.CheckName).
    """
    name = f"{cluster}{names.HEAD_SERVICE_SUFFIX}"
    if _NAME_SINCE_1_4.fullmatch(cluster):
        return name
    name = name[-50:]
    return name if name[0].isalpha() else f"r{name[1:]}"
