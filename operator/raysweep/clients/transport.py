"""Who we are towards the API server, and sessions that say so: one identity for our own calls, for Kopf and for its proxy.

Credentials come from the Pod's service account or a kubeconfig (exec plugins and token files included) and are read again
while the process lives, since tokens rotate about hourly. Nothing here knows a resource or a Ray head.
"""

import ssl
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config import ConfigException, load_kube_config
from kubernetes_asyncio.config.incluster_config import InClusterConfigLoader

from raysweep import names
from raysweep.core.text import plain

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
READ_AGAIN_AFTER = timedelta(seconds=30)
"""How long a token is used before its source is asked again; exec plugins run only once theirs has expired."""

OnRequest = Callable[[str, int], None]
"""Told of every answer of the API server: the verb (HTTP method) and the status, 0 where none came."""


class NotSentError(Exception):
    """A request was held back at the last moment; the text says why."""


class NoCredentialsError(Exception):
    """Neither a service account nor a usable kubeconfig; the text names what was tried and the remedy."""


class Credentials:
    """An identity towards one API server; `server` is its address. Make one with `in_cluster`, `kubeconfig` or `find`.

    `namespace` is the one that is meant where none is named, as kubectl has it; `pod_namespace` is ours, "" outside a Pod.
    """

    def __init__(
        self,
        configuration: Any,
        reload: Callable[[], Any],
        read_again_after: timedelta,
        *,
        namespace: str = "",
        pod_namespace: str = "",
    ) -> None:
        self.namespace = namespace or pod_namespace or "default"
        self.pod_namespace = pod_namespace
        self._configuration = configuration
        self._reload = reload
        self._read_again_after = read_again_after
        self._read_at = time.monotonic()
        configuration.refresh_api_key_hook = self._refresh

    @classmethod
    async def find(cls, kubeconfig: Path | None, context: str | None) -> "Credentials":
        """The kubeconfig where one is named, else the Pod's service account, else the user's default kubeconfig."""
        if kubeconfig is None and context is None and _in_a_pod():
            return await cls.in_cluster()
        return await cls.kubeconfig(kubeconfig, context)

    @classmethod
    async def in_cluster(cls, folder: Path = SERVICE_ACCOUNT, *, read_again_after: timedelta = READ_AGAIN_AFTER) -> "Credentials":
        """The Pod's service account: the token and ca.crt in that folder, KUBERNETES_SERVICE_HOST and _PORT."""
        configuration = Configuration()
        loader = InClusterConfigLoader(str(folder / "token"), str(folder / "ca.crt"), try_refresh_token=False)

        def load() -> None:
            loader.load_and_set(configuration)

        try:
            load()
        except (ConfigException, OSError) as error:
            raise NoCredentialsError(f"service account in {folder}: {error}") from error
        own = folder / "namespace"
        return cls(configuration, load, read_again_after, pod_namespace=own.read_text().strip() if own.is_file() else "")

    @classmethod
    async def kubeconfig(
        cls, path: Path | None, context: str | None, *, read_again_after: timedelta = READ_AGAIN_AFTER
    ) -> "Credentials":
        """A kubeconfig file, as kubectl reads it; None: KUBECONFIG or ~/.kube/config."""
        configuration = Configuration()
        try:
            loader = await load_kube_config(
                str(path) if path else None, context, client_configuration=configuration, persist_config=False
            )
        except Exception as error:  # the library checks little of the file: from an odd one anything may come
            raise NoCredentialsError(f"kubeconfig {path or '(default)'}: {plain(error)}. Name one with --kubeconfig.") from error
        said = (loader.current_context or {}).get("context", {}).get("namespace")
        return cls(configuration, lambda: loader.load_and_set(configuration), read_again_after, namespace=said or "")

    @property
    def server(self) -> str:
        """The API server's address, as https://host:port."""
        return str(self._configuration.host)

    def api_client(self) -> Any:
        """kubernetes-asyncio's client with this identity. The caller closes it."""
        client = ApiClient(self._configuration)
        client.user_agent = names.MANAGER
        return client

    def session(
        self,
        on_request: OnRequest,
        *,
        user_agent: str = names.MANAGER,
        decompress: bool = True,
        page_limit: Callable[[str], int] | None = None,
    ) -> aiohttp.ClientSession:
        """A bare session with this identity on every request. The caller, or Kopf, closes it.

        page_limit: how many objects a page of the list at a path may have, for somebody who asks for pages of a fixed size.
        No cookies: what a head sets through the API server's proxy would come back to every other head.
        """
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls())
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=decompress,
            headers={"User-Agent": user_agent},
            middlewares=(self._authorize, *([limiting(page_limit)] if page_limit else [])),
            trace_configs=[counting(on_request)],
            proxy=self._configuration.proxy,
        )

    async def _authorize(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        header = await self._configuration.get_api_key_with_prefix("BearerToken")
        if header:
            request.headers["Authorization"] = header
        return await handler(request)

    async def _refresh(self, configuration: Any) -> None:
        """kubernetes-asyncio calls this before every request; a source that fails for a moment keeps the old token."""
        del configuration
        if time.monotonic() - self._read_at < self._read_again_after.total_seconds():
            return
        self._read_at = time.monotonic()
        try:
            loading = self._reload()
            if loading is not None:
                await loading
        except (ConfigException, OSError):
            return

    def _tls(self) -> ssl.SSLContext:
        known = self._configuration
        context = ssl.create_default_context(cafile=known.ssl_ca_cert)
        if known.cert_file:
            context.load_cert_chain(known.cert_file, known.key_file)
        if not known.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _in_a_pod() -> bool:
    return SERVICE_ACCOUNT.is_dir()


def refusing(methods: tuple[str, ...], refused: Callable[[], str | None]) -> aiohttp.TraceConfig:
    """Asks once more when the bytes of a request are about to leave: it may have waited long for a connection.

    aiohttp calls this before it hands a body to the socket, and the headers wait for the body.
    """
    trace = aiohttp.TraceConfig()

    async def about_to_leave(_session: Any, _context: Any, params: aiohttp.TraceRequestChunkSentParams) -> None:
        if params.method in methods and (reason := refused()):
            raise NotSentError(reason)

    trace.on_request_chunk_sent.append(about_to_leave)
    trace.freeze()
    return trace


def limiting(page_limit: Callable[[str], int]) -> aiohttp.ClientMiddlewareType:
    """Lowers the `limit` of every list to what that function says of its path."""

    async def lower(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        asked = request.url.query.get("limit", "")
        if request.method == "GET" and asked.isdecimal():
            limit = min(int(asked), page_limit(request.url.path))
            request.url = request.url.update_query(limit=str(limit))
        return await handler(request)

    return lower


def counting(on_request: OnRequest) -> aiohttp.TraceConfig:
    """Reports every request of a session."""
    trace = aiohttp.TraceConfig()

    async def ended(_session: Any, _context: Any, params: aiohttp.TraceRequestEndParams) -> None:
        on_request(params.method, params.response.status)

    async def failed(_session: Any, _context: Any, params: aiohttp.TraceRequestExceptionParams) -> None:
        on_request(params.method, 0)

    trace.on_request_end.append(ended)
    trace.on_request_exception.append(failed)
    return trace
