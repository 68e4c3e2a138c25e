"""Errors of requests to the API server. The errors of the HTTP libraries end in session.py.

ApiError
 +- NotFoundError                  404, and the body proves that the object does not exist
 +- ConflictError                  409, a precondition did not hold
 +- ForbiddenError                 401 or 403, a right is missing and the text names it
 +- BusyError                      429 or 5xx, the request may be sent again later
 +- UnreachableError               no response: refused, reset or timed out
 +- NotLeaderError                 a write that was not sent because the write fence is closed
 +- InvalidResponseError           an unreadable response, or another status from 400 on
     +- UnconfirmedNotFoundError   404 without that proof, such as the page of a gateway
"""

from datetime import timedelta


class ApiError(Exception):
    """A request to the API server failed. `code` is the HTTP status, 0 if there was no response."""

    def __init__(
        self, message: str, *, code: int = 0, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class NotFoundError(ApiError):
    """The API server states that the object or the resource does not exist (not_found.py)."""


class ConflictError(ApiError):
    """409: a precondition did not hold, so the object changed or is another one."""


class ForbiddenError(ApiError):
    """401 or 403: the service account lacks a right."""


class BusyError(ApiError):
    """429 or 5xx: the request may be sent again later."""


class UnreachableError(ApiError):
    """No response: the connection was refused or reset, or timed out."""


class NotLeaderError(ApiError):
    """The request was not sent: this replica does not lead, or shuts down."""


class InvalidResponseError(ApiError):
    """A response that cannot be read, or a status that says that the request is invalid."""


class UnconfirmedNotFoundError(InvalidResponseError):
    """404 without a proof that the object does not exist: a proxy may have sent it."""


_BY_STATUS = {
    401: ForbiddenError,
    403: ForbiddenError,
    404: UnconfirmedNotFoundError,
    409: ConflictError,
    429: BusyError,
}


def error_for_status(status: int, message: str, retry_after: timedelta | None = None) -> ApiError:
    """The error for an HTTP status."""
    default = BusyError if status >= 500 else InvalidResponseError
    error_class = _BY_STATUS.get(status, default)
    return error_class(message, code=status, retry_after=retry_after)
