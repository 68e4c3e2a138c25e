"""`raysweep sweep` without a cluster: what would come of it, what came of it, and how that is told. Judging is tests/unit's."""

import json
import re
import unicodedata
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from raysweep.cleanup.act import DeletionResult
from raysweep.cleanup.reconcile import Pass
from raysweep.cli.common import formatting
from raysweep.cli.common.cluster_snapshot import Listed
from raysweep.cli.sweep import results
from raysweep.cli.sweep.results import (
    About,
    Result,
    Row,
    as_json,
    as_table,
    came_of,
    exit_code,
    foreseen,
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
from tests.component.test_cli_plan import HOSTILE, documented, paths
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

NOW = END + HOUR / 60
BIG = Resources(cpu=8, gpu=2, memory=32 * 2**30)
BOTH, CLUSTER, JOB = ("RayJob", "RayCluster"), ("RayCluster",), ("RayJob",)


def a_swept(**fields: Any) -> Assessment:
    """A person wants it gone; its head was asked, and it says that the job succeeded. Nobody has set a TTL."""
    return an_assessment(
        **(
            {"rayjob": a_rayjob(annotations={}, desired=BIG), "look": a_probe(), "swept": True}
            | fields
        )
    )


KEPT = a_rayjob(annotations=says(keep_until="2026-12-24T18:00:00Z", keep_reason="to look at it"))
BY_A_PERSON = "succeeded 2026-11-22T18:00:00Z, ttl 0s (swept by a person)"
STOP = a_policy("stop", is_dry_run=True)


@pytest.mark.parametrize(
    ("assessment", "result", "reason", "message", "goes"),
    [
        pytest.param(a_swept(), "goes", "Swept", BY_A_PERSON, BOTH, id="finished"),
        pytest.param(
            a_swept(owned=(), probe=replace(a_probe(), cluster=None, head=None)), "goes", "Swept",
            BY_A_PERSON, JOB, id="its cluster is gone",
        ),
        pytest.param(
            a_swept(rayjob=KEPT), "refused", "KeptByUser", "until 2026-12-24T18:00:00Z, because 'to look at it'", (), id="kept"
        ),
        pytest.param(
            a_swept(rayjob=a_running(), probe=None), "refused", "NotFinished", "jobDeploymentStatus is 'Running'", (), id="it runs"
        ),
        pytest.param(
            a_swept(probe=a_probe(a_driver())), "refused", "ClusterInUse", "1 unfinished in the cluster: driver '02000000' RUNNING",
            (), id="a notebook",
        ),
        pytest.param(a_swept(probe=a_silent_probe()), "refused", "HeadUnreachable", "connection refused", (), id="a silent head"),
        pytest.param(
            a_swept(probe=a_probe(cluster=a_raycluster(controller_uid="other"))), "refused", "NotOwned",
            "RayCluster train-cluster has another owner, or none", (), id="somebody else's cluster",
        ),
        pytest.param(
            a_swept(parameters=replace(DEFAULTS, mode=Mode.DRY_RUN)), "refused", "DryRun",
            "the setting mode is on DryRun, so nothing is deleted", (), id="the operator observes",
        ),
        pytest.param(
            a_swept(policies=(STOP,)), "refused", "DryRun",
            "RayJobCleanupPolicy stop is on DryRun, so nothing is deleted", (), id="a policy observes",
        ),
        pytest.param(a_swept(namespace=None), "refused", "NamespaceUnknown", "Namespace team-a", (), id="an unknown Namespace"),
        pytest.param(
            a_swept(policies=None), "refused", "PoliciesUnknown", "RayJobCleanupPolicies could not be listed", (),
            id="unknown policies",
        ),
        pytest.param(
            a_swept(rayjob=a_rayjob(deleting_since=END), owned=(), probe=None), "gone", "BeingDeleted",
            "since 2026-11-22T18:00:00Z", (), id="on its way",
        ),
        pytest.param(
            a_swept(rayjob=a_rayjob(deleting_since=END, annotations={}, desired=BIG)), "goes", "DeletionUnfinished",
            BY_A_PERSON, CLUSTER, id="on its way, but for its cluster",
        ),
    ],
)  # fmt: skip
def test_what_would_come_of_it(
    assessment: Assessment, result: str, reason: str, message: str, goes: tuple[str, ...]
) -> None:
    row = foreseen(assessment)
    assert (row.result, row.reason, row.message) == (result, reason, message)
    assert tuple(target.kind for target in row.targets) == goes
    assert row.frees == (BIG if "RayCluster" in goes else Resources())


def test_only_heads_of_what_nothing_else_keeps_are_asked() -> None:
    unasked = a_swept(probe=None)
    assert results.wants_head(unasked)
    for kept in (
        replace(unasked, rayjob=KEPT),
        replace(unasked, rayjob=a_running()),
        replace(unasked, namespace=None),
    ):
        assert not results.wants_head(kept)


def test_what_could_not_be_looked_at_failed_with_the_api_servers_words() -> None:
    row = foreseen(a_swept(probe=None), "GET ...: 403 no")
    assert (row.result, row.reason, row.message) == ("failed", "", "GET ...: 403 no")


def a_pass(
    assessment: Assessment, *, deletion: DeletionResult | None = None, dry_run_by: str = ""
) -> Pass:
    """A pass over it; without done it deleted everything it was to."""
    decision = decide(replace(assessment, now=NOW))
    targets = decision.targets if isinstance(decision, Delete) and not dry_run_by else ()
    return Pass(
        assessment.rayjob,
        decision,
        NOTHING,
        deletion=deletion or DeletionResult(targets),
        dry_run_by=dry_run_by,
    )


WHOLE = a_pass(a_swept()).deletion.deleted
FORBIDDEN = ForbiddenError("DELETE ...: 403 cannot delete resource", code=403)


@pytest.mark.parametrize(
    ("found", "result", "what", "message"),
    [
        pytest.param(a_pass(a_swept()), "deleted", "RayJob train and RayCluster train-cluster", "succeeded", id="deleted"),
        pytest.param(a_pass(a_swept(rayjob=KEPT)), "refused", "", "until 2026-12-24", id="kept a moment ago"),
        pytest.param(a_pass(a_swept(), dry_run_by="the setting mode"), "refused", "", "the setting mode is on", id="observed"),
        pytest.param(a_pass(a_swept(), deletion=DeletionResult(missing=WHOLE[0])), "gone", "", "succeeded", id="it went in between"),
        pytest.param(a_pass(a_swept(), deletion=DeletionResult(stopped_by=FORBIDDEN)), "failed", "", "403 cannot delete", id="no rights"),
        pytest.param(
            a_pass(a_swept(), deletion=DeletionResult(WHOLE[:1], stopped_by=FORBIDDEN)), "failed", "RayJob train", "403 cannot delete",
            id="no rights on its cluster",
        ),
        pytest.param(
            a_pass(a_swept(), deletion=DeletionResult(stopped_by=ConflictError("409 it changed", code=409))), "failed", "", "409 it changed",
            id="it changed",
        ),
    ],
)  # fmt: skip
def test_what_came_of_it(found: Pass, result: str, what: str, message: str) -> None:
    row = came_of(found)
    assert (row.result, row.what) == (result, what)
    assert message in row.message


NOT_THERE = Row("team-a", "nobody", Result.NOT_FOUND, problem="there is no RayJob of that name")
NOT_REACHED = results.of(a_rayjob(name="late"), Result.NOT_REACHED)
FAILED = came_of(a_pass(a_swept(), deletion=DeletionResult(stopped_by=FORBIDDEN)))
GONE = came_of(a_pass(a_swept(), deletion=DeletionResult(missing=WHOLE[0])))
DELETED, GOES, REFUSED = (
    came_of(a_pass(a_swept())),
    foreseen(a_swept()),
    foreseen(a_swept(rayjob=KEPT)),
)


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([], 0),
        ([DELETED, GONE, GOES], 0),
        ([DELETED, REFUSED], 3),
        ([DELETED, NOT_THERE], 3),
        ([DELETED, NOT_REACHED], 3),
        ([DELETED, REFUSED, NOT_THERE, FAILED], 1),
    ],
    ids=["nothing", "all gone", "one refused", "one not there", "one not reached", "one failed"],
)
def test_the_exit_code_says_whether_all_of_it_goes(rows: list[Row], code: int) -> None:
    assert exit_code(rows) == code


@pytest.mark.parametrize(
    ("rows", "asked"),
    [
        ([GOES], "Delete 1 RayJob and 1 RayCluster in namespace team-a?"),
        (
            [GOES, GOES, REFUSED, NOT_THERE],
            "Delete 2 RayJobs and 2 RayClusters in namespace team-a?",
        ),
        ([replace(GOES, targets=GOES.targets[:1])], "Delete 1 RayJob in namespace team-a?"),
        ([replace(GOES, targets=GOES.targets[1:])], "Delete 1 RayCluster in namespace team-a?"),
        (
            [GOES, replace(GOES, namespace="team-b")],
            "Delete 2 RayJobs and 2 RayClusters in namespaces team-a, team-b?",
        ),
    ],
)
def test_the_question_counts_what_goes(rows: list[Row], asked: str) -> None:
    assert question(rows) == asked


def test_the_table_and_the_last_line() -> None:
    rows = [DELETED, REFUSED, NOT_THERE]
    assert [re.split(" {3,}", line) for line in as_table(rows, wide=False).splitlines()] == [
        ["NAMESPACE", "NAME", "WHAT", "RESULT", "REASON", "EVIDENCE", "FREES"],
        [
            "team-a",
            "train",
            "RayJob+RayCluster",
            "deleted",
            "Swept",
            DELETED.message,
            "2 GPU, 8 CPU, 32Gi",
        ],
        [
            "team-a",
            "train",
            "-",
            "refused",
            "KeptByUser",
            "until 2026-12-24T18:00:00Z, because 'to look at it'",
            "-",
        ],
        ["team-a", "nobody", "-", "not found", "-", "there is no RayJob of that name", "-"],
    ]
    assert (
        as_table(rows, wide=True)
        .splitlines()[1]
        .endswith("succeeded   2026-11-22T18:00:00Z   uid-train")
    )
    assert summary(rows) == "1 deleted, 1 refused, 1 not found; frees 2 GPU, 8 CPU, 32Gi"
    assert summary([]) == "nothing to sweep; frees -"


@pytest.mark.parametrize(
    "row",
    [
        foreseen(a_swept(probe=a_silent_probe(HOSTILE))),
        foreseen(a_swept(rayjob=a_rayjob(annotations=says(ttl=HOSTILE)))),
        replace(FAILED, problem=HOSTILE),
        foreseen(a_swept(policies=(replace(STOP, name=HOSTILE),))),
    ],
    ids=["head", "ttl", "API server", "policy"],
)
def test_nothing_foreign_reaches_a_terminal(row: Row) -> None:
    printed = [
        as_table([row], wide=True),
        formatting.serialized(as_json(ABOUT, [row], DUE), "json"),
    ]
    assert {
        c
        for text in printed
        for c in text
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    } == {"\n"}
    assert len(printed[0].splitlines()) == 2


ABOUT = About(
    "https://1.2.3.4:6443", "team-a", None, "assumed", "Enforce", dry_run=False, interrupted=True
)


def test_every_field_is_documented_and_every_documented_field_is_there() -> None:
    body = as_json(ABOUT, [DELETED, REFUSED, NOT_THERE], DUE)
    assert json.loads(json.dumps(body)) == body
    items = set().union(*(paths(item) for item in body.pop("items")))
    frees = {"summary", *(f"summary.frees.{key}" for key in ("gpu", "cpu", "memory"))}
    assert (paths(body) | {"items"}) - frees == documented("Sweep")
    assert items == documented("Swept")


def test_an_item_as_it_stands() -> None:
    assert as_json(ABOUT, [REFUSED, NOT_THERE], DUE)["items"] == [
        {
            "namespace": "team-a",
            "name": "train",
            "uid": "uid-train",
            "result": "refused",
            "deletes": [],
            "reason": "KeptByUser",
            "message": "until 2026-12-24T18:00:00Z, because 'to look at it'",
            "hint": "Remove raysweep.io/keep-until to let it go earlier.",
            "problem": None,
            "outcome": "succeeded",
            "finishedAt": "2026-11-22T18:00:00Z",
            "frees": {"gpu": 0, "cpu": 0, "memory": 0},
            "dryRunBy": None,
        },
        {
            "namespace": "team-a",
            "name": "nobody",
            "uid": None,
            "result": "not found",
            "deletes": [],
            "reason": None,
            "message": "there is no RayJob of that name",
            "hint": None,
            "problem": "there is no RayJob of that name",
            "outcome": None,
            "finishedAt": None,
            "frees": {"gpu": 0, "cpu": 0, "memory": 0},
            "dryRunBy": None,
        },
    ]


def test_a_list_made_anew_knows_nothing_of_the_one_before() -> None:
    known = Listed()
    known.upsert_rayjob(
        a_rayjob(
            name="selects", uid="2", deployment_status="Running", selected_cluster="train-cluster"
        )
    )
    known.upsert_raycluster(a_raycluster())
    known.replace_policies((STOP,), timedelta())
    known.replace_rayjobs([])
    known.replace_rayclusters([])
    known.clear_policies()
    assert known == Listed()
    assert known.selecting(a_rayjob()) == ()
