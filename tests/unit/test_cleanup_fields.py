"""The cleanup flags of a submission as KubeRay's fields and as annotations."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep import names
from raysweep.clients.parsing.rayjob import parse_rayjob
from raysweep.core.durations import Never, parse_duration
from raysweep.core.model.outcome import Outcome
from raysweep.core.retention import resolve
from raysweep.submission.cleanup_fields import CleanupFlags
from raysweep.submission.cluster_spec import ClusterShape
from raysweep.submission.manifest import Manifest, ManifestError, from_file, from_flags
from refused_specs import BASE, merge
from tests.support.builders import a_namespace

TTL, TTL_FAILED, CLUSTER_TTL = names.TTL, f"{names.TTL}-failed", names.CLUSTER_TTL
QUEUE = {names.KUEUE_QUEUE_LABEL: "lq"}
QUEUE_NOTE = "shutdownAfterJobFinishes is set to true: Kueue requires it"
HOUR = timedelta(hours=1)


def manifest_of(
    cleanup: CleanupFlags,
    spec: Mapping[str, Any] = {},
    *,
    annotations: Mapping[str, str] = {},
    labels: Mapping[str, str] = {},
) -> Manifest:
    """Lays the flags over a file with these fields."""
    metadata = {"annotations": dict(annotations), "labels": dict(labels)}
    document = merge(BASE, {"metadata": metadata, "spec": dict(spec)})
    return from_file(document, cleanup, name=None, entrypoint=None, labels={})


def kuberay_fields(manifest: Manifest) -> tuple[Any, Any]:
    spec = manifest.body["spec"]
    return spec.get("shutdownAfterJobFinishes"), spec.get("ttlSecondsAfterFinished")


def annotations_of(manifest: Manifest) -> dict[str, str]:
    """The annotations without the TTL of an unsubmitted RayJob."""
    annotations = dict(manifest.body["metadata"]["annotations"])
    del annotations[names.TTL_UNSUBMITTED]
    return annotations


def kuberay(seconds: int | None = None) -> dict[str, Any]:
    """The fields of a file that lets KubeRay clean up."""
    ttl = {} if seconds is None else {"ttlSecondsAfterFinished": seconds}
    return {"shutdownAfterJobFinishes": True, **ttl}


@pytest.mark.parametrize(
    ("cleanup", "fields", "annotations", "note"),
    [
        pytest.param(CleanupFlags(), (None, None), {}, "", id="no flags"),
        pytest.param(CleanupFlags(True, 60), (True, 60), {TTL: "60"}, "", id="both flags"),
        pytest.param(CleanupFlags(None, 60), (True, 60), {TTL: "60"}, "implies", id="TTL"),
        pytest.param(CleanupFlags(None, 0), (True, 0), {TTL: "0"}, "implies", id="TTL of 0"),
        pytest.param(CleanupFlags(True), (True, None), {}, "as the record", id="shutdown"),
        pytest.param(CleanupFlags(False), (False, None), {}, "", id="no shutdown"),
        pytest.param(
            CleanupFlags(True, 86400, {CLUSTER_TTL: "0"}),
            (True, 0),
            {TTL: "86400", CLUSTER_TTL: "0"},
            "",
            id="cluster TTL of 0",
        ),
        pytest.param(
            CleanupFlags(None, 60, {TTL_FAILED: "1d"}),
            (True, 86400),
            {TTL: "60", TTL_FAILED: "1d"},
            "KubeRay alone would delete the cluster 1d after the end",
            id="KubeRay gets the longest TTL",
        ),
        pytest.param(
            CleanupFlags(None, 60, {TTL_FAILED: "never"}),
            (None, None),
            {TTL: "60", TTL_FAILED: "never"},
            "kept after: failed",
            id="KubeRay has no never",
        ),
        pytest.param(
            CleanupFlags(None, None, {TTL_FAILED: "1d"}),
            (None, None),
            {TTL_FAILED: "1d"},
            "kept after: succeeded, stopped",
            id="one outcome",
        ),
    ],
)
def test_fields_and_annotations(
    cleanup: CleanupFlags, fields: tuple[Any, Any], annotations: dict[str, str], note: str
) -> None:
    manifest = from_flags("train", "true", ClusterShape(), cleanup, labels={})
    assert kuberay_fields(manifest) == fields
    assert annotations_of(manifest) == annotations
    assert bool(note) == bool(manifest.notes)
    assert note in " ".join(manifest.notes)
    assert "jobId" not in manifest.body["spec"]


def test_invalid_flags_are_refused() -> None:
    for cleanup, problem in (
        (CleanupFlags(False, 60), "--shutdown-after-job-finishes=false contradicts a TTL"),
        (CleanupFlags(None, -1), "--ttl-seconds-after-finished: invalid number of seconds -1"),
        (CleanupFlags(None, 2**31), "from 0 to 2147483647"),
        (CleanupFlags(None, 1, {TTL_FAILED: "soon"}), "--ttl-failed: invalid duration 'soon'"),
        (CleanupFlags(ttl_unsubmitted="x"), "--ttl-unsubmitted: invalid duration 'x'"),
        (CleanupFlags(True, 60, {TTL_FAILED: "never"}), "these have no TTL: failed"),
        (CleanupFlags(True, 60, {CLUSTER_TTL: "99y"}), "--cluster-ttl: invalid duration '99y'"),
        (CleanupFlags(None, 60, {CLUSTER_TTL: "4000w"}), "KubeRay allows 2147483647 seconds"),
    ):
        with pytest.raises(ManifestError, match=problem):
            manifest_of(cleanup)


@pytest.mark.parametrize(
    ("annotations", "spec", "cleanup", "fields"),
    [
        pytest.param(
            {TTL_FAILED: "never"}, {}, CleanupFlags(None, 60), (None, None), id="never in the file"
        ),
        pytest.param(
            {TTL_FAILED: "1d"}, {}, CleanupFlags(None, 60), (True, 86400), id="longer in the file"
        ),
        pytest.param({TTL: "1h"}, {}, CleanupFlags(True), (True, 3600), id="TTL of the file"),
        pytest.param({}, kuberay(9), CleanupFlags(True), (True, 9), id="field of the file"),
        pytest.param(
            {},
            kuberay(9),
            CleanupFlags(None, 60, {TTL_FAILED: "never"}),
            (None, None),
            id="never removes the fields of the file",
        ),
    ],
)
def test_kuberay_deletes_no_earlier_than_flags_and_file_allow(
    annotations: dict[str, str], spec: dict[str, Any], cleanup: CleanupFlags, fields: Any
) -> None:
    assert kuberay_fields(manifest_of(cleanup, spec, annotations=annotations)) == fields


@pytest.mark.parametrize(
    ("spec", "cleanup", "fields", "annotations"),
    [
        pytest.param(
            kuberay(600),
            CleanupFlags(durations={TTL_FAILED: "1d"}),
            (True, 86400),
            {TTL_FAILED: "1d", f"{TTL}-succeeded": "600", f"{TTL}-stopped": "600"},
            id="a TTL",
        ),
        pytest.param(
            kuberay(),
            CleanupFlags(durations={TTL_FAILED: "1d"}),
            (True, 86400),
            {TTL_FAILED: "1d", f"{CLUSTER_TTL}-succeeded": "0", f"{CLUSTER_TTL}-stopped": "0"},
            id="no TTL: only the cluster, at once",
        ),
        pytest.param(
            kuberay(600),
            CleanupFlags(ttl_seconds=60),
            (True, 60),
            {TTL: "60"},
            id="a flag for every outcome",
        ),
    ],
)
def test_the_ttl_of_the_file_counts_for_outcomes_without_a_flag(
    spec: dict[str, Any], cleanup: CleanupFlags, fields: Any, annotations: dict[str, str]
) -> None:
    manifest = manifest_of(cleanup, spec)
    assert (kuberay_fields(manifest), annotations_of(manifest)) == (fields, annotations)


def test_c17_a_queue_of_kueue_sets_the_shutdown_with_a_note() -> None:
    old_strategy = {"onSuccess": {"policy": "DeleteCluster"}, "onFailure": {"policy": "DeleteSelf"}}
    for cleanup, spec, fields in (
        (CleanupFlags(), {}, (True, None)),
        (CleanupFlags(durations={TTL_FAILED: "1d"}), {}, (True, 86400)),
        (CleanupFlags(ttl_seconds=60), {}, (True, 60)),
        (CleanupFlags(ttl_seconds=60), {"shutdownAfterJobFinishes": False}, (True, 60)),
        (CleanupFlags(), {"deletionStrategy": old_strategy}, (True, None)),
    ):
        manifest = manifest_of(cleanup, spec, labels=QUEUE)
        assert kuberay_fields(manifest) == fields, (cleanup, spec)
        (note,) = [note for note in manifest.notes if note.startswith(QUEUE_NOTE)]
        assert "kueue.x-k8s.io/queue-name=lq" in note


def test_c17_the_label_may_come_from_a_flag() -> None:
    manifest = from_flags("train", "true", ClusterShape(), CleanupFlags(), labels=QUEUE)
    assert kuberay_fields(manifest) == (True, None)
    assert any(note.startswith(QUEUE_NOTE) for note in manifest.notes)


def test_c17_a_requested_shutdown_needs_no_note() -> None:
    for cleanup, spec in ((CleanupFlags(shutdown=True), {}), (CleanupFlags(), kuberay())):
        manifest = manifest_of(cleanup, spec, labels=QUEUE)
        assert kuberay_fields(manifest)[0] is True
        assert not any(note.startswith(QUEUE_NOTE) for note in manifest.notes)


def test_c17_what_excludes_the_shutdown_is_refused_in_a_queue() -> None:
    rules = [{"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED"}}]
    for cleanup, spec, place in (
        (CleanupFlags(shutdown=False), {}, "--shutdown-after-job-finishes: "),
        (CleanupFlags(), {"shutdownAfterJobFinishes": False}, "spec.shutdownAfterJobFinishes: "),
        (CleanupFlags(durations={TTL_FAILED: "never"}), {}, "the RayCluster would be kept forever"),
        (CleanupFlags(), {"deletionStrategy": {"deletionRules": rules}}, "spec."),
    ):
        with pytest.raises(ManifestError) as caught:
            manifest_of(cleanup, spec, labels=QUEUE)
        (problem,) = caught.value.problems
        assert problem.startswith(place), (cleanup, spec)


def test_c5_ttl_unsubmitted_is_no_shorter_than_the_waits() -> None:
    """The third column: the annotation that is written, and whether a note explains it."""
    three_hours = CleanupFlags(longest_wait=3 * HOUR)
    for cleanup, in_file, (written, has_note) in (
        (CleanupFlags(longest_wait=timedelta(minutes=17)), None, ("1h", False)),
        (CleanupFlags(longest_wait=3.5 * HOUR), None, ("3h40m", True)),
        (CleanupFlags(ttl_unsubmitted="10m", longest_wait=HOUR), None, ("1h10m", True)),
        (three_hours, "2h", ("3h10m", True)),
        (three_hours, "5h", ("5h", False)),
        (three_hours, "never", ("never", True)),
        (CleanupFlags(ttl_unsubmitted="never", longest_wait=3 * HOUR), None, ("never", True)),
    ):
        annotations = {names.TTL_UNSUBMITTED: in_file} if in_file else {}
        manifest = manifest_of(cleanup, annotations=annotations)
        assert manifest.body["metadata"]["annotations"][names.TTL_UNSUBMITTED] == written
        assert any("ttl-unsubmitted" in note for note in manifest.notes) == has_note, cleanup


durations = st.sampled_from(["0", "1", "90s", "1h30m", "1d", "never", "0.5s"])
keys = sorted(key for key in names.DURATION_ANNOTATIONS if key != TTL)
cleanups = st.builds(
    CleanupFlags,
    st.sampled_from([None, True]),
    st.one_of(st.none(), st.integers(0, 10_000)),
    st.dictionaries(st.sampled_from(keys), durations),
)


@given(cleanups)
def test_raysweep_follows_the_flags_and_kuberay_alone_is_never_earlier(
    cleanup: CleanupFlags,
) -> None:
    try:
        body = from_flags("train", "true", ClusterShape(), cleanup, labels={}).body
    except ManifestError:
        return
    identity = {"uid": "u", "resourceVersion": "1", "namespace": "team-a"}
    rayjob = parse_rayjob(merge(body, {"metadata": identity}))
    general = None if cleanup.ttl_seconds is None else str(cleanup.ttl_seconds)
    for outcome in Outcome:
        resolved = resolve.resolve(resolve.Sources(rayjob, a_namespace()), frozenset({outcome}))
        requested = cleanup.durations.get(f"{TTL}-{outcome}", general)
        if requested is not None:
            assert resolved.ttl.value == parse_duration(requested)
        if rayjob.kuberay_cleanup.shutdown and cleanup.sets_ttl:
            cluster_ttl = resolved.cluster_ttl.value
            assert not isinstance(cluster_ttl, Never)
            assert cluster_ttl.total_seconds() <= rayjob.kuberay_cleanup.seconds
