"""What is wrong with one object: its annotations, keys that nobody reads, who would create it again. Policies stand elsewhere."""

import difflib
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from raysweep import names
from raysweep.cli.lint.kuberay_rules import earlier
from raysweep.cli.lint.problems import Kind, Problem, Rule, Subject
from raysweep.cli.lint.runtime_env_rules import refused_by_ray
from raysweep.cli.lint.yaml_positions import Path
from raysweep.clients.parsing.rayjob import parse_namespace, parse_rayjob
from raysweep.core import recreation
from raysweep.core.durations import format_duration, longest
from raysweep.core.model.facts import Namespace, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import InvalidValue, SourcedDuration
from raysweep.core.retention import annotations
from raysweep.core.text import quoted
from raysweep.core.validation.violation import Violation

ANNOTATIONS: Path = ("metadata", "annotations")
WRITABLE = sorted(names.ANNOTATIONS - {names.OUTCOME})
_LOOKS_LIKE_OURS = re.compile(r"(?i)ray-?sweep[./]")
_TYPES = {bool: "a boolean", int: "a number", float: "a number", dict: "a mapping", list: "a list"}
_UNREAD = {
    Kind.RAYJOB: "Raysweep reads the RayJob's own annotations only; move it there",
    Kind.RAYCRONJOB: "KubeRay gives none of a RayCronJob's metadata to its RayJobs; set it on the Namespace, or in a policy",
    Kind.NAMESPACE: "Raysweep reads annotations only; make it one",
    Kind.POLICY: "Raysweep reads the spec of a policy only; remove it",
    Kind.OTHER: "Raysweep reads annotations of RayJobs and Namespaces only; move it to one",
}


@dataclass(frozen=True, slots=True)
class Situation:
    """What a check reckons with besides the object."""

    now: datetime
    recreated_by: frozenset[str] = names.RECREATED_BY


def checked(subject: Subject, situation: Situation) -> Iterator[Problem]:
    """Everything that is wrong with one object, but for what only policies have."""
    yield from _unread(subject)
    if subject.kind is Kind.OTHER:
        return
    yield from _repeated(subject)
    yield from _metadata(subject)
    if subject.kind is Kind.RAYCRONJOB:
        yield from refused_by_ray(subject, ("spec", "jobTemplate"))
    if subject.kind not in (Kind.RAYJOB, Kind.NAMESPACE):
        return
    yield from _annotations(subject)
    thing = _facts(subject, situation.recreated_by)
    yield from _times(subject, thing)
    yield from _keep(subject, thing, situation.now)
    if isinstance(thing, RayJob):
        yield from refused_by_ray(subject, ("spec",))
        yield from earlier(subject, thing, situation.now)
        yield from _recreated(subject, thing, situation.recreated_by)


def unwritten(subject: Subject, problems: Iterable[Violation]) -> bool:
    """Whether something is still to be filled in: `{{` in metadata, a policy, or at a problem."""
    body, read = subject.part.value, []
    if subject.kind is Kind.OTHER:
        return False
    if subject.kind is Kind.POLICY:
        read = [body.get("spec")]
    if subject.kind is Kind.RAYJOB:
        fields = (problem.path for problem in problems if len(problem.path) > 1)
        read = [subject.part.part(*path).value for path in fields]
    return any(_has_braces(part) for part in (body.get("metadata"), *read))


def _has_braces(value: Any) -> bool:
    return any("{{" in one for one in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    """Every text in it once, keys too; what an alias repeats is looked at once."""
    seen, left = set(), [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        if id(one) in seen or not isinstance(one, Mapping | list):
            continue
        seen.add(id(one))
        left += [*one, *one.values()] if isinstance(one, Mapping) else one


def _repeated(subject: Subject) -> Iterator[Problem]:
    for key, at in subject.part.repeated():
        said = "this key stands twice in one mapping, so one of the two is lost; remove one"
        yield replace(subject.problem(Rule.DUPLICATE_KEY, said, place=quoted(key)), at=at)


def _metadata(subject: Subject) -> Iterator[Problem]:
    for path in (("metadata",), ("metadata", "labels"), ANNOTATIONS):
        value = subject.part.part(*path).value
        if value is not None and not isinstance(value, Mapping):
            yield subject.problem(
                Rule.INVALID_OBJECT, "is no mapping of keys to texts; write one", path
            )


def _annotations(subject: Subject) -> Iterator[Problem]:
    found, texts = subject.part.part(*ANNOTATIONS).value, subject.texts("annotations")
    for key, value in found.items() if isinstance(found, Mapping) else ():
        if key not in texts:
            yield _no_text(subject, key, value)
        elif key == names.OUTCOME:
            yield from _outcome(subject, texts[key])
        elif key in names.ANNOTATIONS:
            for fault in annotations.errors({key: texts[key]}, ""):
                yield _on_annotation(subject, Rule.INVALID_VALUE, key, fault.message)
        if key.startswith(names.ANNOTATION_PREFIX) and key not in names.ANNOTATIONS:
            yield _unknown(subject, key)
        elif _LOOKS_LIKE_OURS.match(key) and not key.startswith(names.ANNOTATION_PREFIX):
            hint = _meant(key)
            said = f"Raysweep's keys begin with {names.ANNOTATION_PREFIX}, so nobody reads this one{hint}"
            yield _on_annotation(subject, Rule.UNREAD_KEY, key, said, is_key=True)


def _no_text(subject: Subject, key: str, value: object) -> Problem:
    written = subject.part.text_at((*ANNOTATIONS, key))
    if isinstance(value, Mapping | list):
        said = f"it is {_TYPES[type(value)]}, and the API server takes texts only; write one"
    else:
        kind = _TYPES[type(value)]
        said = f"{quoted(written)} is {kind} in YAML, and the API server takes texts only; write it in quotes"
    return _on_annotation(subject, Rule.NOT_A_TEXT, key, said)


def _outcome(subject: Subject, value: str) -> Iterator[Problem]:
    """Of a live RayJob the API server knows who wrote it; whoever has it in a file would write it."""
    if subject.kind is Kind.RAYJOB and subject.is_live:
        fault = annotations.recorded_outcome(
            RayJob("", "", "", "", annotations={names.OUTCOME: value})
        )
        if isinstance(fault, InvalidValue):
            yield _on_annotation(subject, Rule.INVALID_VALUE, names.OUTCOME, fault.message)
        for manager in _writers(subject.part.value, names.OUTCOME):
            said = f"{quoted(manager)} wrote it, and only Raysweep may; remove it, so that the Ray head is believed again"
            yield _on_annotation(subject, Rule.WRITTEN_OUTCOME, names.OUTCOME, said)
        return
    said = f"{quoted(value)} is for Raysweep alone to write, on RayJobs whose cluster it deletes; remove it"
    yield _on_annotation(subject, Rule.WRITTEN_OUTCOME, names.OUTCOME, said)


def _writers(body: Mapping[str, Any], key: str) -> list[str]:
    """Who wrote that annotation, but Raysweep, by metadata.managedFields."""
    entries = body.get("metadata", {}).get("managedFields")
    found = []
    for entry in entries if isinstance(entries, list) else ():
        fields: Any = entry.get("fieldsV1") if isinstance(entry, Mapping) else None
        for step in ("f:metadata", "f:annotations", f"f:{key}"):
            fields = fields.get(step) if isinstance(fields, Mapping) else None
        if fields is not None and entry.get("manager") != names.APP_NAME:
            found.append(str(entry.get("manager")))
    return found


def _unknown(subject: Subject, key: str) -> Problem:
    (fault,) = annotations.errors({key: ""}, "")
    hint = _meant(key)
    said = f"unknown key{hint}" if hint else fault.message
    return _on_annotation(subject, Rule.UNKNOWN_KEY, key, said, is_key=True)


def _meant(key: str) -> str:
    """`; did you mean raysweep.io/ttl-failed?`, or nothing."""
    word = (
        re.sub(r"(?<=[a-z])(?=[A-Z])", "-", key.rpartition("/")[2][:100]).lower().replace("_", "-")
    )
    close = difflib.get_close_matches(
        word, [one.removeprefix(names.ANNOTATION_PREFIX) for one in WRITABLE], n=1, cutoff=0.55
    )
    return f"; did you mean {names.ANNOTATION_PREFIX}{close[0]}?" if close else ""


def _times(subject: Subject, thing: RayJob | Namespace) -> Iterator[Problem]:
    """A ttl that its own cluster-ttl makes longer."""
    told = set()
    for outcome in Outcome:
        ttl, cluster = (
            annotations.duration_for(thing, key, outcome) for key in (names.TTL, names.CLUSTER_TTL)
        )
        if (
            not isinstance(ttl, SourcedDuration)
            or not isinstance(cluster, SourcedDuration)
            or longest(ttl.value, cluster.value) == ttl.value
        ):
            continue
        ours, theirs = (said.source.rpartition(" ")[2] for said in (ttl, cluster))
        if (ours, theirs) in told:
            continue
        told.add((ours, theirs))
        waits = "stays as long as its RayCluster"
        said = f"{quoted(format_duration(ttl.value))} is shorter than {theirs} {quoted(format_duration(cluster.value))}"
        yield _on_annotation(
            subject,
            Rule.TTL_BEFORE_CLUSTER,
            ours,
            f"{said}, so the RayJob {waits}; make it longer, or the other shorter",
        )


def _keep(subject: Subject, thing: RayJob | Namespace, now: datetime) -> Iterator[Problem]:
    until = annotations.keep_until(thing)
    if isinstance(until, datetime) and until <= now:
        said = f"{quoted(thing.annotations[names.KEEP_UNTIL])} has passed, so it keeps nothing; remove it, or write a later time"
        yield _on_annotation(subject, Rule.KEEP_IN_THE_PAST, names.KEEP_UNTIL, said)
    if names.KEEP_REASON in thing.annotations and until is None:
        said = f"without {names.KEEP_UNTIL} it keeps nothing; write that too, or remove it"
        yield _on_annotation(
            subject, Rule.REASON_WITHOUT_KEEP, names.KEEP_REASON, said, is_key=True
        )


def _recreated(subject: Subject, job: RayJob, recreated_by: frozenset[str]) -> Iterator[Problem]:
    missing = [outcome.value for outcome in Outcome if not annotations.has_own_ttl(job, outcome)]
    for key in sorted(recreated_by & job.keys) if missing else ():
        which = (
            "" if len(missing) == len(Outcome) else f" after an end that is {' or '.join(missing)}"
        )
        said = (
            f"who tracks the RayJob by this would create it again, so it stays{which} (WillBeRecreated) and at most its "
            f"RayCluster goes; set {names.TTL} on the RayJob itself if it may go"
        )
        field = "labels" if key in subject.texts("labels") else "annotations"
        yield subject.problem(
            Rule.WILL_BE_RECREATED,
            said,
            ("metadata", field, key),
            place=f"{field[:-1]} {key}",
            key=True,
        )


def is_mark_ambiguous(subject: Subject, situation: Situation) -> bool:
    """Whether it is a RayJob that Argo CD may create again, which only the setting recreated-by can tell."""
    thing = _facts(subject, situation.recreated_by) if subject.kind is Kind.RAYJOB else None
    return isinstance(thing, RayJob) and recreation.is_mark_ambiguous(thing, situation.recreated_by)


def _unread(subject: Subject) -> Iterator[Problem]:
    """Keys of ours in metadata where Raysweep does not look, as in Pod templates; what an alias repeats is told once."""
    reads = subject.kind in (Kind.RAYJOB, Kind.NAMESPACE)
    left: deque[tuple[Path, Any]] = deque([((), subject.part.value)])
    seen = set()
    while left:
        path, value = left.popleft()
        if id(value) in seen or not isinstance(value, Mapping | list):
            continue
        seen.add(id(value))
        left += [
            ((*path, step), one)
            for step, one in (value.items() if isinstance(value, Mapping) else enumerate(value))
        ]
        is_read = reads and path == ANNOTATIONS
        if "metadata" not in path[-2:] or isinstance(value, list) or is_read:
            continue
        for key in value:
            if key.startswith(names.ANNOTATION_PREFIX):
                hint = (
                    _UNREAD[Kind.NAMESPACE]
                    if reads and path == ("metadata", "labels")
                    else _UNREAD[subject.kind]
                )
                place = f"{'.'.join(map(str, path))} {quoted(key)}"
                yield subject.problem(Rule.UNREAD_KEY, hint, (*path, key), place=place, key=True)


def _facts(subject: Subject, recreated_by: frozenset[str]) -> RayJob | Namespace:
    """As the operator would read it, but for what only a live object has."""
    body = subject.part.value
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
    return parse_rayjob({"metadata": metadata, "spec": body.get("spec")}, recreated_by)


def _on_annotation(
    subject: Subject, rule: Rule, key: str, message: str, *, is_key: bool = False
) -> Problem:
    named = key if key in names.ANNOTATIONS else quoted(key)
    return subject.problem(
        rule, message, (*ANNOTATIONS, key), place=f"annotation {named}", key=is_key
    )
