"""Defines the flags of `raysweep submit`. run.py runs it.

Names and meanings are those of `kubectl ray job submit` where it has the same flag
(docs/reference/submit.md compares them).
"""

import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
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
                              a short test: everything is deleted one minute after its end
  raysweep submit --name nightly --ttl-seconds-after-finished 3600 -- python train.py
                              production: one hour; the TTL implies the shutdown
  raysweep submit --name logs --ttl-seconds-after-finished 86400 -- python train.py
                              the cluster and its logs are kept for a day
  raysweep submit --name big --ttl-seconds-after-finished 86400 --cluster-ttl 0 -- ./run.sh
                              the GPUs are released at once, the RayJob is kept for a day
  raysweep submit -f rayjob.yaml --ttl-seconds-after-finished 600 --replace-finished
  raysweep submit --name out -- python train.py --out '$DATA_DIR/x'
                              DATA_DIR is a variable of the head
  raysweep submit --name try --generate-name --no-wait -o json -- python train.py |
      jq -r .submissionId

\b
Exit codes:
  0    the job succeeded; with --no-wait: its submission ID is confirmed
  1    the job failed
  2    usage, an invalid value or file: nothing was created
  3    a RayJob of that name exists
  4    the job was stopped
  5    the job was not submitted (missing rights, not reachable, no head, ...), or its
       outcome is unknown; the last line says what exists now
  130  Ctrl-C: before the submission nothing is left, after it the job keeps running
"""

DURATION_FLAGS = tuple(key for key in sorted(names.DURATION_ANNOTATIONS) if key != names.TTL)


def _section(title: str) -> Callable[..., Callable[..., Any]]:
    """Returns click.option for the options of one section of --help."""
    return partial(click.option, cls=options.SectionOption, section=title)


_job = _section("Job")
_rayjob = _section("RayJob and RayCluster")
_cleanup = _section("Cleanup")
_environment = _section("Working directory and runtime environment")
_waiting = _section("Waiting and output")


def _duration_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds a flag for each annotation with a duration, such as --cluster-ttl."""
    for key in reversed(DURATION_FLAGS):
        word = key.removeprefix(names.ANNOTATION_PREFIX)
        text = f"set the annotation {key}, such as 90, 30m, 1d or never"
        function = _cleanup(f"--{word}", metavar="DURATION", help=text)(function)
    return function


def _quantity(flag: str, default: str, text: str) -> Callable[..., Any]:
    return _rayjob(flag, default=default, show_default=True, metavar="QUANTITY", help=text)


def _gpus(flag: str, text: str) -> Callable[..., Any]:
    return _rayjob(flag, default="0", show_default=True, metavar="NUMBER", help=text)


def _node_selectors(flag: str, text: str) -> Callable[..., Any]:
    return _rayjob(flag, callback=_parse_pairs, metavar="KEY=VALUE,...", help=text)


def _timeout(flag: str, default: str | None, text: str) -> Callable[..., Any]:
    return _waiting(
        flag,
        default=default,
        show_default=default is not None,
        callback=_parse_timeout,
        metavar="DURATION",
        help=text,
    )


def _parse_timeout(
    _ctx: click.Context, _parameter: click.Parameter, value: str | None
) -> timedelta | None:
    if value is None:
        return None
    try:
        timeout = parse_duration(value)
    except ValueError:
        timeout = NEVER
    if isinstance(timeout, Never) or not timeout:
        hint = "use seconds or a value such as 90s, 10m or 1h"
        raise click.BadParameter(f"invalid duration {value!r}: {hint}")
    return timeout


def _parse_pairs(
    _ctx: click.Context, _parameter: click.Parameter, value: str | tuple[str, ...] | None
) -> dict[str, str]:
    """Parses a text with commas, or the values of a repeated flag."""
    words = value.split(",") if isinstance(value, str) else value or ()
    pairs = {}
    for word in words:
        if not word.strip():
            continue
        key, separator, text = word.strip().partition("=")
        if not key or not separator:
            raise click.BadParameter(f"invalid pair {word!r}: write KEY=VALUE")
        pairs[key] = text
    return pairs


def _parse_json(
    _ctx: click.Context, _parameter: click.Parameter, value: str | None
) -> dict[str, Any] | None:
    if value is None:
        return None
    parsed = options.json_object(value)
    if parsed is None:
        raise click.BadParameter(f"invalid JSON object {value!r}")
    return parsed


@options.command(EPILOG)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@_job("--submission-id", metavar="ID", help="submission ID (default: chosen by Ray)")
@_job(
    "--metadata-json",
    "metadata",
    callback=_parse_json,
    metavar="JSON",
    help="metadata of the Ray job",
)
@_job(
    "--entrypoint-num-cpus",
    "num_cpus",
    type=click.FloatRange(min=0),
    metavar="NUMBER",
    help="CPUs for the command itself",
)
@_job(
    "--entrypoint-num-gpus",
    "num_gpus",
    type=click.FloatRange(min=0),
    metavar="NUMBER",
    help="GPUs for the command itself",
)
@_job(
    "--entrypoint-memory",
    "memory",
    type=click.IntRange(min=0),
    metavar="BYTES",
    help="memory for the command itself",
)
@_job(
    "--entrypoint-resources",
    "resources",
    callback=_parse_json,
    metavar="JSON",
    help="custom resources for the command itself",
)
@_rayjob(
    "-f",
    "--filename",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="file with the RayJob, and with other objects to apply first; - reads stdin",
)
@_rayjob("--name", metavar="NAME", help="name of the RayJob; chooses one if the file has several")
@_rayjob("--generate-name", is_flag=True, help="add a unique suffix to the name")
@_rayjob(
    "--label",
    "labels",
    multiple=True,
    callback=_parse_pairs,
    metavar="KEY=VALUE",
    help="label of the RayJob; may be repeated",
)
@_rayjob(
    "--ray-version",
    default="2.52.0",
    show_default=True,
    metavar="VERSION",
    help="Ray version of the cluster",
)
@_rayjob(
    "--image",
    metavar="IMAGE",
    help="image of head and workers (default: rayproject/ray:<ray-version>)",
)
@_quantity("--head-cpu", "2", "CPUs of the head")
@_quantity("--head-memory", "4Gi", "memory of the head")
@_gpus("--head-gpu", "GPUs of the head")
@_node_selectors("--head-node-selectors", "node selector of the head")
@_rayjob(
    "--worker-replicas",
    default=1,
    show_default=True,
    type=int,
    metavar="NUMBER",
    help="number of workers",
)
@_quantity("--worker-cpu", "2", "CPUs of each worker")
@_quantity("--worker-memory", "4Gi", "memory of each worker")
@_gpus("--worker-gpu", "GPUs of each worker")
@_node_selectors("--worker-node-selectors", "node selector of the workers")
@_cleanup(
    "--shutdown-after-job-finishes",
    is_flag=False,
    flag_value="true",
    type=click.BOOL,
    metavar="[=true|false]",
    help="delete the RayCluster after the end of the job (spec.shutdownAfterJobFinishes)",
)
@_cleanup(
    "--ttl-seconds-after-finished",
    type=int,
    metavar="SECONDS",
    help="delete RayJob and RayCluster this long after the end of the job. It implies the "
    "shutdown, and sets spec.ttlSecondsAfterFinished and the annotation raysweep.io/ttl",
)
@_duration_flags
@_cleanup(
    "--ttl-unsubmitted",
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="delete the RayJob after this time if no job was submitted to it; raised if it is "
    "shorter than the timeouts",
)
@_cleanup(
    "--replace-finished",
    is_flag=True,
    help="if a finished RayJob of that name exists, delete it first, as a sweep does",
)
@_environment(
    "--working-dir",
    metavar="DIR|URI",
    help="directory to upload to the head, without what .gitignore, .rayignore and --exclude match",
)
@_environment(
    "--exclude",
    "excludes",
    multiple=True,
    metavar="PATTERN",
    help="do not upload matching files, as in .gitignore; may be repeated",
)
@_environment(
    "--runtime-env",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="YAML file with the runtime environment",
)
@_environment("--runtime-env-json", metavar="JSON", help="runtime environment as JSON")
@_environment(
    "--runtime-env-plugin",
    "plugins",
    multiple=True,
    metavar="KEY",
    help="key of the runtime environment that a plugin of the cluster reads; may be repeated",
)
@_waiting(
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="follow the log until the job ends, and exit with its outcome",
)
@_timeout(
    "--queue-timeout", None, "how long a suspended RayJob may wait, as in Kueue (default: no limit)"
)
@_timeout("--head-timeout", "10m", "how long to wait for the Ray head")
@_timeout("--upload-timeout", "5m", "how long the upload may take")
@_timeout("--submit-timeout", "60s", "how long the head may take to accept the job")
@_timeout("--replace-timeout", "2m", "how long to wait for the existing RayJob to be deleted")
@_waiting(
    "--dry-run",
    is_flag=False,
    flag_value="client",
    type=click.Choice(["client", "server"]),
    metavar="[=client|server]",
    help="print the objects without creating them; server: after a check by the API server",
)
@_waiting(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "yaml", "name"]),
    default="text",
    show_default=True,
    help="output format",
)
@options.quiet
@options.connection
@options.at_one_head
@click.option("--log-style", hidden=True, help="an option of the local ray command, ignored")
@click.option("--log-color", hidden=True, help="an option of the local ray command, ignored")
@click.option("--verbose", is_flag=True, hidden=True, help="ignored: progress is always shown")
def command(words: tuple[str, ...], **flags: Any) -> None:
    """Submit a Ray job together with its cleanup.

    Creates a RayJob, uploads the working directory, and confirms the submission ID. It needs only
    your kubeconfig: no local ray, and no port-forward. The API server forwards the requests to the
    head.

    One word after -- is a shell line of the head. Of several words, each remains one argument, and
    the head replaces $NAME and ${NAME} in it. Use single quotes, or your own shell replaces them
    first.

    Ctrl-C leaves a submitted job running. A second Ctrl-C within 3 s stops it.
    """
    from raysweep.cli.common.session import run
    from raysweep.cli.submit.run import submit

    sys.exit(run(submit(words, flags)))
