"""Runs `raysweep stop`. It deletes nothing."""

import asyncio
from datetime import timedelta

import click

from raysweep.cli.common import formatting
from raysweep.cli.common.errors import FailedError
from raysweep.cli.common.options import EXIT_NOT_FOUND, EXIT_OK, Options
from raysweep.cli.common.session import Session, open_session, run, say
from raysweep.cli.common.submission_lookup import Located, NoSuchRayJobError, locate
from raysweep.core.job_status import TERMINAL_JOB_STATUS
from raysweep.core.model.facts import HeadList
from raysweep.submission.head import AnswerLostError, NotSentError, RefusedError

STOP_TIMEOUT = timedelta(seconds=60)
PROBE_INTERVAL = timedelta(seconds=0.5)


def stop(name: str, options: Options, *, wait: bool) -> int:
    """Stops the job. Returns the exit code."""
    return run(_stop(name, options, wait=wait))


async def _stop(name: str, options: Options, *, wait: bool) -> int:
    async with open_session(options) as session:
        try:
            located = await locate(session, name)
            is_stopping = await located.head.stop(located.entry.submission_id)
        except NoSuchRayJobError as error:
            say(str(error))
            return EXIT_NOT_FOUND
        except (AnswerLostError, NotSentError, RefusedError) as error:
            raise FailedError(f"{name} could not be stopped: {error}. Try again") from error
        status = "STOPPING" if is_stopping else located.entry.status
        if wait:
            status = await _wait_for_end(session, located)
        _print_result(located, status, options.output, is_stopping=is_stopping)
    return EXIT_OK


async def _wait_for_end(session: Session, located: Located) -> str:
    job_id, status = located.entry.submission_id, located.entry.status
    try:
        async with asyncio.timeout(STOP_TIMEOUT.total_seconds()):
            with session.progress.wait(f"waiting until {job_id} has ended"):
                while status not in TERMINAL_JOB_STATUS:
                    await asyncio.sleep(PROBE_INTERVAL.total_seconds())
                    answer = await session.dashboard.job(located.cluster, job_id)
                    if isinstance(answer, HeadList) and answer.entries:
                        status = answer.entries[0].status
    except TimeoutError:
        limit = f"{STOP_TIMEOUT.total_seconds():g} s"
        raise FailedError(f"{job_id} is still {status} after {limit}. Try again") from None
    return status


def _print_result(located: Located, status: str, output: str, *, is_stopping: bool) -> None:
    job_id = located.entry.submission_id
    if output == "text":
        text = f"{job_id} {status}" if is_stopping else f"{job_id} had already ended: {status}"
        click.echo(formatting.safe(text))
        return
    result = {
        "apiVersion": formatting.API_VERSION,
        "kind": "Stop",
        "namespace": located.rayjob.namespace,
        "name": located.rayjob.name,
        "submissionId": job_id,
        "stopped": is_stopping,
        "status": status,
    }
    click.echo(formatting.serialized(result, output))
