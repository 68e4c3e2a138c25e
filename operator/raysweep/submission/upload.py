"""Brings a packed working directory to a Ray head that does not have it yet. Packing is package.py's."""

import asyncio
from datetime import timedelta

from raysweep.core.text import plain
from raysweep.submission.head import Head, LostError, NotSentError, RefusedError
from raysweep.submission.package import Package
from raysweep.submission.progress import Progress

AGAIN_AFTER = timedelta(seconds=1)
MIB = 2**20


class NotUploadedError(Exception):
    """The head does not have the package."""


async def upload(head: Head, package: Package, within: timedelta, progress: Progress) -> None:
    """Sends it, unless a package of this content is there; that can be tried again safely. Raises NotUploadedError."""
    said = "it was not tried"
    try:
        async with asyncio.timeout(within.total_seconds()):
            while True:
                try:
                    return await _once(head, package, within, progress)
                except (LostError, NotSentError) as error:
                    said = str(error)
                except RefusedError as error:
                    if error.code != 429 and error.code < 500:
                        raise NotUploadedError(
                            f"the head refused the working directory: {plain(error)}"
                        ) from error
                    said = str(error)
                await asyncio.sleep(AGAIN_AFTER.total_seconds())
    except TimeoutError:
        raise NotUploadedError(
            f"the working directory could not be uploaded within {within.total_seconds():g} s: {plain(said)}"
        ) from None


async def _once(head: Head, package: Package, within: timedelta, progress: Progress) -> None:
    size = f"{package.files} files, {package.size / MIB:.1f} MiB"
    if await head.has_package(package.name):
        progress.say(f"the head has the working directory already ({size})")
        return
    with progress.upload(f"the working directory ({size})", package.size) as sent:
        await head.upload(package.name, package.path, within, sent)
