"""The answer of `raysweep why` for a RayJob that does not exist: Events and a query for the log."""

from dataclasses import dataclass
from datetime import datetime

import click

from raysweep.cli.common import formatting
from raysweep.cli.common.formatting import Json, rfc3339, safe
from raysweep.cli.common.operator_settings import OPERATOR_NAMESPACE
from raysweep.cli.common.session import Session
from raysweep.clients.kubernetes.errors import ForbiddenError
from raysweep.clients.kubernetes.user_client import RayJobEvent
from raysweep.core.text import command_line


@dataclass(frozen=True, slots=True)
class GoneRayJob:
    """A RayJob that does not exist. problem: why its Events could not be read."""

    namespace: str
    name: str
    events: tuple[RayJobEvent, ...]
    log_query: str
    problem: str | None = None
    was_deleted: bool = False  # it existed when the command began


async def read_gone(session: Session, name: str, *, was_deleted: bool = False) -> GoneRayJob:
    """Reads the Events about RayJobs of this name."""
    namespace, problem = session.namespace, None
    events: list[RayJobEvent] = []
    try:
        events = await session.kubernetes.rayjob_events(namespace, name)
    except ForbiddenError as error:
        problem = str(error)
    log = session.options.overrides.kubectl("-n", OPERATOR_NAMESPACE, "logs", "deploy/raysweep")
    pattern = f'"namespace": "{namespace}", "name": "{name}"'
    query = f"{log} | {command_line('grep', '-F', pattern)}"
    return GoneRayJob(namespace, name, tuple(events), query, problem, was_deleted)


def print_gone(session: Session, gone: GoneRayJob) -> None:
    """Prints it in the output format of the command."""
    output = session.options.output
    if output == "text":
        click.echo("\n".join(as_text(gone)))
    else:
        click.echo(formatting.serialized(as_json(gone, session.now()), output))


def as_text(gone: GoneRayJob) -> list[str]:
    """The lines of the answer, with the query at the end."""
    key = f"{gone.namespace}/{gone.name}"
    first = f"RayJob {key} was deleted." if gone.was_deleted else f"RayJob {key} does not exist."
    return [
        first,
        "",
        *_event_lines(gone),
        "",
        "To search the operator's log, run:",
        f"  {gone.log_query}",
    ]


def _event_lines(gone: GoneRayJob) -> list[str]:
    if gone.problem:
        return [f"Events cannot be read: {safe(gone.problem)}"]
    if not gone.events:
        return [
            "Raysweep has no Event about it. Kubernetes drops Events after an hour, and others can "
            "delete RayJobs too."
        ]
    return ["Raysweep's Events about RayJobs with this name", *map(_event_line, gone.events)]


def _event_line(event: RayJobEvent) -> str:
    return f"  {rfc3339(event.at) or '-'}  {safe(event.reason)}  {safe(event.note)}"


def as_json(gone: GoneRayJob, now: datetime) -> Json:
    """The fields of a Why whose `found` is false."""
    return {
        "apiVersion": formatting.API_VERSION,
        "kind": "Why",
        "generatedAt": rfc3339(now),
        "found": False,
        "namespace": gone.namespace,
        "name": gone.name,
        "events": [_event_json(event) for event in gone.events],
        "problem": safe(gone.problem) if gone.problem else None,
        "logQuery": gone.log_query,
    }


def _event_json(event: RayJobEvent) -> Json:
    return {
        "at": rfc3339(event.at),
        "uid": event.uid,
        "type": event.type,
        "reason": safe(event.reason),
        "note": safe(event.note),
    }
