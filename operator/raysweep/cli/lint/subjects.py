"""The objects that `raysweep lint` checks. A subject turns a path of its object into a position."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from raysweep import names
from raysweep.cli.lint.problems import Problem, Rule, title
from raysweep.cli.lint.yaml_positions import Path, YamlValue
from raysweep.core.text import plain


class Kind(Enum):
    """The kinds of objects that have rules."""

    RAYJOB = "RayJob"
    RAYCRONJOB = "RayCronJob"
    NAMESPACE = "Namespace"
    POLICY = names.POLICY_KIND
    OTHER = ""


CLUSTER_SCOPED = (Kind.NAMESPACE, Kind.POLICY)


@dataclass(frozen=True, slots=True)
class Subject:
    """One object to check. file: "" for a live object."""

    part: YamlValue
    kind: Kind
    file: str = ""

    @property
    def is_live(self) -> bool:
        """Whether the object comes from the API server."""
        return not self.file

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The metadata. Empty if it is not a mapping."""
        return _mapping(self.part.value.get("metadata"))

    @property
    def name(self) -> str:
        """The name, or the beginning of a generated name, as `train-*`."""
        prefix = self.metadata.get("generateName")
        generated = f"{prefix}*" if prefix else ""
        return plain(self.metadata.get("name") or generated)

    @property
    def namespace(self) -> str:
        """The namespace, or "" if there is none."""
        return plain(self.metadata.get("namespace") or "")

    @property
    def written_kind(self) -> str:
        """The kind, as written."""
        return plain(self.part.value.get("kind") or "")

    @property
    def title(self) -> str:
        """`RayJob team-a/train`."""
        return title(self.written_kind, self.namespace, self.name)

    def texts(self, field: str) -> dict[str, str]:
        """The labels or annotations that are texts. The API server reads null as an empty text."""
        return {
            key: value or ""
            for key, value in _mapping(self.metadata.get(field)).items()
            if value is None or isinstance(value, str)
        }

    def problem(
        self, rule: Rule, message: str, path: Path = (), *, place: str = "", is_key: bool = False
    ) -> Problem:
        """A problem of the value at this path, or of its key. place: the path in words."""
        return Problem(
            rule,
            message,
            place=plain(place or ".".join(map(str, path))),
            file=self.file,
            position=self.part.position(path, is_key=is_key),
            kind=self.written_kind,
            namespace="" if self.kind in CLUSTER_SCOPED else self.namespace,
            name=self.name,
        )


def subjects(document: YamlValue, file: str = "") -> Iterator[Subject]:
    """The objects of a document. A list yields its items."""
    body = document.value
    if not isinstance(body, Mapping) or not isinstance(body.get("kind"), str):
        return
    items = body.get("items")
    if not body["kind"].endswith("List") or not isinstance(items, list):
        yield Subject(document, _kind(body), file)
        return
    item_kind = body["kind"].removesuffix("List")
    inherited = {"apiVersion": body.get("apiVersion"), "kind": item_kind} if item_kind else {}
    for number, item in enumerate(items):
        if isinstance(item, Mapping):
            typed = item if "kind" in item else {**inherited, **item}
            yield from subjects(YamlValue(typed, document.part("items", number).node), file)


def _kind(body: Mapping[str, Any]) -> Kind:
    version, kind = body.get("apiVersion"), body["kind"]
    group = version.rpartition("/")[0] if isinstance(version, str) else ""
    groups = {
        "RayJob": names.RAY_GROUP,
        "RayCronJob": names.RAY_GROUP,
        "Namespace": "",
        names.POLICY_KIND: group,  # policy_rules.py checks the group of a policy
    }
    is_known = kind in groups and (group == groups[kind] or not version)
    return Kind(kind) if is_known else Kind.OTHER


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
