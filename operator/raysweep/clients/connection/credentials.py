"""The one place that builds connections to an API server: for our own requests, for Kopf, and through the service proxy to heads.

Every session carries the same identity, trusts the same CAs and takes the same proxy. Nothing here knows a resource.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import aiohttp
from kubernetes_asyncio.client import ApiClient, Configuration

from raysweep import names
from raysweep.clients.connection import client_config, connectors, identity, proxies, tls
from raysweep.clients.connection.client_config import ClientConfig
from raysweep.clients.connection.kubeconfig import ClientConfigError
from raysweep.clients.connection.overrides import Overrides

OnRequest = Callable[[str, int], None]
"""Called for every answer of the API server: the verb (HTTP method) and the status, 0 if none came."""
READ_BUFFER = 2**21
"""Bytes. One line of a watch holds a whole object, which may have 1.5 MiB (etcd's limit)."""


class NotSentError(Exception):
    """A request was held back at the last moment; the text says why."""


class Credentials:
    """An identity towards one API server. Make one with `find` or `for_operator`."""

    def __init__(
        self,
        config: ClientConfig,
        *,
        environ: Mapping[str, str] | None = None,
        read_again_after: timedelta = identity.READ_AGAIN_AFTER,
    ) -> None:
        """environ: where the variables for proxies are looked up; None if they do not count. Raises ClientConfigError."""
        self._config = config
        self._authorization = identity.authorization(config.user, config.cluster, read_again_after)
        self._impersonated = identity.impersonation(config.user)
        self._proxy = _proxy(config, environ)
        self._context()  # files that cannot be used are an error now, and not at the first request
        self.namespace = config.namespace
        self.pod_namespace = config.pod_namespace
        self.request_timeout = config.request_timeout
        self.log_requests: Callable[[str], None] | None = None
        """Called with one line for every request of the sessions that are made from now on."""

    @classmethod
    def find(cls, overrides: Overrides | None = None) -> "Credentials":
        """For a command, as kubectl finds them: flags, KUBECONFIG, ~/.kube/config, then the Pod's service account.

        Raises ClientConfigError.
        """
        return cls(client_config.find(overrides or Overrides(), os.environ), environ=os.environ)

    @classmethod
    def for_operator(cls, overrides: Overrides | None = None) -> "Credentials":
        """For the operator: the Pod's service account first, unless a kubeconfig or a context is named.

        In a Pod no proxy of the environment counts: clusters inject these variables for other programs.
        Raises ClientConfigError.
        """
        flags = overrides or Overrides()
        in_a_pod = client_config.SERVICE_ACCOUNT.is_dir()
        if in_a_pod and flags.kubeconfig is None and flags.context is None:
            return cls(client_config.in_cluster(flags, os.environ))
        return cls(client_config.find(flags, os.environ), environ=None if in_a_pod else os.environ)

    @property
    def server(self) -> str:
        """The API server's address, such as https://HOST:PORT, without a slash at its end."""
        return self._config.cluster.server.rstrip("/")

    async def log_in(self) -> None:
        """Runs an exec plugin before the first request, so that no request's time limit cuts a login short.

        Raises ClientConfigError.
        """
        await self._authorization.header(None)

    def api_client(self, *, user_agent: str = names.APP_NAME) -> Any:
        """kubernetes-asyncio's client on a session of this identity. The caller closes it."""
        client = ApiClient(Configuration(host=self.server))
        client.user_agent = user_agent
        client.rest_client.pool_manager.detach()
        client.rest_client.pool_manager = self.session(user_agent=user_agent)
        return client

    def session(
        self,
        on_request: OnRequest | None = None,
        *,
        user_agent: str = names.APP_NAME,
        decompress: bool = True,
        page_limit: Callable[[str], int] | None = None,
    ) -> aiohttp.ClientSession:
        """A session with this identity on every request. The caller, or Kopf, closes it.

        page_limit: how many objects a page of the list at a path may have, for a caller that asks for pages of a fixed size.
        There are no cookies: one that a head sets through the API server's proxy would be sent to every other head.
        """
        context = self._context()
        identify = identity.identifying(
            self._authorization, self._impersonated, self.server, context
        )
        way = connectors.route(self._proxy, context)
        traces = [counting(on_request)] if on_request else []
        if self.log_requests:
            traces.append(printing(self.log_requests))
        return aiohttp.ClientSession(
            connector=way.connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=decompress,
            headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
            middlewares=(identify, *([limiting(page_limit)] if page_limit else [])),
            trace_configs=traces,
            proxy=way.proxy,
            read_bufsize=READ_BUFFER,
        )

    def _context(self) -> ssl.SSLContext | None:
        if not self.server.startswith("https://"):
            return None
        return tls.context(self._config.cluster, self._config.user, self._config.source)


def _proxy(config: ClientConfig, environ: Mapping[str, str] | None) -> str | None:
    """proxy-url, else what the environment says."""
    if config.cluster.proxy_url:
        return config.cluster.proxy_url
    if environ is None:
        return None
    try:
        return proxies.proxy_for(config.cluster.server, environ)
    except proxies.ProxyError as error:
        raise ClientConfigError(str(error)) from None


def refusing(methods: tuple[str, ...], refused: Callable[[], str | None]) -> aiohttp.TraceConfig:
    """Asks once more when the bytes of a request are about to leave: it may have waited long for a connection.

    aiohttp calls this before it hands a body to the socket, and the headers wait for the body.
    """
    trace = aiohttp.TraceConfig()

    async def about_to_leave(
        _session: Any, _context: Any, params: aiohttp.TraceRequestChunkSentParams
    ) -> None:
        if params.method in methods and (reason := refused()):
            raise NotSentError(reason)

    trace.on_request_chunk_sent.append(about_to_leave)
    trace.freeze()
    return trace


def limiting(page_limit: Callable[[str], int]) -> aiohttp.ClientMiddlewareType:
    """Lowers the `limit` of every list to what that function says of its path."""

    async def lower(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        asked = request.url.query.get("limit", "")
        if request.method == "GET" and asked.isdecimal():
            limit = min(int(asked), page_limit(request.url.path))
            request.url = request.url.update_query(limit=str(limit))
        return await handler(request)

    return lower


def printing(log: Callable[[str], None]) -> aiohttp.TraceConfig:
    """Describes every request of a session in a line, as kubectl does with -v 6."""
    trace = aiohttp.TraceConfig()
    clock = asyncio.get_running_loop().time

    async def began(_session: Any, context: Any, _params: Any) -> None:
        context.began = clock()

    async def ended(_session: Any, context: Any, params: aiohttp.TraceRequestEndParams) -> None:
        took = 1000 * (clock() - context.began)
        log(f"{params.method} {params.url} {params.response.status} in {took:.0f} ms")

    async def failed(
        _session: Any, context: Any, params: aiohttp.TraceRequestExceptionParams
    ) -> None:
        took = 1000 * (clock() - context.began)
        log(f"{params.method} {params.url} {type(params.exception).__name__} in {took:.0f} ms")

    trace.on_request_start.append(began)
    trace.on_request_end.append(ended)
    trace.on_request_exception.append(failed)
    return trace


def counting(on_request: OnRequest) -> aiohttp.TraceConfig:
    """Reports every request of a session."""
    trace = aiohttp.TraceConfig()

    async def ended(_session: Any, _context: Any, params: aiohttp.TraceRequestEndParams) -> None:
        on_request(params.method, params.response.status)

    async def failed(
        _session: Any, _context: Any, params: aiohttp.TraceRequestExceptionParams
    ) -> None:
        on_request(params.method, 0)

    trace.on_request_end.append(ended)
    trace.on_request_exception.append(failed)
    return trace
