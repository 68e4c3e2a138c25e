"""`raysweep sweep` without a cluster: expected and completed rows, the question and the answer."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from raysweep.cleanup.act import DeletionResult
from raysweep.cleanup.reconcile import Pass
from raysweep.cli.common import formatting
from raysweep.cli.common.answer_context import AnswerContext
from raysweep.cli.common.sweep_row import (
    SweepResult,
    SweepRow,
    completed_row,
    expected_row,
    needs_probe,
    rayjob_row,
)
from raysweep.cli.sweep.results import (
    as_json,
    as_table,
    exit_code,
    question,
    summary,
)
from raysweep.clients.kubernetes.errors import ConflictError, ForbiddenError
from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Delete
from raysweep.core.model.facts import Resources
from raysweep.core.model.memory import NOTHING
from raysweep.core.model.parameters import DEFAULTS, Mode
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    a_driver,
    a_policy,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_running,
    a_silent_probe,
    an_assessment,
    says,
)
from tests.support.cli import HOSTILE_TEXT, control_characters, documented_fields, json_paths

NOW = END + HOUR / 60
BIG = Resources(cpu=8, gpu=2, memory=32 * 2**30)
BOTH, CLUSTER, JOB = ("RayJob", "RayCluster"), ("RayCluster",), ("RayJob",)


def a_swept(**fields: Any) -> Assessment:
    """A sweep of a RayJob without a TTL. Its head was asked and reports a success."""
    rayjob = a_rayjob(annotations={}, desired=BIG)
    defaults = {"rayjob": rayjob, "probe": a_probe(), "swept": True, "now": NOW}
    return an_assessment(**(defaults | fields))


KEPT = a_rayjob(annotations=says(keep_until="2026-12-24T18:00:00Z", keep_reason="to debug it"))
DRY_RUN_POLICY = a_policy("stop", is_dry_run=True)
DRY_RUN = replace(DEFAULTS, mode=Mode.DRY_RUN)
BEING_DELETED = a_rayjob(deleting_since=END, annotations={}, desired=BIG)
NO_CLUSTER = replace(a_probe(), cluster=None, head=None)
OTHER_OWNER = a_probe(cluster=a_raycluster(controller_uid="other"))
EXPECTED = [
    ("finished", a_swept(), "to delete", "Swept", BOTH),
    ("no cluster", a_swept(owned=(), probe=NO_CLUSTER), "to delete", "Swept", JOB),
    ("kept", a_swept(rayjob=KEPT), "refused", "KeptByUser", ()),
    ("running", a_swept(rayjob=a_running(), probe=None), "refused", "NotFinished", ()),
    ("a notebook", a_swept(probe=a_probe(a_driver())), "refused", "ClusterInUse", ()),
    ("a silent head", a_swept(probe=a_silent_probe()), "refused", "HeadUnreachable", ()),
    ("another owner", a_swept(probe=OTHER_OWNER), "refused", "NotOwned", ()),
    ("a dry run", a_swept(parameters=DRY_RUN), "refused", "DryRun", ()),
    ("a dry-run policy", a_swept(policies=(DRY_RUN_POLICY,)), "refused", "DryRun", ()),
    ("unknown Namespace", a_swept(namespace=None), "refused", "NamespaceUnknown", ()),
    ("unknown policies", a_swept(policies=None), "refused", "PoliciesUnknown", ()),
    (
        "being deleted",
        a_swept(rayjob=BEING_DELETED, owned=(), probe=None),
        "gone",
        "BeingDeleted",
        (),
    ),
    (
        "its cluster remains",
        a_swept(rayjob=BEING_DELETED),
        "to delete",
        "DeletionUnfinished",
        CLUSTER,
    ),
]


def test_expected_rows() -> None:
    for name, assessment, result, reason, kinds in EXPECTED:
        row = expected_row(assessment)
        assert (row.result, row.reason) == (result, reason), name
        assert tuple(target.kind for target in row.targets) == kinds, name
        assert row.frees == (BIG if "RayCluster" in kinds else Resources()), name
        if reason == "DryRun":
            assert "is set to DryRun, so nothing is deleted" in row.message, name
        else:
            assert row.message == decide(assessment).explanation.message, name


def test_only_the_heads_of_rayjobs_that_no_other_check_keeps_are_probed() -> None:
    not_probed = a_swept(probe=None)
    assert needs_probe(not_probed)
    assert not needs_probe(replace(not_probed, rayjob=KEPT))
    assert not needs_probe(replace(not_probed, rayjob=a_running()))
    assert not needs_probe(replace(not_probed, namespace=None))


def a_pass(
    assessment: Assessment, *, deletion: DeletionResult | None = None, dry_run_by: str = ""
) -> Pass:
    """A pass. By default it has deleted all targets."""
    decision = decide(assessment)
    targets = decision.targets if isinstance(decision, Delete) and not dry_run_by else ()
    deletion = deletion or DeletionResult(targets)
    return Pass(assessment.rayjob, decision, NOTHING, deletion=deletion, dry_run_by=dry_run_by)


TARGETS = a_pass(a_swept()).deletion.deleted
FORBIDDEN = ForbiddenError("DELETE ...: 403 cannot delete resource", code=403)
CONFLICT = ConflictError("409 it changed", code=409)


def completed(deletion: DeletionResult) -> SweepRow:
    return completed_row(a_pass(a_swept(), deletion=deletion))


MISSING = completed(DeletionResult(missing=TARGETS[0]))
FAILED = completed(DeletionResult(stopped_by=FORBIDDEN))
NOT_FOUND = SweepRow("team-a", "nobody", SweepResult.NOT_FOUND, problem="no RayJob has this name")
NOT_REACHED = rayjob_row(a_rayjob(name="late"), SweepResult.NOT_REACHED)
DELETED = completed_row(a_pass(a_swept()))
TO_DELETE = expected_row(a_swept())
REFUSED = expected_row(a_swept(rayjob=KEPT))


def test_completed_rows() -> None:
    rows = [
        (DELETED, "deleted", "RayJob train and RayCluster train-cluster", "succeeded"),
        (completed_row(a_pass(a_swept(rayjob=KEPT))), "refused", "", "until 2026-12-24"),
        (
            completed_row(a_pass(a_swept(), dry_run_by="the setting mode")),
            "refused",
            "",
            "the setting mode is set to DryRun",
        ),
        (MISSING, "gone", "", "succeeded"),
        (FAILED, "failed", "", "403 cannot delete"),
        (
            completed(DeletionResult(TARGETS[:1], stopped_by=FORBIDDEN)),
            "failed",
            "RayJob train",
            "403 cannot delete",
        ),
        (completed(DeletionResult(stopped_by=CONFLICT)), "failed", "", "409 it changed"),
    ]
    for row, result, target_names, message in rows:
        assert (row.result, row.target_names) == (result, target_names)
        assert message in row.message


def test_the_exit_code_shows_whether_everything_is_deleted() -> None:
    assert exit_code([]) == 0
    assert exit_code([DELETED, MISSING, TO_DELETE]) == 0
    assert exit_code([DELETED, REFUSED]) == 3
    assert exit_code([DELETED, NOT_FOUND]) == 3
    assert exit_code([DELETED, NOT_REACHED]) == 3
    assert exit_code([DELETED, REFUSED, NOT_FOUND, FAILED]) == 1


def test_the_question_counts_what_is_deleted() -> None:
    single = "Delete 1 RayJob and 1 RayCluster in namespace team-a?"
    double = "Delete 2 RayJobs and 2 RayClusters in namespace team-a?"
    assert question([TO_DELETE]) == single
    assert question([TO_DELETE, TO_DELETE, REFUSED, NOT_FOUND]) == double
    rayjob, cluster = (replace(TO_DELETE, targets=(target,)) for target in TO_DELETE.targets)
    assert question([rayjob]) == "Delete 1 RayJob in namespace team-a?"
    assert question([cluster]) == "Delete 1 RayCluster in namespace team-a?"
    in_two_namespaces = question([TO_DELETE, replace(TO_DELETE, namespace="team-b")])
    assert in_two_namespaces.endswith("in namespaces team-a, team-b?")


def test_the_table_and_the_summary() -> None:
    rows = [DELETED, REFUSED, NOT_FOUND]
    table = [re.split(" {3,}", line) for line in as_table(rows, wide=False).splitlines()]
    assert table == [
        ["NAMESPACE", "NAME", "DELETES", "RESULT", "REASON", "MESSAGE", "FREES"],
        [
            "team-a",
            "train",
            "RayJob+RayCluster",
            "deleted",
            "Swept",
            DELETED.message,
            "2 GPU, 8 CPU, 32Gi",
        ],
        ["team-a", "train", "-", "refused", "KeptByUser", REFUSED.message, "-"],
        ["team-a", "nobody", "-", "not found", "-", NOT_FOUND.problem, "-"],
    ]
    wide = as_table(rows, wide=True).splitlines()
    assert wide[1].endswith("succeeded   2026-11-22T18:00:00Z   uid-train")
    assert summary(rows) == "1 deleted, 1 refused, 1 not found; frees 2 GPU, 8 CPU, 32Gi"
    assert summary([]) == "nothing to delete; frees -"


@pytest.mark.parametrize(
    "row",
    [
        expected_row(a_swept(probe=a_silent_probe(HOSTILE_TEXT))),
        expected_row(a_swept(rayjob=a_rayjob(annotations=says(ttl=HOSTILE_TEXT)))),
        replace(FAILED, problem=HOSTILE_TEXT),
        expected_row(a_swept(policies=(replace(DRY_RUN_POLICY, name=HOSTILE_TEXT),))),
    ],
    ids=["head", "ttl", "API server", "policy"],
)
def test_foreign_text_does_not_control_a_terminal(row: SweepRow) -> None:
    table = as_table([row], wide=True)
    assert control_characters(table, formatting.serialized(document(row), "json")) == set()
    assert len(table.splitlines()) == 2


CONTEXT = AnswerContext("https://1.2.3.4:6443", "team-a", None, "assumed", "Enforce")


def document(*rows: SweepRow) -> dict[str, Any]:
    return as_json(CONTEXT, rows, DUE, dry_run=False, interrupted=True)


def test_the_documented_fields_are_the_fields() -> None:
    body = document(DELETED, REFUSED, NOT_FOUND)
    assert json.loads(json.dumps(body)) == body
    items = set().union(*(json_paths(item) for item in body.pop("items")))
    frees = {"summary", *(f"summary.frees.{key}" for key in ("gpu", "cpu", "memory"))}
    assert (json_paths(body) | {"items"}) - frees == documented_fields("Sweep")
    assert items == documented_fields("Swept")


def test_items() -> None:
    refused, missing = document(REFUSED, NOT_FOUND)["items"]
    assert refused == {
        "namespace": "team-a",
        "name": "train",
        "uid": "uid-train",
        "result": "refused",
        "deletes": [],
        "reason": "KeptByUser",
        "message": REFUSED.message,
        "hint": REFUSED.explanation.reason.hint if REFUSED.explanation else "",
        "problem": None,
        "outcome": "succeeded",
        "finishedAt": "2026-11-22T18:00:00Z",
        "frees": {"gpu": 0, "cpu": 0, "memory": 0},
        "dryRunBy": None,
    }
    absent = dict.fromkeys(("uid", "reason", "hint", "outcome", "finishedAt", "dryRunBy"))
    assert missing == absent | {
        "namespace": "team-a",
        "name": "nobody",
        "result": "not found",
        "deletes": [],
        "message": "no RayJob has this name",
        "problem": "no RayJob has this name",
        "frees": {"gpu": 0, "cpu": 0, "memory": 0},
    }
