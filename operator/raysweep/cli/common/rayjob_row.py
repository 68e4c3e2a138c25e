"""What becomes of one RayJob: a row of `plan`, and the JSON that `plan`, `why` and `keep` share."""

from dataclasses import dataclass
from datetime import datetime

from raysweep.cli.common.formatting import (
    Json,
    duration_json,
    resources_json,
    rfc3339,
    safe,
    time_left,
)
from raysweep.cli.common.verdict import verdict
from raysweep.core.durations import format_duration
from raysweep.core.model.decisions import Target
from raysweep.core.timeline import Timeline


@dataclass(frozen=True, slots=True)
class RayJobRow:
    """One RayJob. probe_error: why its RayCluster and Ray head could not be probed."""

    timeline: Timeline
    probe_error: str | None = None

    @property
    def order(self) -> tuple[bool, float, str]:
        """The sort key: by time of deletion, then what is kept, by name."""
        at = self.timeline.at
        return at is None, at.timestamp() if at else 0.0, self.timeline.assessment.rayjob.key


def rayjob_row_json(row: RayJobRow, now: datetime) -> Json:
    """The fields of one RayJob."""
    timeline = row.timeline
    rayjob, explanation = timeline.assessment.rayjob, timeline.explanation
    return {
        "namespace": rayjob.namespace,
        "name": rayjob.name,
        "uid": rayjob.uid,
        "decision": verdict(timeline, now).value,
        "deletes": [target_json(target) for target in timeline.targets],
        "at": rfc3339(timeline.at),
        "in": format_duration(time_left(timeline.at, now)) if timeline.at else None,
        "reason": explanation.reason.value,
        "check": explanation.check,
        "message": safe(explanation.message),
        "head": _head_state(timeline),
        "problem": safe(row.probe_error) if row.probe_error else None,
        "outcome": explanation.outcome.value if explanation.outcome else None,
        "finishedAt": rfc3339(explanation.finished_at),
        "ttl": duration_json(explanation.ttl),
        "clusterTTL": duration_json(explanation.cluster_ttl),
        "setBy": timeline.rule[0] if timeline.rule else None,
        "frees": resources_json(timeline.frees),
        "dryRunBy": timeline.assessment.dry_run_by or None,
    }


def target_json(target: Target) -> Json:
    """One object that is deleted."""
    return {"kind": target.kind, "name": target.name, "uid": target.uid}


def _head_state(timeline: Timeline) -> str:
    if timeline.head_not_asked:
        return "not asked"
    return "asked" if timeline.assessment.probe else "not needed"
