"""`raysweep plan` and `why` on a real API server: every reason, and read requests only."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.heads import Head
from sandbox.waiting import until
from tests.support.operator_process import Operator, deploy, running_operator
from tests.support.person import SEES_JOBS, SEES_NAMESPACE, USER_AGENT, Answer, kubeconfig_with
from tests.support.workbench import Body, Lab, utc_now

PROGRAM = str(Path(sys.executable).parent / "raysweep")
READS = {"get", "list"}
DUE = {"raysweep.io/ttl": "0"}
HELD = {"rayClusterStatus": {"desiredCPU": "8", "desiredGPU": "2", "desiredMemory": "32Gi"}}
MANY, SOME_DUE = 600, 50


@dataclass
class Person:
    """A user with a kubeconfig."""

    kubeconfig: Path
    head_proxy: str = ""

    async def types(self, *words: str) -> Answer:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("RAYSWEEP_")}
        environment = clean | {
            "KUBECONFIG": str(self.kubeconfig),
            "RAYSWEEP_HEAD_PROXY": self.head_proxy,
        }
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *words,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return Answer(process.returncode or 0, out.decode(), err.decode())


@pytest_asyncio.fixture(scope="module")
async def unattended() -> AsyncIterator[Cluster]:
    """A sandbox with an installed Raysweep whose operator does not run."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        await deploy(running)
        yield running


@pytest_asyncio.fixture(scope="module")
async def quiet(unattended: Cluster) -> Head:
    """A head with finished jobs only."""
    return await unattended.heads.light("quiet")


@pytest_asyncio.fixture(scope="module")
async def busy(unattended: Cluster) -> Head:
    """A head on which another job runs."""
    head = await unattended.heads.light("busy")
    await head.put_record("somebodys", status="RUNNING", start_time=utc_now(), end_time=None)
    return head


@pytest_asyncio.fixture
async def bench(unattended: Cluster, quiet: Head) -> Lab:
    return await Lab.open(unattended, quiet)


@pytest.fixture
def admin(unattended: Cluster) -> Person:
    return Person(unattended.kubeconfig, unattended.head_proxy)


def a_minute_ago() -> datetime:
    """Kubernetes writes whole seconds, so what ended just now is due in a second at a ttl of 0."""
    return utc_now() - timedelta(minutes=1)


async def asked(cluster: Cluster) -> list[Body]:
    """Every request of the command line so far."""
    return await cluster.audit(USER_AGENT)


async def one_of_each(lab: Lab, busy: Head) -> dict[str, tuple[str, str]]:
    """RayJobs by name, each with its reason and what becomes of it once its head was asked."""
    ago = utc_now() - timedelta(hours=2)
    hour = {"raysweep.io/ttl": "1h"}
    await lab.create_finished("expired", annotations=hour, ended_at=ago, status=HELD)
    await lab.create_finished("not-due", annotations={"raysweep.io/ttl": "1d"}, status=HELD)
    await lab.create_finished(
        "cluster-first",
        annotations={"raysweep.io/ttl": "1d", "raysweep.io/cluster-ttl": "0"},
        ended_at=ago,
    )
    await lab.create_finished("nothing-said")
    await lab.create_finished(
        "kept", annotations={**hour, "raysweep.io/keep-until": "2199-01-01T00:00:00Z"}, ended_at=ago
    )
    await lab.create_finished("misspelt", annotations={"raysweep.io/ttl": "1 hour"}, ended_at=ago)
    await lab.create_finished(
        "suspended", annotations=hour, ended_at=ago, status={"jobDeploymentStatus": "Suspended"}
    )
    await lab.create_finished(
        "elsewhere",
        annotations=hour,
        ended_at=ago,
        labels={"kueue.x-k8s.io/multikueue-origin": "other"},
    )
    await lab.create_finished(
        "lives-on", annotations=hour, ended_at=ago, head_status="RUNNING", head=busy
    )
    await lab.create_finished("shared", annotations=hour, ended_at=ago, head_status=None, head=busy)
    await lab.create_finished("silent", annotations=hour, ended_at=ago)
    nowhere = {"status": {"head": {"serviceName": "nowhere"}}}
    await lab.cluster.api.patch(f"{lab.path('rayclusters', 'silent-c')}/status", nowhere)
    second = await lab.create_finished("two-clusters", annotations=hour, ended_at=ago)
    await lab.create_cluster(second, "two-clusters-d")
    await lab.create_finished(
        "tracked",
        annotations={"argocd.argoproj.io/tracking-id": "x"},
        ended_at=ago,
        with_cluster=False,
    )
    await lab.annotate_namespace({"raysweep.io/ttl-stopped": "1m"})
    tracking = {"argocd.argoproj.io/tracking-id": "x"}
    await lab.create_finished(
        "comes-back", outcome="STOPPED", annotations=tracking, ended_at=ago, with_cluster=False
    )
    await lab.create_finished(
        "kuberay-ttl",
        outcome="STOPPED",
        spec={"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 9999},
    )
    await lab.create("young", annotations=hour)
    going = await lab.create_finished(
        "going", metadata={"finalizers": ["test/stays"]}, with_cluster=False
    )
    await lab.cluster.api.delete(lab.path("rayjobs", "going"), going["metadata"]["uid"])
    return {
        "expired": ("delete", "Expired"),
        "not-due": ("wait", "NotDue"),
        "cluster-first": ("delete", "Expired"),
        "nothing-said": ("keep", "NoTTL"),
        "kept": ("wait", "KeptByUser"),
        "misspelt": ("keep", "Invalid"),
        "suspended": ("keep", "Suspended"),
        "elsewhere": ("keep", "ManagedElsewhere"),
        "lives-on": ("keep", "StillRunning"),
        "shared": ("keep", "ClusterInUse"),
        "silent": ("keep", "HeadUnreachable"),
        "two-clusters": ("keep", "OtherCluster"),
        "tracked": ("keep", "NoTTL"),
        "comes-back": ("keep", "WillBeRecreated"),
        "kuberay-ttl": ("wait", "NotDue"),
        "young": ("keep", "NotFinished"),
        "going": ("keep", "BeingDeleted"),
    }


async def test_plan_and_why_report_the_same_reasons_and_only_read(
    unattended: Cluster, bench: Lab, busy: Head, admin: Person
) -> None:
    expected = await one_of_each(bench, busy)
    before = len(await asked(unattended))
    plan = await admin.types("plan", "-n", bench.namespace, "--all", "--ask", "-o", "json")
    assert {name: (row["decision"], row["reason"]) for name, row in plan.rows.items()} == expected
    assert [d["kind"] for d in plan.rows["cluster-first"]["deletes"]] == ["RayCluster"]
    assert plan.rows["expired"]["frees"] == {"gpu": 2, "cpu": 8, "memory": 32 * 2**30}

    for name in ("expired", "not-due", "misspelt", "lives-on", "going"):
        decision, reason = expected[name]
        why = (await admin.types("why", name, "-n", bench.namespace, "-o", "json")).json
        assert (why["decision"], why["reason"], why["found"]) == (decision, reason, True)

    requests = (await asked(unattended))[before:]
    assert requests
    assert {request["verb"] for request in requests} <= READS


async def test_without_ask_no_head_is_queried(
    unattended: Cluster, bench: Lab, admin: Person
) -> None:
    await bench.create_finished("due", annotations=DUE, ended_at=utc_now() - timedelta(hours=1))
    table = await admin.types("plan", "-n", bench.namespace)
    assert "Expired (head not asked)" in table.out
    told = await admin.types("why", "due", "-n", bench.namespace, "--no-ask", "-o", "json")
    assert (told.json["head"], told.json["decision"]) == ("not asked", "delete")
    directly = Person(
        unattended.kubeconfig
    )  # through the API server, which writes every question down
    assert "(head not asked)" in (await directly.types("plan", "-n", bench.namespace)).out
    objects = [request["objectRef"] for request in await asked(unattended)]
    assert [
        each
        for each in objects
        if each.get("namespace") == bench.namespace and each.get("subresource")
    ] == []


async def test_why_names_objects_head_and_kuberay_fields(bench: Lab, admin: Person) -> None:
    await bench.create_finished(
        "train", annotations={"raysweep.io/ttl": "1h"}, ended_at=utc_now() - timedelta(hours=2)
    )
    why = await admin.types("why", "train", "-n", bench.namespace)
    first_line = why.out.splitlines()[0]
    for part in (f"RayJob {bench.namespace}/train", "Expired", "RayCluster train-c"):
        assert part in first_line
    assert f"{bench.namespace}-train" in why.out
    assert "spec.shutdownAfterJobFinishes" in why.out


async def test_by_default_heads_are_queried_through_the_api_server(
    unattended: Cluster, bench: Lab, quiet: Head
) -> None:
    await unattended.route_service(bench.namespace, "train-c-head-svc", quiet)
    await bench.create_finished("train", annotations=DUE, ended_at=utc_now() - timedelta(hours=1))
    plan = await Person(unattended.kubeconfig).types(
        "plan", "-n", bench.namespace, "--ask", "-o", "json"
    )
    assert (plan.rows["train"]["decision"], plan.rows["train"]["head"]) == ("delete", "asked")
    paths = [request["requestURI"] for request in await asked(unattended)]
    assert [
        path
        for path in paths
        if f"{bench.namespace}/services/train-c-head-svc:8265/proxy/api/jobs/" in path
    ]


async def test_a_plan_of_hundreds_of_rayjobs_queries_no_head_and_lists_in_pages(
    unattended: Cluster, bench: Lab, admin: Person
) -> None:
    at_once = asyncio.Semaphore(32)
    ago = utc_now() - timedelta(days=1)

    async def one(number: int) -> None:
        async with at_once:
            ttl = {"raysweep.io/ttl": "1h" if number < SOME_DUE else "30d"}
            owns = number < SOME_DUE
            await bench.create_finished(
                f"job-{number}", annotations=ttl, ended_at=ago, with_cluster=owns, head_status=None
            )

    await asyncio.gather(*(one(number) for number in range(MANY)))
    before = len(await asked(unattended))
    plan = await admin.types("plan", "-n", bench.namespace, "-o", "json")
    assert plan.json["summary"] | {"frees": None} == {
        "now": SOME_DUE,
        "later": MANY - SOME_DUE,
        "kept": 0,
        "frees": None,
    }
    assert [row["decision"] for row in plan.json["items"]] == ["delete"] * SOME_DUE + ["wait"] * (
        MANY - SOME_DUE
    )
    assert {row["head"] for row in plan.json["items"]} == {"not asked", "not needed"}

    requests = (await asked(unattended))[before:]
    assert [request for request in requests if request["objectRef"].get("subresource")] == []
    assert (
        len(requests) <= MANY // 200 + 5
    )  # pages of RayJobs, one of RayClusters, the Namespace and the ConfigMap


@dataclass
class Agreement:
    """What the plan said of fifty RayJobs, and what the operator then did."""

    lab: Lab
    planned: dict[str, Body]
    remaining: set[str]
    before: set[str]
    reasons: dict[str, set[str]]
    log: str


@pytest_asyncio.fixture(scope="module")
async def agreement(unattended: Cluster, quiet: Head, busy: Head) -> Agreement:
    lab = await Lab.open(unattended, quiet)
    await lab.annotate_namespace({"raysweep.io/ttl-failed": "1d"})
    ago = a_minute_ago()
    for number in range(14):
        await lab.create_finished(f"due-{number}", annotations=DUE, ended_at=ago)
        await lab.create_finished(
            f"record-{number}",
            annotations={"raysweep.io/ttl": "never", "raysweep.io/cluster-ttl": "0"},
            ended_at=ago,
        )
        await lab.create_finished(f"later-{number}", outcome="FAILED", ended_at=ago)
    await lab.create_finished(
        "lives-on", annotations=DUE, head_status="RUNNING", head=busy, ended_at=ago
    )
    await lab.create_finished("shared", annotations=DUE, head_status=None, head=busy, ended_at=ago)
    await lab.create_finished(
        "head-says-failed",
        head_status="FAILED",
        annotations={"raysweep.io/ttl-succeeded": "0"},
        ended_at=ago,
    )
    await lab.create_finished("misspelt", annotations={"raysweep.io/ttl": "soon"}, ended_at=ago)
    await lab.create_finished(
        "no-cluster", annotations=DUE, with_cluster=False, head_status=None, ended_at=ago
    )
    await lab.create_finished(
        "kept", annotations={**DUE, "raysweep.io/keep-until": "2199-01-01T00:00:00Z"}, ended_at=ago
    )
    await lab.create_finished(
        "tracked",
        annotations={"argocd.argoproj.io/tracking-id": "x"},
        with_cluster=False,
        ended_at=ago,
    )
    await lab.create("young", annotations=DUE)
    before = await lab.remaining()
    person = Person(unattended.kubeconfig, unattended.head_proxy)
    plan = await person.types("plan", "-n", lab.namespace, "--all", "--ask", "-o", "json")
    kubeconfig = await unattended.kubeconfig_for("raysweep", "raysweep")
    async with running_operator(unattended, kubeconfig, bulk_expiry_overdue="1d") as operator:
        await _has_done(lab, plan.rows)
        await lab.wait_until_judged()
        reasons = {name: {reason for _, reason, _ in await lab.events(name)} for name in plan.rows}
        log = _lines(operator)
    return Agreement(lab, plan.rows, await lab.remaining(), before, reasons, log)


def _is_told(row: Body) -> bool:
    """Whether the operator emits an Event: for deletions and for reports of a head."""
    return row["decision"] == "delete" or (row["decision"], row["head"]) == ("keep", "asked")


async def _has_done(lab: Lab, planned: dict[str, Body]) -> None:
    """Waits for an Event of every deletion and of every report of a head."""
    told = [name for name, row in planned.items() if _is_told(row)]

    async def all_told() -> bool:
        return all([await lab.events(name) for name in told])

    await until(all_told, timeout=120)


def _lines(operator: Operator) -> str:
    return operator.output.read_text()


async def test_plan_and_operator_agree_on_every_object(agreement: Agreement) -> None:
    assert len(agreement.planned) == SOME_DUE
    deletes = [
        (d["kind"], d["name"])
        for row in agreement.planned.values()
        if row["decision"] == "delete"
        for d in row["deletes"]
    ]
    predicted = {f"{kind.lower()}s/{name}" for kind, name in deletes}
    assert agreement.before - agreement.remaining == predicted
    assert len(predicted) == 14 * 2 + 14 + 1


async def test_plan_and_operator_give_the_same_reasons(agreement: Agreement) -> None:
    for name, row in agreement.planned.items():
        assert agreement.reasons[name] <= {row["reason"]}
        assert agreement.reasons[name] or not _is_told(row)


async def test_why_of_a_deleted_rayjob_has_its_event_and_a_query_that_finds_its_log_line(
    agreement: Agreement, admin: Person
) -> None:
    namespace = agreement.lab.namespace
    why = await admin.types("why", "due-1", "-n", namespace)
    assert why.code == 3
    assert f"RayJob {namespace}/due-1" in why.out.splitlines()[0]
    (event,) = [line for line in why.out.splitlines() if "  Expired  " in line]
    assert "RayJob due-1 and RayCluster due-1-c" in event

    as_json = (await admin.types("why", "due-1", "-n", namespace, "-o", "json")).json
    assert [(event["type"], event["reason"]) for event in as_json["events"]] == [
        ("Normal", "Expired")
    ]
    pattern = as_json["logQuery"].partition("grep -F ")[2].strip("'")
    found = [json.loads(line) for line in agreement.log.splitlines() if pattern in line]
    assert ["RayJob", "RayCluster"] in [
        [one["kind"] for one in line.get("deleted", ())] for line in found
    ]


async def test_why_of_an_unknown_rayjob_has_a_log_query(bench: Lab, admin: Person) -> None:
    why = await admin.types("why", "never-was", "-n", bench.namespace)
    assert why.code == 3
    assert f"""grep -F '"namespace": "{bench.namespace}", "name": "never-was"'""" in why.out


async def test_labels_select_and_names_have_the_format_of_kubectl(
    bench: Lab, admin: Person
) -> None:
    both = {"raysweep.io/ttl": "1d", "raysweep.io/cluster-ttl": "0"}
    await bench.create_finished(
        "one", annotations=DUE, labels={"team": "vision"}, ended_at=a_minute_ago()
    )
    await bench.create_finished(
        "two", annotations=both, labels={"team": "vision"}, ended_at=a_minute_ago()
    )
    await bench.create_finished(
        "three", annotations=DUE, labels={"team": "speech"}, ended_at=a_minute_ago()
    )
    named = await admin.types("plan", "-n", bench.namespace, "-l", "team in (vision)", "-o", "name")
    assert sorted(named.out.split()) == ["raycluster.ray.io/two-c", "rayjob.ray.io/one"]
    odd = await admin.types("plan", "-n", bench.namespace, "-l", "team==(")
    assert (odd.code, odd.out) == (1, "")
    assert "unable to parse" in odd.err


async def test_the_default_is_the_namespace_of_the_context(bench: Lab, admin: Person) -> None:
    await bench.create_finished(
        "train", annotations=DUE, with_cluster=False, head_status=None, ended_at=a_minute_ago()
    )
    assert "namespace default" in (await admin.types("plan")).out
    everywhere = await admin.types("plan", "-A", "-o", "json")
    assert (bench.namespace, "train") in {
        (row["namespace"], row["name"]) for row in everywhere.json["items"]
    }
    assert everywhere.json["namespace"] is None


async def person_with(lab: Lab, name: str, *rules: Body) -> Person:
    """A user with these rights in the namespace of the lab."""
    return Person(await kubeconfig_with(lab, name, *rules), lab.cluster.head_proxy)


async def test_a_user_who_may_get_the_namespace_needs_no_list_of_namespaces(bench: Lab) -> None:
    await bench.create_finished("train", annotations=DUE, ended_at=a_minute_ago())
    ann = await person_with(bench, "ann", SEES_JOBS, SEES_NAMESPACE)
    plan = await ann.types("plan", "--ask", "-o", "json")
    assert plan.rows["train"]["decision"] == "delete"
    assert "ConfigMap raysweep" in plan.err


async def test_a_user_who_may_not_get_the_namespace_gets_namespace_unknown(bench: Lab) -> None:
    await bench.create_finished("train", annotations=DUE, ended_at=a_minute_ago())
    bob = await person_with(bench, "bob", SEES_JOBS)
    plan = await bob.types("plan", "--all", "-o", "json")
    assert (plan.rows["train"]["decision"], plan.rows["train"]["reason"]) == (
        "keep",
        "NamespaceUnknown",
    )
    assert f"Namespace {bench.namespace}" in plan.err


async def test_a_user_without_rights_gets_the_error_of_the_api_server(bench: Lab) -> None:
    eve = await person_with(bench, "eve")
    for words in (["plan"], ["plan", "-A"], ["why", "train"]):
        told = await eve.types(*words)
        assert (told.code, told.out) == (1, "")
        assert 'cannot list resource "rayjobs" in API group "ray.io"' in told.err.splitlines()[-1]


@contextlib.asynccontextmanager
async def operators_config_map(cluster: Cluster, **settings: str) -> AsyncIterator[None]:
    """Replaces the ConfigMap of the operator. Settings are variables without their prefix."""
    core = "/api/v1/namespaces"
    if await cluster.api.find(
        f"{core}/raysweep/configmaps/raysweep"
    ):  # the one of deploy/manifests
        await cluster.api.delete(f"{core}/raysweep/configmaps/raysweep")
    data = {f"RAYSWEEP_{name}": value for name, value in settings.items()}
    await cluster.api.request(
        "POST", f"{core}/raysweep/configmaps", {"metadata": {"name": "raysweep"}, "data": data}
    )
    try:
        yield
    finally:
        await cluster.api.delete(f"{core}/raysweep/configmaps/raysweep")


async def test_the_operators_settings_come_from_its_config_map(
    unattended: Cluster, bench: Lab, admin: Person
) -> None:
    await bench.create_finished("train", annotations=DUE, ended_at=a_minute_ago())
    async with operators_config_map(
        unattended, PROTECTED_NAMESPACES=bench.namespace, MODE="DryRun"
    ):
        plan = await admin.types("plan", "-n", bench.namespace, "--all", "-o", "json")
    assert plan.rows["train"]["reason"] == "ProtectedNamespace"
    assert (plan.json["settings"], plan.json["mode"]) == (
        "ConfigMap raysweep in namespace raysweep",
        "DryRun",
    )
    assert "DryRun" in plan.err


async def test_the_plan_for_an_operator_in_some_namespaces_ignores_policies(
    unattended: Cluster, bench: Lab, admin: Person
) -> None:
    await bench.create_finished("train", ended_at=a_minute_ago())
    await bench.set_policy("here", {"retention": {"rayJob": {"default": "0"}}})
    async with operators_config_map(unattended, NAMESPACES="team-x,team-y"):
        plan = await admin.types("plan", "-n", bench.namespace, "--all", "-o", "json")
    await bench.delete_policy("here")
    assert plan.rows["train"]["reason"] == "NoTTL"
    assert "team-x, team-y" in plan.err


async def test_no_command_wrote_anything(unattended: Cluster, bench: Lab, admin: Person) -> None:
    await bench.create_finished("train", annotations=DUE, ended_at=a_minute_ago())
    for words in (
        ["plan", "-A", "--ask"],
        ["plan", "-A", "--all", "-o", "wide"],
        ["plan", "-o", "yaml"],
        ["why", "train"],
    ):
        assert (
            await admin.types(*words, *(["-n", bench.namespace] if "-A" not in words else []))
        ).code == 0
    assert {request["verb"] for request in await asked(unattended)} <= READS
