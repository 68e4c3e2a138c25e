"""Messages about responses of heads that cannot be used.

A head's Service may lead to a server whose texts its tenant may not read. So Events, log lines and
`why` show fixed texts only, and of a body only whole sentences that Ray and Kubernetes are known to
send.
"""

import os
from collections.abc import Mapping

import aiohttp

from raysweep.clients.parsing import bounded_json
from raysweep.clients.ray.resolver import ResolveTimeoutError

UNAUTHORIZED_PREFIXES: Mapping[int, str] = {401: "Unauthorized: ", 403: "Forbidden: "}
"""How Ray's responses begin if it requires a token (ray._private.authentication)."""
_RAY_TEXTS = {
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
_STATUS_REASONS = frozenset(
    {
        "BadRequest", "Expired", "Forbidden", "Gone", "InternalError", "Invalid",
        "MethodNotAllowed", "NotFound", "ServerTimeout", "ServiceUnavailable", "Timeout",
        "TooManyRequests", "Unauthorized",
    }
)  # fmt: skip
"""The values of metav1.StatusReason that a GET through services/proxy may return."""
_STATUS_PREFIXES = ("no endpoints available for service", "error trying to reach service")
"""How Status.message begins.

Sources: pkg/registry/core/service/storage/storage.go, apimachinery pkg/util/proxy/transport.go.
"""
_STATUS_CAP = 8 * 2**10


def unauthorized_message(status: int, text: str) -> str:
    """The message if a head requires a token, or another token."""
    if text in _RAY_TEXTS[status]:
        return f"{status} {text}"
    return f"{status} {UNAUTHORIZED_PREFIXES[status]}for a reason that Raysweep does not know"


def status_message(status: int, text: str, *, by_api_server: bool) -> str:
    """The message about an unexpected HTTP status.

    With `by_api_server` the body may be a Kubernetes Status of the API server.
    """
    if text in _RAY_TEXTS.get(status, ()):
        return f"HTTP {status}: {' '.join(text.split())}"
    body = "an unknown body"
    if by_api_server:
        body = _kubernetes_status(status, text) or body
    return f"HTTP {status} with {body}"


def exception_message(error: Exception) -> str:
    """The message about a request without a response.

    The text of the exception is not used, since it may hold bytes that were received.
    """
    kind = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        if isinstance(error.os_error, ResolveTimeoutError):
            return str(error.os_error.strerror)
        return f"{kind}: the head's name cannot be resolved"
    if isinstance(error, TimeoutError):
        return f"{kind}: no answer in time"
    if isinstance(error, OSError) and error.errno:
        return f"{kind}: {os.strerror(error.errno)}"
    return kind


def _kubernetes_status(status: int, text: str) -> str | None:
    """The known parts of a Kubernetes Status, or None if the text is not a Status."""
    if len(text) > _STATUS_CAP:
        return None
    try:
        body = bounded_json.value(text.encode("utf-8", "replace"))
    except ValueError:
        return None
    if not isinstance(body, dict) or (body.get("kind"), body.get("code")) != ("Status", status):
        return None
    reason, message = body.get("reason"), body.get("message")
    parts = []
    if isinstance(reason, str) and reason in _STATUS_REASONS:
        parts.append(reason)
    if isinstance(message, str):
        parts += [prefix for prefix in _STATUS_PREFIXES if message.startswith(prefix)]
    if not parts:
        return "a Kubernetes Status"
    return f"a Kubernetes Status: {', '.join(parts)}"
