"""The RayJob that a submission makes: each cleanup flag as a native field and as an annotation, and what is refused."""

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
from raysweep.core.validation.validate import RULES
from raysweep.core.validation.violation import Severity
from raysweep.submission.cleanup_fields import CleanupFlags
from raysweep.submission.cluster_spec import ClusterShape
from raysweep.submission.manifest import Manifest, ManifestError, from_file, from_flags
from refused_specs import RefusedSpec, refused_specs
from tests.support.builders import a_namespace

FILE: dict[str, Any] = {
    "apiVersion": "ray.io/v1",
    "kind": "RayJob",
    "metadata": {"name": "train"},
    "spec": {
        "entrypoint": "true",
        "rayClusterSpec": {
            "headGroupSpec": {"template": {"spec": {"containers": [{"name": "ray-head"}]}}}
        },
    },
}
UNSUBMITTED = {names.TTL_UNSUBMITTED: "1h"}


def made(cleanup: CleanupFlags, **shape: Any) -> Manifest:
    return from_flags("train", "python train.py", ClusterShape(**shape), cleanup, labels={})


def over_file(cleanup: CleanupFlags = CleanupFlags(), **spec: Any) -> Manifest:  # noqa: B008 - frozen
    return from_file(
        FILE | {"spec": FILE["spec"] | spec}, cleanup, name=None, entrypoint=None, labels={}
    )


def kuberay_cleanup(manifest: Manifest) -> tuple[Any, Any]:
    spec = manifest.body["spec"]
    return spec.get("shutdownAfterJobFinishes"), spec.get("ttlSecondsAfterFinished")


FAILED, CLUSTER = f"{names.TTL}-failed", names.CLUSTER_TTL


@pytest.mark.parametrize(
    ("cleanup", "fields", "annotations", "note"),
    [
        pytest.param(CleanupFlags(), (None, None), {}, "", id="nothing was asked"),
        pytest.param(CleanupFlags(True, 60), (True, 60), {names.TTL: "60"}, "", id="both flags"),
        pytest.param(
            CleanupFlags(None, 3600),
            (True, 3600),
            {names.TTL: "3600"},
            "implies --shutdown",
            id="the TTL implies it",
        ),
        pytest.param(CleanupFlags(None, 0), (True, 0), {names.TTL: "0"}, "implies", id="at once"),
        pytest.param(
            CleanupFlags(True), (True, None), {}, "stays as the record", id="the shutdown alone"
        ),
        pytest.param(CleanupFlags(False), (False, None), {}, "", id="no shutdown"),
        pytest.param(
            CleanupFlags(True, 86400, {CLUSTER: "0"}),
            (True, 0),
            {names.TTL: "86400", CLUSTER: "0"},
            "",
            id="GPUs back at once",
        ),
        pytest.param(
            CleanupFlags(None, 60, {FAILED: "1d"}),
            (True, 86400),
            {names.TTL: "60", FAILED: "1d"},
            "KubeRay alone would delete the cluster 1d after the end",
            id="the longest counts for KubeRay",
        ),
        pytest.param(
            CleanupFlags(None, 60, {FAILED: "never"}),
            (None, None),
            {names.TTL: "60", FAILED: "never"},
            "The cluster is kept after: failed",
            id="never is none of KubeRay's",
        ),
        pytest.param(
            CleanupFlags(None, None, {FAILED: "1d"}),
            (None, None),
            {FAILED: "1d"},
            "kept after: succeeded, stopped",
            id="one outcome",
        ),
    ],
)
def test_what_is_written(
    cleanup: CleanupFlags, fields: tuple[Any, Any], annotations: dict[str, str], note: str
) -> None:
    manifest = made(cleanup)
    assert kuberay_cleanup(manifest) == fields
    assert manifest.body["metadata"]["annotations"] == UNSUBMITTED | annotations
    assert bool(note) == bool(manifest.notes)
    assert note in " ".join(manifest.notes)
    assert "jobId" not in manifest.body["spec"]


@pytest.mark.parametrize(
    ("cleanup", "said"),
    [
        pytest.param(
            CleanupFlags(False, 60),
            "--shutdown-after-job-finishes=false contradicts a TTL",
            id="no shutdown, but a TTL",
        ),
        pytest.param(
            CleanupFlags(None, -1),
            "--ttl-seconds-after-finished: invalid number of seconds -1",
            id="negative",
        ),
        pytest.param(
            CleanupFlags(None, 2**31),
            "from 0 to 2147483647",
            id="beyond KubeRay's field",
        ),
        pytest.param(
            CleanupFlags(None, 1, {FAILED: "soon"}),
            "--ttl-failed: invalid duration 'soon'",
            id="no duration",
        ),
        pytest.param(
            CleanupFlags(ttl_unsubmitted="x"),
            "--ttl-unsubmitted: invalid duration 'x'",
            id="no duration for the unsubmitted",
        ),
        pytest.param(
            CleanupFlags(True, 60, {FAILED: "never"}),
            "these have no TTL: failed",
            id="shutdown, but never",
        ),
        pytest.param(
            CleanupFlags(True, 60, {CLUSTER: "99y"}),
            "--cluster-ttl: invalid duration '99y'",
            id="no unit",
        ),
        pytest.param(
            CleanupFlags(None, 60, {CLUSTER: "4000w"}),
            "KubeRay allows 2147483647 seconds",
            id="too long for KubeRay",
        ),
    ],
)
def test_what_is_refused(cleanup: CleanupFlags, said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        made(cleanup)


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(ManifestError) as caught:
        from_flags(
            "Train",
            "true",
            ClusterShape(head_cpu="two", worker_gpu="-1"),
            CleanupFlags(None, -1),
            labels={"a b": "c"},
        )
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        pytest.param(
            {"submissionMode": "HTTPMode"},
            "submissionMode is 'HTTPMode'",
            id="mode",
        ),
        pytest.param(
            {"backoffLimit": 2},
            "spec.backoffLimit: 2 in InteractiveMode, which KubeRay refuses",
            id="retries",
        ),
        pytest.param(
            {"ttlSecondsAfterFinished": 5},
            "5 without shutdownAfterJobFinishes",
            id="a TTL without shutdown",
        ),
        pytest.param(
            {"ttlSecondsAfterFinished": -5},
            "-5 is below 0, which KubeRay refuses; write 0 or more",
            id="negative",
        ),
        pytest.param({"shutdownAfterJobFinishes": "yes"}, "write true or false", id="no boolean"),
        pytest.param(
            {"suspend": True},
            "spec.suspend: true without shutdownAfterJobFinishes",
            id="C14: suspended",
        ),
        pytest.param(
            {"deletionStrategy": {"onSuccess": {"policy": "DeleteCluster"}}},
            "onSuccess without onFailure",
            id="C14: half a strategy",
        ),
        pytest.param(
            {"rayClusterSpec": None},
            "neither a rayClusterSpec nor a clusterSelector",
            id="C14: no cluster",
        ),
        pytest.param(
            {"runtimeEnvYAML": "- emoji"},
            "spec.runtimeEnvYAML: it is not a mapping",
            id="C14: a runtime environment",
        ),
    ],
)
def test_a_file_that_kuberay_would_refuse(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        over_file(**spec)


@pytest.mark.parametrize(
    "cleanup",
    [
        CleanupFlags(None, 60),
        CleanupFlags(True),
        CleanupFlags(False),
        CleanupFlags(None, None, {FAILED: "1d"}),
    ],
)
def test_a_deletion_strategy_and_cleanup_flags_exclude_each_other(cleanup: CleanupFlags) -> None:
    with pytest.raises(ManifestError, match=r"spec\.deletionStrategy and cleanup flags"):
        over_file(
            cleanup,
            deletionStrategy={"deletionRules": []} | {"onSuccess": {"policy": "DeleteSelf"}},
        )


@pytest.mark.parametrize(
    ("document", "said"),
    [
        pytest.param({"apiVersion": "v1", "kind": "Pod"}, "'v1 Pod'", id="another kind"),
        pytest.param(FILE | {"metadata": {}}, "metadata.name of the file is missing", id="no name"),
        pytest.param(
            FILE | {"metadata": "train"}, "metadata of the file: write a mapping", id="odd metadata"
        ),
        pytest.param(
            FILE | {"metadata": {"name": "t", "annotations": {"raysweep.io/tll": "1"}}},
            "unknown key",
            id="a misspelt key",
        ),
        pytest.param(
            FILE | {"metadata": {"name": "t", "labels": {"a": 1}}},
            "label a: '1' is not a text",
            id="odd labels",
        ),
        pytest.param(
            FILE | {"metadata": {"name": "t", "labels": ["a"]}},
            "metadata.labels of the file: write",
            id="no labels",
        ),
        pytest.param(
            FILE | {"metadata": {"name": "t" * 48}}, "at most 47 characters", id="too long a name"
        ),
    ],
)
def test_a_file_that_is_none(document: dict[str, Any], said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        from_file(document, CleanupFlags(), name=None, entrypoint=None, labels={})


def test_flags_lie_over_the_file() -> None:
    document = FILE | {
        "metadata": {
            "name": "old",
            "annotations": {names.TTL: "9", names.TTL_UNSUBMITTED: "2h"},
            "labels": {"a": "1"},
        },
        "status": {"jobStatus": "SUCCEEDED"},
        "spec": FILE["spec"] | {"jobId": "mine", "shutdownAfterJobFinishes": False},
    }
    body = from_file(
        document, CleanupFlags(None, 60), name="new", entrypoint="echo", labels={"b": "2"}
    ).body
    assert body["metadata"] == {
        "name": "new",
        "annotations": {names.TTL: "60", names.TTL_UNSUBMITTED: "2h"},
        "labels": {"a": "1", "b": "2"},
    }
    assert body["spec"] == FILE["spec"] | {
        "entrypoint": "echo",
        "submissionMode": "InteractiveMode",
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 60,
    }
    assert "status" not in body
    assert document["spec"]["jobId"] == "mine"


@pytest.mark.parametrize(
    ("annotations", "spec", "cleanup", "fields"),
    [
        pytest.param(
            {FAILED: "never"},
            {},
            CleanupFlags(None, 60),
            (None, None),
            id="the file keeps what failed",
        ),
        pytest.param(
            {FAILED: "1d"}, {}, CleanupFlags(None, 60), (True, 86400), id="the file keeps it longer"
        ),
        pytest.param(
            {names.TTL: "1h"},
            {},
            CleanupFlags(True),
            (True, 3600),
            id="the file's own time for the shutdown",
        ),
        pytest.param(
            {},
            {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 9},
            CleanupFlags(True),
            (True, 9),
            id="as it is",
        ),
        pytest.param(
            {},
            {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 9},
            CleanupFlags(None, 60, {FAILED: "never"}),
            (None, None),
            id="what KubeRay would do by the file is taken out where a flag says never",
        ),
    ],
)
def test_kuberay_is_never_earlier_than_flags_and_file_together(
    annotations: dict[str, str],
    spec: dict[str, Any],
    cleanup: CleanupFlags,
    fields: tuple[Any, Any],
) -> None:
    document = FILE | {
        "metadata": {"name": "train", "annotations": annotations},
        "spec": FILE["spec"] | spec,
    }
    assert (
        kuberay_cleanup(from_file(document, cleanup, name=None, entrypoint=None, labels={}))
        == fields
    )


@pytest.mark.parametrize(
    ("spec", "cleanup", "fields", "added"),
    [
        pytest.param(
            {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 600},
            CleanupFlags(durations={"raysweep.io/ttl-failed": "1d"}),
            (True, 86400),
            {
                "raysweep.io/ttl-failed": "1d",
                "raysweep.io/ttl-succeeded": "600",
                "raysweep.io/ttl-stopped": "600",
            },
            id="a time",
        ),
        pytest.param(
            {"shutdownAfterJobFinishes": True},
            CleanupFlags(durations={"raysweep.io/ttl-failed": "1d"}),
            (True, 86400),
            {
                "raysweep.io/ttl-failed": "1d",
                "raysweep.io/cluster-ttl-succeeded": "0",
                "raysweep.io/cluster-ttl-stopped": "0",
            },
            id="no time: the cluster alone, at once",
        ),
        pytest.param(
            {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 600},
            CleanupFlags(ttl_seconds=60),
            (True, 60),
            {"raysweep.io/ttl": "60"},
            id="the flag names every outcome",
        ),
    ],
)
def test_what_the_file_says_of_outcomes_that_no_flag_names_stays(
    spec: dict[str, Any], cleanup: CleanupFlags, fields: tuple[Any, Any], added: dict[str, str]
) -> None:
    found = over_file(cleanup, **spec)
    told = {
        key: value
        for key, value in found.body["metadata"]["annotations"].items()
        if "ttl-unsubmitted" not in key
    }
    assert (kuberay_cleanup(found), {key: told[key] for key in added}) == (fields, added)


def test_no_shutdown_over_a_file_with_a_ttl_is_refused() -> None:
    with pytest.raises(ManifestError, match="9 without shutdownAfterJobFinishes: true"):
        over_file(CleanupFlags(False), shutdownAfterJobFinishes=True, ttlSecondsAfterFinished=9)


ERRORS = {rule.name for rule in RULES if rule.severity is Severity.ERROR}
OTHERWISE_IN_SUBMIT = {"no-entrypoint", "metadata-without-ray-version", "queue-without-shutdown"}
"""The first two are about jobs that KubeRay submits; the shutdown of a queue is set, see below."""
REFUSED = [one for one in refused_specs() if one.rule in ERRORS - OTHERWISE_IN_SUBMIT]


@pytest.mark.parametrize("spec", REFUSED, ids=lambda spec: f"{spec.rule}: {spec.patch}")
def test_c14_submit_refuses_what_lint_calls_an_error(spec: RefusedSpec) -> None:
    with pytest.raises(ManifestError):
        from_file(spec.body, CleanupFlags(), name=None, entrypoint=None, labels={})


def test_c14_what_only_some_versions_refuse_is_a_note() -> None:
    group = {
        "groupName": "a",
        "minReplicas": 2,
        "maxReplicas": 1,
        "template": {"spec": {"containers": [{"name": "ray"}]}},
    }
    rules = {"deletionRules": [{"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED"}}]}
    cluster = {"rayClusterSpec": FILE["spec"]["rayClusterSpec"] | {"workerGroupSpecs": [group]}}
    notes = over_file(deletionStrategy=rules, **cluster).notes
    assert any(
        "2 is more than maxReplicas 1, which KubeRay 1.6 or later refuses" in note for note in notes
    )
    assert any(
        "KubeRay 1.5 without its feature gate RayJobDeletionPolicy refuses" in note
        for note in notes
    )


QUEUE = {names.KUEUE_QUEUE_LABEL: "lq"}
IS_SET = "shutdownAfterJobFinishes is set to true: Kueue requires it of every RayJob in a queue"


def queued(cleanup: CleanupFlags, **spec: Any) -> Manifest:
    document = FILE | {"metadata": {"name": "train", "labels": QUEUE}, "spec": FILE["spec"] | spec}
    return from_file(document, cleanup, name=None, entrypoint=None, labels={})


@pytest.mark.parametrize(
    ("cleanup", "spec", "fields"),
    [
        pytest.param(CleanupFlags(), {}, (True, None), id="no TTL"),
        pytest.param(
            CleanupFlags(durations={FAILED: "1d"}),
            {},
            (True, 86400),
            id="a TTL for failed ones alone",
        ),
        pytest.param(CleanupFlags(ttl_seconds=60), {}, (True, 60), id="a TTL"),
        pytest.param(
            CleanupFlags(ttl_seconds=60),
            {"shutdownAfterJobFinishes": False},
            (True, 60),
            id="a flag over the file",
        ),
        pytest.param(
            CleanupFlags(),
            {
                "deletionStrategy": {
                    "onSuccess": {"policy": "DeleteCluster"},
                    "onFailure": {"policy": "DeleteSelf"},
                }
            },
            (True, None),
            id="the old strategy, which goes with it",
        ),
    ],
)
def test_c17_in_a_queue_of_kueue_the_shutdown_is_set_and_said(
    cleanup: CleanupFlags, spec: dict[str, Any], fields: tuple[Any, Any]
) -> None:
    manifest = queued(cleanup, **spec)
    assert kuberay_cleanup(manifest) == fields
    assert any(
        note.startswith(IS_SET) and "kueue.x-k8s.io/queue-name=lq" in note
        for note in manifest.notes
    )


def test_c17_the_label_of_a_flag_counts_likewise() -> None:
    manifest = from_flags("train", "true", ClusterShape(), CleanupFlags(), labels=QUEUE)
    assert kuberay_cleanup(manifest) == (True, None)
    assert any(note.startswith(IS_SET) for note in manifest.notes)


@pytest.mark.parametrize(
    ("cleanup", "spec"),
    [
        pytest.param(CleanupFlags(shutdown=True), {}, id="asked for by a flag"),
        pytest.param(
            CleanupFlags(), {"shutdownAfterJobFinishes": True}, id="asked for by the file"
        ),
    ],
)
def test_c17_what_was_asked_for_is_not_told(cleanup: CleanupFlags, spec: dict[str, Any]) -> None:
    manifest = queued(cleanup, **spec)
    assert kuberay_cleanup(manifest)[0] is True
    assert not any(note.startswith(IS_SET) for note in manifest.notes)


@pytest.mark.parametrize(
    ("cleanup", "spec", "said"),
    [
        pytest.param(
            CleanupFlags(shutdown=False),
            {},
            "--shutdown-after-job-finishes: it is not true, and the label kueue.x-k8s.io/queue-name is set, which Kueue refuses",
            id="the flag says no",
        ),
        pytest.param(
            CleanupFlags(),
            {"shutdownAfterJobFinishes": False},
            "spec.shutdownAfterJobFinishes: it is not true, and the label kueue.x-k8s.io/queue-name is set, which Kueue refuses",
            id="the file says no",
        ),
        pytest.param(
            CleanupFlags(durations={FAILED: "never"}),
            {},
            "kept forever after these outcomes: failed",
            id="a cluster for ever",
        ),
        pytest.param(
            CleanupFlags(),
            {
                "deletionStrategy": {
                    "deletionRules": [
                        {"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED"}}
                    ]
                }
            },
            "set it to true and leave out deletionRules, which KubeRay refuses beside it",
            id="rules, which exclude the shutdown",
        ),
    ],
)
def test_c17_what_excludes_the_shutdown_is_refused_in_a_queue(
    cleanup: CleanupFlags, spec: dict[str, Any], said: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        queued(cleanup, **spec)
    assert len(caught.value.problems) == 1
    assert said in caught.value.problems[0]


HOURS = timedelta(hours=1)


@pytest.mark.parametrize(
    ("cleanup", "of_file", "written", "is_told"),
    [
        pytest.param(
            CleanupFlags(longest_wait=17 * HOURS / 60),
            None,
            "1h",
            False,
            id="waits that fit into an hour",
        ),
        pytest.param(
            CleanupFlags(longest_wait=3.5 * HOURS), None, "3h40m", True, id="longer waits"
        ),
        pytest.param(
            CleanupFlags(ttl_unsubmitted="10m", longest_wait=HOURS),
            None,
            "1h10m",
            True,
            id="a flag that is shorter",
        ),
        pytest.param(
            CleanupFlags(longest_wait=3 * HOURS),
            "2h",
            "3h10m",
            True,
            id="an annotation that is shorter",
        ),
        pytest.param(
            CleanupFlags(longest_wait=3 * HOURS),
            "5h",
            "5h",
            False,
            id="an annotation that is longer",
        ),
        pytest.param(CleanupFlags(longest_wait=3 * HOURS), "never", "never", False, id="never"),
        pytest.param(
            CleanupFlags(ttl_unsubmitted="never", longest_wait=3 * HOURS),
            None,
            "never",
            True,
            id="never by a flag, told as ever",
        ),
    ],
)
def test_c5_ttl_unsubmitted_is_never_shorter_than_the_waits(
    cleanup: CleanupFlags, of_file: str | None, written: str, is_told: bool
) -> None:
    annotations = {names.TTL_UNSUBMITTED: of_file} if of_file else {}
    document = FILE | {"metadata": {"name": "train", "annotations": annotations}}
    manifest = from_file(document, cleanup, name=None, entrypoint=None, labels={})
    assert manifest.body["metadata"]["annotations"][names.TTL_UNSUBMITTED] == written
    assert any("ttl-unsubmitted" in note for note in manifest.notes) == (
        is_told or written == "never"
    )


def test_the_cluster_has_the_shape_that_was_asked_for() -> None:
    spec = made(
        CleanupFlags(),
        image="ray:x",
        head_gpu="1",
        worker_replicas=3,
        worker_node_selectors={"gpu": "a100"},
    ).body["spec"]
    head = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    (workers,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    assert head["image"] == "ray:x"
    assert (
        head["resources"]["limits"]
        == {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"}
        == head["resources"]["requests"]
    )
    assert {"name": "dashboard", "containerPort": 8265} in head["ports"]
    assert (workers["replicas"], workers["minReplicas"], workers["maxReplicas"]) == (3, 3, 3)
    assert workers["template"]["spec"]["nodeSelector"] == {"gpu": "a100"}
    assert (
        "workerGroupSpecs"
        not in made(CleanupFlags(), worker_replicas=0).body["spec"]["rayClusterSpec"]
    )


durations = st.sampled_from(["0", "1", "90s", "1h30m", "1d", "never", "0.5s"])
keys = sorted(key for key in names.DURATION_ANNOTATIONS if key != names.TTL)
cleanups = st.builds(
    CleanupFlags,
    st.sampled_from([None, True]),
    st.one_of(st.none(), st.integers(0, 10_000)),
    st.dictionaries(st.sampled_from(keys), durations),
)


@given(cleanups)
def test_kuberay_alone_is_never_earlier_than_asked_and_raysweep_does_what_was_asked(
    cleanup: CleanupFlags,
) -> None:
    try:
        body = made(cleanup).body
    except ManifestError:
        return
    identity = {"uid": "u", "resourceVersion": "1", "namespace": "team-a"}
    job = parse_rayjob(body | {"metadata": body["metadata"] | identity})
    for outcome in Outcome:
        kept = resolve.resolve(resolve.Sources(job, a_namespace()), frozenset({outcome}))
        said = cleanup.durations.get(f"{names.TTL}-{outcome}")
        asked = (
            parse_duration(said)
            if said
            else None
            if cleanup.ttl_seconds is None
            else parse_duration(str(cleanup.ttl_seconds))
        )
        if asked is not None:
            assert kept.ttl.value == asked
        if job.kuberay_cleanup.shutdown and cleanup.sets_ttl:
            assert not isinstance(kept.cluster_ttl.value, Never)
            assert kept.cluster_ttl.value.total_seconds() <= job.kuberay_cleanup.seconds
