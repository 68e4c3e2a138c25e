"""aiohttp connectors for direct connections, and for HTTP and SOCKS proxies."""

import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.connector import Connection
from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyTimeoutError


class SocksConnector(ProxyConnector):
    """A SOCKS connector that raises the errors of aiohttp."""

    async def connect(self, *args: Any, **more: Any) -> Connection:
        """Connects through the proxy. Raises aiohttp.ClientConnectionError and OSError."""
        try:
            return await super().connect(*args, **more)
        except (ProxyConnectionError, ProxyError, ProxyTimeoutError) as error:
            raise aiohttp.ClientConnectionError(f"SOCKS proxy: {error}") from error


@dataclass(frozen=True, slots=True)
class Route:
    """The connector of a session, and its HTTP proxy. A SOCKS proxy is part of the connector."""

    connector: aiohttp.BaseConnector
    proxy: str | None = None


def route(proxy: str | None, context: ssl.SSLContext | None) -> Route:
    """The route of a new session. The caller needs a running event loop."""
    tls = context if context is not None else True
    if proxy is None or not proxy.startswith("socks5"):
        return Route(aiohttp.TCPConnector(limit=0, ssl=tls), proxy)
    url = urlsplit(proxy)._replace(scheme="socks5").geturl()
    # As in Go, the proxy resolves names for both schemes, socks5 and socks5h.
    return Route(SocksConnector.from_url(url, rdns=True, limit=0, ssl=tls))
