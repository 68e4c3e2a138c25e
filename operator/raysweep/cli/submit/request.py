"""Builds what `raysweep submit` submits from its flags and its file. Nothing is sent."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from raysweep import names
from raysweep.cli.common.session import say
from raysweep.cli.submit.documents import Documents, read_documents
from raysweep.core.validation.metadata import LONGEST_NAME
from raysweep.submission.cleanup_fields import CleanupFlags
from raysweep.submission.cluster_spec import ClusterShape
from raysweep.submission.entrypoint import entrypoint_of
from raysweep.submission.job import Job, JobError, JobFlags, compose
from raysweep.submission.manifest import Manifest, ManifestError, from_file, from_flags
from raysweep.submission.runtime_env import RuntimeEnvError

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own alphabet for generated names (apimachinery pkg/util/rand): it spells no words."""
SUFFIX_LENGTH = 5
LOCAL_RAY_FLAGS = ("log_style", "log_color")

Flags = Mapping[str, Any]
"""The parsed flags by the parameter names of click."""


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """What to submit, checked as far as possible without a request.

    companions: the other objects of the file.
    """

    manifest: Manifest
    job: Job
    flags: Flags
    companions: tuple[Mapping[str, Any], ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know before anything is created."""
        return (*self.manifest.notes, *self.job.notes)

    @property
    def name(self) -> str:
        """The name of the RayJob."""
        return str(self.manifest.body["metadata"]["name"])

    @property
    def output(self) -> str:
        """The value of -o. `text` is for people."""
        return str(self.flags["output"])


def build_request(words: tuple[str, ...], flags: Flags) -> SubmitRequest:
    """Builds the request. Raises ManifestError with every problem, and FileError."""
    for flag in LOCAL_RAY_FLAGS:
        if flags[flag]:
            say(f"--{flag.replace('_', '-')} has no effect: no local ray command is used")
    documents = _read_documents(flags)
    rayjob = documents.rayjob if documents else None
    entrypoint = entrypoint_of(words)
    try:
        manifest = _manifest(rayjob, entrypoint, flags)
    except ManifestError as error:
        job_problems = _job_problems(_unchecked_spec(rayjob, entrypoint), flags)
        raise ManifestError(*error.problems, *_without_known(job_problems, error)) from None
    spec = dict(manifest.body["spec"])
    if job_id := _spec_of(rayjob).get("jobId"):
        spec["jobId"] = str(job_id)
    try:
        job = _job(spec, flags)
    except JobError as error:
        raise ManifestError(str(error)) from None
    except RuntimeEnvError as error:
        raise ManifestError(*error.problems) from None
    named = identified(manifest, generate_name=flags["generate_name"])
    return SubmitRequest(named, job, flags, documents.companions if documents else ())


def identified(manifest: Manifest, *, generate_name: bool) -> Manifest:
    """Adds the submission ID, and a generated name if requested.

    The API server does not choose the name: a RayJob whose creation got no answer must be found.
    """
    metadata = dict(manifest.body["metadata"])
    prefix = metadata.pop("generateName", None)
    if generate_name or (prefix and not metadata.get("name")):
        suffix = "".join(secrets.choice(SUFFIX_ALPHABET) for _ in range(SUFFIX_LENGTH))
        if not prefix:
            prefix = metadata["name"][: LONGEST_NAME - SUFFIX_LENGTH - 1] + "-"
        metadata["name"] = f"{prefix}{suffix}"
    submission_id = {names.SUBMISSION_ID: secrets.token_hex(8)}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **submission_id}
    return replace(manifest, body=manifest.body | {"metadata": metadata})


def _read_documents(flags: Flags) -> Documents | None:
    if not flags["filename"]:
        return None
    documents = read_documents(flags["filename"], flags["name"])
    documents.check_namespaces(flags["namespace"])
    documents.check_identities()
    return documents


def _job(spec: Mapping[str, Any], flags: Flags) -> Job:
    return compose(spec, JobFlags(**{field.name: flags[field.name] for field in fields(JobFlags)}))


def _job_problems(spec: Mapping[str, Any], flags: Flags) -> tuple[str, ...]:
    """The problems of the job in a RayJob that has problems itself."""
    try:
        _job(spec, flags)
    except JobError as error:
        return (str(error),)
    except RuntimeEnvError as error:
        return error.problems
    return ()


def _without_known(problems: Iterable[str], reported: ManifestError) -> list[str]:
    """Leaves out the problems of a field of the spec that a rule has already reported."""
    places = {problem.partition(": ")[0] for problem in reported.problems}
    spec_fields = {place for place in places if place.startswith("spec.")}
    return [problem for problem in problems if problem.partition(": ")[0] not in spec_fields]


def _cleanup_flags(flags: Flags) -> CleanupFlags:
    durations = {key: flags.get(_parameter(key)) for key in names.DURATION_ANNOTATIONS}
    # --submit-timeout limits the acceptance of the job, and then its confirmation.
    submit_timeouts = flags["submit_timeout"] * 2
    return CleanupFlags(
        shutdown=flags["shutdown_after_job_finishes"],
        ttl_seconds=flags["ttl_seconds_after_finished"],
        durations={key: text for key, text in durations.items() if text},
        ttl_unsubmitted=flags["ttl_unsubmitted"],
        longest_wait=flags["head_timeout"] + flags["upload_timeout"] + submit_timeouts,
    )


def _parameter(key: str) -> str:
    """The name that click gives to the flag of an annotation."""
    return key.removeprefix(names.ANNOTATION_PREFIX).replace("-", "_")


def _manifest(rayjob: Mapping[str, Any] | None, entrypoint: str, flags: Flags) -> Manifest:
    name, labels, cleanup = flags["name"], flags["labels"], _cleanup_flags(flags)
    if rayjob is not None:
        return from_file(rayjob, cleanup, name=name, entrypoint=entrypoint or None, labels=labels)
    if not name:
        raise ManifestError("--name: set the name of the RayJob, or use a file with -f")
    shape = ClusterShape(**{field.name: flags[field.name] for field in fields(ClusterShape)})
    return from_flags(name, entrypoint, shape, cleanup, labels=labels)


def _unchecked_spec(rayjob: Mapping[str, Any] | None, entrypoint: str) -> dict[str, Any]:
    """The spec of a RayJob with problems, so that its job can be checked too."""
    spec = dict(_spec_of(rayjob))
    if entrypoint:
        spec["entrypoint"] = entrypoint
    return spec


def _spec_of(rayjob: Mapping[str, Any] | None) -> Mapping[str, Any]:
    spec = (rayjob or {}).get("spec")
    return spec if isinstance(spec, Mapping) else {}
