"""What `raysweep submit` prints on stdout: the objects of a dry run, or the result."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from raysweep.cli.common import formatting
from raysweep.cli.common.session import say
from raysweep.cli.submit.request import SubmitRequest
from raysweep.core.model.outcome import Outcome
from raysweep.submission.submit import SubmittedJob


def print_result(request: SubmitRequest, job: SubmittedJob, outcome: Outcome | None) -> None:
    """Prints the result in a machine format. The text format has no result at the end."""
    rayjob = job.rayjob
    if request.output == "name":
        click.echo(f"rayjob.ray.io/{rayjob.name}")
    elif request.output in ("json", "yaml"):
        result = {
            "apiVersion": formatting.API_VERSION,
            "kind": "Submission",
            "namespace": rayjob.namespace,
            "name": rayjob.name,
            "uid": rayjob.uid,
            "rayCluster": job.cluster.name,
            "submissionId": job.job_id,
            "outcome": outcome.value if outcome else None,
        }
        click.echo(formatting.serialized(result, request.output))


def print_objects(request: SubmitRequest, bodies: Sequence[Mapping[str, Any]]) -> None:
    """Prints objects as kubectl does: names on lines, a List in JSON, or YAML documents."""
    for note in request.notes:
        say(formatting.safe(note))
    if request.output == "name":
        for body in bodies:
            click.echo(formatting.safe(_name_of(body)))
    elif request.output == "json":
        document = dict(bodies[0])
        if len(bodies) > 1:
            document = {"apiVersion": "v1", "kind": "List", "items": bodies}
        click.echo(formatting.serialized(document, "json").rstrip())
    else:
        texts = [formatting.serialized(dict(body), "yaml").rstrip() for body in bodies]
        click.echo("\n---\n".join(texts))


def _name_of(body: Mapping[str, Any]) -> str:
    group = str(body["apiVersion"]).rpartition("/")[0]
    kind = str(body["kind"]).lower()
    resource = f"{kind}.{group}" if group else kind
    return f"{resource}/{body['metadata']['name']}"
