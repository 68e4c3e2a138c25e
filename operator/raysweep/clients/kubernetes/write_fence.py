"""The write fence: decides right before each write whether this process may still send it."""

from collections.abc import Callable
from typing import Any, Protocol

import aiohttp

Refusal = Callable[[], str | None]
"""Returns why a request may not be sent, or None if it may be sent."""
CHECKED_AGAIN = ("DELETE", "PATCH")
"""The methods that the fence checks a second time, when their bytes leave."""


class NotSentError(Exception):
    """A request was stopped when its bytes were about to leave. The text is the reason."""


class WriteFence(Protocol):
    """Decides whether a write may be sent. Each method returns None, or the reason why not."""

    def delete_refusal(self) -> str | None:
        """Why no request that deletes a RayJob or RayCluster, or precedes this, may be sent."""

    def write_refusal(self) -> str | None:
        """Why no other write may be sent. Also called when the bytes of a DELETE or PATCH leave."""


class OpenFence:
    """A fence that lets every write pass: for a process that has no replicas."""

    def delete_refusal(self) -> None:
        """Every deletion may be sent."""

    def write_refusal(self) -> None:
        """Every write may be sent."""


def fence_trace(refusal: Refusal) -> aiohttp.TraceConfig:
    """Calls the fence again when the bytes of a request leave, since it may wait for a connection.

    aiohttp calls this before it hands a body to the socket, and the headers wait for the body.
    """
    trace = aiohttp.TraceConfig()

    async def stop_if_refused(
        _session: Any, _context: Any, params: aiohttp.TraceRequestChunkSentParams
    ) -> None:
        reason = refusal() if params.method in CHECKED_AGAIN else None
        if reason:
            raise NotSentError(reason)

    trace.on_request_chunk_sent.append(stop_if_refused)
    trace.freeze()
    return trace
