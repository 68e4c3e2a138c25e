"""Rules about one object: its annotations, misplaced keys, and tools that would create it again."""

import difflib
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from raysweep import names
from raysweep.cli.lint.kuberay_rules import ANNOTATIONS, METADATA, kuberay_first
from raysweep.cli.lint.problems import Problem, Rule
from raysweep.cli.lint.runtime_env_rules import refused_by_ray
from raysweep.cli.lint.subjects import Kind, Subject
from raysweep.clients.parsing.rayjob import parse_namespace, parse_rayjob
from raysweep.core import recreation
from raysweep.core.durations import format_duration, longest
from raysweep.core.model.facts import Namespace, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import InvalidValue, SourcedDuration
from raysweep.core.retention import annotations
from raysweep.core.text import quoted
from raysweep.core.validation.violation import Violation

_KNOWN_WORDS = sorted(
    key.removeprefix(names.ANNOTATION_PREFIX) for key in names.ANNOTATIONS - {names.OUTCOME}
)
_SIMILAR_PREFIX = re.compile(r"(?i)ray-?sweep[./]")
_TYPES = {bool: "a boolean", int: "a number", float: "a number", dict: "a mapping", list: "a list"}
_WHERE_READ = {
    Kind.RAYJOB: "Raysweep reads the RayJob's own annotations only: move it there",
    Kind.RAYCRONJOB: (
        "KubeRay copies none of a RayCronJob's metadata to its RayJobs:"
        " set it on the Namespace, or in a policy"
    ),
    Kind.NAMESPACE: "Raysweep reads annotations only: make it one",
    Kind.POLICY: "Raysweep reads the spec of a policy only: remove it",
    Kind.OTHER: "Raysweep reads annotations of RayJobs and Namespaces only: move it to one",
}


@dataclass(frozen=True, slots=True)
class Context:
    """What the rules need besides the object."""

    now: datetime
    recreated_by: frozenset[str] = names.RECREATED_BY


def object_problems(subject: Subject, context: Context) -> Iterator[Problem]:
    """The problems of one object, except those of policies and refused RayJobs."""
    yield from _misplaced_keys(subject)
    if subject.kind is Kind.OTHER:
        return
    yield from _duplicate_keys(subject)
    yield from _invalid_metadata(subject)
    if subject.kind is Kind.RAYCRONJOB:
        yield from refused_by_ray(subject, ("spec", "jobTemplate"))
    if subject.kind not in (Kind.RAYJOB, Kind.NAMESPACE):
        return
    yield from _invalid_annotations(subject)
    owner = _facts(subject, context)
    yield from _ttl_before_cluster(subject, owner)
    yield from _keep(subject, owner, context.now)
    if isinstance(owner, RayJob):
        yield from refused_by_ray(subject, ("spec",))
        yield from kuberay_first(subject, owner, context.now)
        yield from _recreated(subject, owner, context.recreated_by)


def has_placeholders(subject: Subject, violations: Iterable[Violation]) -> bool:
    """Whether metadata, the spec of a policy, or the value of a violation holds `{{`."""
    body = subject.part.value
    if subject.kind is Kind.OTHER:
        return False
    values = [body.get("metadata")]
    if subject.kind is Kind.POLICY:
        values.append(body.get("spec"))
    if subject.kind is Kind.RAYJOB:
        paths = (violation.path for violation in violations if len(violation.path) > 1)
        values += [subject.part.part(*path).value for path in paths]
    return any("{{" in text for value in values for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, keys included. What several aliases share is visited once."""
    visited, queue = set(), [value]
    while queue:
        current = queue.pop()
        if isinstance(current, str):
            yield current
        if id(current) in visited or not isinstance(current, Mapping | list):
            continue
        visited.add(id(current))
        queue += [*current, *current.values()] if isinstance(current, Mapping) else current


def _duplicate_keys(subject: Subject) -> Iterator[Problem]:
    message = "this mapping has the key twice, so one of the values is lost: remove one"
    for key, position in subject.part.duplicate_keys():
        problem = subject.problem(Rule.DUPLICATE_KEY, message, place=quoted(key))
        yield replace(problem, position=position)


def _invalid_metadata(subject: Subject) -> Iterator[Problem]:
    for path in (*METADATA, ANNOTATIONS):
        value = subject.part.part(*path).value
        if value is not None and not isinstance(value, Mapping):
            message = "not a mapping of keys to texts: use one"
            yield subject.problem(Rule.INVALID_OBJECT, message, path)


def _invalid_annotations(subject: Subject) -> Iterator[Problem]:
    written = subject.part.part(*ANNOTATIONS).value
    if not isinstance(written, Mapping):
        return
    texts = subject.texts("annotations")
    for key, value in written.items():
        if key not in texts:
            yield _not_a_text(subject, key, value)
        elif key == names.OUTCOME:
            yield from _outcome(subject, texts[key])
        elif key in names.ANNOTATIONS:
            for invalid in annotations.errors({key: texts[key]}, ""):
                yield _on_annotation(subject, Rule.INVALID_VALUE, key, invalid.message)
        yield from _unknown_key(subject, key)


def _not_a_text(subject: Subject, key: str, value: object) -> Problem:
    kind = _TYPES[type(value)]
    if isinstance(value, Mapping | list):
        message = f"the value is {kind}, and the API server takes texts only: use a text"
    else:
        text = quoted(subject.part.text_at((*ANNOTATIONS, key)))
        message = f"{text} is {kind} in YAML, and the API server takes texts only: use quotes"
    return _on_annotation(subject, Rule.NOT_A_TEXT, key, message)


def _outcome(subject: Subject, value: str) -> Iterator[Problem]:
    """Only Raysweep writes raysweep.io/outcome. The API server knows who wrote a live RayJob's."""
    if subject.kind is not Kind.RAYJOB or not subject.is_live:
        message = (
            f"{quoted(value)}: only Raysweep writes this annotation, on RayJobs whose RayCluster it"
            " deletes: remove it"
        )
        yield _on_annotation(subject, Rule.WRITTEN_OUTCOME, names.OUTCOME, message)
        return
    job = RayJob("", "", "", "", annotations={names.OUTCOME: value})
    invalid = annotations.recorded_outcome(job)
    if isinstance(invalid, InvalidValue):
        yield _on_annotation(subject, Rule.INVALID_VALUE, names.OUTCOME, invalid.message)
    for manager in _other_writers(subject.metadata, names.OUTCOME):
        message = (
            f"written by {quoted(manager)}, but only Raysweep may write it:"
            " remove it, so that Raysweep believes the Ray head again"
        )
        yield _on_annotation(subject, Rule.WRITTEN_OUTCOME, names.OUTCOME, message)


def _other_writers(metadata: Mapping[str, Any], key: str) -> list[str]:
    """Who wrote that annotation, except Raysweep, by metadata.managedFields."""
    entries = metadata.get("managedFields")
    writers = []
    for entry in entries if isinstance(entries, list) else ():
        fields: Any = entry.get("fieldsV1") if isinstance(entry, Mapping) else None
        for step in ("f:metadata", "f:annotations", f"f:{key}"):
            fields = fields.get(step) if isinstance(fields, Mapping) else None
        if fields is not None and entry.get("manager") != names.APP_NAME:
            writers.append(str(entry.get("manager")))
    return writers


def _unknown_key(subject: Subject, key: str) -> Iterator[Problem]:
    """A key of the group raysweep.io that Raysweep does not know, or one of a similar group."""
    suggestion = _suggestion(key)
    is_own = key.startswith(names.ANNOTATION_PREFIX)
    if is_own and key not in names.ANNOTATIONS:
        (invalid,) = annotations.errors({key: ""}, "")
        message = f"unknown key: {suggestion}" if suggestion else invalid.message
        yield _on_annotation(subject, Rule.UNKNOWN_KEY, key, message, is_key=True)
    elif not is_own and _SIMILAR_PREFIX.match(key):
        hint = f": {suggestion}" if suggestion else ""
        message = f"not read, since Raysweep's keys begin with {names.ANNOTATION_PREFIX}{hint}"
        yield _on_annotation(subject, Rule.UNREAD_KEY, key, message, is_key=True)


def _suggestion(key: str) -> str:
    """`did you mean raysweep.io/ttl-failed?`, or "" if no key is similar."""
    name = key.rpartition("/")[2][:100]
    word = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower().replace("_", "-")
    similar = difflib.get_close_matches(word, _KNOWN_WORDS, n=1, cutoff=0.55)
    return f"did you mean {names.ANNOTATION_PREFIX}{similar[0]}?" if similar else ""


def _ttl_before_cluster(subject: Subject, owner: RayJob | Namespace) -> Iterator[Problem]:
    """A ttl that a longer cluster-ttl of the same object overrides."""
    reported = set()
    for outcome in Outcome:
        ttl = annotations.duration_for(owner, names.TTL, outcome)
        cluster_ttl = annotations.duration_for(owner, names.CLUSTER_TTL, outcome)
        if not isinstance(ttl, SourcedDuration) or not isinstance(cluster_ttl, SourcedDuration):
            continue
        if longest(ttl.value, cluster_ttl.value) == ttl.value:
            continue
        key, cluster_key = (each.source.rpartition(" ")[2] for each in (ttl, cluster_ttl))
        if (key, cluster_key) in reported:
            continue
        reported.add((key, cluster_key))
        cluster = f"{cluster_key} {quoted(format_duration(cluster_ttl.value))}"
        message = shorter_than_cluster(ttl, cluster)
        yield _on_annotation(subject, Rule.TTL_BEFORE_CLUSTER, key, message)


def shorter_than_cluster(ttl: SourcedDuration, cluster: str) -> str:
    """The message for a ttl that is shorter than the cluster-ttl. cluster: its key and value."""
    return (
        f"{quoted(format_duration(ttl.value))} is shorter than {cluster}, so the RayJob is kept as"
        " long as its RayCluster: use a longer time, or shorten the other"
    )


def _keep(subject: Subject, owner: RayJob | Namespace, now: datetime) -> Iterator[Problem]:
    until = annotations.keep_until(owner)
    if isinstance(until, datetime) and until <= now:
        value = quoted(owner.annotations[names.KEEP_UNTIL])
        message = f"{value} is in the past, so it has no effect: remove it, or use a later time"
        yield _on_annotation(subject, Rule.KEEP_IN_THE_PAST, names.KEEP_UNTIL, message)
    if names.KEEP_REASON in owner.annotations and until is None:
        message = f"no effect without {names.KEEP_UNTIL}: set that too, or remove it"
        rule, key = Rule.REASON_WITHOUT_KEEP, names.KEEP_REASON
        yield _on_annotation(subject, rule, key, message, is_key=True)


def _recreated(subject: Subject, job: RayJob, recreated_by: frozenset[str]) -> Iterator[Problem]:
    without_ttl = [outcome for outcome in Outcome if not annotations.has_own_ttl(job, outcome)]
    if not without_ttl:
        return
    condition = ""
    if len(without_ttl) < len(Outcome):
        condition = f" if the job is {' or '.join(without_ttl)}"
    message = (
        "the tool that sets this would create the RayJob again, so Raysweep keeps the RayJob"
        f"{condition} (WillBeRecreated) and deletes at most its RayCluster:"
        f" set {names.TTL} on the RayJob itself to have it deleted"
    )
    for key in sorted(recreated_by & job.keys):
        field = "labels" if key in subject.texts("labels") else "annotations"
        path, place = ("metadata", field, key), f"{field[:-1]} {key}"
        yield subject.problem(Rule.WILL_BE_RECREATED, message, path, place=place, is_key=True)


def is_mark_ambiguous(subject: Subject, context: Context) -> bool:
    """Whether Argo CD may create this RayJob again. Only the setting recreated-by can tell."""
    if subject.kind is not Kind.RAYJOB:
        return False
    job = _facts(subject, context)
    return isinstance(job, RayJob) and recreation.is_mark_ambiguous(job, context.recreated_by)


def _misplaced_keys(subject: Subject) -> Iterator[Problem]:
    """raysweep.io keys in metadata that Raysweep does not read, such as that of Pod templates.

    What several aliases share is reported once.
    """
    has_annotations = subject.kind in (Kind.RAYJOB, Kind.NAMESPACE)
    queue: deque[tuple[tuple[str | int, ...], Any]] = deque([((), subject.part.value)])
    visited = set()
    while queue:
        path, value = queue.popleft()
        if id(value) in visited or not isinstance(value, Mapping | list):
            continue
        visited.add(id(value))
        members = value.items() if isinstance(value, Mapping) else enumerate(value)
        queue += [((*path, step), member) for step, member in members]
        is_read = has_annotations and path == ANNOTATIONS
        if "metadata" not in path[-2:] or isinstance(value, list) or is_read:
            continue
        is_label = has_annotations and path == ("metadata", "labels")
        message = _WHERE_READ[Kind.NAMESPACE if is_label else subject.kind]
        for key in value:
            if key.startswith(names.ANNOTATION_PREFIX):
                place = f"{'.'.join(map(str, path))} {quoted(key)}"
                yield subject.problem(
                    Rule.UNREAD_KEY, message, (*path, key), place=place, is_key=True
                )


def _facts(subject: Subject, context: Context) -> RayJob | Namespace:
    """The object as the operator reads it, without what only a live object has."""
    metadata = {
        "name": subject.name,
        "namespace": subject.namespace,
        "uid": "",
        "resourceVersion": "",
        "labels": subject.texts("labels"),
        "annotations": subject.texts("annotations"),
    }
    if subject.kind is Kind.NAMESPACE:
        return parse_namespace({"metadata": metadata})
    body = {"metadata": metadata, "spec": subject.part.value.get("spec")}
    return parse_rayjob(body, context.recreated_by)


def _on_annotation(
    subject: Subject, rule: Rule, key: str, message: str, *, is_key: bool = False
) -> Problem:
    shown_key = key if key in names.ANNOTATIONS else quoted(key)
    path, place = (*ANNOTATIONS, key), f"annotation {shown_key}"
    return subject.problem(rule, message, path, place=place, is_key=is_key)
