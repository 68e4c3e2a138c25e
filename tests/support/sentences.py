"""Decisions as sentences, and the cases that several tables of guards start from. No expectation enters here."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from raysweep.core.assessment import Assessment
from raysweep.core.model.decisions import Decision, Delete, Keep, ProbeHead, Wait
from raysweep.core.model.facts import ProbeKind, ProbeResult
from raysweep.core.model.memory import Memory
from tests.support.builders import (
    DUE,
    END,
    a_probe,
    a_rayjob,
    a_running,
    a_submission,
    an_assessment,
    an_interactive,
    says,
)

PASSES = "passes"
MINUTE = timedelta(minutes=1)
Row = Any
"""pytest.param(guard, case, now, sentence), or the like."""


def in_words(decision: Decision | None) -> str:
    """A decision as a sentence: what, why, and on what evidence."""
    match decision:
        case None:
            return PASSES
        case Keep(why):
            return f"Keep: {why.reason}: {why.message}"
        case Wait(until, why):
            return f"Wait until {until:%d %H:%M:%S.%f}: {why.reason}: {why.message}"
        case ProbeHead(why, ProbeKind.STATUS):
            return f"Poll: {why.reason}: {why.message}"
        case ProbeHead(why):
            return f"AskHead: {why.reason}: {why.message}"
        case Delete(targets, why, note):
            listed = ", ".join(
                f"{t.kind} {t.uid}" + (f" at {t.resource_version}" if t.resource_version else "")
                for t in targets
            )
            noted = f", noting {note!r}" if note else ""
            return f"Delete {listed}{noted}: {why.reason}: {why.message}"


def a_job(**fields: object) -> Assessment:
    """a_case() of a RayJob with these fields."""
    return an_assessment(rayjob=a_rayjob(**fields))


def probed(probe: ProbeResult, **fields: object) -> Assessment:
    """The same, looked at."""
    return an_assessment(rayjob=a_rayjob(**fields), probe=probe)


def boundary(
    check: Any, assessment: Assessment, at: datetime, sentence: str, **named: str
) -> list[Row]:
    """Two rows: a microsecond before `at` it says the sentence, exactly then it lets pass."""
    said = named["id"]
    before = at - timedelta(microseconds=1)
    return [
        pytest.param(check, assessment, before, sentence, id=f"{said}: a microsecond before"),
        pytest.param(check, assessment, at, PASSES, id=f"{said}: exactly then"),
    ]


BOTH = an_assessment(probe=a_probe())
"""Due, looked at, and nothing against it."""
RECORD = an_assessment(
    rayjob=a_rayjob(annotations=says(ttl="1d", cluster_ttl="1h")), probe=a_probe()
)
"""Its cluster may go at DUE, the RayJob a day after END."""
GOING = a_rayjob(deleting_since=END)
TTL_1H = "succeeded 2026-11-22T18:00:00Z, ttl 1h (RayJob team-a/train annotation raysweep.io/ttl)"
TTL_1D = (
    "succeeded 2026-11-22T18:00:00Z, ttl 1d (RayJob team-a/train annotation raysweep.io/ttl), "
    "cluster-ttl 1h (RayJob team-a/train annotation raysweep.io/cluster-ttl)"
)
STUCK_1H = "stuck since 2026-11-22T18:00:00Z, ttl 1h (RayJob team-a/train annotation raysweep.io/ttl-unsubmitted)"

STOOD = Memory(status=("Running", "RUNNING"), status_since=timedelta())
"""The status of a_running() has stood since the process began."""
ENDED_UNNOTICED = an_assessment(
    rayjob=a_running(),
    memory=replace(STOOD, terminal=a_submission(end_time=END), terminal_since=20 * MINUTE),
    uptime=30 * MINUTE,
    probe=a_probe(a_submission(end_time=END)),
)
"""It ended at END and KubeRay did not notice for half an hour; the head said so 10 minutes ago, and says so now."""
NOT_SUBMITTED = an_assessment(rayjob=an_interactive())
LOST = an_assessment(
    rayjob=an_interactive(deployment_status="Running", job_status="RUNNING", job_id="train-x7k2p"),
    memory=replace(STOOD, missing_since=END),
    uptime=30 * MINUTE,
)
"""Its head does not know it, since END."""
NOT_READY = an_assessment(rayjob=an_interactive(deployment_status="Initializing"))
LATE = DUE + timedelta(days=1)
