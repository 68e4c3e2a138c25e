"""What `raysweep lint` can find, the objects that it looks at, and one finding with its place. Nothing is judged here."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any

from raysweep import names
from raysweep.cli.lint.yaml_positions import Marked, Path, Position
from raysweep.core.text import plain

ERROR, WARNING = "error", "warning"
LONGEST_PLACE = 1000

_WORDS = {
    r"^Field required$": "it is missing; write it",
    r"Input should be a valid string$": "is no text; write it in quotes",
    r"Input should be a valid (dictionary|mapping)\b.*": "is no mapping of keys to values; write one",
    r"Input should be a valid list\b.*": "is no list; write one",
    r"Input should be a valid integer$": "is no whole number; write one, without quotes",
    r"Input should be a valid boolean$": "is no boolean; write true or false, without quotes",
    r"Input should be (?=')": "is none of its values; write ",
    r"Input should be (?=(greater|less) than)": "is out of range; it must be ",
}


class Rule(StrEnum):
    """The closed list of checks, as docs/reference/lint.md has it. One word never means two things."""

    severity: str
    description: str

    def __new__(cls, word: str, severity: str, description: str) -> "Rule":
        member = str.__new__(cls, word)
        member._value_ = word
        member.severity, member.description = severity, description
        return member

    UNREADABLE_FILE = (
        "unreadable-file",
        ERROR,
        "A file or folder cannot be read, is too large, or is no UTF-8.",
    )
    INVALID_YAML = (
        "invalid-yaml",
        ERROR,
        "A file is neither YAML nor JSON, or a hostile kind of it.",
    )
    TEMPLATE = (
        "template",
        ERROR,
        "A file is a template, as Helm's are, and must be rendered first.",
    )
    DUPLICATE_KEY = (
        "duplicate-key",
        ERROR,
        "A key stands twice in one mapping, so one of the two is lost.",
    )
    INVALID_OBJECT = (
        "invalid-object",
        ERROR,
        "The API server refuses the metadata, such as an invalid label.",
    )
    NOT_A_TEXT = (
        "not-a-text",
        ERROR,
        "The value of an annotation is no text in YAML; the API server refuses the object.",
    )
    INVALID_VALUE = (
        "invalid-value",
        ERROR,
        "The value of a raysweep.io annotation is no duration, time or outcome.",
    )
    UNKNOWN_KEY = ("unknown-key", ERROR, "Raysweep has no annotation of that name.")
    WRITTEN_OUTCOME = (
        "written-outcome",
        ERROR,
        "A person wrote raysweep.io/outcome, which is Raysweep's own.",
    )
    INVALID_SPEC = (
        "invalid-spec",
        ERROR,
        "The CRD refuses the type of a field of a RayJob's spec; Raysweep keeps such a RayJob.",
    )
    REFUSED_BY_KUBERAY = (
        "refused-by-kuberay",
        ERROR,
        "KubeRay or its CRD refuses the RayJob, or its job never runs.",
    )
    REFUSED_BY_KUEUE = ("refused-by-kueue", ERROR, "Kueue's webhook refuses the RayJob.")
    REFUSED_BY_RAY = (
        "refused-by-ray",
        ERROR,
        "Ray refuses the runtime environment of a RayJob, or its job fails by it.",
    )
    INVALID_POLICY = (
        "invalid-policy",
        ERROR,
        "A RayJobCleanupPolicy cannot be understood: every RayJob it selects is kept.",
    )
    POLICY_NAMESPACE = (
        "policy-namespace",
        ERROR,
        "A RayJobCleanupPolicy names a namespace, but is cluster-scoped.",
    )
    API_VERSION = (
        "api-version",
        ERROR,
        "The apiVersion of a RayJobCleanupPolicy is not raysweep.io/v1alpha1.",
    )
    UNKNOWN_KIND = ("unknown-kind", ERROR, "The API group raysweep.io has no such kind.")
    REFUSED_BY_SOME_VERSIONS = (
        "refused-by-some-versions",
        WARNING,
        "The newest KubeRay, or an older Kueue, refuses the RayJob or drops a field of it.",
    )
    UNREAD_BY_RAY = (
        "unread-by-ray",
        WARNING,
        "Ray does not read a key of a RayJob's runtime environment, unless by a plugin.",
    )
    UNREAD_KEY = (
        "unread-key",
        WARNING,
        "A key of Raysweep's stands where Raysweep does not read it.",
    )
    KEEP_IN_THE_PAST = ("keep-in-the-past", WARNING, "keep-until has passed, so it keeps nothing.")
    REASON_WITHOUT_KEEP = (
        "reason-without-keep",
        WARNING,
        "keep-reason without keep-until keeps nothing.",
    )
    TTL_BEFORE_CLUSTER = (
        "ttl-before-cluster",
        WARNING,
        "A ttl is shorter than the cluster-ttl, and the RayJob waits for its cluster.",
    )
    KUBERAY_FIRST = (
        "kuberay-first",
        WARNING,
        "KubeRay deletes by itself before a time that the annotations set.",
    )
    WILL_BE_RECREATED = (
        "will-be-recreated",
        WARNING,
        "A GitOps tool marks the RayJob as its own, so it is kept unless it sets a ttl itself.",
    )
    CLAMPED = (
        "clamped",
        WARNING,
        "A time of a policy is outside the policy's own limits, which hold.",
    )
    LIMITS_CONFLICT = (
        "limits-conflict",
        WARNING,
        "The limits of two policies contradict each other: RayJobs that both select stay.",
    )
    SAME_PRIORITY = (
        "same-priority",
        WARNING,
        "Two policies of one priority set the same; the order of their names decides.",
    )


class Kind(Enum):
    """What an object is to Raysweep."""

    RAYJOB = "RayJob"
    RAYCRONJOB = "RayCronJob"
    NAMESPACE = "Namespace"
    POLICY = names.POLICY_KIND
    OTHER = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where. `subject` is `RayJob team-a/train`, "" where a whole file is meant."""

    rule: Rule
    message: str
    place: str = ""
    file: str = ""
    at: Position | None = None
    kind: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def subject(self) -> str:
        """As people write it."""
        return " ".join(
            part
            for part in (self.kind, "/".join(part for part in (self.namespace, self.name) if part))
            if part
        )

    def __str__(self) -> str:
        where = ":".join((self.file, *map(str, self.at or ()))) if self.file else self.subject
        what = (self.subject if self.file else "", self.place, self.message)
        return ": ".join(part for part in (where, self.rule.severity, *what) if part)


@dataclass(frozen=True, slots=True)
class Subject:
    """One object that is looked at; file is "" where it is a live one."""

    part: Marked
    kind: Kind
    file: str = ""

    @property
    def is_live(self) -> bool:
        """Whether it comes from the API server."""
        return not self.file

    @property
    def name(self) -> str:
        """Its name, or what a generated one begins with."""
        known = _mapping(self.part.value.get("metadata"))
        prefix = known.get("generateName")
        return plain(known.get("name") or (f"{prefix}*" if prefix else ""))

    @property
    def namespace(self) -> str:
        """Its namespace, "" where none is said."""
        return plain(_mapping(self.part.value.get("metadata")).get("namespace") or "")

    @property
    def title(self) -> str:
        """`RayJob team-a/train`."""
        name = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{plain(self.part.value.get('kind') or '')} {name}".strip()

    def texts(self, field: str) -> dict[str, str]:
        """Those of its labels or annotations that are texts, as they must be; to the API server no value is an empty text."""
        found = _mapping(_mapping(self.part.value.get("metadata")).get(field))
        return {
            key: value or ""
            for key, value in found.items()
            if value is None or isinstance(value, str)
        }

    def problem(
        self, rule: Rule, message: str, path: Path = (), *, place: str = "", key: bool = False
    ) -> Problem:
        """Something wrong at that path of it; place says where in words, else the path does."""
        return Problem(
            rule,
            message,
            plain(place or ".".join(map(str, path))),
            self.file,
            self.part.at(path, key=key),
            plain(self.part.value.get("kind") or ""),
            "" if self.kind in (Kind.NAMESPACE, Kind.POLICY) else self.namespace,
            self.name,
        )

    def told(self, rule: Rule, fault: str, spec: Path) -> Problem:
        """A fault that begins with its place, as `spec.limits.rayJob.min: 'soon' is no duration`; spec: where that `spec` stands.

        An unknown key stands at the key; what is missing, at what it is missing in.
        """
        path, rest = spec, fault.removeprefix("spec")
        while rest.startswith(".") and (step := _first(rest[1:], self.part.part(*path).value)):
            path, rest = (
                (*path, int(step) if isinstance(self.part.part(*path).value, list) else step),
                rest[1 + len(step) :],
            )
        missing, _, message = rest.partition(": ")
        place = ".".join(map(str, path)) + missing
        return self.problem(
            rule, _plainer(message), path, place=place, key=message.startswith("unknown key")
        )


def subjects(document: Marked, file: str = "") -> Iterator[Subject]:
    """The objects of a document; those of a list one by one."""
    body = document.value
    if not isinstance(body, Mapping) or not isinstance(body.get("kind"), str):
        return
    items = body.get("items")
    if not body["kind"].endswith("List") or not isinstance(items, list):
        yield Subject(document, _kind(body), file)
        return
    of = {"apiVersion": body.get("apiVersion"), "kind": body["kind"].removesuffix("List")}
    for number, item in enumerate(items):
        if isinstance(item, Mapping):
            named = item if "kind" in item or not of["kind"] else {**of, **item}
            yield from subjects(Marked(named, document.part("items", number).node), file)


def _kind(body: Mapping[str, Any]) -> Kind:
    version, kind = body.get("apiVersion"), body["kind"]
    group = version.rpartition("/")[0] if isinstance(version, str) else ""
    homes = {
        "RayJob": names.RAY_GROUP,
        "RayCronJob": names.RAY_GROUP,
        "Namespace": "",
        names.POLICY_KIND: group,
    }
    return Kind(kind) if kind in homes and (group == homes[kind] or not version) else Kind.OTHER


def _first(rest: str, value: object) -> str:
    """The first step of a dotted place into that value; "" where there is no such part. A key may have dots itself."""
    ends = [found.start() for found in re.finditer(r"\.|: ", rest[:LONGEST_PLACE])]
    steps = (rest[:end] for end in reversed(ends))
    if isinstance(value, list):
        return next((step for step in steps if step.isdecimal() and int(step) < len(value)), "")
    return next((step for step in steps if step in _mapping(value)), "")


def _plainer(message: str) -> str:
    """What pydantic says, in words for people who do not know it."""
    message = re.sub(r"^('[^']*'): ", r"\1 ", message)
    for theirs, ours in _WORDS.items():
        message = re.sub(theirs, ours, message)
    return message


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
