"""Uploads a packed working directory to a Ray head that does not have it yet."""

import asyncio
from datetime import timedelta

from raysweep.core.text import plain
from raysweep.submission.head import AnswerLostError, Head, NotSentError, RefusedError
from raysweep.submission.package import Package
from raysweep.submission.progress import Progress

RETRY_AFTER = timedelta(seconds=1)
MIB = 2**20


class NotUploadedError(Exception):
    """The head does not have the package."""


async def upload(head: Head, package: Package, timeout: timedelta, progress: Progress) -> None:
    """Uploads the package unless the head has one of the same content, so a retry is safe.

    Raises NotUploadedError.
    """
    last_error = "no attempt was made"
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            while True:
                try:
                    return await _upload_once(head, package, timeout, progress)
                except (AnswerLostError, NotSentError) as error:
                    last_error = str(error)
                except RefusedError as error:
                    last_error = str(error)
                    if error.code != 429 and error.code < 500:
                        message = f"the head refused the working directory: {plain(error)}"
                        raise NotUploadedError(message) from error
                await asyncio.sleep(RETRY_AFTER.total_seconds())
    except TimeoutError:
        limit = f"{timeout.total_seconds():g} s"
        message = f"the working directory was not uploaded within {limit}: {plain(last_error)}"
        raise NotUploadedError(message) from None


async def _upload_once(
    head: Head, package: Package, timeout: timedelta, progress: Progress
) -> None:
    size = f"{package.files} files, {package.size / MIB:.1f} MiB"
    if await head.has_package(package.name):
        progress.say(f"the head already has the working directory ({size})")
        return
    with progress.upload(f"the working directory ({size})", package.size) as bytes_sent:
        await head.upload(package.name, package.path, timeout, bytes_sent)
