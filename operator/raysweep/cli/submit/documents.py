"""Reads the file of `raysweep submit -f`: the RayJob to submit, and the other objects."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysweep import names
from raysweep.cli.common.session import say
from raysweep.clients.parsing import yaml_text
from raysweep.core.text import quoted

Json = Mapping[str, Any]


class FileError(Exception):
    """The file cannot be used."""


@dataclass(frozen=True, slots=True)
class Documents:
    """The RayJob of a file that is submitted, and its other objects, except other RayJobs."""

    rayjob: Json
    companions: tuple[Json, ...] = ()

    def check_namespaces(self, namespace: str | None) -> None:
        """Raises FileError if an object belongs to another namespace than -n."""
        for body in (self.rayjob, *self.companions):
            own_namespace = _metadata(body).get("namespace")
            if own_namespace and namespace and own_namespace != namespace:
                message = f"the {body.get('kind')} of the file has namespace {own_namespace}"
                raise FileError(f"-n {namespace}: {message}: remove one of them")

    def check_identities(self) -> None:
        """Raises FileError if one of the other objects cannot be identified."""
        for body in self.companions:
            identity = (body.get("apiVersion"), body.get("kind"), _metadata(body).get("name"))
            if not all(isinstance(word, str) and word for word in identity):
                title = f"{quoted(identity[1])} {quoted(identity[2])}"
                message = "has no apiVersion, kind or metadata.name"
                raise FileError(f"-f: {title} {message}: set all three")


def read_documents(path: Path, name: str | None) -> Documents:
    """Reads a file, or stdin for `-`. name: of the RayJob to choose. Raises FileError."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        objects = _flatten(yaml_text.load_documents(text))
    except OSError as error:
        raise FileError(f"-f: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FileError(f"-f: {path} is not a text file") from None
    except ValueError as error:
        raise FileError(f"-f: {path} {error}") from None
    if len(objects) == 1:
        return Documents(objects[0])
    rayjobs = [body for body in objects if _is_rayjob(body)]
    companions = tuple(body for body in objects if not _is_rayjob(body))
    return Documents(_choose(rayjobs, path, name), companions)


def _flatten(documents: Sequence[Any]) -> list[Json]:
    """The objects, with the items of lists in their place. Raises ValueError."""
    objects: list[Json] = []
    for number, document in enumerate(documents, 1):
        items = [document]
        if isinstance(document, Mapping) and str(document.get("kind")).endswith("List"):
            items = document["items"] if isinstance(document.get("items"), list) else []
        for item in items:
            if item is not None and not isinstance(item, Mapping):
                raise ValueError(f"has a document that is not an object: number {number}")
            if item:
                objects.append(item)
    return objects


def _is_rayjob(body: Json) -> bool:
    group = str(body.get("apiVersion")).rpartition("/")[0]
    return body.get("kind") == "RayJob" and group == names.RAY_GROUP


def _choose(rayjobs: Sequence[Json], path: Path, name: str | None) -> Json:
    """The only RayJob, or the one of that name. Raises FileError."""
    if not rayjobs:
        raise FileError(f"-f: {path} has no RayJob of {names.RAY_GROUP}: use a file with one")
    if len(rayjobs) == 1:
        return rayjobs[0]
    choices = [str(_metadata(body).get("name") or "") for body in rayjobs]
    if name and choices.count(name) == 1:
        ignored = ", ".join(choice for choice in choices if choice != name)
        say(f"submitting RayJob {name} of {path}, ignoring {ignored}")
        return rayjobs[choices.index(name)]
    listed = ", ".join(choices)
    raise FileError(f"-f: {path} has {len(rayjobs)} RayJobs ({listed}): choose one with --name")


def _metadata(body: Json) -> Json:
    metadata = body.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}
