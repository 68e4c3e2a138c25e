"""C5: an interactive RayJob without a job counts from when a person could submit, and is kept if that is unknown."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from raysweep.core.decide import decide
from raysweep.core.model.facts import ProbeResult, RayCluster
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_list,
    a_raycluster,
    an_assessment,
    an_interactive,
)
from tests.support.sentences import in_words

LONG_AGO = END - 3 * HOUR
"""When the RayJob was created: its cluster became ready at END, three hours later."""
WAITING = an_interactive(start_time=LONG_AGO)
READY_LATER = a_raycluster(head_ready=True, head_ready_since=END + timedelta(minutes=30))


def decided(
    cluster: RayCluster | None,
    now: datetime,
    written_at: datetime | None = END,
    started_at: datetime | None = LONG_AGO,
) -> str:
    """The decision after a look that found no job; cluster: None before any look."""
    rayjob = replace(WAITING, status_written_at=written_at, start_time=started_at)
    assessment = an_assessment(
        rayjob=rayjob, probe=ProbeResult(cluster, a_list()) if cluster else None
    )
    return in_words(decide(replace(assessment, now=now)))


@pytest.mark.parametrize(
    ("cluster", "now", "decision"),
    [
        pytest.param(
            None,
            END + MOMENT,
            "Wait until 22",
            id="an hour after its creation, right after it became ready",
        ),
        pytest.param(None, DUE - MOMENT, "Wait until 22", id="a moment before an hour has passed"),
        pytest.param(
            a_raycluster(), DUE, "Delete RayJob uid-train", id="an hour after it became ready"
        ),
        pytest.param(
            READY_LATER, DUE, "Wait until 22", id="a head that became ready half an hour later"
        ),
        pytest.param(
            READY_LATER,
            DUE + timedelta(minutes=30),
            "Delete RayJob uid-train",
            id="an hour after such a head",
        ),
    ],
)
def test_c5_it_counts_from_when_the_cluster_became_ready(
    cluster: RayCluster | None, now: datetime, decision: str
) -> None:
    assert decided(cluster, now).startswith(decision)


@pytest.mark.parametrize("cluster", [None, a_raycluster()], ids=["before a look", "after a look"])
@pytest.mark.parametrize(
    ("written_at", "started_at"),
    [
        pytest.param(None, LONG_AGO, id="the time of the status is unknown"),
        pytest.param(None, None, id="no time at all"),
        pytest.param(DUE + 2 * HOUR, LONG_AGO, id="a time that lies far ahead"),
    ],
)
def test_c5_if_it_is_unknown_since_when_it_is_kept(
    cluster: RayCluster | None, written_at: datetime | None, started_at: datetime | None
) -> None:
    sentence = decided(cluster, DUE, written_at, started_at)
    assert ": NotFinished: jobDeploymentStatus is 'Waiting'" in sentence
    assert not sentence.startswith("Delete")


def test_c5_a_head_that_says_since_when_it_is_ready_is_enough() -> None:
    head = a_raycluster(head_ready=True, head_ready_since=END)
    assert decided(head, DUE, written_at=None).startswith("Delete RayJob uid-train")
    assert decided(head, DUE - MOMENT, written_at=None).startswith("Wait until 22")
