"""Sessions with an API server: for Raysweep, for Kopf, and for heads behind the API server.

Every session has the same identity, CAs and proxy.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import aiohttp

from raysweep import names
from raysweep.clients.connection import client_config, connectors, identity, proxies, tls
from raysweep.clients.connection.api_client import ApiClient, Configuration
from raysweep.clients.connection.client_config import ClientConfig
from raysweep.clients.connection.kubeconfig import ClientConfigError
from raysweep.clients.connection.overrides import Overrides

OnRequest = Callable[[str, int], None]
"""Called for each request with the HTTP method and the status, 0 if there was no response."""
READ_BUFFER = 2**21
"""Bytes. One line of a watch holds a whole object of up to 1.5 MiB (etcd's limit)."""


class Credentials:
    """An identity for one API server. Create it with `find` or `for_operator`."""

    def __init__(
        self,
        config: ClientConfig,
        *,
        environ: Mapping[str, str] | None = None,
        read_again_after: timedelta = identity.READ_AGAIN_AFTER,
    ) -> None:
        """`environ` holds the proxy variables. None ignores them. Raises ClientConfigError."""
        self._config = config
        self._authorization = identity.authorization(config.user, config.cluster, read_again_after)
        self._impersonation = identity.impersonation(config.user)
        self._proxy = _proxy(config, environ)
        self._context()  # raises now, instead of at the first request, if a file is invalid
        self.namespace = config.namespace
        self.pod_namespace = config.pod_namespace
        self.request_timeout = config.request_timeout
        self.log_requests: Callable[[str], None] | None = None
        """Called with one line for each request of the sessions that are created later."""

    @classmethod
    def find(cls, overrides: Overrides | None = None) -> "Credentials":
        """The credentials of a command: flags, KUBECONFIG, ~/.kube/config or the service account.

        Raises ClientConfigError.
        """
        return cls(client_config.find(overrides or Overrides(), os.environ), environ=os.environ)

    @classmethod
    def for_operator(cls, overrides: Overrides | None = None) -> "Credentials":
        """The credentials of the operator: its service account, unless a flag names a kubeconfig.

        In a Pod the proxy variables are ignored, since clusters inject them for other programs.
        Raises ClientConfigError.
        """
        flags = overrides or Overrides()
        is_in_pod = client_config.SERVICE_ACCOUNT.is_dir()
        if is_in_pod and flags.kubeconfig is None and flags.context is None:
            return cls(client_config.in_cluster(flags, os.environ))
        return cls(client_config.find(flags, os.environ), environ=None if is_in_pod else os.environ)

    @property
    def server(self) -> str:
        """The address of the API server, such as https://HOST:PORT, without a trailing slash."""
        return self._config.cluster.server.rstrip("/")

    async def log_in(self) -> None:
        """Runs the exec plugin, so that a request timeout does not cut its login short.

        Raises ClientConfigError.
        """
        await self._authorization.header(None)

    def api_client(self, *, user_agent: str = names.APP_NAME) -> Any:
        """A client of kubernetes-asyncio with a session of this identity. The caller closes it."""
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
        middlewares: Sequence[aiohttp.ClientMiddlewareType] = (),
    ) -> aiohttp.ClientSession:
        """A session that adds this identity to every request. The caller or Kopf closes it.

        `middlewares` may change its requests. Cookies are ignored: a cookie that one head sets
        through the API server would be sent to all other heads.
        """
        context = self._context()
        route = connectors.route(self._proxy, context)
        identify = identity.identity_middleware(
            self._authorization, self._impersonation, self.server, context
        )
        traces = []
        if on_request:
            traces.append(count_trace(on_request))
        if self.log_requests:
            traces.append(log_trace(self.log_requests))
        return aiohttp.ClientSession(
            connector=route.connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=decompress,
            headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
            middlewares=[identify, *middlewares],
            trace_configs=traces,
            proxy=route.proxy,
            read_bufsize=READ_BUFFER,
        )

    def _context(self) -> ssl.SSLContext | None:
        if not self.server.startswith("https://"):
            return None
        return tls.context(self._config.cluster, self._config.user, self._config.source)


def _proxy(config: ClientConfig, environ: Mapping[str, str] | None) -> str | None:
    """The proxy-url of the kubeconfig, or the proxy of the environment."""
    if config.cluster.proxy_url:
        return config.cluster.proxy_url
    if environ is None:
        return None
    try:
        return proxies.proxy_for(config.cluster.server, environ)
    except proxies.ProxyError as error:
        raise ClientConfigError(str(error)) from None


def log_trace(log: Callable[[str], None]) -> aiohttp.TraceConfig:
    """Logs every request of a session in one line, as kubectl does with -v 6."""
    trace = aiohttp.TraceConfig()
    clock = asyncio.get_running_loop().time

    async def on_start(_session: Any, context: Any, _params: Any) -> None:
        context.started = clock()

    def log_result(context: Any, params: Any, result: object) -> None:
        milliseconds = 1000 * (clock() - context.started)
        log(f"{params.method} {params.url} {result} in {milliseconds:.0f} ms")

    async def on_end(_session: Any, context: Any, params: aiohttp.TraceRequestEndParams) -> None:
        log_result(context, params, params.response.status)

    async def on_exception(
        _session: Any, context: Any, params: aiohttp.TraceRequestExceptionParams
    ) -> None:
        log_result(context, params, type(params.exception).__name__)

    trace.on_request_start.append(on_start)
    trace.on_request_end.append(on_end)
    trace.on_request_exception.append(on_exception)
    return trace


def count_trace(on_request: OnRequest) -> aiohttp.TraceConfig:
    """Counts every request of a session."""
    trace = aiohttp.TraceConfig()

    async def on_end(_session: Any, _context: Any, params: aiohttp.TraceRequestEndParams) -> None:
        on_request(params.method, params.response.status)

    async def on_exception(
        _session: Any, _context: Any, params: aiohttp.TraceRequestExceptionParams
    ) -> None:
        on_request(params.method, 0)

    trace.on_request_end.append(on_end)
    trace.on_request_exception.append(on_exception)
    return trace
