"""What Raysweep says of an answer that it cannot use: fixed texts, and never any of the answer's own.

A head's Service may lead anywhere, to a server whose texts its tenant may not read. An Event, a log line
or `why` therefore shows of a body only sentences that Ray and Kubernetes are known to send, compared whole.
"""

import os
from collections.abc import Mapping

import aiohttp

from raysweep.clients.parsing import bounded_json
from raysweep.clients.ray.resolver import ResolveTimeoutError

UNAUTHORIZED: Mapping[int, str] = {401: "Unauthorized: ", 403: "Forbidden: "}
"""How Ray's own answers begin, by HTTP status, if it wants a token (ray._private.authentication)."""
_RAYS_OWN = {
    401: frozenset(
        {
            "Unauthorized: Missing authentication token",
            "Unauthorized: Token authentication is not enabled",
        }
    ),
    403: frozenset({"Forbidden: Invalid authentication token"}),
    404: frozenset({"404: Not Found"}),
    405: frozenset({"405: Method Not Allowed"}),
    500: frozenset({"500 Internal Server Error\n\nServer got itself in trouble"}),
}
_REASONS = frozenset(
    {
        "BadRequest", "Expired", "Forbidden", "Gone", "InternalError", "Invalid", "MethodNotAllowed", "NotFound",
        "ServerTimeout", "ServiceUnavailable", "Timeout", "TooManyRequests", "Unauthorized",
    }
)  # fmt: skip
"""metav1.StatusReason, as far as a GET through services/proxy may be answered with it."""
_KUBERNETES_OWN = ("no endpoints available for service", "error trying to reach service")
"""Beginnings of Status.message: pkg/registry/core/service/storage/storage.go and apimachinery pkg/util/proxy/transport.go."""
_STATUS_CAP = 8 * 2**10


def unauthorized(status: int, text: str) -> str:
    """Of a head that wants a token, or another one."""
    if text in _RAYS_OWN[status]:
        return f"{status} {text}"
    return f"{status} {UNAUTHORIZED[status]}for a reason that Raysweep does not know"


def refusal(status: int, text: str, *, by_api_server: bool) -> str:
    """Of an HTTP status that is not expected. by_api_server: a Kubernetes Status may come from the API server in between."""
    if text in _RAYS_OWN.get(status, ()):
        return f"HTTP {status}: {' '.join(text.split())}"
    told = _kubernetes_status(status, text) if by_api_server else ""
    return f"HTTP {status} with {told or 'an unknown body'}"


def failure(error: Exception) -> str:
    """Of a request that brought no answer. The exception's own text may hold bytes that were received."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        if isinstance(error.os_error, ResolveTimeoutError):
            return str(error.os_error.strerror)
        return f"{type(error).__name__}: the head's name cannot be resolved"
    if isinstance(error, TimeoutError):
        return f"{type(error).__name__}: no answer in time"
    if isinstance(error, OSError) and error.errno:
        return f"{type(error).__name__}: {os.strerror(error.errno)}"
    return type(error).__name__


def _kubernetes_status(status: int, text: str) -> str:
    if len(text) > _STATUS_CAP:
        return ""
    try:
        said = bounded_json.value(text.encode("utf-8", "replace"))
    except ValueError:
        return ""
    if not isinstance(said, dict) or (said.get("kind"), said.get("code")) != ("Status", status):
        return ""
    message, reason = said.get("message"), said.get("reason")
    known = [
        words for words in _KUBERNETES_OWN if isinstance(message, str) and message.startswith(words)
    ]
    words = [reason] if isinstance(reason, str) and reason in _REASONS else []
    return (
        f"a Kubernetes Status: {', '.join(words + known)}"
        if words or known
        else "a Kubernetes Status"
    )
