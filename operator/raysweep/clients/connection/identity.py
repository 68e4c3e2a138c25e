"""Who a request claims to be: the Authorization and Impersonate headers of one user, kept fresh while the process lives."""

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
    """A request was not sent, because its credentials could not be had. The text says why."""


class Authorization(Protocol):
    """The source of one Authorization header."""

    async def header(self, context: ssl.SSLContext | None) -> str:
        """The header for the next request; empty for none. A certificate is loaded into the context."""

    async def renew(self, refused: str, context: ssl.SSLContext | None) -> bool:
        """Called after a 401. Returns whether the request is worth another try."""


@dataclass
class Fixed:
    """A header that never changes."""

    value: str = field(default="", repr=False)

    async def header(self, _context: ssl.SSLContext | None) -> str:
        """The header."""
        return self.value

    async def renew(self, _refused: str, _context: ssl.SSLContext | None) -> bool:
        """It cannot change."""
        return False


class TokenFile:
    """A bearer token in a file that is replaced from time to time. A file that is away for a moment keeps the last token."""

    def __init__(
        self, path: Path, read_again_after: timedelta = READ_AGAIN_AFTER, token: str = ""
    ) -> None:
        """token: used until the file can be read. Raises ClientConfigError if there is neither."""
        self._path = path
        self._read_again_after = read_again_after.total_seconds()
        self._token = token
        self._read_at = 0.0
        self._read()
        if not self._token:
            raise ClientConfigError(f"tokenFile {path} cannot be read, or is empty")

    async def header(self, _context: ssl.SSLContext | None) -> str:
        """The header with the token that the file holds now."""
        if time.monotonic() - self._read_at >= self._read_again_after:
            self._read()
        return f"Bearer {self._token}"

    async def renew(self, refused: str, _context: ssl.SSLContext | None) -> bool:
        """Reads the file again at once."""
        self._read()
        return f"Bearer {self._token}" != refused

    def _read(self) -> None:
        self._read_at = time.monotonic()
        try:
            token = self._path.read_text().strip()
        except (OSError, UnicodeDecodeError):
            return
        self._token = token or self._token


class FromPlugin:
    """What an exec plugin provides: a token, a client certificate, or both."""

    def __init__(self, plugin: ExecPlugin) -> None:
        self._plugin = plugin
        self._used: Credential | None = None
        self._loaded: dict[ssl.SSLContext, Credential] = {}

    async def header(self, context: ssl.SSLContext | None) -> str:
        """The header of the current credential; its certificate is loaded into the context."""
        self._used = await self._plugin.credential()
        return self._apply(self._used, context)

    async def renew(self, refused: str, context: ssl.SSLContext | None) -> bool:
        """Runs the plugin again, unless another request has already done so."""
        if self._used is None:
            return False
        renewed = await self._plugin.renew(self._used)
        return self._apply(renewed, context) != refused or bool(renewed.certificate)

    def _apply(self, credential: Credential, context: ssl.SSLContext | None) -> str:
        if (
            credential.certificate
            and context is not None
            and self._loaded.get(context) is not credential
        ):
            try:
                tls.load_certificate(context, credential.certificate, credential.key)
            except (OSError, ValueError) as error:
                raise ClientConfigError(
                    f"{self._plugin} printed a certificate that cannot be used: {error}"
                ) from None
            self._loaded[context] = credential
        return f"Bearer {credential.token}" if credential.token else ""


def authorization(
    user: User, cluster: Cluster, read_again_after: timedelta = READ_AGAIN_AFTER
) -> Authorization:
    """Where the Authorization header of this user comes from, in client-go's order. Raises ClientConfigError.

    Nothing is sent over plain http, as with kubectl.
    """
    if not cluster.server.startswith("https://"):
        return Fixed()
    if user.token_file:
        return TokenFile(Path(user.token_file), read_again_after, user.token)
    if user.token:
        return Fixed(f"Bearer {user.token}")
    if user.username or user.password:
        encoded = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
        return Fixed(f"Basic {encoded}")
    has_certificate = user.client_certificate or user.client_certificate_data
    if user.exec and not has_certificate:
        return FromPlugin(ExecPlugin(user.exec, cluster))
    return Fixed()


def impersonation(user: User) -> CIMultiDict[str]:
    """The headers of the user to act as (Kubernetes reference, "user impersonation")."""
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


def identifying(
    source: Authorization,
    impersonated: CIMultiDict[str],
    server: str,
    context: ssl.SSLContext | None,
) -> aiohttp.ClientMiddlewareType:
    """Puts the identity on every request to the server. After a 401 it renews the credentials and tries once more.

    Requests to other hosts, to which the server redirects, carry none of these headers.
    """
    origin = _origin(URL(server))

    async def identify(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if _origin(request.url) != origin:
            return await handler(request)
        for name in set(impersonated):
            request.headers.popall(name, None)
        request.headers.extend(impersonated)
        try:
            sent = await source.header(context)
            _set_authorization(request, sent)
            response = await handler(request)
            if (
                response.status != 401
                or not _can_be_sent_again(request)
                or not await source.renew(sent, context)
            ):
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
    """A body that is read from a file or a stream is gone once it was sent."""
    return not request.body or isinstance(request.body, bytes | BytesPayload)
