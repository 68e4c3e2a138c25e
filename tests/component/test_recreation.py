"""W12, W24: what would create a RayJob again, from JSON to the decision, `lint` and `why`."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from raysweep.cli.common.rayjob_row import RayJobRow
from raysweep.cli.lint.files import lint_files
from raysweep.cli.why import report
from raysweep.clients.parsing.rayjob import parse_rayjob
from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Keep
from raysweep.core.model.facts import ProbeResult
from raysweep.core.model.parameters import DEFAULTS, Parameters
from raysweep.core.model.reasons import Reason
from raysweep.core.timeline import foresee
from tests.support.builders import DUE as AFTER_AN_HOUR
from tests.support.builders import Body, a_namespace, an_assessment, rayjob_json, says

DUE = AFTER_AN_HOUR + timedelta(seconds=1)
"""KubeRay writes whole seconds."""
INSTANCE = "app.kubernetes.io/instance"
HOUR = says(ttl="1h")
BY_SETTING = Parameters(recreated_by=Parameters().recreated_by | {INSTANCE})
RELEASE = {"meta.helm.sh/release-name": "jobs"}


def _assessed(metadata: Body, parameters: Parameters = DEFAULTS) -> Assessment:
    """Due at DUE by the ttl of its Namespace. Its RayCluster is gone."""
    job = parse_rayjob(rayjob_json(metadata={"annotations": {}} | metadata))
    return an_assessment(
        now=DUE,
        rayjob=job,
        namespace=a_namespace(ttl="1h"),
        owned=(),
        probe=ProbeResult(None),
        parameters=parameters,
    )


def _owned_by(api_version: str, kind: str, *, controller: bool = True) -> Body:
    owner = {
        "apiVersion": api_version,
        "kind": kind,
        "name": "boss",
        "uid": "uid-boss",
        "controller": controller,
    }
    return {"ownerReferences": [owner]}


KEPT = [
    (
        "W12: Argo CD tracks by annotation",
        {"annotations": {"argocd.argoproj.io/tracking-id": "jobs:ray.io/RayJob:team-a/train"}},
    ),
    ("W12: Argo CD tracks by its own label", {"labels": {"argocd.argoproj.io/instance": "jobs"}}),
    ("W12: Flux's kustomize-controller", {"labels": {"kustomize.toolkit.fluxcd.io/name": "jobs"}}),
    (
        "W12: Flux's helm-controller",
        {"labels": {"helm.toolkit.fluxcd.io/name": "jobs"}, "annotations": RELEASE},
    ),
    ("W12: Fleet", {"annotations": {"objectset.rio.cattle.io/id": "default-jobs", **RELEASE}}),
    ("W12: kapp", {"labels": {"kapp.k14s.io/app": "1644490352290484000"}}),
    (
        "W12: kapp by a label of the user",
        {"annotations": {"kapp.k14s.io/identity": "v1;team-a/ray.io/RayJob/train;ray.io/v1"}},
    ),
    (
        "W12: Config Sync",
        {"annotations": {"configsync.gke.io/resource-id": "ray.io_rayjob_team-a_train"}},
    ),
    (
        "W12: Config Sync manages it",
        {"annotations": {"configmanagement.gke.io/managed": "enabled"}},
    ),
    ("W12: Karmada", {"labels": {"karmada.io/managed": "true"}}),
    ("W12: Sveltos", {"labels": {"projectsveltos.io/reference-name": "jobs"}}),
    ("W12: PipeCD", {"labels": {"pipecd.dev/managed-by": "piped"}}),
    ("W24: an unknown owner", _owned_by("example.com/v1", "Pipeline")),
    ("W24: a Workflow of another group", _owned_by("example.com/v1", "Workflow")),
    ("W24: a RayCluster of another group", _owned_by("example.com/v1", "RayCluster")),
    ("W24: a RayCronJob of another group", _owned_by("example.com/v1", "RayCronJob")),
    ("W24: a CronWorkflow, which runs again", _owned_by("argoproj.io/v1alpha1", "CronWorkflow")),
    ("W24: a Job, whose Pods are started again", _owned_by("batch/v1", "Job")),
    ("W24: a Pod, which starts again", _owned_by("v1", "Pod")),
    ("W24: a CustomRun of any controller", _owned_by("tekton.dev/v1beta1", "CustomRun")),
    (
        "W24: a tool's mark beside a RayCluster",
        {**_owned_by("ray.io/v1", "RayCluster"), "labels": {"kapp.k14s.io/app": "1"}},
    ),
]
DELETED = [
    ("W12: nothing marks it", {"labels": {"team": "vision"}}),
    (
        "W12: Helm's labels alone",
        {
            "labels": {INSTANCE: "jobs", "app.kubernetes.io/managed-by": "Helm"},
            "annotations": RELEASE,
        },
    ),
    (
        "W12: Config Sync does not manage it",
        {"annotations": {"configmanagement.gke.io/managed": "disabled"}},
    ),
    (
        "W12: a mark, and a ttl of its own",
        {"labels": {"kapp.k14s.io/app": "1"}, "annotations": HOUR},
    ),
    ("W24: a RayCluster", _owned_by("ray.io/v1", "RayCluster")),
    ("W24: a RayCluster of an older version", _owned_by("ray.io/v1alpha1", "RayCluster")),
    ("W24: a RayService", _owned_by("ray.io/v1", "RayService")),
    ("W24: an Argo Workflow", _owned_by("argoproj.io/v1alpha1", "Workflow")),
    ("W24: a Tekton TaskRun", _owned_by("tekton.dev/v1", "TaskRun")),
    ("W24: a Tekton PipelineRun", _owned_by("tekton.dev/v1", "PipelineRun")),
    (
        "W24: an owner that is not its controller",
        _owned_by("example.com/v1", "Pipeline", controller=False),
    ),
]


@pytest.mark.parametrize("metadata", [pytest.param(body, id=name) for name, body in KEPT])
def test_a_rayjob_that_would_be_created_again_is_kept(metadata: Body) -> None:
    decision = decide(_assessed(metadata))
    assert (type(decision), decision.explanation.reason) == (Keep, Reason.WILL_BE_RECREATED)


@pytest.mark.parametrize("metadata", [pytest.param(body, id=name) for name, body in DELETED])
def test_a_rayjob_that_would_not_be_created_again_is_deleted(metadata: Body) -> None:
    assert decide(_assessed(metadata)).explanation.reason is Reason.EXPIRED


def test_w24_a_raycronjob_of_another_group_has_no_tick() -> None:
    cron = {"creationTimestamp": "2026-11-22T18:00:00Z"}
    ray_io, example = (
        parse_rayjob(rayjob_json(metadata=cron | _owned_by(group, "RayCronJob")))
        for group in ("ray.io/v1", "example.com/v1")
    )
    assert ray_io.cron_tick is not None
    assert example.cron_tick is None


def test_w12_with_the_setting_a_rayjob_that_argo_cd_tracks_by_label_is_kept() -> None:
    tracked = {"labels": {INSTANCE: "jobs"}}
    assert decide(_assessed(tracked)).explanation.reason is Reason.EXPIRED
    assert decide(_assessed(tracked, BY_SETTING)).explanation.reason is Reason.WILL_BE_RECREATED


AMBIGUOUS = [
    ("the label alone", {"labels": {INSTANCE: "jobs"}}, Parameters(), True),
    (
        "a ttl of its own for another outcome",
        {"labels": {INSTANCE: "x"}, "annotations": says(ttl_failed="1h")},
        Parameters(),
        True,
    ),
    ("the setting is set", {"labels": {INSTANCE: "jobs"}}, BY_SETTING, False),
    (
        "Helm installed it",
        {"labels": {INSTANCE: "jobs"}, "annotations": RELEASE},
        Parameters(),
        False,
    ),
    ("a ttl of its own", {"labels": {INSTANCE: "jobs"}, "annotations": HOUR}, Parameters(), False),
    (
        "Argo CD tracks by annotation",
        {"labels": {INSTANCE: "x"}, "annotations": {"argocd.argoproj.io/tracking-id": "x"}},
        Parameters(),
        False,
    ),
    ("no label", {}, Parameters(), False),
]


@pytest.mark.parametrize(
    ("metadata", "parameters", "hints"),
    [pytest.param(*row[1:], id=f"W12: {row[0]}") for row in AMBIGUOUS],
)
def test_why_names_the_setting_if_the_mark_is_ambiguous(
    metadata: Body, parameters: Parameters, hints: bool
) -> None:
    row = RayJobRow(foresee(_assessed(metadata, parameters)))
    hint = report.as_json(row, DUE)["recreationHint"] or ""
    assert ("recreated-by" in hint and INSTANCE in hint) is hints
    assert ("recreated-by" in "\n".join(report.as_text(row, DUE))) is hints


@pytest.mark.parametrize(
    ("annotations", "is_noted"),
    [
        ({}, True),
        (says(ttl="1h"), False),
        (RELEASE, False),
        ({"argocd.argoproj.io/tracking-id": "x"}, False),
    ],
)
def test_w12_lint_notes_an_ambiguous_mark_without_failing(
    tmp_path: Path, annotations: Any, is_noted: bool
) -> None:
    file = tmp_path / "jobs.yaml"
    lines = [f"    {key}: {value}" for key, value in annotations.items()]
    metadata = [
        "metadata:",
        "  name: train",
        "  labels:",
        f"    {INSTANCE}: jobs",
        "  annotations:" if lines else "",
        *lines,
    ]
    file.write_text("\n".join(["apiVersion: ray.io/v1", "kind: RayJob", *metadata]) + "\n")
    report = lint_files([file], DUE)

    notes = [note for note in report.notes if "recreated-by" in note]
    assert any(INSTANCE in note and "train" in note for note in notes) is is_noted
    assert report.exit_code(strict=True) == 0 or "argocd.argoproj.io/tracking-id" in annotations
