"""What the status words of KubeRay and Ray mean."""

from raysweep.core.job_status import is_unfinished, kuberay_reports_end, retries_are_left
from raysweep.core.model.outcome import Outcome
from tests.support.builders import a_driver, a_rayjob

FINAL = ("Complete", "Failed", "ValidationFailed")
NOT_FINAL = (
    "",
    "New",
    "Initializing",
    "Running",
    "Waiting",
    "Retrying",
    "Suspending",
    "Suspended",
    "complete",
    "Finished",
)


def test_kuberay_reports_end() -> None:
    for status in (*FINAL, *NOT_FINAL):
        rayjob = a_rayjob(deployment_status=status)
        assert kuberay_reports_end(rayjob) is (status in FINAL), status


def test_is_unfinished() -> None:
    for status in ("SUCCEEDED", "FAILED", "STOPPED"):
        assert not is_unfinished(a_driver(status)), status
    for status in ("RUNNING", "PENDING", "ODD", ""):
        assert is_unfinished(a_driver(status)), status


def test_retries_are_left() -> None:
    rows = (
        (Outcome.FAILED, 0, 0, False),
        (Outcome.FAILED, 0, 1, True),
        (Outcome.FAILED, 1, 1, False),
        (Outcome.FAILED, 1, 2, True),
        (Outcome.SUCCEEDED, 0, 1, False),
        (Outcome.STOPPED, 0, 1, False),
    )
    for row in rows:
        outcome, failed, limit, expected = row
        rayjob = a_rayjob(failed=failed, backoff_limit=limit)
        assert retries_are_left(rayjob, outcome) is expected, row
