"""Rules that refuse RayJobs, and violations: places that break a rule. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, TypeVar

Json = Mapping[str, Any]
Path = tuple[str | int, ...]
Value = TypeVar("Value")
OF_EVERY_RAYJOB = ("entrypoint", "rayClusterSpec", "clusterSelector", "submissionMode", "jobId")
"""Every complete RayJob has at least one of these fields."""


class Authority(Enum):
    """Who refuses a RayJob."""

    API_SERVER = "the API server"  # at creation, as it does for every kind of object
    CRD = "KubeRay's CRD"  # at creation, by its schema and its CEL rules
    KUBERAY = "KubeRay"  # after creation: ValidationFailed, or a job that never runs
    KUEUE = "Kueue"  # at creation, by its webhook


class Severity(StrEnum):
    """How severe a violation is."""

    ERROR = "error"  # every supported version refuses the RayJob
    WARNING = "warning"  # the newest version refuses it, and an older one does not
    NOTE = "note"  # only older versions, or those without a feature gate, refuse it


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field: its path, what is wrong with it, and what to write instead."""

    path: Path
    problem: str
    hint: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A RayJob before its creation: only those fields that have the type that the CRD asks for.

    parse_yaml: raises ValueError for a text that is not YAML.
    """

    spec: Json
    parse_yaml: Callable[[str], object]
    metadata: Json = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether it is a whole RayJob. A patch, as for kustomize, lacks fields on purpose."""
        return any(key in self.spec for key in OF_EVERY_RAYJOB)

    @property
    def name(self) -> str:
        """metadata.name, "" if there is none."""
        return _member(self.metadata, "name", "")

    @property
    def labels(self) -> Mapping[str, str]:
        """metadata.labels."""
        return _member(self.metadata, "labels", {})

    @property
    def annotations(self) -> Mapping[str, str]:
        """metadata.annotations."""
        return _member(self.metadata, "annotations", {})

    @property
    def mode(self) -> str:
        """spec.submissionMode with its default."""
        return _member(self.spec, "submissionMode", "K8sJobMode")

    @property
    def selector(self) -> Mapping[str, str]:
        """spec.clusterSelector."""
        return _member(self.spec, "clusterSelector", {})

    @property
    def has_shutdown(self) -> bool:
        """Whether spec.shutdownAfterJobFinishes is true."""
        return _member(self.spec, "shutdownAfterJobFinishes", False)

    @property
    def strategy(self) -> Json:
        """spec.deletionStrategy."""
        return _member(self.spec, "deletionStrategy", {})

    @property
    def deletion_rules(self) -> list[Json]:
        """spec.deletionStrategy.deletionRules."""
        return _member(self.strategy, "deletionRules", [])

    @property
    def cluster(self) -> Json:
        """spec.rayClusterSpec."""
        return _member(self.spec, "rayClusterSpec", {})

    @property
    def head(self) -> Json:
        """spec.rayClusterSpec.headGroupSpec."""
        return _member(self.cluster, "headGroupSpec", {})

    @property
    def worker_groups(self) -> list[Json]:
        """spec.rayClusterSpec.workerGroupSpecs."""
        return _member(self.cluster, "workerGroupSpecs", [])

    @property
    def has_autoscaling(self) -> bool:
        """Whether the RayCluster is autoscaled."""
        return _member(self.cluster, "enableInTreeAutoscaling", False)


def _member(fields: Json, key: str, absent: Value) -> Value:
    value: Value = fields.get(key, absent)
    return value


FieldErrors = Iterator[FieldError]
Find = Callable[[Candidate], FieldErrors]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule. `find` yields every field of a RayJob that breaks it."""

    name: str
    description: str
    authority: Authority
    versions: str  # as "KubeRay 1.6 or later"; "" if every supported version refuses it
    severity: Severity
    verdict: str  # what becomes of the RayJob, as "which KubeRay refuses"
    find: Find

    def violations(self, candidate: Candidate) -> Iterator["Violation"]:
        """Every violation of this rule."""
        return map(self.violation, self.find(candidate))

    def violation(self, error: FieldError) -> "Violation":
        """The violation in this field."""
        return Violation(self, error.path, f"{error.problem}, {self.verdict}: {error.hint}")


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a RayJob breaks, with the path, who refuses it, and a hint."""

    rule: Rule
    path: Path
    message: str

    @property
    def place(self) -> str:
        """`spec.deletionStrategy.deletionRules[0].policy`, or `label team`."""
        return place_of(self.path)


def place_of(path: Path) -> str:
    """A path as the API server writes it. For a label or an annotation, only its key."""
    if len(path) == 3 and path[:2] in (("metadata", "labels"), ("metadata", "annotations")):
        return f"{str(path[1]).removesuffix('s')} {path[2]}"
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).lstrip(".")


def rule(
    authority: Authority,
    *,
    versions: str = "",
    severity: Severity = Severity.ERROR,
    verdict: str = "",
) -> Callable[[Find], Rule]:
    """Makes a rule of a function. Its name is the rule's name, its docstring the description."""

    def decorate(find: Find) -> Rule:
        name = find.__name__.replace("_", "-")
        description = (find.__doc__ or "").strip()
        refuses = verdict or f"which {versions or authority.value} refuses"
        return Rule(name, description, authority, versions, severity, refuses, find)

    return decorate
