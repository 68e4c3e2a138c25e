"""What a call of `raysweep submit` asks for, put together from its flags and its file. Nobody is asked, nothing is sent."""

import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from raysweep import names
from raysweep.cli.session import say
from raysweep.clients import yaml_text
from raysweep.clients.yaml_text import YamlError
from raysweep.submission.entrypoint import entrypoint_of
from raysweep.submission.job import Flags, Job, compose
from raysweep.submission.manifest import (
    LONGEST_NAME,
    Cleanup,
    Manifest,
    ManifestError,
    Shape,
    from_file,
    from_flags,
)

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


def wanted(words: tuple[str, ...], given: Given) -> Asked:
    """Raises ManifestError, JobError, RuntimeEnvError, FileError: all of them mean that nothing was created."""
    for flag in OF_THE_LOCAL_RAY:
        if given[flag]:
            say(f"--{flag.replace('_', '-')} has no effect: there is no local ray command")
    cleanup = Cleanup(
        shutdown=given["shutdown_after_job_finishes"],
        ttl_seconds=given["ttl_seconds_after_finished"],
        durations={key: text for key in names.DURATION_KEYS if (text := given.get(_parameter(key)))},
        ttl_unsubmitted=given["ttl_unsubmitted"],
    )
    document = _document(given["filename"]) if given["filename"] else None
    _check_namespace(document, given["namespace"])
    manifest = _manifest(document, entrypoint_of(words), cleanup, given)
    spec = manifest.body["spec"] | ({"jobId": job_id} if (job_id := _job_id(document)) else {})
    flags = Flags(**{one.name: given[one.name] for one in fields(Flags)})
    return Asked(_named(manifest, generate=given["generate_name"]), compose(spec, flags), given)


def _parameter(key: str) -> str:
    """click's name of the flag for an annotation."""
    return key.removeprefix(names.ANNOTATION_PREFIX).replace("-", "_")


def _manifest(document: Mapping[str, Any] | None, entrypoint: str, cleanup: Cleanup, given: Given) -> Manifest:
    labels = given["labels"]
    if document is not None:
        return from_file(document, cleanup, name=given["name"], entrypoint=entrypoint or None, labels=labels)
    if not given["name"]:
        raise ManifestError("--name: give the RayJob a name, or a file with -f")
    shape = Shape(**{one.name: given[one.name] for one in fields(Shape)})
    return from_flags(given["name"], entrypoint, shape, cleanup, labels=labels)


def _document(path: Path) -> Mapping[str, Any]:
    """The one object of the file."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        found = [one for one in yaml_text.load_documents(text) if one is not None]
    except OSError as error:
        raise FileError(f"-f: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FileError(f"-f: {path} is not a text file") from None
    except YamlError as error:
        raise FileError(f"-f: {path} {error}") from None
    if len(found) != 1 or not isinstance(found[0], dict):
        raise FileError(f"-f: {path} holds {len(found)} objects; give one RayJob")
    return found[0]


def _check_namespace(document: Mapping[str, Any] | None, asked_for: str | None) -> None:
    metadata = (document or {}).get("metadata")
    named = metadata.get("namespace") if isinstance(metadata, Mapping) else None
    if named and asked_for and named != asked_for:
        raise FileError(f"-n {asked_for}: the file's RayJob is of namespace {named}; leave out one of them")


def _job_id(document: Mapping[str, Any] | None) -> str:
    spec = (document or {}).get("spec")
    return str(spec.get("jobId") or "") if isinstance(spec, Mapping) else ""


def _named(manifest: Manifest, *, generate: bool) -> Manifest:
    """With a name of its own, chosen here and not by the API server: so a creation whose answer got lost is found again."""
    metadata = dict(manifest.body["metadata"])
    prefix = metadata.pop("generateName", None)
    if generate or (prefix and not metadata.get("name")):
        suffix = "".join(secrets.choice(SUFFIX_OF) for _ in range(5))
        metadata["name"] = f"{prefix or metadata['name'][: LONGEST_NAME - len(suffix) - 1] + '-'}{suffix}"
    metadata["annotations"] = {**(metadata.get("annotations") or {}), names.SUBMISSION: secrets.token_hex(8)}
    return replace(manifest, body=manifest.body | {"metadata": metadata})
