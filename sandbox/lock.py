"""A file lock between processes. The kernel releases it when its holder ends for any reason."""

import contextlib
import fcntl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from sandbox.waiting import until


@contextlib.asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Holds the lock. Waiting for it can be canceled and does not block the event loop."""
    with path.open("w") as handle:
        await until(lambda: _try_lock(handle), timeout=None, every=0.1)
        yield


def _try_lock(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
