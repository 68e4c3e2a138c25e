"""What a spec asks of KubeRay: as a source of the two times, and as a forecast of deletions."""

from dataclasses import replace
from datetime import timedelta

import pytest

from raysweep.core.durations import NEVER, Duration
from raysweep.core.model.facts import DeletionRule, KubeRayCleanup, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.parameters import KubeRayTTL
from raysweep.core.model.provenance import BUILT_IN, SourcedDuration
from raysweep.core.retention.kuberay_spec import Forecast, forecast
from raysweep.core.retention.resolve import Retention, Sources, is_any_time_set, resolve
from tests.support.builders import END, a_namespace, a_rayjob, says

SUCCEEDED, FAILED, STOPPED = Outcome.SUCCEEDED, Outcome.FAILED, Outcome.STOPPED
STATUS = {
    SUCCEEDED: ("Complete", "SUCCEEDED"),
    FAILED: ("Failed", "FAILED"),
    STOPPED: ("Complete", "STOPPED"),
}
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SHUTDOWN = "RayJob team-a/train spec.shutdownAfterJobFinishes with ttlSecondsAfterFinished"
STRATEGY = "RayJob team-a/train spec.deletionStrategy"


def shutdown(seconds: int = 0) -> KubeRayCleanup:
    """shutdownAfterJobFinishes; no ttlSecondsAfterFinished is 0, the CRD's default."""
    return KubeRayCleanup(shutdown=True, seconds=seconds)


def strategy(*rules: DeletionRule, **older: str | int | bool) -> KubeRayCleanup:
    """A deletionStrategy, of rules or in one of the older forms."""
    return replace(KubeRayCleanup(has_strategy=True, rules=rules), **older)  # type: ignore[arg-type]


def after(policy: str, seconds: int, job: str = "", deployment: str = "") -> DeletionRule:
    """One rule."""
    return DeletionRule(policy, seconds, job, deployment)


def ended(outcome: Outcome, kuberay_cleanup: KubeRayCleanup, **annotations: str) -> RayJob:
    """It ended so, at END, with this spec."""
    deployment, job = STATUS[outcome]
    return a_rayjob(
        deployment_status=deployment,
        job_status=job,
        kuberay_cleanup=kuberay_cleanup,
        annotations=says(**annotations),
    )


TTLs = tuple[Duration | None, Duration | None]
"""ttl and cluster-ttl; None where the spec leaves it to the weaker sources."""

SPECS = [
    pytest.param(SUCCEEDED, KubeRayCleanup(), (None, None), id="nothing"),
    pytest.param(
        SUCCEEDED, KubeRayCleanup(seconds=60), (None, None), id="a TTL without shutdown is none"
    ),
    pytest.param(
        SUCCEEDED, KubeRayCleanup(seconds=-60), (None, None), id="and cannot be invalid either"
    ),
    pytest.param(SUCCEEDED, shutdown(60), (MINUTE, MINUTE), id="shutdown with a TTL above 0: both"),
    pytest.param(FAILED, shutdown(60), (MINUTE, MINUTE), id="for every outcome: failed"),
    pytest.param(STOPPED, shutdown(60), (MINUTE, MINUTE), id="for every outcome: stopped"),
    pytest.param(
        SUCCEEDED,
        shutdown(0),
        (None, timedelta()),
        id="shutdown with 0 or none: the cluster at once, nothing of the record",
    ),
    pytest.param(
        SUCCEEDED,
        strategy(shutdown=True, seconds=60),
        (None, None),
        id="a strategy switches shutdown off",
    ),
    *(
        pytest.param(outcome, strategy(after(policy, 60, word)), says_, id=f"{policy} of {word}")
        for outcome, word in ((SUCCEEDED, "SUCCEEDED"), (FAILED, "FAILED"))
        for policy, says_ in {
            "DeleteSelf": (MINUTE, MINUTE),
            "DeleteCluster": (None, MINUTE),
            "DeleteWorkers": (None, NEVER),
            "DeleteNone": (NEVER, NEVER),
        }.items()
    ),
    pytest.param(
        STOPPED,
        strategy(after("DeleteSelf", 60, "SUCCEEDED"), after("DeleteSelf", 60, "FAILED")),
        (None, None),
        id="STOPPED, which no rule names",
    ),
    pytest.param(
        FAILED,
        strategy(after("DeleteCluster", 60, "", "Failed")),
        (None, MINUTE),
        id="a rule of jobDeploymentStatus Failed",
    ),
    pytest.param(
        SUCCEEDED,
        strategy(after("DeleteCluster", 60, "", "Failed")),
        (None, None),
        id="which says nothing of Complete",
    ),
    pytest.param(
        SUCCEEDED,
        strategy(
            after("DeleteWorkers", 10, "SUCCEEDED"),
            after("DeleteCluster", 60, "SUCCEEDED"),
            after("DeleteSelf", 3600, "SUCCEEDED"),
        ),
        (HOUR, MINUTE),
        id="workers, cluster, self: each at its time",
    ),
    pytest.param(
        SUCCEEDED,
        strategy(after("DeleteSelf", 60, "SUCCEEDED"), after("DeleteCluster", 3600, "SUCCEEDED")),
        (MINUTE, MINUTE),
        id="self before cluster: the cluster is deleted with it",
    ),
    pytest.param(
        FAILED,
        strategy(after("DeleteSelf", 3600, "FAILED"), after("DeleteSelf", 60, "", "Failed")),
        (MINUTE, MINUTE),
        id="of several per value the earliest: the second",
    ),
    pytest.param(
        FAILED,
        strategy(after("DeleteCluster", 60, "FAILED"), after("DeleteCluster", 3600, "", "Failed")),
        (None, MINUTE),
        id="of several per value the earliest: the first",
    ),
    pytest.param(
        SUCCEEDED, strategy(after("DeleteSelf", 60)), (None, None), id="a rule without a condition"
    ),
    pytest.param(
        SUCCEEDED,
        strategy(after("DeleteSelf", 60, "ODD")),
        (None, None),
        id="a rule for a word that is no end",
    ),
    pytest.param(
        SUCCEEDED,
        strategy(after("DeleteHalf", 60, "SUCCEEDED")),
        (None, None),
        id="a policy that KubeRay does not know",
    ),
    pytest.param(
        SUCCEEDED,
        strategy(on_success="DeleteSelf", on_failure="DeleteNone"),
        (timedelta(), timedelta()),
        id="onSuccess: at once",
    ),
    pytest.param(
        SUCCEEDED,
        strategy(on_success="DeleteCluster", on_failure="DeleteNone", seconds=60),
        (None, MINUTE),
        id="onSuccess, with the top-level TTL",
    ),
    pytest.param(
        FAILED,
        strategy(on_success="DeleteSelf", on_failure="DeleteNone"),
        (NEVER, NEVER),
        id="onFailure",
    ),
    pytest.param(
        FAILED,
        strategy(on_success="DeleteSelf", on_failure="DeleteWorkers"),
        (None, NEVER),
        id="onFailure: the workers alone",
    ),
    pytest.param(
        STOPPED,
        strategy(on_success="DeleteSelf", on_failure="DeleteSelf"),
        (None, None),
        id="neither speaks of STOPPED",
    ),
    *(
        pytest.param(
            outcome,
            strategy(policy="DeleteCluster", seconds=60),
            (None, MINUTE),
            id=f"deletionPolicy is for every outcome: {outcome}",
        )
        for outcome in Outcome
    ),
]


def _retention(
    rayjob: RayJob, kuberay_ttl: KubeRayTTL = KubeRayTTL.RAYJOB, **namespace: str
) -> Retention:
    outcome = next(
        one
        for one, status in STATUS.items()
        if status == (rayjob.deployment_status, rayjob.job_status)
    )
    return resolve(
        Sources(rayjob, a_namespace(**namespace), kuberay_ttl=kuberay_ttl), frozenset({outcome})
    )


@pytest.mark.parametrize(("outcome", "kuberay_cleanup", "expected"), SPECS)
def test_a_spec_is_weaker_than_the_rayjob_and_stronger_than_the_namespace(
    outcome: Outcome, kuberay_cleanup: KubeRayCleanup, expected: TTLs
) -> None:
    place = STRATEGY if kuberay_cleanup.has_strategy else SHUTDOWN
    kept = _retention(ended(outcome, kuberay_cleanup), ttl="2w", cluster_ttl="1w")
    ttl, cluster_ttl = (
        SourcedDuration(
            timedelta(weeks=weeks), f"Namespace team-a annotation raysweep.io/{key}", inherited=True
        )
        for weeks, key in ((2, "ttl"), (1, "cluster-ttl"))
    )
    assert kept.ttl == (ttl if expected[0] is None else SourcedDuration(expected[0], place))
    assert kept.cluster_ttl == (
        cluster_ttl if expected[1] is None else SourcedDuration(expected[1], place)
    )
    assert _retention(ended(outcome, kuberay_cleanup, ttl="1d"), ttl="2w") == _retention(
        ended(outcome, KubeRayCleanup(), ttl="1d")
    )


def test_a_time_that_no_source_sets_is_never() -> None:
    assert _retention(ended(SUCCEEDED, shutdown())) == Retention(
        BUILT_IN, SourcedDuration(timedelta(), SHUTDOWN)
    )


def test_a_cluster_ttl_of_the_rayjob_leaves_its_ttl_to_the_spec() -> None:
    kept = _retention(ended(SUCCEEDED, shutdown(3600), cluster_ttl="5m"))
    assert (kept.ttl.value, kept.cluster_ttl.value) == (HOUR, 5 * MINUTE)


@pytest.mark.parametrize(
    ("kuberay_cleanup", "expected"),
    [
        (shutdown(60), (NEVER, MINUTE)),
        (shutdown(0), (NEVER, timedelta())),
        (strategy(after("DeleteSelf", 60, "SUCCEEDED")), (MINUTE, MINUTE)),
    ],
)
def test_the_setting_kuberay_ttl_applies_the_top_level_ttl_to_the_cluster(
    kuberay_cleanup: KubeRayCleanup, expected: TTLs
) -> None:
    kept = _retention(ended(SUCCEEDED, kuberay_cleanup), KubeRayTTL.RAYCLUSTER)
    assert (kept.ttl.value, kept.cluster_ttl.value) == expected


NEGATIVE_TTLS: list[KubeRayCleanup] = [
    shutdown(-1),
    strategy(after("DeleteSelf", -1, "SUCCEEDED")),
    strategy(after("DeleteCluster", 60, "SUCCEEDED"), after("DeleteSelf", -1, "SUCCEEDED")),
    strategy(policy="DeleteCluster", seconds=-1),
]


def test_a_negative_ttl_is_invalid_and_keeps_everything() -> None:
    for kuberay_cleanup in NEGATIVE_TTLS:
        kept = _retention(ended(SUCCEEDED, kuberay_cleanup), ttl="1h")
        assert kept.invalid is not None, kuberay_cleanup
        assert kept.invalid.problem == "negative TTL", kuberay_cleanup
        assert (kept.ttl.value, kept.cluster_ttl.value) == (NEVER, NEVER), kuberay_cleanup


def test_a_negative_ttl_of_another_outcome_has_no_effect() -> None:
    kept = _retention(ended(SUCCEEDED, strategy(after("DeleteSelf", -1, "FAILED"))), ttl="1h")
    assert (kept.ttl.value, kept.invalid) == (HOUR, None)


@pytest.mark.parametrize(("outcome", "kuberay_cleanup", "expected"), SPECS)
def test_a_time_of_the_spec_counts_as_a_time_that_is_set(
    outcome: Outcome, kuberay_cleanup: KubeRayCleanup, expected: TTLs
) -> None:
    if any(isinstance(one, timedelta) for one in expected):
        assert is_any_time_set(Sources(ended(outcome, kuberay_cleanup), a_namespace()))


AT = END + timedelta(seconds=2)
"""KubeRay looks again two seconds after a deadline."""


FORECASTS: dict[str, tuple[Outcome, KubeRayCleanup, Forecast]] = {
    "nothing": (SUCCEEDED, KubeRayCleanup(), Forecast()),
    "shutdown deletes the cluster, whatever nativeTTL says": (
        SUCCEEDED,
        shutdown(60),
        Forecast(AT + MINUTE),
    ),
    "shutdown at once": (STOPPED, shutdown(0), Forecast(AT)),
    "a rule of its outcome": (
        SUCCEEDED,
        strategy(after("DeleteCluster", 60, "SUCCEEDED")),
        Forecast(AT + MINUTE),
    ),
    "no rule names STOPPED": (
        STOPPED,
        strategy(after("DeleteCluster", 60, "SUCCEEDED")),
        Forecast(),
    ),
    "DeleteSelf takes both": (
        FAILED,
        strategy(after("DeleteSelf", 60, "", "Failed")),
        Forecast(AT + MINUTE, AT + MINUTE),
    ),
    "cluster first, then the RayJob": (
        SUCCEEDED,
        strategy(after("DeleteCluster", 60, "SUCCEEDED"), after("DeleteSelf", 3600, "SUCCEEDED")),
        Forecast(AT + MINUTE, AT + HOUR),
    ),
    "workers are not the cluster": (
        SUCCEEDED,
        strategy(after("DeleteWorkers", 60, "SUCCEEDED")),
        Forecast(),
    ),
    "DeleteNone": (
        FAILED,
        strategy(on_success="DeleteCluster", on_failure="DeleteNone"),
        Forecast(),
    ),
    "onSuccess": (
        SUCCEEDED,
        strategy(on_success="DeleteSelf", on_failure="DeleteNone", seconds=60),
        Forecast(AT + MINUTE, AT + MINUTE),
    ),
    "beyond the calendar": (SUCCEEDED, shutdown(10**12), Forecast()),
}


def test_the_forecast_of_what_kuberay_deletes() -> None:
    for label, (outcome, kuberay_cleanup, seen) in FORECASTS.items():
        assert forecast(ended(outcome, kuberay_cleanup)) == seen, label


def test_kuberay_goes_by_the_job_status_alone() -> None:
    frozen = replace(
        ended(FAILED, strategy(after("DeleteCluster", 60, "FAILED"))), job_status="RUNNING"
    )
    assert forecast(frozen) == Forecast()
    assert _retention(replace(frozen, job_status="FAILED")).cluster_ttl.value == MINUTE


NO_DELETION: list[dict[str, object]] = [
    {"has_selector": True},
    {"deployment_status": "ValidationFailed"},
    {"deployment_status": "Running"},
    {"end_time": None},
]


def test_when_kuberay_deletes_nothing() -> None:
    for fields in NO_DELETION:
        assert forecast(replace(ended(SUCCEEDED, shutdown(60)), **fields)) == Forecast(), fields  # type: ignore[arg-type]
