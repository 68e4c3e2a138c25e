"""`raysweep plan` without a cluster: timelines, rows, the table and the JSON."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from raysweep.cli.common import formatting
from raysweep.cli.common.answer_context import AnswerContext
from raysweep.cli.common.cluster_snapshot import ClusterSnapshot
from raysweep.cli.common.rayjob_row import RayJobRow, rayjob_row_json
from raysweep.cli.common.timeline_cache import TimelineCache
from raysweep.cli.plan import rows
from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Delete, ProbeHead
from raysweep.core.model.facts import KubeRayCleanup, Resources
from raysweep.core.timeline import foresee
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_driver,
    a_namespace,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_silent_probe,
    a_submission,
    an_assessment,
    says,
)
from tests.support.cli import HOSTILE_TEXT, control_characters, documented_fields, json_paths

BIG = Resources(cpu=8, gpu=2, memory=32 * 2**30)
DAY = 24 * HOUR
SOON = END + timedelta(minutes=1)
CONTEXT = AnswerContext("https://1.2.3.4:6443", "team-a", "team=vision", "assumed", "Enforce")


def annotated(**annotations: str) -> Assessment:
    return an_assessment(rayjob=a_rayjob(annotations=says(**annotations)))


BOTH, CLUSTER, JOB = ("RayJob", "RayCluster"), ("RayCluster",), ("RayJob",)
KEPT_UNTIL = datetime(2026, 11, 23, 18, tzinfo=UTC)
KUBERAY_CLEANUP = an_assessment(
    rayjob=a_rayjob(annotations={}, kuberay_cleanup=KubeRayCleanup(shutdown=True)),
    namespace=a_namespace(ttl="1d"),
)
TWO_CLUSTERS = (a_raycluster(), a_raycluster(name="other", uid="uid-other"))
KEPT_LONG = annotated(ttl="1h", keep_until="2026-11-23T18:00:00Z")
KEPT_BRIEFLY = annotated(ttl="1h", keep_until="2026-11-22T18:30:00Z")
CLUSTER_IN_USE = a_probe(a_submission(), a_driver())
ROWS = [
    ("not due", an_assessment(), SOON, BOTH, DUE, "NotDue"),
    ("due", an_assessment(), DUE, BOTH, DUE, "Expired"),
    ("the cluster is gone", an_assessment(owned=()), DUE, JOB, DUE, "Expired"),
    ("cluster first", annotated(ttl="1d", cluster_ttl="1h"), SOON, CLUSTER, DUE, "NotDue"),
    ("cluster last", annotated(ttl="1h", cluster_ttl="1d"), SOON, BOTH, END + DAY, "NotDue"),
    ("no TTL", annotated(), SOON, (), None, "NoTTL"),
    ("ttl never", annotated(ttl="never"), SOON, (), None, "NoTTL"),
    ("an invalid TTL", annotated(ttl="soon"), DUE, (), None, "Invalid"),
    ("kept beyond its due time", KEPT_LONG, SOON, BOTH, KEPT_UNTIL, "KeptByUser"),
    ("kept until before its due time", KEPT_BRIEFLY, SOON, BOTH, DUE, "NotDue"),
    ("later blocked", an_assessment(owned=TWO_CLUSTERS), SOON, (), None, "OtherCluster"),
    (
        "running",
        an_assessment(rayjob=a_rayjob(deployment_status="Running")),
        SOON,
        (),
        None,
        "NotFinished",
    ),
    ("unknown Namespace", an_assessment(namespace=None), SOON, (), None, "NamespaceUnknown"),
    (
        "KubeRay first",
        KUBERAY_CLEANUP,
        SOON,
        CLUSTER,
        END + timedelta(seconds=62),
        "WaitingForKubeRay",
    ),
    ("a favorable probe", an_assessment(probe=a_probe()), DUE, BOTH, DUE, "Expired"),
    (
        "a silent head",
        an_assessment(probe=a_silent_probe()),
        DUE,
        (),
        None,
        "HeadUnreachable",
    ),
    ("a cluster in use", an_assessment(probe=CLUSTER_IN_USE), DUE, (), None, "ClusterInUse"),
]


def at(assessment: Assessment, now: datetime) -> Assessment:
    return replace(assessment, now=now)


def test_the_timeline_names_targets_time_and_reason() -> None:
    for name, assessment, now, kinds, time, reason in ROWS:
        timeline = foresee(at(assessment, now))
        result = (timeline.kinds, timeline.at, timeline.explanation.reason.value)
        assert result == (kinds, time, reason), name


def test_the_checks_allow_the_deletion_at_the_time_of_the_timeline_and_not_earlier() -> None:
    for name, assessment, now, _, time, _ in ROWS:
        if time is None:
            assert not isinstance(decide(at(assessment, now)), ProbeHead | Delete), name
            continue
        assert isinstance(decide(at(assessment, time)), ProbeHead | Delete), name
        if time > now:
            assert not isinstance(decide(at(assessment, time - MOMENT)), ProbeHead | Delete), name


def test_a_cached_timeline_equals_a_new_one() -> None:
    for name, assessment, now, _, time, _ in ROWS:
        cache = TimelineCache()
        around_due = [time - MOMENT, time, time + MOMENT] if time else []
        for moment in (now, now + MOMENT, *around_due, now + DAY, now + 100 * DAY):
            cached = cache.foresee(replace(assessment, uptime=moment - now, now=moment))
            new = foresee(at(assessment, moment))
            assert cached.targets == new.targets, name
            assert cached.explanation.reason == new.explanation.reason, name
            assert cached.is_due == new.is_due, name
            if cached.at != new.at:  # due since an earlier time
                assert cached.at, name
                assert new.at == moment, name
                assert cached.at <= moment, name


def test_a_timeline_is_reused_only_while_the_facts_are_the_same() -> None:
    cache, assessment = TimelineCache(), annotated(ttl="1h")
    first = cache.foresee(at(assessment, SOON))
    assert cache.foresee(replace(assessment, uptime=HOUR, now=SOON + MOMENT)) is first
    annotations = says(ttl="1h", keep_until="2199-01-01T00:00:00Z")
    kept = replace(assessment, rayjob=replace(assessment.rayjob, annotations=annotations))
    assert cache.foresee(at(kept, SOON + MOMENT)).explanation.reason == "KeptByUser"
    cache.keep_only(set())
    assert cache.foresee(at(assessment, SOON + MOMENT)) is not first


def test_relative_times() -> None:
    texts = {
        timedelta(0): "now",
        timedelta(seconds=-5): "now",
        timedelta(microseconds=1): "in 1s",
        timedelta(seconds=59): "in 59s",
        timedelta(minutes=12): "in 12m",
        timedelta(minutes=12, seconds=5): "in 12m5s",
        timedelta(hours=1, minutes=5, seconds=9): "in 1h5m",
        timedelta(days=3, hours=4, minutes=9): "in 3d4h",
        timedelta(days=39, hours=4): "in 5w4d",
    }
    assert {left: formatting.relative(END + left, END) for left in texts} == texts


def test_resources_as_text() -> None:
    assert formatting.resources_text(Resources()) == "-"
    assert formatting.resources_text(BIG) == "2 GPU, 8 CPU, 32Gi"
    assert formatting.resources_text(Resources(cpu=0.5, memory=2**29)) == "0.5 CPU, 0.5Gi"
    assert formatting.resources_text(Resources(gpu=1)) == "1 GPU"


def row(assessment: Assessment, now: datetime = DUE) -> RayJobRow:
    return RayJobRow(foresee(at(assessment, now)))


def team_rows() -> list[RayJobRow]:
    rayjobs = (
        a_rayjob(name="late", uid="1", annotations={}),
        a_rayjob(name="due", uid="2", desired=BIG),
        a_rayjob(name="soon", uid="3", annotations=says(ttl="1d", cluster_ttl="72m"), desired=BIG),
    )
    return rows.sorted_rows(
        row(an_assessment(rayjob=rayjob, owned=(a_raycluster(controller_uid=rayjob.uid),)))
        for rayjob in rayjobs
    )


def test_the_table_is_in_the_order_of_deletion_and_kept_rayjobs_are_last() -> None:
    lines = rows.as_table(team_rows(), DUE, wide=False).splitlines()
    head, due, soon, late = (re.split(" {3,}", line) for line in lines)
    assert head == ["NAMESPACE", "NAME", "DELETES", "WHEN", "REASON", "SET BY", "FREES"]
    frees = "2 GPU, 8 CPU, 32Gi"
    assert due[1:5] == ["due", "RayJob+RayCluster", "now", "Expired (head not asked)"]
    assert due[5:] == ["ttl 1h, annotation raysweep.io/ttl", frees]
    assert soon[1:5] == ["soon", "RayCluster", "in 12m", "NotDue"]
    assert soon[5:] == ["cluster-ttl 1h12m, annotation raysweep.io/cluster-ttl", frees]
    assert late[1:5] == ["late", "-", "kept", "NoTTL"]
    assert late[5].startswith("ttl never, built in")
    assert late[6] == "-"
    columns = zip(lines, ("SET BY", "ttl", "cluster-ttl", "ttl"), strict=True)
    assert len({line.index(cell) for line, cell in columns}) == 1


def test_the_summary_counts_and_adds_up() -> None:
    text = "1 due now (1 without asking the Ray head), 1 later, 1 kept; frees 4 GPU, 16 CPU, 64Gi"
    assert rows.summary(team_rows(), DUE) == text
    assert rows.summary([], DUE) == "0 due now, 0 later, 0 kept; frees -"


def test_a_row_shows_whether_its_head_was_asked() -> None:
    asked = row(an_assessment(probe=a_probe()))
    assert "not asked" not in rows.as_table([asked], DUE, wide=True)
    assert rayjob_row_json(asked, DUE)["head"] == "asked"


def test_a_row_shows_why_its_probe_failed() -> None:
    failed = replace(row(an_assessment()), probe_error="403 forbidden")
    assert "403 forbidden" in rows.as_table([failed], DUE, wide=True)


@pytest.mark.parametrize(
    "assessment",
    [
        an_assessment(rayjob=a_rayjob(deployment_status=HOSTILE_TEXT)),
        annotated(ttl=HOSTILE_TEXT),
        annotated(ttl="1h", keep_until="2027-01-01T00:00:00Z", keep_reason=HOSTILE_TEXT),
        an_assessment(namespace=a_namespace(**{HOSTILE_TEXT: "1h"})),
        an_assessment(rayjob=a_rayjob(unreadable=HOSTILE_TEXT)),
        an_assessment(rayjob=a_rayjob(managed_by=HOSTILE_TEXT)),
        an_assessment(probe=a_silent_probe(HOSTILE_TEXT)),
        an_assessment(probe=a_probe(a_submission(), a_submission("RUNNING", HOSTILE_TEXT))),
    ],
    ids=["status", "ttl", "reason", "key", "unreadable", "manager", "head", "submission"],
)
def test_foreign_text_does_not_control_a_terminal(assessment: Assessment) -> None:
    plan_rows = [row(assessment)]
    table = rows.as_table(plan_rows, DUE, wide=True)
    body = rows.as_json(CONTEXT, plan_rows, plan_rows, DUE, heads_asked=False)
    documents = [formatting.serialized(body, output) for output in ("json", "yaml")]
    assert control_characters(table, *documents) == set()
    assert len(table.splitlines()) == 2


def test_yaml_and_json_are_the_same() -> None:
    plan_rows = team_rows()
    body = rows.as_json(CONTEXT, plan_rows, plan_rows, DUE, heads_asked=False)
    assert yaml.safe_load(formatting.serialized(body, "yaml")) == body
    assert json.loads(formatting.serialized(body, "json")) == body


def test_the_documented_fields_are_the_fields() -> None:
    plan_rows = team_rows()
    body = rows.as_json(CONTEXT, plan_rows, plan_rows, DUE, heads_asked=False)
    items = set().union(*(json_paths(item) for item in body.pop("items")))
    frees = {"summary", *(f"summary.frees.{key}" for key in ("gpu", "cpu", "memory"))}
    assert (json_paths(body) | {"items"}) - frees == documented_fields("Plan")
    assert items == documented_fields("Plan items")


def test_an_item() -> None:
    due = team_rows()[0]
    ttl = {"value": "1h", "source": "RayJob team-a/due annotation raysweep.io/ttl", "clamp": None}
    item = rayjob_row_json(due, DUE)
    assert item.pop("message") == due.timeline.explanation.message
    assert item == {
        "namespace": "team-a",
        "name": "due",
        "uid": "2",
        "decision": "delete",
        "deletes": [
            {"kind": "RayJob", "name": "due", "uid": "2"},
            {"kind": "RayCluster", "name": "train-cluster", "uid": "uid-cluster"},
        ],
        "at": "2026-11-22T19:00:00Z",
        "in": "0s",
        "reason": "Expired",
        "check": "expired",
        "head": "not asked",
        "problem": None,
        "outcome": "succeeded",
        "finishedAt": "2026-11-22T18:00:00Z",
        "ttl": ttl,
        "clusterTTL": ttl,
        "setBy": "ttl",
        "frees": {"gpu": 2, "cpu": 8, "memory": 32 * 2**30},
        "dryRunBy": None,
    }


def test_a_raycluster_that_a_fresh_list_does_not_show_is_gone() -> None:
    snapshot = ClusterSnapshot()
    snapshot.upsert_rayjob(a_rayjob())
    assert snapshot.memory("uid-train").cluster_gone
    snapshot.upsert_raycluster(a_raycluster())
    assert not snapshot.memory("uid-train").cluster_gone
    assert snapshot.owned_by("uid-train") == (a_raycluster(),)


def test_a_replaced_raycluster_of_the_same_name_is_not_gone() -> None:
    snapshot = ClusterSnapshot()
    snapshot.upsert_rayjob(a_rayjob())
    snapshot.upsert_raycluster(a_raycluster())
    snapshot.upsert_raycluster(a_raycluster(uid="new"))
    snapshot.remove_raycluster(a_raycluster().uid)
    assert not snapshot.memory("uid-train").cluster_gone
    assert snapshot.owned_by("uid-train") == (a_raycluster(uid="new"),)


def test_unfinished_rayjobs_that_select_the_cluster_are_indexed() -> None:
    selects = {"selected_cluster": "train-cluster"}
    snapshot = ClusterSnapshot()
    snapshot.upsert_rayjob(a_rayjob())
    running = a_rayjob(name="second", uid="2", deployment_status="Running", **selects)
    snapshot.upsert_rayjob(running)
    snapshot.upsert_rayjob(a_rayjob(name="third", uid="3", **selects))
    assert snapshot.selecting(a_rayjob()) == ("second",)
    snapshot.upsert_rayjob(replace(running, deployment_status="Complete"))
    assert snapshot.selecting(a_rayjob()) == ()


def test_a_new_list_replaces_the_old_one() -> None:
    snapshot = ClusterSnapshot()
    snapshot.upsert_rayjob(
        a_rayjob(uid="2", deployment_status="Running", selected_cluster="train-cluster")
    )
    snapshot.upsert_raycluster(a_raycluster())
    snapshot.replace_policies((), timedelta())
    snapshot.replace_rayjobs([])
    snapshot.replace_rayclusters([])
    snapshot.clear_policies()
    assert snapshot == ClusterSnapshot()
    assert snapshot.selecting(a_rayjob()) == ()
    assert snapshot.owned_by("uid-train") == ()
