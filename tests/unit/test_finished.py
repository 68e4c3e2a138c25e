"""Evidence to verdict: what the status says, what the head says, how the job ended and when."""

from datetime import datetime, timedelta

import pytest

from raysweep.core.assessment import Assessment
from raysweep.core.finish import CLOCK_TOLERANCE, JobEnd, Written, finish, knows_more
from raysweep.core.head_report import HeadReport, ReportedState, read_report
from raysweep.core.job_status import is_unfinished, kuberay_reports_end, retries_are_left
from raysweep.core.model.facts import HeadSilent, ProbeResult, RayJob
from raysweep.core.model.outcome import Outcome
from tests.support.builders import (
    DUE,
    END,
    MOMENT,
    a_driver,
    a_list,
    a_namespace,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_silent_probe,
    a_submission,
)

DAY = timedelta(days=1)
SUCCEEDED, FAILED, STOPPED = Outcome.SUCCEEDED, Outcome.FAILED, Outcome.STOPPED


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        pytest.param("Complete", True, id="Complete is final"),
        pytest.param("Failed", True, id="Failed is final"),
        pytest.param("ValidationFailed", True, id="ValidationFailed is final"),
        *(
            pytest.param(status, False, id=f"{status or 'no status'} is not")
            for status in (
                "",
                "New",
                "Initializing",
                "Running",
                "Waiting",
                "Retrying",
                "Suspending",
                "Suspended",
            )
        ),
        pytest.param("complete", False, id="a word in other letters is another word"),
        pytest.param("Finished", False, id="a word that KubeRay does not know is not final"),
    ],
)
def test_the_status_alone_says_that_it_has_ended(status: str, ended: bool) -> None:
    assert kuberay_reports_end(a_rayjob(deployment_status=status)) is ended


OWN, OTHER = a_submission("SUCCEEDED"), a_submission("RUNNING", "another-job")
NO_ID = a_rayjob(job_id="")


@pytest.mark.parametrize(
    ("rayjob", "look", "testimony"),
    [
        pytest.param(
            a_rayjob(),
            ProbeResult(None),
            HeadReport(ReportedState.NO_HEAD),
            id="no cluster: nobody to ask",
        ),
        pytest.param(
            a_rayjob(),
            ProbeResult(a_raycluster(deleting=True), a_list(OWN)),
            HeadReport(ReportedState.NO_HEAD),
            id="a cluster being deleted: nobody to ask",
        ),
        pytest.param(
            a_rayjob(),
            a_silent_probe(),
            HeadReport(ReportedState.NO_ANSWER),
            id="a silent head says nothing",
        ),
        pytest.param(
            a_rayjob(),
            ProbeResult(a_raycluster()),
            HeadReport(ReportedState.NO_ANSWER),
            id="nor does one that was not asked",
        ),
        *(
            pytest.param(
                a_rayjob(),
                a_probe(a_submission(status)),
                HeadReport(ReportedState.TERMINAL, a_submission(status)),
                id=f"its own entry {status}: ended",
            )
            for status in ("SUCCEEDED", "FAILED", "STOPPED")
        ),
        *(
            pytest.param(
                a_rayjob(),
                a_probe(a_submission(status)),
                HeadReport(ReportedState.ACTIVE, a_submission(status)),
                id=f"its own entry {status or 'without a status'}: active",
            )
            for status in ("PENDING", "RUNNING", "PAUSED", "succeeded", "")
        ),
        pytest.param(
            a_rayjob(),
            a_probe(OTHER),
            HeadReport(ReportedState.NOT_FOUND, others=(OTHER,)),
            id="only another's entry: no such job",
        ),
        pytest.param(
            a_rayjob(),
            ProbeResult(a_raycluster(), a_list()),
            HeadReport(ReportedState.NOT_FOUND),
            id="an empty list: no such job",
        ),
        pytest.param(
            a_rayjob(),
            a_probe(OTHER, OWN),
            HeadReport(ReportedState.TERMINAL, OWN, (OTHER,)),
            id="its own entry among others is found by ID",
        ),
        pytest.param(
            NO_ID,
            a_probe(OWN),
            HeadReport(ReportedState.TERMINAL, OWN),
            id="without an ID the only submission is it",
        ),
        pytest.param(
            NO_ID,
            a_probe(a_driver()),
            HeadReport(ReportedState.NOT_FOUND, others=(a_driver(),)),
            id="a driver is nobody's submission",
        ),
        pytest.param(
            NO_ID,
            a_probe(OWN, OTHER),
            HeadReport(ReportedState.AMBIGUOUS, others=(OWN, OTHER)),
            id="without an ID two submissions: which?",
        ),
        pytest.param(
            a_rayjob(),
            a_probe(OWN, OWN),
            HeadReport(ReportedState.AMBIGUOUS, others=(OWN, OWN)),
            id="the same ID twice: which?",
        ),
    ],
)
def test_the_head_testifies(rayjob: RayJob, probe: ProbeResult, head_report: HeadReport) -> None:
    assert read_report(rayjob, probe) == head_report


@pytest.mark.parametrize(
    ("status", "unfinished"),
    [
        ("SUCCEEDED", False),
        ("FAILED", False),
        ("STOPPED", False),
        ("RUNNING", True),
        ("PENDING", True),
        ("ODD", True),
        ("", True),
    ],
)
def test_an_entry_that_does_not_say_that_it_has_ended_may_be_at_work(
    status: str, unfinished: bool
) -> None:
    assert is_unfinished(a_driver(status)) is unfinished


@pytest.mark.parametrize(
    ("job_status", "look", "outcome", "reported"),
    [
        pytest.param("SUCCEEDED", None, SUCCEEDED, SUCCEEDED, id="the status says succeeded"),
        pytest.param("FAILED", None, FAILED, FAILED, id="the status says failed"),
        pytest.param("STOPPED", None, STOPPED, STOPPED, id="the status says stopped"),
        pytest.param(
            "RUNNING", None, FAILED, FAILED, id="a final RayJob whose jobStatus is not: failed"
        ),
        pytest.param("", None, FAILED, FAILED, id="a final RayJob without a jobStatus: failed"),
        pytest.param(
            "FAILED",
            a_probe(a_submission("SUCCEEDED")),
            SUCCEEDED,
            FAILED,
            id="head and status disagree: the head's",
        ),
        pytest.param(
            "RUNNING", a_probe(a_submission("STOPPED")), STOPPED, FAILED, id="only the head knows"
        ),
        pytest.param(
            "SUCCEEDED",
            a_probe(a_submission("RUNNING")),
            SUCCEEDED,
            SUCCEEDED,
            id="an active entry has no outcome yet",
        ),
        pytest.param(
            "SUCCEEDED",
            a_probe(a_submission("FAILED", "another")),
            SUCCEEDED,
            SUCCEEDED,
            id="another's does not matter",
        ),
        pytest.param(
            "SUCCEEDED", a_silent_probe(), SUCCEEDED, SUCCEEDED, id="a silent head changes nothing"
        ),
        pytest.param(
            "SUCCEEDED",
            ProbeResult(None),
            SUCCEEDED,
            SUCCEEDED,
            id="nor does a cluster that is gone",
        ),
    ],
)
def test_the_outcome(
    job_status: str, probe: ProbeResult | None, outcome: Outcome, reported: Outcome
) -> None:
    found = finish(a_rayjob(job_status=job_status), probe, END)
    assert found == JobEnd(outcome, END, reported)
    assert found.outcomes == {outcome, reported}


MINUTE = timedelta(minutes=1)
LATE = END + CLOCK_TOLERANCE
FIRST_SEEN = END + timedelta(minutes=30)


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        pytest.param({"end_time": END - MINUTE}, END - MINUTE, id="the status' endTime"),
        pytest.param(
            {"end_time": END - MINUTE, "ray_end_time": END},
            END,
            id="the later of endTime and rayJobInfo.endTime",
        ),
        pytest.param({"end_time": END, "ray_end_time": END - MINUTE}, END, id="in either order"),
        pytest.param(
            {"end_time": LATE}, LATE, id="five minutes ahead of the API server's clock is believed"
        ),
        pytest.param(
            {"end_time": LATE + MOMENT},
            END,
            id="a moment more is not: the status' own writing time counts",
        ),
        pytest.param(
            {"end_time": LATE + MOMENT, "ray_end_time": END - MINUTE},
            END - MINUTE,
            id="the plausible one of two",
        ),
        pytest.param(
            {"end_time": None},
            END,
            id="no endTime at all: when the status was written (managedFields)",
        ),
        pytest.param(
            {"end_time": None, "status_written_at": None},
            FIRST_SEEN,
            id="no time at all: when it was first seen so",
        ),
        pytest.param(
            {"end_time": FIRST_SEEN + CLOCK_TOLERANCE + MOMENT, "status_written_at": None},
            FIRST_SEEN,
            id="without managedFields a future time is held against when it was first seen",
        ),
    ],
)
def test_when_it_ended_by_the_status(fields: dict[str, datetime | None], at: datetime) -> None:
    assert finish(a_rayjob(**fields), None, FIRST_SEEN).at == at


@pytest.mark.parametrize(
    ("look", "at"),
    [
        pytest.param(
            a_probe(a_submission(end_time=END + MINUTE)),
            END + MINUTE,
            id="the head's end_time is later: it counts",
        ),
        pytest.param(
            a_probe(a_submission(end_time=END - MINUTE)),
            END,
            id="it is earlier: the status' counts",
        ),
        pytest.param(
            a_probe(a_submission(end_time=DUE + CLOCK_TOLERANCE)),
            DUE + CLOCK_TOLERANCE,
            id="5 minutes after its answer",
        ),
        pytest.param(
            a_probe(a_submission(end_time=DUE + CLOCK_TOLERANCE + MOMENT)),
            END,
            id="a moment more is not believed",
        ),
        pytest.param(
            a_probe(a_submission("RUNNING", end_time=END + MINUTE)),
            END,
            id="an active entry has not ended",
        ),
        pytest.param(
            a_probe(a_submission("SUCCEEDED", "another", END + MINUTE)),
            END,
            id="another's end is not its own",
        ),
        pytest.param(
            ProbeResult(a_raycluster(), HeadSilent("refused")), END, id="a silent head says no time"
        ),
    ],
)
def test_when_it_ended_by_the_head(probe: ProbeResult, at: datetime) -> None:
    assert finish(a_rayjob(), probe, FIRST_SEEN).at == at


@pytest.mark.parametrize(
    ("written", "found"),
    [
        pytest.param(None, JobEnd(SUCCEEDED, END, SUCCEEDED), id="nothing was written"),
        pytest.param(
            (FAILED, END), JobEnd(FAILED, END, SUCCEEDED), id="another outcome: both count"
        ),
        pytest.param(
            (SUCCEEDED, END + MINUTE), JobEnd(SUCCEEDED, END + MINUTE, SUCCEEDED), id="a later end"
        ),
        pytest.param(
            (SUCCEEDED, END - MINUTE),
            JobEnd(SUCCEEDED, END, SUCCEEDED),
            id="an earlier end hastens nothing",
        ),
    ],
)
def test_what_the_head_had_said_before_its_cluster_went(
    written: Written | None, found: JobEnd
) -> None:
    assert finish(a_rayjob(), ProbeResult(None), FIRST_SEEN, written) == found


@pytest.mark.parametrize(
    ("fields", "end", "more"),
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
            id="Ray's time is there",
        ),
        pytest.param(
            {"end_time": None}, JobEnd(SUCCEEDED, END, SUCCEEDED), True, id="the status has no time"
        ),
    ],
)
def test_whether_the_head_knows_more_than_the_status(
    fields: dict[str, datetime | None], end: JobEnd, more: bool
) -> None:
    assert knows_more(a_rayjob(**fields), end) is more


@pytest.mark.parametrize(
    ("outcome", "failed", "limit", "left"),
    [
        (FAILED, 0, 0, False),
        (FAILED, 0, 1, True),
        (FAILED, 1, 1, False),
        (FAILED, 1, 2, True),
        (SUCCEEDED, 0, 1, False),
        (STOPPED, 0, 1, False),
    ],
)
def test_whether_kuberay_would_try_again(
    outcome: Outcome, failed: int, limit: int, left: bool
) -> None:
    assert retries_are_left(a_rayjob(failed=failed, backoff_limit=limit), outcome) is left


@pytest.mark.parametrize(
    ("written", "end", "at"),
    [
        pytest.param(
            END + 900 * DAY,
            None,
            END,
            id="a forged time of the status: when it was first seen finished counts",
        ),
        pytest.param(
            END + 900 * DAY, END + 899 * DAY, END, id="it makes no forged endTime plausible"
        ),
        pytest.param(END - DAY, None, END - DAY, id="an earlier one counts"),
    ],
)
def test_a_time_in_managed_fields_after_it_was_first_seen_finished_does_not_count(
    written: datetime, end: datetime | None, at: datetime
) -> None:
    assert finish(a_rayjob(end_time=end, status_written_at=written), None, END).at == at


@pytest.mark.parametrize(
    ("note", "at"),
    [
        pytest.param(
            "failed 2099-01-01T00:00:00Z",
            END,
            id="a time that is yet to come: nobody wrote that for us",
        ),
        pytest.param(
            "failed 2026-11-22T18:30:00Z",
            END.replace(minute=30, microsecond=0),
            id="a time that has come",
        ),
    ],
)
def test_a_written_outcome_counts_only_where_its_time_has_come(note: str, at: datetime) -> None:
    rayjob = a_rayjob(annotations={"raysweep.io/outcome": note}, cluster_name="")
    assert Assessment(rayjob, a_namespace()).finish(END + DAY).at == at
