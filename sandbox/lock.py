"""A lock among processes. The kernel frees it when its holder ends, however that is."""

import contextlib
import fcntl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from sandbox.waiting import until


@contextlib.asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Only one process at a time. The wait can be cancelled: it blocks neither the event loop nor a thread."""
    with path.open("w") as handle:
        await until(lambda: _try_lock(handle), timeout=None, every=0.1)
        yield


def _try_lock(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
