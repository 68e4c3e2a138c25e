"""What a head reports about the RayJob's own job, and which submission is its own."""

import pytest

from raysweep.core.head_report import (
    KEPT_ENTRIES,
    HeadReport,
    ReportedState,
    decisive_entries,
    read_report,
)
from raysweep.core.job_status import is_unfinished
from raysweep.core.model.facts import JobEntry, ProbeResult, RayJob
from tests.support.builders import (
    END,
    a_driver,
    a_list,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_silent_probe,
    a_submission,
)

OWN, OTHER = a_submission("SUCCEEDED"), a_submission("RUNNING", "another-job")
BY_ID, NO_ID = a_rayjob(), a_rayjob(job_id="")
DELETING = a_raycluster(deleting=True)


@pytest.mark.parametrize(
    ("rayjob", "probe", "report"),
    [
        pytest.param(BY_ID, ProbeResult(None), HeadReport(ReportedState.NO_HEAD), id="no cluster"),
        pytest.param(
            BY_ID,
            ProbeResult(DELETING, a_list(OWN)),
            HeadReport(ReportedState.NO_HEAD),
            id="a cluster that is being deleted",
        ),
        pytest.param(
            BY_ID, a_silent_probe(), HeadReport(ReportedState.NO_ANSWER), id="a silent head"
        ),
        pytest.param(
            BY_ID,
            ProbeResult(a_raycluster()),
            HeadReport(ReportedState.NO_ANSWER),
            id="a head that was not asked",
        ),
        pytest.param(
            BY_ID,
            a_probe(OTHER),
            HeadReport(ReportedState.NOT_FOUND, others=(OTHER,)),
            id="another job's entry only",
        ),
        pytest.param(
            BY_ID,
            ProbeResult(a_raycluster(), a_list()),
            HeadReport(ReportedState.NOT_FOUND),
            id="an empty list",
        ),
        pytest.param(
            BY_ID,
            a_probe(OTHER, OWN),
            HeadReport(ReportedState.TERMINAL, OWN, (OTHER,)),
            id="its own entry among others, by ID",
        ),
        pytest.param(
            BY_ID,
            a_probe(OWN, OWN),
            HeadReport(ReportedState.AMBIGUOUS, others=(OWN, OWN)),
            id="the same ID twice",
        ),
        pytest.param(
            NO_ID,
            a_probe(OWN),
            HeadReport(ReportedState.TERMINAL, OWN),
            id="the only submission, without an ID",
        ),
        pytest.param(
            NO_ID,
            a_probe(a_driver()),
            HeadReport(ReportedState.NOT_FOUND, others=(a_driver(),)),
            id="a driver is no submission",
        ),
        pytest.param(
            NO_ID,
            a_probe(OWN, OTHER),
            HeadReport(ReportedState.AMBIGUOUS, others=(OWN, OTHER)),
            id="two submissions, without an ID",
        ),
    ],
)
def test_read_report(rayjob: RayJob, probe: ProbeResult, report: HeadReport) -> None:
    assert read_report(rayjob, probe) == report


def test_the_state_follows_from_the_status_of_the_own_entry() -> None:
    for status in ("SUCCEEDED", "FAILED", "STOPPED"):
        entry = a_submission(status)
        report = HeadReport(ReportedState.TERMINAL, entry)
        assert read_report(BY_ID, a_probe(entry)) == report, status
    for status in ("PENDING", "RUNNING", "PAUSED", "succeeded", ""):
        entry = a_submission(status)
        report = HeadReport(ReportedState.ACTIVE, entry)
        assert read_report(BY_ID, a_probe(entry)) == report, status


ENDED = tuple(a_submission("SUCCEEDED", f"ended-{n}") for n in range(40))
LAST = a_submission("SUCCEEDED", "last", END)
RUNNING = tuple(a_submission("RUNNING", f"running-{n}") for n in range(40))


@pytest.mark.parametrize(
    ("entries", "job_id", "kept"),
    [
        pytest.param(ENDED[:16], OWN.submission_id, ENDED[:16], id="a short list is kept"),
        pytest.param((*ENDED, OWN), OWN.submission_id, (OWN,), id="jobs that ended do not decide"),
        pytest.param(
            (*ENDED, OTHER, OWN), OWN.submission_id, (OWN, OTHER), id="an unfinished job decides"
        ),
        pytest.param(
            (*RUNNING, OWN),
            OWN.submission_id,
            (OWN, *RUNNING[:KEPT_ENTRIES]),
            id="of many unfinished jobs a few are kept",
        ),
        pytest.param(
            ENDED, "", ENDED[:KEPT_ENTRIES], id="without an ID all submissions may be own"
        ),
        pytest.param(ENDED, OWN.submission_id, (), id="the own job is missing"),
        pytest.param(
            (LAST, *ENDED), OWN.submission_id, (LAST,), id="since the last end it is unused"
        ),
        pytest.param(
            (OWN,) * 40, OWN.submission_id, (OWN,) * KEPT_ENTRIES, id="the own job several times"
        ),
    ],
)
def test_of_a_long_list_only_the_entries_that_decide_are_kept(
    entries: tuple[JobEntry, ...], job_id: str, kept: tuple[JobEntry, ...]
) -> None:
    assert decisive_entries(entries, job_id) == kept
    rayjob = a_rayjob(job_id=job_id)
    report, whole = (
        read_report(rayjob, ProbeResult(a_raycluster(), a_list(*each))) for each in (kept, entries)
    )
    assert (report.state, report.own) == (whole.state, whole.own)
    assert any(map(is_unfinished, report.others)) == any(map(is_unfinished, whole.others))
