"""The RayJob of a submission: the flags laid over a file, the cluster, and what is refused."""

from typing import Any

import pytest

from raysweep import names
from raysweep.core.validation.validate import RULES
from raysweep.core.validation.violation import Severity
from raysweep.submission.cleanup_fields import CleanupFlags
from raysweep.submission.cluster_spec import ClusterShape, cluster_spec
from raysweep.submission.manifest import Manifest, ManifestError, from_file, from_flags
from refused_specs import BASE, merge, refused_specs

NO_FLAGS = CleanupFlags()
STRATEGY = {
    "deletionRules": [{"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED"}}],
}


def from_document(document: Any, cleanup: CleanupFlags = NO_FLAGS) -> Manifest:
    return from_file(document, cleanup, name=None, entrypoint=None, labels={})


def problems(document: Any, cleanup: CleanupFlags = NO_FLAGS) -> tuple[str, ...]:
    with pytest.raises(ManifestError) as caught:
        from_document(document, cleanup)
    return caught.value.problems


def test_flags_override_the_file() -> None:
    document = merge(
        BASE,
        {
            "metadata": {
                "name": "old",
                "annotations": {names.TTL: "9", names.TTL_UNSUBMITTED: "2h"},
                "labels": {"a": "1"},
            },
            "status": {"jobStatus": "SUCCEEDED"},
            "spec": {"jobId": "mine", "shutdownAfterJobFinishes": False},
        },
    )
    cleanup = CleanupFlags(ttl_seconds=60)
    body = from_file(document, cleanup, name="new", entrypoint="echo", labels={"b": "2"}).body
    assert body["metadata"] == {
        "name": "new",
        "namespace": "team-a",
        "annotations": {names.TTL: "60", names.TTL_UNSUBMITTED: "2h"},
        "labels": {"a": "1", "b": "2"},
    }
    assert body["spec"] == BASE["spec"] | {
        "entrypoint": "echo",
        "submissionMode": "InteractiveMode",
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 60,
    }
    assert "status" not in body
    assert document["spec"]["jobId"] == "mine"


def test_every_problem_is_reported_at_once() -> None:
    shape = ClusterShape(head_cpu="two", worker_gpu="-1")
    cleanup = CleanupFlags(ttl_seconds=-1)
    with pytest.raises(ManifestError) as caught:
        from_flags("Train", "true", shape, cleanup, labels={"a b": "c"})
    places = sorted(problem.partition(": ")[0] for problem in caught.value.problems)
    assert places == [
        "--head-cpu",
        "--label a b",
        "--name",
        "--ttl-seconds-after-finished",
        "--worker-gpu",
    ]


def test_a_file_without_a_usable_rayjob_is_refused() -> None:
    for document, problem in (
        ({"apiVersion": "v1", "kind": "Pod"}, "'v1 Pod'"),
        (merge(BASE, {"metadata": {"name": None}}), "metadata.name of the file is missing"),
        (merge(BASE, {"metadata": "train"}), "metadata of the file: write a mapping"),
        (merge(BASE, {"metadata": {"annotations": {"raysweep.io/tll": "1"}}}), "unknown key"),
        (merge(BASE, {"metadata": {"labels": {"a": 1}}}), "label a: "),
        (merge(BASE, {"metadata": {"labels": ["a"]}}), "metadata.labels of the file: write"),
        (merge(BASE, {"metadata": {"name": "t" * 48}}), "47 characters"),
    ):
        (text,) = problems(document)
        assert problem in text, document


def test_a_submission_mode_of_kuberay_is_refused() -> None:
    (problem,) = problems(merge(BASE, {"spec": {"submissionMode": "HTTPMode"}}))
    assert problem.startswith("spec.submissionMode is 'HTTPMode'")


def test_a_deletion_strategy_excludes_cleanup_flags() -> None:
    document = merge(BASE, {"spec": {"deletionStrategy": STRATEGY}})
    for cleanup in (
        CleanupFlags(ttl_seconds=60),
        CleanupFlags(shutdown=True),
        CleanupFlags(shutdown=False),
        CleanupFlags(durations={f"{names.TTL}-failed": "1d"}),
    ):
        texts = problems(document, cleanup)
        assert any("spec.deletionStrategy and cleanup flags" in text for text in texts), cleanup


def test_a_ttl_without_the_shutdown_is_refused() -> None:
    spec = {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 9}
    (problem,) = problems(merge(BASE, {"spec": spec}), CleanupFlags(shutdown=False))
    assert "9 without shutdownAfterJobFinishes: true" in problem


def test_c14_submit_refuses_what_lint_reports_as_an_error() -> None:
    """The first two exceptions are about modes of KubeRay. submit sets the shutdown of a queue."""
    other = {"no-entrypoint", "metadata-without-ray-version", "queue-without-shutdown"}
    errors = {rule.name for rule in RULES if rule.severity is Severity.ERROR} - other
    specs = [spec for spec in refused_specs() if spec.rule in errors]
    assert {spec.rule for spec in specs} == errors
    for spec in specs:
        assert problems(spec.body), spec


def test_c14_what_only_some_versions_refuse_is_a_note() -> None:
    group = {
        "groupName": "a",
        "minReplicas": 2,
        "maxReplicas": 1,
        "template": {"spec": {"containers": [{"name": "ray"}]}},
    }
    spec = {"deletionStrategy": STRATEGY, "rayClusterSpec": {"workerGroupSpecs": [group]}}
    notes = " ".join(from_document(merge(BASE, {"spec": spec})).notes)
    assert "2 is more than maxReplicas 1" in notes
    assert "RayJobDeletionPolicy" in notes


def test_the_cluster_has_the_shape_of_the_flags() -> None:
    shape = ClusterShape(
        image="ray:x", head_gpu="1", worker_replicas=3, worker_node_selectors={"gpu": "a100"}
    )
    spec = cluster_spec(shape)
    head = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    (workers,) = spec["workerGroupSpecs"]
    resources = {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"}
    assert head["image"] == "ray:x"
    assert head["resources"] == {"limits": resources, "requests": resources}
    assert {"name": "dashboard", "containerPort": 8265} in head["ports"]
    assert (workers["replicas"], workers["minReplicas"], workers["maxReplicas"]) == (3, 3, 3)
    assert workers["template"]["spec"]["nodeSelector"] == {"gpu": "a100"}
    assert "workerGroupSpecs" not in cluster_spec(ClusterShape(worker_replicas=0))
