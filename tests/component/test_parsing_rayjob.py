"""JSON to facts: what is read, what odd input becomes, and that no secret comes through."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from raysweep.clients.parsing.common import quantity
from raysweep.clients.parsing.ray_head import parse_entry, parse_raycluster
from raysweep.clients.parsing.rayjob import parse_items, parse_namespace, parse_rayjob
from raysweep.clients.ray.transport import head_service
from raysweep.core.durations import parse_duration
from raysweep.core.model.facts import DeletionRule, JobEntry, KubeRayCleanup, RayCluster, Resources
from tests.support.builders import (
    END,
    Body,
    a_namespace,
    a_raycluster,
    a_rayjob,
    namespace_json,
    raycluster_json,
    rayjob_json,
    says,
)

WHOLE = END.replace(microsecond=0)
SECRET = "hunter2-hunter2"


def test_a_rayjob_as_the_api_server_sends_it() -> None:
    assert parse_rayjob(rayjob_json()) == a_rayjob(end_time=WHOLE, status_written_at=WHOLE)


def test_a_rayjob_with_everything() -> None:
    job = parse_rayjob(
        rayjob_json(
            metadata={
                "deletionTimestamp": "2026-11-22T19:00:00+01:00",
                "finalizers": ["ray.io/rayjob-finalizer"],
                "labels": {"team": "a", "argocd.argoproj.io/tracking-id": "x"},
                "ownerReferences": [
                    {"kind": "Other", "uid": "u"},
                    {"kind": "RayCronJob", "uid": "v", "controller": True},
                ],
            },
            spec={
                "suspend": True,
                "managedBy": "elsewhere",
                "clusterSelector": {"ray.io/cluster": "shared"},
                "jobId": "spec-id",
                "submissionMode": "InteractiveMode",
                "backoffLimit": 3,
                "shutdownAfterJobFinishes": True,
                "ttlSecondsAfterFinished": 60,
            },
            status={
                "jobId": "",
                "reason": "DeadlineExceeded",
                "failed": 2,
                "startTime": "2026-11-22T17:00:00Z",
                "rayJobInfo": {
                    "startTime": "2026-11-22T17:00:30Z",
                    "endTime": "2026-11-22T18:00:01.5Z",
                },
                "rayClusterStatus": {
                    "desiredCPU": "500m",
                    "desiredGPU": "2",
                    "desiredMemory": "2Gi",
                },
            },
        )
    )
    assert job == a_rayjob(
        labels={"team": "a", "argocd.argoproj.io/tracking-id": "x"},
        finalizers=("ray.io/rayjob-finalizer",),
        controller_kind="RayCronJob",
        deleting_since=WHOLE,
        suspend=True,
        managed_by="elsewhere",
        selected_cluster="shared",
        has_selector=True,
        job_id="spec-id",
        reason="DeadlineExceeded",
        end_time=WHOLE,
        ray_end_time=datetime(2026, 11, 22, 18, 0, 1, 500_000, UTC),
        status_written_at=WHOLE,
        desired=Resources(cpu=0.5, gpu=2, memory=2 * 2**30),
        keys=frozenset({"argocd.argoproj.io/tracking-id"}),
        submission_mode="InteractiveMode",
        start_time=datetime(2026, 11, 22, 17, tzinfo=UTC),
        ray_start_time=datetime(2026, 11, 22, 17, 0, 30, tzinfo=UTC),
        failed=2,
        backoff_limit=3,
        kuberay_cleanup=KubeRayCleanup(shutdown=True, seconds=60),
    )


RULE = {"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED", "ttlSeconds": 5}}


CLEANUP_FIELDS: dict[str, tuple[Body, KubeRayCleanup]] = {
    "nothing": ({}, KubeRayCleanup()),
    "shutdown": ({"shutdownAfterJobFinishes": True}, KubeRayCleanup(shutdown=True)),
    "rules, from KubeRay 1.5": (
        {"deletionStrategy": {"deletionRules": [RULE]}},
        KubeRayCleanup(
            has_strategy=True, rules=(DeletionRule("DeleteSelf", 5, job_status="FAILED"),)
        ),
    ),
    "the older form of a strategy": (
        {
            "deletionStrategy": {
                "onSuccess": {"policy": "DeleteCluster"},
                "onFailure": {"policy": "DeleteNone"},
            }
        },
        KubeRayCleanup(has_strategy=True, on_success="DeleteCluster", on_failure="DeleteNone"),
    ),
    "deletionPolicy, KubeRay 1.3 and 1.4": (
        {"deletionPolicy": "DeleteSelf", "ttlSecondsAfterFinished": 9},
        KubeRayCleanup(has_strategy=True, policy="DeleteSelf", seconds=9),
    ),
}


def test_every_form_of_kuberays_own_cleanup_is_read() -> None:
    for label, (spec, kuberay_cleanup) in CLEANUP_FIELDS.items():
        assert parse_rayjob(rayjob_json(spec=spec)).kuberay_cleanup == kuberay_cleanup, label


CRON = [{"kind": "RayCronJob", "uid": "v", "controller": True}]
MINUTE = 29_689_560  # 2026-06-13T06:00:00Z in Unix minutes


CRON_TICKS: dict[str, tuple[Body, datetime | None]] = {
    "no child of a cron": ({"ownerReferences": []}, None),
    "its annotation": (
        {
            "ownerReferences": CRON,
            "annotations": {"ray.io/cronjob-scheduled-timestamp": "2026-11-22T18:00:00Z"},
        },
        WHOLE,
    ),
    "the Unix minute at the end of its name": (
        {"ownerReferences": CRON, "name": f"nightly-{MINUTE}"},
        datetime.fromtimestamp(MINUTE * 60, UTC),
    ),
    "its creation": ({"ownerReferences": CRON, "creationTimestamp": "2026-11-22T18:00:00Z"}, WHOLE),
    "never after its creation, even if it is annotated so": (
        {
            "ownerReferences": CRON,
            "creationTimestamp": "2026-11-22T18:00:00Z",
            "annotations": {"ray.io/cronjob-scheduled-timestamp": "2099-01-01T00:00:00Z"},
        },
        WHOLE,
    ),
}


def test_the_tick_of_a_raycronjob() -> None:
    for label, (metadata, tick) in CRON_TICKS.items():
        assert parse_rayjob(rayjob_json(metadata=metadata)).cron_tick == tick, label


def test_a_rayjob_without_spec_and_status_is_one_without_a_status() -> None:
    json = {
        "metadata": {
            "name": "train",
            "uid": "uid-train",
            "resourceVersion": "1",
            "namespace": "team-a",
        }
    }
    job = parse_rayjob(json | {"spec": None, "status": None})
    assert (job.key, job.deployment_status, job.unreadable) == ("team-a/train", "", "")


def test_the_newest_status_entry_of_managed_fields_counts_and_no_other() -> None:
    entries = [
        {"subresource": "status", "time": "2026-11-22T17:00:00Z"},
        {"subresource": "status", "time": "2026-11-22T18:00:00Z"},
        {"subresource": "scale", "time": "2026-11-22T19:00:00Z"},
        {"time": "2026-11-22T20:00:00Z"},
        {"subresource": "status"},
    ]
    assert parse_rayjob(rayjob_json(metadata={"managedFields": entries})).status_written_at == WHOLE


ODD: list[Any] = [5, 1.5, True, ["x"], {"x": 1}]
TEXTS = ["jobDeploymentStatus", "jobStatus", "jobId", "rayClusterName", "reason"]
TIMES = [
    0,
    True,
    "",
    "soon",
    "2026-11-22",
    "2026-11-22T18:00:00",
    "9999-12-31T23:59:59-01:00",
    "0001-01-01T00:00:00+01:00",
    ["x"],
]


def _rows() -> list[Any]:
    rows = [("status", key, value) for key in TEXTS for value in ODD]
    rows += [("status", "endTime", value) for value in TIMES]
    rows += [("status", "rayJobInfo", value) for value in ("x", ["x"], {"endTime": "soon"})]
    rows += [("spec", "suspend", value) for value in ("true", 1, ["x"])]
    rows += [("spec", key, value) for key in ("managedBy", "jobId") for value in ODD]
    rows += [
        ("spec", "clusterSelector", value)
        for value in ("x", ["x"], {"ray.io/cluster": 5}, {"ray.io/cluster": None})
    ]
    return [
        pytest.param(part, key, value, id=f"{part}.{key} {json.dumps(value)[:40]}")
        for part, key, value in rows
    ]


@pytest.mark.parametrize(("part", "key", "value"), _rows())
def test_a_wrong_type_makes_the_rayjob_unreadable_and_is_named(
    part: str, key: str, value: Any
) -> None:
    job = parse_rayjob(rayjob_json(**{part: {key: value}}))
    assert job.unreadable.startswith(f"{part}.{key}")
    assert isinstance(value, list | dict) or repr(str(value)) in job.unreadable
    assert (job.key, job.uid, job.annotations) == (
        "team-a/train",
        "uid-train",
        says(ttl="1h"),
    )


@pytest.mark.parametrize("part", ["spec", "status"])
@pytest.mark.parametrize("value", ["x", 5, ["x"]])
def test_an_invalid_spec_or_status_makes_the_rayjob_unreadable(part: str, value: Any) -> None:
    assert parse_rayjob(rayjob_json() | {part: value}).unreadable.startswith(f"{part}: ")


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param(None, id="none at all"),
        pytest.param("x", id="a text"),
        pytest.param({"uid": "u", "resourceVersion": "1"}, id="no name"),
        pytest.param({"name": "n", "resourceVersion": "1"}, id="no uid"),
        pytest.param({"name": "n", "uid": 5, "resourceVersion": "1"}, id="a number for uid"),
        pytest.param(
            {"name": "n", "uid": "u", "resourceVersion": "1", "namespace": 5},
            id="a number for namespace",
        ),
    ],
)
@pytest.mark.parametrize("parse", [parse_rayjob, parse_raycluster, parse_namespace])
def test_an_object_without_identity_raises(parse: Any, metadata: Any) -> None:
    with pytest.raises(ValueError, match=r"^metadata\."):
        parse({"metadata": metadata})


def _with_secrets() -> Body:
    pod = {
        "spec": {
            "containers": [
                {"name": "c", "env": [{"name": "TOKEN", "value": SECRET}], "args": [SECRET]}
            ]
        }
    }
    return rayjob_json(
        metadata={
            "annotations": says(ttl="1h")
            | {"kubectl.kubernetes.io/last-applied-configuration": SECRET}
        },
        spec={
            "entrypoint": f"curl -H {SECRET}",
            "runtimeEnvYAML": f"env_vars: {{TOKEN: {SECRET}}}",
            "metadata": {"token": SECRET},
            "submitterPodTemplate": pod,
            "rayClusterSpec": {"headGroupSpec": {"template": pod}},
        },
        status={"message": SECRET, "dashboardURL": SECRET},
    )


SECRETS: dict[str, Body] = {
    "as it is": {},
    "an entrypoint of an odd type": {"entrypoint": [SECRET]},
    "a runtime_env of an odd type": {"runtimeEnvYAML": {"env_vars": SECRET}},
    "a list where a map belongs": {"clusterSelector": [SECRET]},
    "a text instead of the cluster": {"rayClusterSpec": SECRET},
}


def test_no_secret_of_a_rayjob_comes_through() -> None:
    for label, change in SECRETS.items():
        sent = _with_secrets()
        assert SECRET not in repr(parse_rayjob(sent | {"spec": sent["spec"] | change})), label


def test_no_secret_of_a_raycluster_or_of_a_heads_entry_comes_through() -> None:
    cluster = raycluster_json()
    cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "TOKEN", "value": SECRET}
    ]
    entry = {
        "type": "DRIVER",
        "status": "RUNNING",
        "entrypoint": SECRET,
        "runtime_env": {"env_vars": {"A": SECRET}},
        "message": SECRET,
    }
    assert SECRET not in repr((parse_raycluster(cluster), parse_entry(entry)))


INVALID_CLUSTER_NAMES: list[str] = [
    "../../api/v1/secrets",
    "a/b",
    "a b",
    "A",
    "-a",
    "a-",
    "a..b",
    ".a",
    "a.",
    "a?x=1",
    "a#b",
    "%2e%2e",
    "\u00e4",
    "x" * 254,
    "a\n",
]


def test_a_cluster_name_that_no_raycluster_can_have_is_unreadable() -> None:
    for name in INVALID_CLUSTER_NAMES:
        job = parse_rayjob(rayjob_json(status={"rayClusterName": name}))
        assert job.cluster_name == "", name
        assert job.unreadable.startswith("status.rayClusterName: "), name


def test_a_raycluster_as_the_api_server_sends_it() -> None:
    cluster = parse_raycluster(raycluster_json(status={"head": {"serviceName": "head-svc"}}))
    assert cluster == a_raycluster(head_service="head-svc", dashboard_port=8265, has_status=True)


def test_the_metadata_of_a_raycluster_alone() -> None:
    sent = raycluster_json(metadata={"deletionTimestamp": "2026-11-22T18:00:00Z"})
    assert parse_raycluster({"metadata": sent["metadata"]}) == a_raycluster(deleting=True)


@pytest.mark.parametrize(
    ("ports", "port"),
    [
        pytest.param([], None, id="no ports"),
        pytest.param(
            [{"name": "client", "containerPort": 10001}], None, id="no port named dashboard"
        ),
        pytest.param(
            [{"containerPort": 1}, {"name": "dashboard", "containerPort": 9999}],
            9999,
            id="the port named dashboard",
        ),
    ],
)
def test_the_dashboards_port(ports: list[Body], port: int | None) -> None:
    assert parse_raycluster(raycluster_json(ports=ports)).dashboard_port == port


INVALID_RAYCLUSTERS: dict[str, tuple[Body, str]] = {
    "no head group": ({"spec": {}}, "spec.headGroupSpec"),
    "no container": (
        {"spec": {"headGroupSpec": {"template": {"spec": {"containers": []}}}}},
        "spec.headGroupSpec",
    ),
    "a number for a Service": (
        {"status": {"head": {"serviceName": 5}}},
        "status.head.serviceName: ",
    ),
    "a text for a status": ({"status": "x"}, "status: "),
}


def test_an_invalid_raycluster_is_unreadable_and_keeps_its_owner() -> None:
    for label, (change, place) in INVALID_RAYCLUSTERS.items():
        parsed = parse_raycluster(raycluster_json() | change)
        assert parsed.unreadable.startswith(place), label
        assert parsed == RayCluster(
            "team-a",
            "train-cluster",
            "uid-cluster",
            "90",
            "uid-train",
            unreadable=parsed.unreadable,
        ), label


def test_an_owner_that_is_not_the_controller_does_not_count() -> None:
    owners = [
        {"kind": "RayJob", "uid": "uid-train"},
        {"kind": "RayJob", "uid": "uid-train", "controller": False},
    ]
    assert (
        parse_raycluster(raycluster_json(metadata={"ownerReferences": owners})).controller_uid == ""
    )


def test_a_namespace_with_its_raysweep_annotations() -> None:
    sent = namespace_json(ttl="1d")
    sent["metadata"]["annotations"]["example.com/ttl"] = "1h"
    assert parse_namespace(sent) == a_namespace(ttl="1d")


@pytest.mark.parametrize(
    ("sent", "items"),
    [
        pytest.param({"items": [{"a": 1}]}, [{"a": 1}], id="items"),
        pytest.param({"items": []}, [], id="no items"),
        pytest.param({"items": None}, [], id="null, as an empty list of metadata has it"),
    ],
)
def test_the_items_of_a_list(sent: Body, items: list[Body]) -> None:
    assert parse_items(sent) == items


INVALID_LISTS: list[Any] = [
    {},
    {"items": {}},
    {"items": "x"},
    {"items": [None]},
    [],
    None,
    "x",
]


def test_anything_but_a_list_raises() -> None:
    for sent in INVALID_LISTS:
        with pytest.raises(ValueError, match=r"items|the whole"):
            parse_items(sent)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        *[
            ("0", 0),
            ("4", 4),
            ("1.5", 1.5),
            ("500m", 0.5),
            ("2k", 2000),
            ("2Ki", 2048),
            ("2Gi", 2 * 2**30),
            ("1M", 1e6),
            ("1Pi", 2**50),
        ],
        *[
            ("", 0),
            ("many", 0),
            ("-1", 0),
            ("1ki", 0),
            ("1mi", 0),
            (None, 0),
            (["1"], 0),
            ("9" * 5000, 0),
            (4, 4),
        ],
    ],
)
def test_a_quantity(text: object, amount: float) -> None:
    assert quantity(text) == pytest.approx(amount)


@pytest.mark.parametrize(
    "status",
    [
        {"rayClusterStatus": "x"},
        {"rayClusterStatus": {"desiredCPU": ["x"]}},
        {"rayClusterStatus": None},
    ],
)
def test_invalid_resources_count_as_zero(status: Body) -> None:
    job = parse_rayjob(rayjob_json(status=status))
    assert (job.desired, job.unreadable) == (Resources(), "")


END_TIMES: dict[str, tuple[int | None, datetime | None]] = {
    "a time": (1795370400250, datetime.fromtimestamp(1795370400.25, UTC)),
    "0 is none": (0, None),
    "H9: a time before 2000 is none": (946_684_799_999, None),
    "H9: a clock that was never set": (1, None),
    "2000 is a time": (946_684_800_000, datetime(2000, 1, 1, tzinfo=UTC)),
    "null is none": (None, None),
}


def test_an_entry_of_a_heads_list() -> None:
    for label, (milliseconds, time) in END_TIMES.items():
        sent = {
            "type": "SUBMISSION",
            "status": "RUNNING",
            "submission_id": "x",
            "end_time": milliseconds,
            "driver_info": {"odd": 1},
        }
        assert parse_entry(sent) == JobEntry("SUBMISSION", "x", "RUNNING", end_time=time), label


@pytest.mark.parametrize(
    "change",
    [
        *({"status": value} for value in (None, 5, ["x"])),
        *({"type": value} for value in (None, 5)),
        {"submission_id": 5},
        *({"end_time": value} for value in (-1, 1.5, float("nan"), "1", True, 10**18)),
    ],
    ids=repr,
)
def test_an_invalid_entry_raises_and_names_the_field(change: Body) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(change))}: "):
        parse_entry({"type": "SUBMISSION", "status": "RUNNING", "submission_id": "x"} | change)


NOT_ENTRIES: list[Any] = [
    None,
    [],
    "x",
    5,
]


def test_an_entry_that_is_not_an_object_raises() -> None:
    for sent in NOT_ENTRIES:
        with pytest.raises(ValueError, match="the whole"):
            parse_entry(sent)


YEAR_0 = [{"manager": "x", "operation": "Update", "time": "0000-01-01T00:00:00Z"}]
ODD_METADATA: list[Any] = [
    pytest.param(
        {"managedFields": YEAR_0}, "metadata.managedFields", id="a year 0 in managedFields"
    ),
    pytest.param(
        {"managedFields": [{"time": "0001-01-01T00:00:00Z"}]},
        "metadata.managedFields",
        id="Go's zero time",
    ),
    pytest.param(
        {"managedFields": [{"time": "1999-12-31T23:59:59Z"}]},
        "metadata.managedFields",
        id="a time before 2000",
    ),
    pytest.param({"managedFields": [7]}, "metadata.managedFields", id="a number in managedFields"),
    pytest.param({"managedFields": "x"}, "metadata.managedFields", id="a text for managedFields"),
    pytest.param({"labels": {"a": 1}}, "metadata.labels", id="a number for a label"),
    pytest.param({"labels": ["a"]}, "metadata.labels", id="a list of labels"),
    pytest.param(
        {"labels": {f"key-{n}": "x" * 60 for n in range(1_000)}},
        "metadata.labels",
        id="64 KiB of labels",
    ),
    pytest.param({"annotations": {"a": None}}, "metadata.annotations", id="null for an annotation"),
    pytest.param({"annotations": 5}, "metadata.annotations", id="a number for the annotations"),
    pytest.param({"finalizers": [5]}, "metadata.finalizers", id="a number for a finalizer"),
    pytest.param(
        {"finalizers": ["x" * 2**16, "y"]}, "metadata.finalizers", id="64 KiB of finalizers"
    ),
    pytest.param(
        {"ownerReferences": [{"uid": 5}]},
        "metadata.ownerReferences",
        id="a number for an owner's uid",
    ),
    pytest.param(
        {"ownerReferences": {}}, "metadata.ownerReferences", id="an object for the owners"
    ),
    pytest.param(
        {"deletionTimestamp": "0000-01-01T00:00:00Z"},
        "metadata.deletionTimestamp",
        id="deleted in the year 0",
    ),
    pytest.param(
        {"creationTimestamp": True}, "metadata.creationTimestamp", id="true for the creation"
    ),
    pytest.param({"generation": "x"}, "metadata.generation", id="a text for the generation"),
    pytest.param(
        {"resourceVersion": 5}, "metadata.resourceVersion", id="a number for the resourceVersion"
    ),
    pytest.param(
        {"resourceVersion": None}, "metadata.resourceVersion", id="null for the resourceVersion"
    ),
]


@pytest.mark.parametrize(("metadata", "place"), ODD_METADATA)
def test_invalid_metadata_makes_the_object_unreadable_and_costs_no_other_field(
    metadata: Body, place: str
) -> None:
    """H1."""
    job = parse_rayjob(rayjob_json(metadata=metadata))
    cluster = parse_raycluster(raycluster_json(metadata=metadata))
    listed = parse_raycluster({"metadata": raycluster_json(metadata=metadata)["metadata"]})
    namespace = parse_namespace(
        namespace_json() | {"metadata": namespace_json()["metadata"] | metadata}
    )
    for parsed in (job, cluster, listed, namespace):
        assert parsed.unreadable.startswith(place)
    assert (job.key, job.uid, job.deployment_status) == ("team-a/train", "uid-train", "Complete")
    assert (cluster.name, listed.uid, namespace.name) == ("train-cluster", "uid-cluster", "team-a")
    owner = "" if "ownerReferences" in metadata else "uid-train"
    assert (cluster.controller_uid, listed.controller_uid) == (owner, owner)


@pytest.mark.parametrize("year", ["0000", "0001", "1970", "1999"])
@pytest.mark.parametrize("field", ["startTime", "endTime"])
def test_a_time_before_2000_is_not_a_time(field: str, year: str) -> None:
    """H1."""
    job = parse_rayjob(rayjob_json(status={field: f"{year}-12-31T00:00:00Z"}))
    assert job.unreadable.startswith(f"status.{field}")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            {"metadata": rayjob_json(metadata={"managedFields": YEAR_0})["metadata"]},
            id="its metadata",
        ),
        pytest.param({"status": {"endTime": "soon"}}, id="its status"),
    ],
)
def test_an_unreadable_rayjob_still_uses_the_cluster_that_it_selects(change: Body) -> None:
    """H1: that cluster must not look free."""
    job = parse_rayjob(rayjob_json(spec={"clusterSelector": {"ray.io/cluster": "shared"}}) | change)
    assert (job.unreadable != "", job.has_selector, job.selected_cluster) == (
        True,
        True,
        "shared",
    )


def test_a_hundred_thousand_wrong_entries_make_one_error() -> None:
    """H1, H5: parsing stops at the first."""
    job = parse_rayjob(
        rayjob_json(
            metadata={
                "managedFields": [7] * 100_000,
                "labels": dict.fromkeys(map(str, range(100_000)), 7),
            },
            spec={"deletionStrategy": {"deletionRules": [7] * 100_000}},
        )
    )
    assert len(job.unreadable) < 1000


LONG_TEXTS: list[tuple[str, str]] = [
    ("status", "reason"),
    ("status", "jobId"),
    ("spec", "managedBy"),
    ("spec", "submissionMode"),
]


def test_a_text_that_is_longer_than_any_name_is_unreadable_and_is_not_kept() -> None:
    """H6."""
    for part, field in LONG_TEXTS:
        job = parse_rayjob(rayjob_json(**{part: {field: "x" * 5000}}))
        assert job.unreadable.startswith(f"{part}.{field}"), part
        assert len(repr(job)) < 3000, part


CUT_VALUES: dict[str, str] = {
    "five seconds after two thousand zeros": "0" * 2000 + "5",
    "digits": "1" * 1024 + "h",
    "many seconds": "1s" * 2000,
    "spaces": " " * 2000,
}


def test_a_value_that_is_cut_is_never_a_duration() -> None:
    """H6."""
    for label, value in CUT_VALUES.items():
        kept = parse_rayjob(rayjob_json(metadata={"annotations": says(ttl=value)})).annotations[
            "raysweep.io/ttl"
        ]
        assert len(kept) < 1100, label
        with pytest.raises(ValueError, match=r"^"):
            parse_duration(kept)


def test_tracked_keys_of_other_tools_are_kept() -> None:
    """H6."""
    metadata = {
        "labels": {"app.kubernetes.io/instance": "x", "team": "a"},
        "annotations": {"example.com/a": "b"},
    }
    tracked = frozenset({"app.kubernetes.io/instance", "example.com/a", "example.com/c"})
    assert parse_rayjob(rayjob_json(metadata=metadata), tracked).keys == {
        "app.kubernetes.io/instance",
        "example.com/a",
    }


OLD = "82ac5612-3bd9-4ef9-8828-5133dfe1a1fa-raycluster-pfsxh"


OLD_CLUSTER_NAMES: list[str] = [
    OLD,
    "5a",
    "a.b",
    "team.a-raycluster-x",
    "1.2.3",
    "x" * 253,
]


def test_a_cluster_name_of_kuberay_up_to_1_3_is_read() -> None:
    """W4."""
    for name in OLD_CLUSTER_NAMES:
        job = parse_rayjob(rayjob_json(status={"rayClusterName": name}))
        assert (job.cluster_name, job.unreadable) == (name, ""), name


HEAD_SERVICES: dict[str, tuple[RayCluster, str]] = {
    "what the status names": (
        a_raycluster(name=OLD, head_service="r-4ef9-head-svc"),
        "r-4ef9-head-svc",
    ),
    "a Service that begins with a digit": (a_raycluster(head_service="5-head"), "5-head"),
    "a UUID": (a_raycluster(name=OLD), "r-4ef9-8828-5133dfe1a1fa-raycluster-pfsxh-head-svc"),
    "a digit first": (a_raycluster(name="5a"), "ra-head-svc"),
    "too long for KubeRay 1.4": (a_raycluster(name="x" * 60), "x" * 41 + "-head-svc"),
    "as long as KubeRay 1.4 takes": (a_raycluster(name="x" * 53), "x" * 53 + "-head-svc"),
    "any other": (a_raycluster(), "train-cluster-head-svc"),
}


def test_the_head_service_of_a_cluster() -> None:
    """W4."""
    for label, (cluster, service) in HEAD_SERVICES.items():
        assert head_service(cluster) == service, label


FOREIGN_SERVICES: list[str] = [
    "a.b",
    "..",
    "a/b",
    "%2e",
    "A",
    "-",
    "a b",
    "a\n",
    "x." * 20 + "y",
]


def test_no_other_service_is_the_heads() -> None:
    """W4: neither by the RayCluster's name nor by what its status names."""
    for name in FOREIGN_SERVICES:
        for cluster in (a_raycluster(head_service=name), a_raycluster(name=f"{name}.")):
            with pytest.raises(ValueError, match=r"^"):
                head_service(cluster)


HEADS_IN_STATUS: dict[str, tuple[Any, str, int | None]] = {
    "both": (
        {"head": {"serviceName": "my-head"}, "endpoints": {"dashboard": "8266"}},
        "my-head",
        8266,
    ),
    "no endpoints": ({"head": {"serviceName": "my-head"}}, "my-head", None),
    "a nodePort": ({"endpoints": {"dashboard": "30265"}}, "", None),
    "a port's name": ({"endpoints": {"dashboard": "dashboard"}}, "", None),
    "a number": ({"endpoints": {"dashboard": 8266}}, "", None),
    "zero": ({"endpoints": {"dashboard": "0"}}, "", None),
    "below zero": ({"endpoints": {"dashboard": "-1"}}, "", None),
    "a digit of another script": ({"endpoints": {"dashboard": "\u0665"}}, "", None),
    "many digits": ({"endpoints": {"dashboard": "9" * 5000}}, "", None),
    "odd types": ({"endpoints": ["x"], "head": 7}, "", None),
    "an odd name": ({"head": {"serviceName": 7}}, "", None),
    "a long name": ({"head": {"serviceName": "x" * 5000}}, "", None),
    "a text": ("x", "", None),
    "null": (None, "", None),
}


def test_where_the_head_is_by_the_rayjobs_own_status() -> None:
    """H15: what is odd there is ignored, and never makes the RayJob unreadable."""
    for label, (copy, service, port) in HEADS_IN_STATUS.items():
        job = parse_rayjob(rayjob_json(status={"rayClusterStatus": copy}))
        assert (job.head_service, job.dashboard_port, job.unreadable) == (
            service,
            port,
            "",
        ), label
