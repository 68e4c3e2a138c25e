"""The rules of `raysweep lint`, and a problem: one place that breaks a rule."""

from dataclasses import dataclass
from enum import StrEnum

from raysweep.cli.lint.yaml_positions import Position

ERROR, WARNING = "error", "warning"


class Rule(StrEnum):
    """The closed list of rules, as docs/reference/lint.md has it."""

    severity: str
    description: str

    def __new__(cls, name: str, severity: str, description: str) -> "Rule":
        member = str.__new__(cls, name)
        member._value_ = name
        member.severity, member.description = severity, description
        return member

    UNREADABLE_FILE = (
        "unreadable-file",
        ERROR,
        "A file or folder cannot be read, is too large, or is not UTF-8.",
    )
    INVALID_YAML = ("invalid-yaml", ERROR, "A file is neither YAML nor JSON, or exceeds a limit.")
    TEMPLATE = (
        "template",
        ERROR,
        "A file is a template, such as Helm's, and must be rendered first.",
    )
    DUPLICATE_KEY = (
        "duplicate-key",
        ERROR,
        "A mapping has the same key twice, so one of the values is lost.",
    )
    INVALID_OBJECT = (
        "invalid-object",
        ERROR,
        "The API server refuses the metadata, such as an invalid label.",
    )
    NOT_A_TEXT = (
        "not-a-text",
        ERROR,
        "The value of an annotation is not a text, so the API server refuses the object.",
    )
    INVALID_VALUE = (
        "invalid-value",
        ERROR,
        "The value of a raysweep.io annotation is not a valid duration, time or outcome.",
    )
    UNKNOWN_KEY = ("unknown-key", ERROR, "Raysweep has no annotation of this name.")
    WRITTEN_OUTCOME = (
        "written-outcome",
        ERROR,
        "raysweep.io/outcome is written by someone other than Raysweep.",
    )
    INVALID_SPEC = (
        "invalid-spec",
        ERROR,
        "The CRD refuses the type of a field of a RayJob's spec. Raysweep keeps such a RayJob.",
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
        "Ray refuses the runtime environment of a RayJob, or its job fails because of it.",
    )
    INVALID_POLICY = (
        "invalid-policy",
        ERROR,
        "A RayJobCleanupPolicy is invalid, so every RayJob that it selects is kept.",
    )
    POLICY_NAMESPACE = (
        "policy-namespace",
        ERROR,
        "A RayJobCleanupPolicy has a namespace, although it is cluster-scoped.",
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
        "Ray does not read a key of a RayJob's runtime environment, unless a plugin does.",
    )
    UNREAD_KEY = (
        "unread-key",
        WARNING,
        "A raysweep.io key is in a place where Raysweep does not read it.",
    )
    KEEP_IN_THE_PAST = ("keep-in-the-past", WARNING, "keep-until has passed, so it has no effect.")
    REASON_WITHOUT_KEEP = (
        "reason-without-keep",
        WARNING,
        "keep-reason has no effect without keep-until.",
    )
    TTL_BEFORE_CLUSTER = (
        "ttl-before-cluster",
        WARNING,
        "A ttl is shorter than the cluster-ttl, so the RayJob is kept as long as its RayCluster.",
    )
    KUBERAY_FIRST = (
        "kuberay-first",
        WARNING,
        "KubeRay deletes the RayCluster or the RayJob before a time that the annotations set.",
    )
    WILL_BE_RECREATED = (
        "will-be-recreated",
        WARNING,
        "A GitOps tool manages the RayJob, so it is kept unless it sets a ttl itself.",
    )
    CLAMPED = (
        "clamped",
        WARNING,
        "A time of a policy is outside the limits of this policy, so the limit applies.",
    )
    LIMITS_CONFLICT = (
        "limits-conflict",
        WARNING,
        "The limits of two policies contradict each other, so RayJobs that both select are kept.",
    )
    SAME_PRIORITY = (
        "same-priority",
        WARNING,
        "Two policies of the same priority set the same field, so their names decide.",
    )


@dataclass(frozen=True, slots=True)
class Problem:
    """One place that breaks a rule. kind, namespace and name are those of the object, if any."""

    rule: Rule
    message: str
    place: str = ""
    file: str = ""
    position: Position | None = None
    kind: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def subject(self) -> str:
        """`RayJob team-a/train`, or "" for a problem of a whole file."""
        return title(self.kind, self.namespace, self.name)

    def __str__(self) -> str:
        """`jobs.yaml:8:22: error: RayJob team-a/train: annotation raysweep.io/ttl: ...`."""
        parts = [self.subject, self.rule.severity, self.place, self.message]
        if self.file:
            origin = ":".join((self.file, *map(str, self.position or ())))
            parts = [origin, self.rule.severity, self.subject, self.place, self.message]
        return ": ".join(part for part in parts if part)


def title(kind: str, namespace: str, name: str) -> str:
    """`RayJob team-a/train`."""
    path = "/".join(part for part in (namespace, name) if part)
    return " ".join(part for part in (kind, path) if part)
