"""Makes the reference pages that the code knows by itself, the table of recorded RayJobs, and Grafana's dashboard.

No person's prose enters a table.

`python docs/generate.py` writes them; with --check it writes nothing and fails where a page differs from the code.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.core import Metric
from prometheus_client.metrics import MetricWrapperBase

from dashboard import dashboard
from raysweep import names
from raysweep.clients.connection.flags import flag_rows
from raysweep.clients.connection.kubeconfig import field_rows
from raysweep.clients.parsing import yaml_text
from raysweep.clients.parsing.policy import parse_policy
from raysweep.clients.parsing.rayjob import parse_rayjob
from raysweep.controller.metrics import NAMESPACE, Metrics, Snapshot
from raysweep.core.assessment import Assessment
from raysweep.core.decide import CHECKS, decide
from raysweep.core.durations import format_duration
from raysweep.core.model.decisions import Decision, ProbeHead
from raysweep.core.model.facts import Namespace, ProbeKind, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import SourcedDuration
from raysweep.core.model.reasons import Reason
from raysweep.core.retention.policies import strongest_first
from raysweep.core.retention.resolve import Sources, resolve
from raysweep.core.validation.validate import RULES, validate
from raysweep.core.validation.violation import Rule
from raysweep.settings import Settings, flag, variable
from refused_specs import RefusedSpec, refused_specs

HERE = Path(__file__).parent
ROOT = HERE.parent
GENERATED = "<!-- made by `python docs/generate.py`; do not edit -->"
ENDING = {"counter": "_total", "info": "_info"}
"""What Prometheus' text form appends to the name."""

REASONS = """\
# Reasons

The closed vocabulary. The same word is the Event's reason, the metric's label and the log's field; it never means two things.
**keep** is silent: the RayJob stays, and `raysweep_rayjobs` counts it under this word. **warn** keeps too, and says so in a
Warning on the RayJob and a log line. **delete** goes with an Event and a log line."""

ENDS = """\
## What ends each keep

Every reason that keeps, what ends it, and the annotations, policy fields (`spec...`) and settings that bound it. If the last
column says "nothing", Raysweep never ends the keep by itself: another controller does, or you do by hand."""

GUARDS = """\
## The ladder

The guards in their order, from `core/decide.py`. The first that answers decides."""

SETTINGS = """\
# Settings of `raysweep run`

Every setting is a flag and an environment variable; the flag wins. Durations are written as in annotations (`30s`, `5m`,
`1h30m`), lists with commas. Wrong settings end the program with exit code 2, all named at once."""

SAMPLES = ROOT / "tests" / "unit" / "samples"
SAMPLES_HEAD = (
    "recorded | its status | RayCluster goes after | RayJob goes after | "
    "when written | just before due | due | 62 s later | 10 years later"
)

REFUSED = """\
# Refused RayJobs

What KubeRay, its CRD, the API server or Kueue refuses, `kubectl raysweep submit` and `raysweep lint` find before anything is
created. Both use the same rules, in `core/validation`. Each row is one rule: a RayJob that breaks it, as a patch of one that
nobody refuses; who refuses it and what they say; and what `submit` and `lint` say.

- **CRD**: the API server refuses the RayJob by the schema and the CEL rules of KubeRay's CRD, or by its own checks.
- **KubeRay**: the API server takes the RayJob, and KubeRay sets it to `ValidationFailed`, for good.
- **Kueue**: its webhook refuses a RayJob that has the label `kueue.x-k8s.io/queue-name`.
- What is in parentheses happens if nobody refuses the RayJob.

An *error* is what every supported version of KubeRay (1.5, 1.6, 1.7) refuses, as far as it knows the field. A *warning* is
what the newest refuses and an older one does not. A *note* is what only older versions refuse, or only without a feature
gate; it changes no exit code. `submit` prints warnings and notes and goes on.

Measured with the CRDs of 1.5.2, 1.6.2 and 1.7.0, with the validation of the same versions, and with the webhook of Kueue
0.17.0. `tests/integration/test_refused.py` repeats it with the CRDs. `docs/refused_specs.yaml` has further RayJobs."""
REFUSED_HEAD = "rule | RayJob | who refuses it, and says | submit and lint say"

MONITORING = ROOT / "deploy" / "monitoring"


def main(arguments: list[str]) -> int:
    """0 where all pages are as the code says."""
    stale = [name for name, text in pages().items() if not _is(ROOT / name, text)]
    if "--check" in arguments:
        sys.stdout.writelines(
            f"{name} is not what the code says; run python docs/generate.py\n" for name in stale
        )
        return 1 if stale else 0
    for name in stale:
        (ROOT / name).write_text(pages()[name])
        sys.stdout.write(f"wrote {name}\n")
    return 0


def pages() -> dict[str, str]:
    """Every generated page by its path in the repository."""
    return {
        "docs/reference/reasons.md": _page(
            REASONS,
            _table(
                "reason | kind | means | what to do",
                ((f"`{r}`", _kind(r), r.description, r.hint) for r in Reason),
            ),
            ENDS,
            _table("reason | what ends it | what bounds it", _ends()),
            GUARDS,
            _table(
                "guard | says",
                ((f"`{g.__name__}`", (g.__doc__ or "").strip().splitlines()[0]) for g in CHECKS),
            ),
        ),
        "docs/reference/settings.md": _page(
            SETTINGS, _table("flag | environment | default | means", _settings())
        ),
        "docs/explanation/how-raysweep-decides.md": _filled(
            "explanation/how-raysweep-decides.md", samples=_table(SAMPLES_HEAD, _samples())
        ),
        "docs/reference/policies.md": _filled(
            "reference/policies.md",
            fields=_table(FIELDS_HEAD, _fields()),
            combinations=_table(COMBINATIONS_HEAD, _combinations()),
        ),
        "docs/reference/connections.md": _filled(
            "reference/connections.md",
            flags=_table("flag | Raysweep | meaning", flag_rows()),
            fields=_table("field | Raysweep | meaning", field_rows()),
        ),
        "docs/reference/refused.md": _page(REFUSED, _table(REFUSED_HEAD, _refused())),
        "docs/reference/metrics.md": _filled(
            "reference/metrics.md",
            metrics=_table("metric | type | labels | means", sorted(_metrics())),
        ),
        "deploy/monitoring/dashboard.json": dashboard(
            yaml.safe_load((MONITORING / "dashboard.yaml").read_text())
        ),
    }


Said = dict[str, str]
FIELDS_HEAD = "field | type | default | means"
COMBINATIONS_HEAD = "RayJob | Namespace | policies | RayCluster goes after | RayJob goes after"
JOB, CLUSTER = "retention.rayJob.default", "retention.rayCluster.default"
COMBINATIONS: tuple[tuple[tuple[tuple[str, int, Said], ...], Said, Said], ...] = (
    ((), {}, {}),
    ((("a", 0, {JOB: "7d"}),), {}, {}),
    ((("a", 0, {JOB: "7d", CLUSTER: "10m"}),), {}, {}),
    ((("a", 0, {JOB: "7d", "retention.rayJob.failed": "30d"}),), {}, {}),
    ((("a", 0, {CLUSTER: "10m"}),), {}, {}),
    ((("a", 0, {JOB: "7d"}),), {"ttl": "1d"}, {}),
    ((("a", 0, {JOB: "7d"}),), {"ttl": "1d"}, {"ttl": "1h"}),
    ((("a", 0, {JOB: "7d"}),), {}, {"cluster-ttl": "0"}),
    ((("a", 0, {JOB: "7d", CLUSTER: "10m"}),), {}, {"ttl": "1h"}),
    ((("a", 0, {JOB: "7d"}),), {}, {"ttl": "never"}),
    ((("a", 0, {JOB: "7d"}), ("b", 5, {JOB: "1d"})), {}, {}),
    ((("a", 0, {JOB: "7d"}), ("b", 0, {JOB: "1d"})), {}, {}),
    ((("a", 0, {"retention.rayJob.failed": "30d"}), ("b", 5, {JOB: "1d"})), {}, {}),
    ((("a", 0, {CLUSTER: "10m"}), ("b", 5, {JOB: "1d"})), {}, {}),
    ((("a", 0, {"limits.rayJob.max": "7d"}),), {}, {}),
    ((("a", 0, {"limits.rayJob.max": "7d"}),), {}, {"ttl": "30d"}),
    ((("a", 0, {"limits.rayJob.max": "7d"}),), {}, {"ttl": "never"}),
    ((("a", 0, {"limits.rayJob.max": "7d"}),), {}, {"ttl": "soon"}),
    ((("a", 0, {"limits.rayCluster.max": "1h"}),), {}, {"ttl": "soon"}),
    ((("a", 0, {"limits.rayCluster.max": "1h"}),), {}, {"ttl": "30d"}),
    ((("a", 0, {"limits.rayJob.max": "7d"}),), {"ttl": "1d"}, {"cluster-ttl": "never"}),
    ((("a", 0, {"limits.rayJob.max": "7d"}),), {"ttl": "soon"}, {}),
    ((("a", 0, {"limits.rayJob.min": "1d"}),), {}, {"ttl": "0"}),
    ((("a", 0, {"limits.rayCluster.min": "10m"}),), {}, {"ttl": "0"}),
    ((("a", 0, {JOB: "30d", "limits.rayJob.max": "7d"}),), {}, {}),
    (
        (("a", 9, {"limits.rayJob.max": "7d"}), ("b", 0, {"limits.rayJob.max": "1d"})),
        {},
        {"ttl": "30d"},
    ),
    (
        (("a", 0, {"limits.rayJob.min": "7d"}), ("b", 0, {"limits.rayJob.max": "1d"})),
        {},
        {"ttl": "2d"},
    ),
    (
        (("a", 0, {"limits.rayCluster.min": "7d"}), ("b", 0, {"limits.rayJob.max": "1d"})),
        {},
        {"ttl": "2d"},
    ),
)
"""Policies (name, priority, times), the Namespace's annotations and the RayJob's."""


def _samples() -> Iterable[tuple[str, ...]]:
    """Each recorded RayJob in a Namespace with a ttl of an hour: what it is, when what goes by whose word, and five answers."""
    for path in sorted(SAMPLES.glob("rayjob-*.json")):
        rayjob = parse_rayjob(json.loads(path.read_text()))
        written = rayjob.status_written_at
        assert written is not None, path
        namespace = Namespace(rayjob.namespace, "", "", {"raysweep.io/ttl": "1h"})
        assessment = Assessment(written, rayjob, namespace)
        due = assessment.due.first_at if assessment.end else None
        due = due or written + timedelta(hours=1)
        points = (
            written,
            due - timedelta(microseconds=1),
            due,
            due + timedelta(seconds=62),
            due + timedelta(days=3650),
        )
        status = f"{rayjob.deployment_status} {rayjob.job_status}".strip()
        answers = (_answer(decide(replace(assessment, now=point))) for point in points)
        yield path.stem.removeprefix("rayjob-"), status, *_goes(assessment), *answers


def _goes(assessment: Assessment) -> tuple[str, str]:
    """cluster-ttl and ttl with the kind of their source."""
    if assessment.end is None:
        return "", ""
    kept = assessment.retention
    told = [
        f"{format_duration(one.value)} ({_kind_of(one.source)})"
        for one in (kept.cluster_ttl, kept.ttl)
    ]
    return ("" if assessment.rayjob.has_selector else told[0]), told[1]


def _kind_of(source: str) -> str:
    return (
        "spec"
        if " spec." in source
        else "built in"
        if source.startswith("built in")
        else source.partition(" ")[0]
    )


def _answer(decision: Decision) -> str:
    if isinstance(decision, ProbeHead):
        return "poll" if decision.kind is ProbeKind.STATUS else "AskHead"
    return f"`{decision.explanation.reason}`"


def _filled(page: str, **tables: str) -> str:
    """The page with each table between its two marks, whatever stood there."""
    text = (HERE / page).read_text()
    for name, table in tables.items():
        before, begin, rest = text.partition(
            f"<!-- {name}: made by `python docs/generate.py`; do not edit up to the end of the table -->"
        )
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        assert begin, f"docs/{page} lacks the mark where the table of {name} begins"
        assert end, f"docs/{page} lacks the mark where the table of {name} ends"
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def _fields(
    schema: Mapping[str, Any] | None = None, path: str = "spec"
) -> Iterable[tuple[str, ...]]:
    """Every field of a RayJobCleanupPolicy, from its CRD."""
    if schema is None:
        crd = yaml.safe_load(
            (ROOT / "deploy" / "crds" / "raysweep.io_rayjobcleanuppolicies.yaml").read_text()
        )
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for name, field in schema["properties"].items():
        default = f"`{field['default']}`" if "default" in field else ""
        yield f"`{path}.{name}`", _kind_of_field(name, field), default, str(field["description"])
        if "properties" in field and not name.endswith("Selector"):
            yield from _fields(field, f"{path}.{name}")


def _kind_of_field(name: str, field: Mapping[str, Any]) -> str:
    if field.get("x-kubernetes-int-or-string"):
        return "duration"
    if name.endswith("Selector"):
        return "label selector"
    return " or ".join(field["enum"]) if "enum" in field else str(field["type"])


def _combinations() -> Iterable[tuple[str, ...]]:
    """What each combination of policies and annotations comes to, for a job that failed, as the code resolves it."""
    for policies, namespace, rayjob in COMBINATIONS:
        selecting = [parse_policy(_policy(*policy)) for policy in policies]
        assert not any(policy.errors for policy in selecting), policies
        job, space = (
            RayJob("team-a", "train", "", "", annotations=_ours(rayjob)),
            Namespace("team-a", "", "", _ours(namespace)),
        )
        kept = resolve(
            Sources(job, space, tuple(strongest_first(selecting))), frozenset({Outcome.FAILED})
        )
        told = [
            _said(rayjob),
            _said(namespace),
            "<br>".join(_in_words(*policy) for policy in policies),
        ]
        reason = "`Invalid`" if kept.invalid else "`LimitsConflict`" if kept.conflict else ""
        ends = [
            reason or f"{format_duration(one.value)}{' (limit)' if one.clamp else ''}"
            for one in (kept.cluster_ttl, kept.ttl)
        ]
        yield *told, *ends


def _refused() -> Iterable[tuple[str, ...]]:
    """Each rule with the first RayJob of the table that breaks it."""
    specs = {spec.rule: spec for spec in reversed(refused_specs())}
    for rule in RULES:
        spec = specs[rule.name]
        patch = yaml.safe_dump(spec.patch, default_flow_style=True, width=10**6).strip()[1:-1]
        (problem, *_) = (one for one in validate(spec.body, yaml_text.load) if one.rule is rule)
        told = f"{problem.rule.severity.value}: `{problem.place}`: {problem.message}"
        yield f"{rule.description} `{rule.name}`", f"`{patch}`", _refusal(rule, spec), told


def _refusal(rule: Rule, spec: RefusedSpec) -> str:
    """`CRD 1.5, 1.6, 1.7: spec.managedBy: Invalid value...`."""
    dropped = f"CRD {', '.join(spec.dropped)} does not know the field" if spec.dropped else ""
    crd = f"CRD {', '.join(spec.crd)}" if spec.crd else ""
    kuberay = f"KubeRay {', '.join(spec.kuberay)}" if spec.kuberay else ""
    kueue = f"Kueue {spec.kueue}" if spec.kueue else ""
    who = "; ".join(part for part in (dropped, crd, kuberay, kueue) if part) or rule.authority.value
    return f"{who}: {spec.says}"


def _time(said: SourcedDuration) -> str:
    return f"{format_duration(said.value)}{' (limit)' if said.clamp else ''}"


def _policy(name: str, priority: int, times: Said) -> dict[str, Any]:
    spec: dict[str, Any] = {"priority": priority}
    for path, value in times.items():
        *parents, last = path.split(".")
        inner = spec
        for part in parents:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return {"metadata": {"name": name, "uid": name, "resourceVersion": "1"}, "spec": spec}


def _ours(said: Said) -> Said:
    return {f"{names.ANNOTATION_PREFIX}{key}": value for key, value in said.items()}


def _said(said: Said) -> str:
    return ", ".join(f"`{key}: {value}`" for key, value in said.items())


def _in_words(name: str, priority: int, times: Said) -> str:
    return f"{name}{f' (priority {priority})' if priority else ''}: {_said(times)}"


def _ends() -> Iterable[tuple[str, ...]]:
    """Every reason that keeps, what ends it, and what bounds it."""
    for reason in Reason:
        if not reason.deletes:
            bounds = ", ".join(f"`{bound}`" for bound in reason.bounds)
            yield f"`{reason}`", reason.ends, bounds or "nothing; by hand"


def _kind(reason: Reason) -> str:
    return "delete" if reason.deletes else "warn" if reason.is_warning else "keep"


def _settings() -> Iterable[tuple[str, ...]]:
    for name, field in Settings.model_fields.items():
        yield (
            f"`{flag(name)}`",
            f"`{variable(name)}`",
            _default(field.default),
            field.description or "",
        )


def _default(value: object) -> str:
    if value in (None, "", frozenset()):
        return "none"
    text = (
        format_duration(value)
        if isinstance(value, timedelta)
        else value.value
        if isinstance(value, Enum)
        else value
    )
    return f"`{text}`"


def _metrics() -> Iterable[tuple[str, ...]]:
    metrics = Metrics(by_namespace=True)
    labels = {
        f.name: one._labelnames
        for one in vars(metrics).values()
        if isinstance(one, MetricWrapperBase)
        for f in one.describe()
    }
    metrics.watch(Snapshot)
    for family in metrics.registry.collect():
        own = labels.get(family.name) or getattr(family, "_labelnames", ()) or _of_info(family)
        told = ", ".join(f"({label})" if label == NAMESPACE else label for label in own)
        yield (
            f"`{family.name}{ENDING.get(family.type, '')}`",
            family.type,
            told or "none",
            family.documentation,
        )


def _of_info(family: Metric) -> tuple[str, ...]:
    return tuple(family.samples[0].labels) if family.type == "info" else ()


def _table(head: str, rows: Iterable[tuple[str, ...]]) -> str:
    columns = head.split(" | ")
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines
    )


def _page(*parts: str) -> str:
    return "\n\n".join((GENERATED, *parts)) + "\n"


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
