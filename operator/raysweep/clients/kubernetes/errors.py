"""What can go wrong when the API server is asked, as one tree; the lower libraries' errors end in kubernetes.py.

ApiError
 +- NotFoundError      404 in the API server's own words about that very object: it is gone, or never was
 +- ConflictError      409: it is not what was judged
 +- ForbiddenError     401, 403: a verb is missing; the text names it
 +- BusyError          429, 5xx: later, after retry_after where the server said so
 +- UnreachableError   no answer at all: refused, reset, timed out
 +- NotLeaderError     a write that was not sent: this replica does not lead, or is about to end
 +- InvalidResponseError     an answer that cannot be understood, or that refuses the request itself
     +- UnconfirmedNotFoundError   404 without those words, such as a gateway's page: nobody knows, ask again later
"""

from datetime import timedelta


class ApiError(Exception):
    """The API server did not do what it was asked. `code` is the HTTP status, 0 where there was none."""

    def __init__(
        self, message: str, *, code: int = 0, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class NotFoundError(ApiError):
    """The API server says of this very object, or of the whole resource, that it is not there (absence.py)."""


class ConflictError(ApiError):
    """409: a precondition did not hold, the object is not the one that was judged."""


class ForbiddenError(ApiError):
    """401 or 403: the service account lacks a right."""


class BusyError(ApiError):
    """429 or 5xx: ask again later."""


class UnreachableError(ApiError):
    """No answer: refused, reset or timed out."""


class NotLeaderError(ApiError):
    """Not sent: this replica does not lead, or is about to end."""


class InvalidResponseError(ApiError):
    """An answer that is none, or a request that the server calls wrong."""


class UnconfirmedNotFoundError(InvalidResponseError):
    """404, but not the API server's word that this object is gone: whatever stands in between answers so too."""


_BY_CODE = {
    401: ForbiddenError,
    403: ForbiddenError,
    404: UnconfirmedNotFoundError,
    409: ConflictError,
    429: BusyError,
}


def error_for_status(code: int, message: str, retry_after: timedelta | None = None) -> ApiError:
    """The error of the tree that stands for an HTTP status. A 404 alone proves nothing."""
    kind = _BY_CODE.get(code, BusyError if code >= 500 else InvalidResponseError)
    return kind(message, code=code, retry_after=retry_after)
