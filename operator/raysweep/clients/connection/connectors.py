"""aiohttp connectors by way of a proxy: HTTP proxies are aiohttp's own, SOCKS proxies are aiohttp-socks's."""

import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.connector import Connection
from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyTimeoutError


class SocksConnector(ProxyConnector):
    """A connector whose failures are aiohttp's, as every client here expects them."""

    async def connect(self, *args: Any, **more: Any) -> Connection:
        """A connection through the proxy. Raises aiohttp.ClientConnectionError and OSError."""
        try:
            return await super().connect(*args, **more)
        except (ProxyConnectionError, ProxyError, ProxyTimeoutError) as error:
            raise aiohttp.ClientConnectionError(f"SOCKS proxy: {error}") from error


@dataclass(frozen=True, slots=True)
class Route:
    """How a session reaches its one target. `proxy` is for aiohttp; a SOCKS proxy is part of the connector."""

    connector: aiohttp.BaseConnector
    proxy: str | None = None


def route(proxy: str | None, context: ssl.SSLContext | None) -> Route:
    """The connector of a new session. It must be made inside of a running event loop."""
    secured = context if context is not None else True
    if proxy is None or not proxy.startswith("socks5"):
        return Route(aiohttp.TCPConnector(limit=0, ssl=secured), proxy)
    url = urlsplit(proxy)._replace(scheme="socks5").geturl()
    # As with Go, the proxy looks names up, whether the scheme is socks5 or socks5h.
    return Route(SocksConnector.from_url(url, rdns=True, limit=0, ssl=secured))
