"""`raysweep submit`: its flags, and from them what is to be submitted. The way of a submission is submitting.py's.

The names and meanings are those of `kubectl ray job submit` wherever it has one (docs/reference/submit.md compares them).
"""

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from raysweep import names
from raysweep.cli.common import options
from raysweep.core.durations import NEVER, Never, parse_duration

EPILOG = """\b
Examples:
  raysweep submit --name try --working-dir . --shutdown-after-job-finishes \\
      --ttl-seconds-after-finished 60 -- python train.py
                                       a short test: all is gone a minute after its end
  raysweep submit --name nightly --ttl-seconds-after-finished 3600 -- python train.py
                                       production: an hour; the TTL implies the shutdown
  raysweep submit --name logs --ttl-seconds-after-finished 86400 -- python train.py
                                       the cluster and its logs stay for a day
  raysweep submit --name big --ttl-seconds-after-finished 86400 --cluster-ttl 0 -- ./run.sh
                                       GPUs back at once, the RayJob stays a day as the record
  raysweep submit -f rayjob.yaml --ttl-seconds-after-finished 600 --replace-finished
  raysweep submit --name out -- python train.py --out '$DATA_DIR/x'
                                       DATA_DIR is the head's
  raysweep submit --name try --generate-name --no-wait -o json -- python train.py | jq -r .submissionId

\b
Exit codes:
  0    the job succeeded; with --no-wait: its submission ID is confirmed
  1    the job failed
  2    usage, a wrong value or file: nothing was created
  3    there is a RayJob of that name
  4    the job was stopped
  5    it was not submitted (no rights, unreachable, no head, ...), or how it ended cannot be told; the last
       line says what exists now
  130  Ctrl-C: before the submission nothing is left, after it the job runs on
"""

DURATION_FLAGS = tuple(key for key in sorted(names.DURATION_ANNOTATIONS) if key != names.TTL)


def _durations(function: Callable[..., Any]) -> Callable[..., Any]:
    """--cluster-ttl, --ttl-failed and the like: one flag for each annotation, checked as the annotation is."""
    for key in reversed(DURATION_FLAGS):
        word = key.removeprefix(names.ANNOTATION_PREFIX)
        function = click.option(
            f"--{word}", metavar="DURATION", help=f"the annotation {key}: 90, 30m, 1d, never"
        )(function)
    return function


def _patience(
    _ctx: click.Context,
    _parameter: click.Parameter,
    value: str | None,
) -> timedelta | None:
    if value is None:
        return None
    try:
        found = parse_duration(value)
    except ValueError:
        found = NEVER
    if isinstance(found, Never) or not found:
        raise click.BadParameter(f"{value!r} is no time to wait; write seconds, or 90s, 10m, 1h")
    return found


def _pairs(
    _ctx: click.Context, _parameter: click.Parameter, value: str | tuple[str, ...] | None
) -> dict[str, str]:
    """Of one text with commas, or of a flag that may be repeated."""
    words = value.split(",") if isinstance(value, str) else value or ()
    pairs = [(word, *word.strip().partition("=")) for word in words if word.strip()]
    if wrong := [word for word, key, equals, _ in pairs if not key or not equals]:
        raise click.BadParameter(f"{wrong[0]!r}: write KEY=VALUE")
    return {key: text for _, key, _, text in pairs}


def _json(
    _ctx: click.Context, _parameter: click.Parameter, value: str | None
) -> dict[str, Any] | None:
    if value is None:
        return None
    found = options.json_object(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no JSON object")
    return found


@options.command(EPILOG)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@click.option(
    "-f",
    "--filename",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="a RayJob to submit, with other objects that are applied too; - reads stdin",
)
@click.option("--name", metavar="NAME", help="of the RayJob; picks one if a file has several")
@click.option("--generate-name", is_flag=True, help="add a suffix to the name that makes it unique")
@click.option(
    "--label",
    "labels",
    multiple=True,
    callback=_pairs,
    metavar="KEY=VALUE",
    help="a label on the RayJob; may be repeated",
)
@click.option(
    "--shutdown-after-job-finishes",
    is_flag=False,
    flag_value="true",
    type=click.BOOL,
    metavar="[=true|false]",
    help="spec.shutdownAfterJobFinishes: the RayCluster goes once the job has ended",
)
@click.option(
    "--ttl-seconds-after-finished",
    type=int,
    metavar="SECONDS",
    help="how long RayJob and RayCluster stay after the job's end; implies the shutdown. Written as spec.ttlSecondsAfterFinished "
    "for KubeRay, and as raysweep.io/ttl, so that the RayJob goes too",
)
@_durations
@click.option(
    "--ttl-unsubmitted",
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="delete the RayJob after this time if no job was submitted to it; never shorter than the waits below",
)
@click.option(
    "--replace-finished",
    is_flag=True,
    help="a finished RayJob of that name is deleted first, as a sweep does",
)
@click.option(
    "--working-dir",
    metavar="DIR|URI",
    help="uploaded to the head; .gitignore, .rayignore and --exclude are heeded",
)
@click.option(
    "--exclude",
    "excludes",
    multiple=True,
    metavar="PATTERN",
    help="not uploaded; as in .gitignore; may be repeated",
)
@click.option(
    "--runtime-env",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="a YAML file with the runtime environment",
)
@click.option("--runtime-env-json", metavar="JSON", help="the runtime environment itself")
@click.option(
    "--runtime-env-plugin",
    "plugins",
    multiple=True,
    metavar="KEY",
    help="a key of the runtime environment that a plugin of the cluster reads; may be repeated",
)
@click.option("--submission-id", metavar="ID", help="the submission ID; else Ray chooses one")
@click.option(
    "--metadata-json", "metadata", callback=_json, metavar="JSON", help="metadata of the Ray job"
)
@click.option(
    "--entrypoint-num-cpus",
    "num_cpus",
    type=click.FloatRange(min=0),
    help="CPUs for the command itself",
)
@click.option(
    "--entrypoint-num-gpus",
    "num_gpus",
    type=click.FloatRange(min=0),
    help="GPUs for the command itself",
)
@click.option(
    "--entrypoint-memory",
    "memory",
    type=click.IntRange(min=0),
    metavar="BYTES",
    help="memory for the command itself",
)
@click.option(
    "--entrypoint-resources",
    "resources",
    callback=_json,
    metavar="JSON",
    help="custom resources for the command itself",
)
@click.option(
    "--ray-version", default="2.52.0", show_default=True, metavar="VERSION", help="of the cluster"
)
@click.option(
    "--image", metavar="IMAGE", help="of head and workers; else rayproject/ray:<ray-version>"
)
@click.option(
    "--head-cpu", default="2", show_default=True, metavar="QUANTITY", help="CPUs of the head"
)
@click.option(
    "--head-memory", default="4Gi", show_default=True, metavar="QUANTITY", help="memory of the head"
)
@click.option(
    "--head-gpu", default="0", show_default=True, metavar="NUMBER", help="GPUs of the head"
)
@click.option(
    "--head-node-selectors",
    callback=_pairs,
    metavar="KEY=VALUE,...",
    help="node selector of the head",
)
@click.option("--worker-replicas", default=1, show_default=True, type=int, help="how many workers")
@click.option(
    "--worker-cpu", default="2", show_default=True, metavar="QUANTITY", help="CPUs of each worker"
)
@click.option(
    "--worker-memory",
    default="4Gi",
    show_default=True,
    metavar="QUANTITY",
    help="memory of each worker",
)
@click.option(
    "--worker-gpu", default="0", show_default=True, metavar="NUMBER", help="GPUs of each worker"
)
@click.option(
    "--worker-node-selectors",
    callback=_pairs,
    metavar="KEY=VALUE,...",
    help="node selector of the workers",
)
@click.option(
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="follow the log to the job's end; its outcome is the exit code",
)
@click.option(
    "--queue-timeout",
    callback=_patience,
    metavar="TIME",
    help="for a suspended RayJob to be resumed, as Kueue does; else without an end",
)
@click.option(
    "--head-timeout",
    default="10m",
    show_default=True,
    callback=_patience,
    metavar="TIME",
    help="for the Ray head to be up",
)
@click.option(
    "--upload-timeout",
    default="5m",
    show_default=True,
    callback=_patience,
    metavar="TIME",
    help="for the upload",
)
@click.option(
    "--submit-timeout",
    default="60s",
    show_default=True,
    callback=_patience,
    metavar="TIME",
    help="for the head to take it",
)
@click.option(
    "--replace-timeout",
    default="2m",
    show_default=True,
    callback=_patience,
    metavar="TIME",
    help="for a namesake to be gone",
)
@click.option(
    "--dry-run",
    is_flag=False,
    flag_value="client",
    type=click.Choice(["client", "server"]),
    help="print the RayJob; server: after the API server has checked it",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "yaml", "name"]),
    default="text",
    show_default=True,
)
@options.connection
@options.at_one_head
@options.quiet
@click.option("--log-style", hidden=True, help="of the local ray command, which is not used")
@click.option("--log-color", hidden=True, help="of the local ray command, which is not used")
@click.option("--verbose", is_flag=True, hidden=True, help="progress is told always")
def command(words: tuple[str, ...], **given: Any) -> None:
    """Submits a Ray job with its cleanup: makes a RayJob, uploads the working directory, and confirms the submission ID.

    Nothing but your kubeconfig is needed: no local ray, no port-forward. The head is reached through the API server.

    One word after -- is a shell line of the head. Of several each stays one word; $NAME and ${NAME}
    in it are replaced on the head, and nothing else is. Your own shell replaces them first, unless
    you write them in single quotes.

    Ctrl-C leaves a submitted job running; pressed again within 3 s it stops the job.
    """
    from raysweep.cli.common.session import run  # the clients load slowly: not for --help
    from raysweep.cli.submit.run import submit

    sys.exit(run(submit(words, given)))
