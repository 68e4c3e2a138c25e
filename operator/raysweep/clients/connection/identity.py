"""The identity in a request: the Authorization and Impersonate headers of a user, kept fresh."""

import base64
import ssl
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import aiohttp
from aiohttp.payload import BytesPayload
from multidict import CIMultiDict
from yarl import URL

from raysweep.clients.connection import tls
from raysweep.clients.connection.exec_plugin import Credential, ExecPlugin
from raysweep.clients.connection.kubeconfig import ClientConfigError, Cluster, User

READ_AGAIN_AFTER = timedelta(seconds=30)
"""How long a token is used before its file is read again."""
_LEGAL_IN_HEADER_NAME = "!#$&'*+-.^_`|~"


class CredentialsError(aiohttp.ClientError):
    """A request was not sent because its credentials are not available. The text says why."""


class Authorization(Protocol):
    """The source of one Authorization header."""

    async def header(self, context: ssl.SSLContext | None) -> str:
        """The header of the next request, or "". Loads a certificate into the context."""

    async def renew(self, refused: str, context: ssl.SSLContext | None) -> bool:
        """Called after a 401. Returns whether the credentials changed."""


@dataclass
class StaticAuthorization:
    """A header that never changes."""

    value: str = field(default="", repr=False)

    async def header(self, _context: ssl.SSLContext | None) -> str:
        """The header."""
        return self.value

    async def renew(self, _refused: str, _context: ssl.SSLContext | None) -> bool:
        """Always false."""
        return False


class TokenFileAuthorization:
    """A bearer token in a file that is replaced from time to time.

    While the file cannot be read, the last token is used.
    """

    def __init__(
        self, path: Path, read_again_after: timedelta = READ_AGAIN_AFTER, token: str = ""
    ) -> None:
        """`token` is used until the file can be read. Raises ClientConfigError without both."""
        self._path = path
        self._read_again_after = read_again_after.total_seconds()
        self._token = token
        self._read_at = 0.0
        self._read()
        if not self._token:
            raise ClientConfigError(f"tokenFile {path} cannot be read, or is empty")

    async def header(self, _context: ssl.SSLContext | None) -> str:
        """The header with the current token of the file."""
        if time.monotonic() - self._read_at >= self._read_again_after:
            self._read()
        return f"Bearer {self._token}"

    async def renew(self, refused: str, _context: ssl.SSLContext | None) -> bool:
        """Reads the file again."""
        self._read()
        return f"Bearer {self._token}" != refused

    def _read(self) -> None:
        self._read_at = time.monotonic()
        try:
            token = self._path.read_text().strip()
        except (OSError, UnicodeDecodeError):
            return
        self._token = token or self._token


class PluginAuthorization:
    """The token, the client certificate or both from an exec plugin."""

    def __init__(self, plugin: ExecPlugin) -> None:
        self._plugin = plugin
        self._used: Credential | None = None
        self._loaded: dict[ssl.SSLContext, Credential] = {}

    async def header(self, context: ssl.SSLContext | None) -> str:
        """The header of the current credential. Loads its certificate into the context."""
        self._used = await self._plugin.credential()
        return self._apply(self._used, context)

    async def renew(self, refused: str, context: ssl.SSLContext | None) -> bool:
        """Runs the plugin again, unless another request has already done so."""
        if self._used is None:
            return False
        renewed = await self._plugin.renew(self._used)
        return self._apply(renewed, context) != refused or bool(renewed.certificate)

    def _apply(self, credential: Credential, context: ssl.SSLContext | None) -> str:
        if credential.certificate and context is not None:
            self._load_certificate(credential, context)
        return f"Bearer {credential.token}" if credential.token else ""

    def _load_certificate(self, credential: Credential, context: ssl.SSLContext) -> None:
        if self._loaded.get(context) is credential:
            return
        try:
            tls.load_certificate(context, credential.certificate, credential.key)
        except (OSError, ValueError) as error:
            message = f"{self._plugin} printed a certificate that cannot be used: {error}"
            raise ClientConfigError(message) from None
        self._loaded[context] = credential


def authorization(
    user: User, cluster: Cluster, read_again_after: timedelta = READ_AGAIN_AFTER
) -> Authorization:
    """The source of a user's Authorization header, chosen as in client-go.

    As with kubectl, no header is sent over plain http. Raises ClientConfigError.
    """
    if not cluster.server.startswith("https://"):
        return StaticAuthorization()
    if user.token_file:
        return TokenFileAuthorization(Path(user.token_file), read_again_after, user.token)
    if user.token:
        return StaticAuthorization(f"Bearer {user.token}")
    if user.username or user.password:
        encoded = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
        return StaticAuthorization(f"Basic {encoded}")
    has_certificate = user.client_certificate or user.client_certificate_data
    if user.exec and not has_certificate:
        return PluginAuthorization(ExecPlugin(user.exec, cluster))
    return StaticAuthorization()


def impersonation(user: User) -> CIMultiDict[str]:
    """The headers of the impersonated user (Kubernetes reference, "user impersonation")."""
    headers: CIMultiDict[str] = CIMultiDict()
    if user.impersonate:
        headers.add("Impersonate-User", user.impersonate)
    if user.impersonate_uid:
        headers.add("Impersonate-Uid", user.impersonate_uid)
    for group in user.impersonate_groups:
        headers.add("Impersonate-Group", group)
    for key, values in user.impersonate_extra.items():
        for value in values:
            headers.add(f"Impersonate-Extra-{quote(key, safe=_LEGAL_IN_HEADER_NAME)}", value)
    return headers


def identity_middleware(
    source: Authorization,
    impersonation: CIMultiDict[str],
    server: str,
    context: ssl.SSLContext | None,
) -> aiohttp.ClientMiddlewareType:
    """Adds the identity to every request to the server.

    After a 401 it renews the credentials and sends the request once more. Requests to other hosts,
    to which the server redirects, carry none of these headers.
    """
    origin = _origin(URL(server))

    async def identify(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if _origin(request.url) != origin:
            return await handler(request)
        for name in set(impersonation):
            request.headers.popall(name, None)
        request.headers.extend(impersonation)
        try:
            header = await source.header(context)
            _set_authorization(request, header)
            response = await handler(request)
            if response.status != 401 or not _can_be_sent_again(request):
                return response
            if not await source.renew(header, context):
                return response
            response.release()
            _set_authorization(request, await source.header(context))
        except ClientConfigError as error:
            raise CredentialsError(str(error)) from error
        return await handler(request)

    return identify


def _origin(url: URL) -> tuple[str, str | None, int | None]:
    return url.scheme, url.host, url.port


def _set_authorization(request: aiohttp.ClientRequest, header: str) -> None:
    if header:
        request.headers["Authorization"] = header


def _can_be_sent_again(request: aiohttp.ClientRequest) -> bool:
    """Whether the body is in memory. A body from a file or a stream can be sent only once."""
    return not request.body or isinstance(request.body, bytes | BytesPayload)
