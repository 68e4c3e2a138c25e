"""What benchmarks read from the audit log of a sandbox."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import audit
from benchmarks.audit import AuditLog, Deletions
from benchmarks.finished import is_chosen
from tests.support.builders import DUE

SECOND = timedelta(seconds=1)
TRAIN = ("team-a", "train")


def event(
    name: str = "train", *, at: datetime = DUE, took: float = 0.1, code: int = 200, **fields: Any
) -> dict[str, Any]:
    """A DELETE of a RayCluster by the operator."""
    target = {"resource": "rayclusters", "namespace": "team-a", "name": name}
    return {
        "verb": "delete",
        "userAgent": "raysweep/1",
        "objectRef": target,
        "responseStatus": {"code": code},
        "requestReceivedTimestamp": at.isoformat(),
        "stageTimestamp": (at + timedelta(seconds=took)).isoformat(),
        **fields,
    }


def cluster_with(path: Path) -> Any:
    path.touch()
    return SimpleNamespace(audit_log=path)


def append(path: Path, *events: dict[str, Any], end: str = "\n") -> None:
    lines = [json.dumps(each, separators=(",", ":")) for each in events]
    path.write_text(path.read_text() + "\n".join(lines) + end)


def test_only_complete_lines_after_the_beginning_are_read(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    cluster = cluster_with(path)
    append(path, event("before"))
    log = AuditLog(cluster)
    append(path, event("first"), end="\n{")
    assert [each["objectRef"]["name"] for each in log.read()] == ["first"]
    assert log.read() == []


@pytest.mark.parametrize(
    ("what", "counts"),
    [
        pytest.param(event(), True, id="a DELETE"),
        pytest.param(event(code=404), True, id="the garbage collector was faster"),
        pytest.param(event(code=409), False, id="a refused DELETE"),
        pytest.param(event(userAgent="kubelet/1"), False, id="of another program"),
        pytest.param(event(verb="get"), False, id="a GET"),
    ],
)
def test_which_requests_count_as_deletions(tmp_path: Path, what: Any, counts: bool) -> None:
    path = tmp_path / "audit.log"
    deletions = Deletions.by(cluster_with(path), audit.OPERATOR)
    append(path, what)
    deletions.update()
    assert deletions.times == ({TRAIN: DUE} if counts else {})


def test_the_lag_is_the_time_from_due_to_the_request() -> None:
    assert audit.lags({TRAIN: DUE + SECOND}, {TRAIN: DUE}) == [1.0]


def test_what_is_missing_or_too_early_has_no_lag() -> None:
    with pytest.raises(ValueError, match="1 were not deleted"):
        audit.lags({}, {TRAIN: DUE})
    with pytest.raises(ValueError, match=r"1\.000 s before it was due"):
        audit.lags({TRAIN: DUE - SECOND}, {TRAIN: DUE})


def test_a_rate_counts_from_its_beginning() -> None:
    assert audit.per_second([DUE + SECOND, DUE + 2 * SECOND], since=DUE) == 1.0


def test_requests_that_overlap_are_in_flight_at_once() -> None:
    events = [event(at=DUE), event(at=DUE + 0.05 * SECOND), event(at=DUE + 0.1 * SECOND)]
    assert audit.most_in_flight(events) == 2


def test_hung_heads_are_spread_evenly() -> None:
    assert [number for number in range(10) if is_chosen(number, 2, 10)] == [4, 9]
