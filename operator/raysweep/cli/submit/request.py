"""What a call of `raysweep submit` asks for, put together from its flags and its file. Nobody is asked, nothing is sent."""

import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from raysweep import names
from raysweep.cli.common.session import say
from raysweep.clients.parsing import yaml_text
from raysweep.core.text import quoted
from raysweep.core.validation.metadata import LONGEST_NAME
from raysweep.submission.entrypoint import entrypoint_of
from raysweep.submission.job import Flags, Job, JobError, compose
from raysweep.submission.manifest import (
    Cleanup,
    Manifest,
    ManifestError,
    Shape,
    from_file,
    from_flags,
)
from raysweep.submission.runtime_env import RuntimeEnvError

SUFFIX_OF = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own alphabet for generated names (apimachinery pkg/util/rand): nothing that reads like a word."""
OF_THE_LOCAL_RAY = ("log_style", "log_color")

Given = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, checked as far as that goes without asking anybody."""

    manifest: Manifest
    job: Job
    given: Given
    companions: tuple[Mapping[str, Any], ...] = ()
    """The other objects of the file."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the person should know before anything is created."""
        return (*self.manifest.notes, *self.job.notes)

    @property
    def name(self) -> str:
        """Of the RayJob."""
        return str(self.manifest.body["metadata"]["name"])

    @property
    def output(self) -> str:
        """How the answer is printed; text is for people."""
        return str(self.given["output"])


class FileError(Exception):
    """The file with the RayJob cannot be used."""


@dataclass(frozen=True, slots=True)
class Documents:
    """The objects of a file: the RayJob that is submitted, and the others but further RayJobs."""

    rayjob: Mapping[str, Any]
    others: tuple[Mapping[str, Any], ...] = ()


def wanted(words: tuple[str, ...], given: Given) -> Asked:
    """Raises ManifestError with every problem, FileError: both mean that nothing was created."""
    for flag in OF_THE_LOCAL_RAY:
        if given[flag]:
            say(f"--{flag.replace('_', '-')} has no effect: there is no local ray command")
    path = given["filename"]
    documents = _documents(path, given["name"]) if path else None
    if documents:
        _check_namespaces(documents, given["namespace"])
    document = documents.rayjob if documents else None
    problems: list[str] = []
    try:
        manifest = _manifest(document, entrypoint_of(words), _cleanup(given), given)
    except ManifestError as error:
        problems += error.problems
        manifest = Manifest(_unchecked(document, entrypoint_of(words)))
    spec = manifest.body["spec"] | ({"jobId": job_id} if (job_id := _job_id(document)) else {})
    flags = Flags(**{one.name: given[one.name] for one in fields(Flags)})
    try:
        job = compose(spec, flags)
    except JobError as error:
        problems += _new(str(error), problems)
    except RuntimeEnvError as error:
        for problem in error.problems:
            problems += _new(problem, problems)
    if problems:
        raise ManifestError(*problems)
    named = _named(manifest, generate=given["generate_name"])
    return Asked(named, job, given, documents.others if documents else ())


def _new(problem: str, known: list[str]) -> list[str]:
    """The problem, unless a rule about the same field has reported it already."""
    place = problem.partition(": ")[0]
    is_known = any(other.startswith(f"{place}: ") for other in known)
    return [] if is_known and place.startswith("spec.") else [problem]


def _cleanup(given: Given) -> Cleanup:
    submitting = given["submit_timeout"] * 2  # to take the job, then to confirm it
    return Cleanup(
        shutdown=given["shutdown_after_job_finishes"],
        ttl_seconds=given["ttl_seconds_after_finished"],
        durations={
            key: text for key in names.DURATION_ANNOTATIONS if (text := given.get(_parameter(key)))
        },
        ttl_unsubmitted=given["ttl_unsubmitted"],
        waits=given["head_timeout"] + given["upload_timeout"] + submitting,
    )


def _unchecked(document: Mapping[str, Any] | None, entrypoint: str) -> dict[str, Any]:
    """A RayJob with problems, as far as the job itself can be checked too."""
    spec = (document or {}).get("spec")
    spec = dict(spec) if isinstance(spec, Mapping) else {}
    return {"spec": spec | ({"entrypoint": entrypoint} if entrypoint else {})}


def _parameter(key: str) -> str:
    """click's name of the flag for an annotation."""
    return key.removeprefix(names.ANNOTATION_PREFIX).replace("-", "_")


def _manifest(
    document: Mapping[str, Any] | None, entrypoint: str, cleanup: Cleanup, given: Given
) -> Manifest:
    labels = given["labels"]
    if document is not None:
        return from_file(
            document, cleanup, name=given["name"], entrypoint=entrypoint or None, labels=labels
        )
    if not given["name"]:
        raise ManifestError("--name: give the RayJob a name, or a file with -f")
    shape = Shape(**{one.name: given[one.name] for one in fields(Shape)})
    return from_flags(given["name"], entrypoint, shape, cleanup, labels=labels)


def _documents(path: Path, name: str | None) -> Documents:
    """The objects of the file. Raises FileError."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        objects = _objects(yaml_text.load_documents(text))
    except OSError as error:
        raise FileError(f"-f: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FileError(f"-f: {path} is not a text file") from None
    except ValueError as error:
        raise FileError(f"-f: {path} {error}") from None
    rayjobs = [one for one in objects if _is_rayjob(one)]
    others = tuple(one for one in objects if not _is_rayjob(one))
    if len(objects) == 1:
        return Documents(objects[0])
    if len(rayjobs) != 1:
        return Documents(_chosen(rayjobs, path, name), others)
    return Documents(rayjobs[0], others)


def _objects(documents: list[Any]) -> list[Mapping[str, Any]]:
    """Those of lists one by one. Raises ValueError."""
    found: list[Mapping[str, Any]] = []
    for number, one in enumerate(documents, 1):
        is_list = isinstance(one, Mapping) and str(one.get("kind")).endswith("List")
        items = one.get("items") if is_list else [one]
        for item in items if isinstance(items, list) else []:
            if item is not None and not isinstance(item, Mapping):
                raise ValueError(f"has a document that is not an object: number {number}")
            found += [item] if item else []
    return found


def _is_rayjob(body: Mapping[str, Any]) -> bool:
    group = str(body.get("apiVersion")).rpartition("/")[0]
    return body.get("kind") == "RayJob" and group == names.RAY_GROUP


def _chosen(rayjobs: list[Mapping[str, Any]], path: Path, name: str | None) -> Mapping[str, Any]:
    """The RayJob of that name. Raises FileError."""
    if not rayjobs:
        raise FileError(f"-f: {path} has no RayJob of {names.RAY_GROUP}; give a file with one")
    known = [str(_metadata(one).get("name") or "") for one in rayjobs]
    if known.count(name or "") == 1 and name:
        left = ", ".join(one for one in known if one != name)
        say(f"of {path} RayJob {name} is submitted; these are left alone: {left}")
        return rayjobs[known.index(name)]
    listed = ", ".join(known)
    raise FileError(f"-f: {path} has {len(rayjobs)} RayJobs: {listed}; choose one with --name")


def _metadata(body: Mapping[str, Any]) -> Mapping[str, Any]:
    found = body.get("metadata")
    return found if isinstance(found, Mapping) else {}


def _check_namespaces(documents: Documents, asked_for: str | None) -> None:
    """Raises FileError for an object of another namespace than -n, and for one without a name."""
    for one in (documents.rayjob, *documents.others):
        named, kind = _metadata(one).get("namespace"), one.get("kind")
        if named and asked_for and named != asked_for:
            said = f"the file's {kind} is of namespace {named}; leave out one of them"
            raise FileError(f"-n {asked_for}: {said}")
    for one in documents.others:
        known = (one.get("apiVersion"), one.get("kind"), _metadata(one).get("name"))
        if not all(isinstance(word, str) and word for word in known):
            about = f"{quoted(known[1])} {quoted(known[2])}"
            said = "lacks an apiVersion, a kind or a metadata.name"
            raise FileError(f"-f: {about} {said}; write all three")


def _job_id(document: Mapping[str, Any] | None) -> str:
    spec = (document or {}).get("spec")
    return str(spec.get("jobId") or "") if isinstance(spec, Mapping) else ""


def _named(manifest: Manifest, *, generate: bool) -> Manifest:
    """With a name of its own, chosen here and not by the API server: so a creation whose answer got lost is found again."""
    metadata = dict(manifest.body["metadata"])
    prefix = metadata.pop("generateName", None)
    if generate or (prefix and not metadata.get("name")):
        suffix = "".join(secrets.choice(SUFFIX_OF) for _ in range(5))
        metadata["name"] = (
            f"{prefix or metadata['name'][: LONGEST_NAME - len(suffix) - 1] + '-'}{suffix}"
        )
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        names.SUBMISSION_ID: secrets.token_hex(8),
    }
    return replace(manifest, body=manifest.body | {"metadata": metadata})
