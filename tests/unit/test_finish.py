"""How and when a finished job ended: by its status, by its head, and by the recorded outcome."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from raysweep.core.assessment import Assessment
from raysweep.core.finish import CLOCK_TOLERANCE, JobEnd, adds_to_status, reported_end
from raysweep.core.model.facts import HeadSilent, ProbeResult, RayCluster, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.reasons import Reason
from tests.support.assessments import UNREPORTED
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_list,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_silent_probe,
    a_submission,
    an_assessment,
    an_interactive,
)

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
SUCCEEDED, FAILED, STOPPED = Outcome.SUCCEEDED, Outcome.FAILED, Outcome.STOPPED
LATEST_PLAUSIBLE = END + CLOCK_TOLERANCE
FIRST_OBSERVED = END + timedelta(minutes=30)


def _end(rayjob: RayJob, probe: ProbeResult | None, now: datetime) -> JobEnd:
    end = an_assessment(now=now, rayjob=rayjob, probe=probe).end
    assert end is not None
    return end


def test_the_outcome_is_the_heads_if_it_has_the_entry_of_the_ended_job() -> None:
    rows: tuple[tuple[str, ProbeResult | None, Outcome, Outcome], ...] = (
        ("SUCCEEDED", None, SUCCEEDED, SUCCEEDED),
        ("FAILED", None, FAILED, FAILED),
        ("STOPPED", None, STOPPED, STOPPED),
        ("RUNNING", None, FAILED, FAILED),
        ("", None, FAILED, FAILED),
        ("FAILED", a_probe(a_submission("SUCCEEDED")), SUCCEEDED, FAILED),
        ("RUNNING", a_probe(a_submission("STOPPED")), STOPPED, FAILED),
        ("SUCCEEDED", a_probe(a_submission("RUNNING")), SUCCEEDED, SUCCEEDED),
        ("SUCCEEDED", a_probe(a_submission("FAILED", "another")), SUCCEEDED, SUCCEEDED),
        ("SUCCEEDED", a_silent_probe(), SUCCEEDED, SUCCEEDED),
        ("SUCCEEDED", ProbeResult(None), SUCCEEDED, SUCCEEDED),
    )
    for row in rows:
        job_status, probe, outcome, status_outcome = row
        end = _end(a_rayjob(job_status=job_status), probe, END)
        assert end == JobEnd(outcome, END, status_outcome), row
        assert end.outcomes == {outcome, status_outcome}, row


@pytest.mark.parametrize(
    ("fields", "time"),
    [
        pytest.param({"end_time": END - MINUTE}, END - MINUTE, id="endTime of the status"),
        pytest.param(
            {"end_time": END - MINUTE, "ray_end_time": END}, END, id="a later rayJobInfo.endTime"
        ),
        pytest.param(
            {"end_time": END, "ray_end_time": END - MINUTE}, END, id="an earlier rayJobInfo.endTime"
        ),
        pytest.param(
            {"end_time": LATEST_PLAUSIBLE},
            LATEST_PLAUSIBLE,
            id="five minutes ahead of the API server's clock is plausible",
        ),
        pytest.param(
            {"end_time": LATEST_PLAUSIBLE + MOMENT},
            END,
            id="more is not: the time of the last write counts",
        ),
        pytest.param(
            {"end_time": LATEST_PLAUSIBLE + MOMENT, "ray_end_time": END - MINUTE},
            END - MINUTE,
            id="the plausible of two times",
        ),
        pytest.param({"end_time": None}, END, id="without endTime the last write counts"),
        pytest.param(
            {"end_time": None, "status_written_at": None},
            FIRST_OBSERVED,
            id="without any time the first pass counts",
        ),
        pytest.param(
            {
                "end_time": FIRST_OBSERVED + CLOCK_TOLERANCE + MOMENT,
                "status_written_at": None,
            },
            FIRST_OBSERVED,
            id="without a last write a time is compared with the first pass",
        ),
        pytest.param(
            {"end_time": None, "status_written_at": END + 900 * DAY},
            FIRST_OBSERVED,
            id="a forged last write: the first pass counts",
        ),
        pytest.param(
            {"end_time": END + 899 * DAY, "status_written_at": END + 900 * DAY},
            FIRST_OBSERVED,
            id="a forged last write makes no forged endTime plausible",
        ),
        pytest.param(
            {"end_time": None, "status_written_at": END - DAY},
            END - DAY,
            id="an early last write counts",
        ),
    ],
)
def test_the_end_by_the_status(fields: dict[str, datetime | None], time: datetime) -> None:
    rayjob = a_rayjob(**fields)
    assert _end(rayjob, None, FIRST_OBSERVED).time == time
    assert reported_end(rayjob, FIRST_OBSERVED) == time


@pytest.mark.parametrize(
    ("probe", "time"),
    [
        pytest.param(
            a_probe(a_submission(end_time=END + MINUTE)), END + MINUTE, id="a later end counts"
        ),
        pytest.param(
            a_probe(a_submission(end_time=END - MINUTE)), END, id="an earlier end does not"
        ),
        pytest.param(
            a_probe(a_submission(end_time=DUE + CLOCK_TOLERANCE)),
            DUE + CLOCK_TOLERANCE,
            id="five minutes after the answer is plausible",
        ),
        pytest.param(
            a_probe(a_submission(end_time=DUE + CLOCK_TOLERANCE + MOMENT)), END, id="more is not"
        ),
        pytest.param(
            a_probe(a_submission("RUNNING", end_time=END + MINUTE)),
            END,
            id="an active entry has not ended",
        ),
        pytest.param(
            a_probe(a_submission("SUCCEEDED", "another", END + MINUTE)),
            END,
            id="the end of another job",
        ),
        pytest.param(
            ProbeResult(a_raycluster(), HeadSilent("refused")), END, id="a silent head has no time"
        ),
    ],
)
def test_the_end_by_the_head(probe: ProbeResult, time: datetime) -> None:
    assert _end(a_rayjob(), probe, FIRST_OBSERVED).time == time


def test_the_outcome_is_still_the_heads_after_it_fell_silent() -> None:
    """KubeRay hangs in Running with Ray's SUCCEEDED, and two earlier answers said FAILED."""
    hanging = replace(
        UNREPORTED,
        rayjob=a_rayjob(deployment_status="Running", job_status="SUCCEEDED", ray_end_time=END),
        memory=replace(
            UNREPORTED.memory,
            status=("Running", "SUCCEEDED"),
            terminal=a_submission("FAILED", end_time=END),
        ),
        probe=a_silent_probe(),
    )

    assert hanging.end is not None
    assert (hanging.end.outcome, hanging.end.reason) == (FAILED, Reason.FINISHED_UNREPORTED)


def _recorded(outcome: Outcome, time: datetime) -> RayJob:
    """Its cluster is gone, and an annotation holds what the head reported before."""
    end = END.replace(microsecond=0)
    annotation = {"raysweep.io/outcome": f"{outcome} {time:%Y-%m-%dT%H:%M:%SZ}"}
    return a_rayjob(annotations=annotation, cluster_name="", end_time=end)


def test_the_recorded_outcome_counts_if_no_cluster_is_left() -> None:
    end = END.replace(microsecond=0)
    future = FIRST_OBSERVED + CLOCK_TOLERANCE + 2 * MINUTE
    rows = (
        (FAILED, end, JobEnd(FAILED, end, SUCCEEDED)),
        (SUCCEEDED, end + MINUTE, JobEnd(SUCCEEDED, end + MINUTE, SUCCEEDED)),
        (SUCCEEDED, end - MINUTE, JobEnd(SUCCEEDED, end, SUCCEEDED)),
        (FAILED, future, JobEnd(SUCCEEDED, end, SUCCEEDED)),
    )
    for row in rows:
        outcome, time, expected = row
        rayjob = _recorded(outcome, time)
        assert _end(rayjob, ProbeResult(None), FIRST_OBSERVED) == expected, row


@pytest.mark.parametrize(
    ("fields", "end", "expected"),
    [
        pytest.param({}, JobEnd(SUCCEEDED, END, SUCCEEDED), False, id="the same"),
        pytest.param({}, JobEnd(FAILED, END, SUCCEEDED), True, id="another outcome"),
        pytest.param({}, JobEnd(SUCCEEDED, END + MINUTE, SUCCEEDED), True, id="a later end"),
        pytest.param(
            {"end_time": END.replace(microsecond=0)},
            JobEnd(SUCCEEDED, END, SUCCEEDED),
            False,
            id="later by less than a second",
        ),
        pytest.param(
            {"ray_end_time": END + MINUTE},
            JobEnd(SUCCEEDED, END + MINUTE, SUCCEEDED),
            False,
            id="rayJobInfo.endTime has it",
        ),
        pytest.param(
            {"end_time": None}, JobEnd(SUCCEEDED, END, SUCCEEDED), True, id="no time in the status"
        ),
    ],
)
def test_adds_to_status(fields: dict[str, datetime | None], end: JobEnd, expected: bool) -> None:
    assert adds_to_status(a_rayjob(**fields), end) is expected


CREATED = END - 3 * HOUR
"""The cluster of an interactive RayJob became ready at END, three hours later."""
LATE_HEAD = a_raycluster(head_ready=True, head_ready_since=END + timedelta(minutes=30))


def _unused(
    cluster: RayCluster | None,
    written_at: datetime | None = END,
    created: datetime | None = CREATED,
) -> Assessment:
    """An interactive RayJob without a job. cluster: None before a probe."""
    rayjob = an_interactive(status_written_at=written_at, start_time=created)
    probe = ProbeResult(cluster, a_list()) if cluster else None
    return an_assessment(rayjob=rayjob, probe=probe)


def test_c5_a_job_that_was_never_submitted_counts_from_when_its_cluster_was_ready() -> None:
    head_only = a_raycluster(head_ready=True, head_ready_since=END)
    rows = (
        (_unused(None), END),
        (_unused(a_raycluster()), END),
        (_unused(LATE_HEAD), END + timedelta(minutes=30)),
        (_unused(head_only, written_at=None), END),
    )
    for row in rows:
        assessment, time = row
        end = JobEnd(None, time, None, Reason.NEVER_SUBMITTED)
        assert assessment.end == end, row


def test_c5_a_job_that_was_never_submitted_is_kept_if_that_time_is_unknown() -> None:
    for cluster in (None, a_raycluster()):
        assert _unused(cluster, written_at=None).end is None
        assert _unused(cluster, written_at=None, created=None).end is None
        assert _unused(cluster, written_at=DUE + 2 * HOUR).end is None
