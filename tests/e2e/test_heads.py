"""Real Ray heads that hang, are killed, lost their node, or require a token."""

import base64
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from raysweep.clients.connection.credentials import Credentials
from raysweep.clients.connection.overrides import Overrides
from raysweep.clients.ray.dashboard import Dashboard
from raysweep.clients.ray.transport import api_server_transport, direct_transport
from raysweep.core.model.facts import HeadList, HeadSilent, RayCluster
from sandbox import objects
from sandbox.cluster import Cluster
from sandbox.heads import Head
from sandbox.waiting import until
from tests.support.operator_process import Operator, running_operator
from tests.support.real_jobs import cluster_name, reaches
from tests.support.workbench import CLUSTER_SPEC, Lab, utc_now

DUE = {"raysweep.io/ttl": "0"}
LOOKS_TAKE = 60
"""Three tries of 5 s each, on a busy machine."""
WAYS = ["direct", "api-server"]


@contextlib.asynccontextmanager
async def asking(cluster: Cluster, way: str) -> AsyncIterator[Dashboard]:
    """The client of the operator with the rights of an administrator."""
    credentials = Credentials.find(Overrides(kubeconfig=cluster.kubeconfig))
    ways = {
        "direct": lambda: direct_transport("cluster.local", cluster.head_proxy),
        "api-server": lambda: api_server_transport(
            credentials.server, credentials.session(lambda *_: None, decompress=False)
        ),
    }
    dashboard = Dashboard(ways[way](), utc_now, lambda _: None)
    try:
        yield dashboard
    finally:
        await dashboard.close()


@pytest_asyncio.fixture(scope="package")
async def light(cluster: Cluster) -> Head:
    """A read-only head behind the Service `light` of the namespace default."""
    head = await cluster.heads.light("both-ways")
    cluster.heads.route("default", "light", head)
    await cluster.route_service("default", "light", head)
    return head


BEHIND = RayCluster("default", "light", "uid", "1", head_service="light")


@pytest.mark.parametrize("way", WAYS)
async def test_a_job_is_found_by_its_id_and_an_unknown_id_is_not(
    cluster: Cluster, light: Head, way: str
) -> None:
    ended = utc_now().replace(microsecond=0)
    await light.put_record(
        f"job by {way}", status="FAILED", start_time=ended - timedelta(minutes=1), end_time=ended
    )
    async with asking(cluster, way) as dashboard:
        found, missing = (
            await dashboard.job(BEHIND, f"job by {way}"),
            await dashboard.job(BEHIND, "never"),
        )
        listed = await dashboard.jobs(BEHIND, f"job by {way}")
    assert isinstance(found, HeadList)
    assert [(entry.submission_id, entry.status, entry.end_time) for entry in found.entries] == [
        (f"job by {way}", "FAILED", ended)
    ]
    assert isinstance(missing, HeadList)
    assert (missing.entries, missing.whole) == ((), False)
    assert isinstance(listed, HeadList)
    assert found.entries[0] in listed.entries


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("job_id", ["%2e%2e", "a b", "\u00fcn\u00ef", "a?b#c", "..%2fversion"])
async def test_an_id_with_special_characters_is_escaped(
    cluster: Cluster, light: Head, way: str, job_id: str
) -> None:
    async with asking(cluster, way) as dashboard:
        missing = await dashboard.job(BEHIND, job_id)
    assert isinstance(missing, HeadList)
    assert missing.entries == ()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("job_id", ["../../api/version", "a/../own", "a/b"])
async def test_an_id_with_slashes_never_returns_another_job(
    cluster: Cluster, light: Head, way: str, job_id: str
) -> None:
    """The API server decodes and cleans the path, so Ray would answer about another job."""
    now = utc_now()
    await light.put_record("own", status="SUCCEEDED", start_time=now, end_time=now)
    async with asking(cluster, way) as dashboard:
        found = await dashboard.job(BEHIND, job_id)
    assert isinstance(found, HeadSilent) or found.entries == ()


async def test_a_head_that_the_api_server_cannot_reach_is_silent(cluster: Cluster) -> None:
    async with asking(cluster, "api-server") as dashboard:
        no_service = await dashboard.jobs(replace(BEHIND, head_service="nowhere"))
        await cluster.api.request(
            "POST", "/api/v1/namespaces/default/services", objects.head_service("empty")
        )
        no_pod = await dashboard.jobs(replace(BEHIND, head_service="empty"))
    for answer, words in ((no_service, "NotFound"), (no_pod, "no endpoints available")):
        assert isinstance(answer, HeadSilent)
        assert (answer.unauthorized, words in answer.detail) == (False, True), answer


async def test_a_head_that_hangs_keeps_its_cluster_until_it_answers_again(
    quiet_lab: Lab, operator: Operator, cluster: Cluster
) -> None:
    head = await cluster.heads.light("hangs")
    head.suspend()
    await quiet_lab.create_finished("train", annotations=DUE, head=head, head_status=None)

    assert "Timeout" in await quiet_lab.expect_event("train", "HeadUnreachable", timeout=LOOKS_TAKE)
    assert await quiet_lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}

    head.resume()
    await quiet_lab.expect_deleted("rayjobs", "train", timeout=90)
    await cluster.heads.stop(head)


async def test_a_head_that_was_killed_keeps_its_cluster(
    quiet_lab: Lab, operator: Operator, cluster: Cluster
) -> None:
    head = await cluster.heads.light("killed")
    await cluster.heads.stop(head)
    await quiet_lab.create_finished("train", annotations=DUE, head=head, head_status=None)

    await quiet_lab.expect_event("train", "HeadUnreachable", timeout=LOOKS_TAKE)

    assert await quiet_lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}
    assert await quiet_lab.requested("train", "delete") == []


async def test_the_answer_of_a_head_without_a_node_is_ignored(
    quiet_lab: Lab, operator: Operator, cluster: Cluster
) -> None:
    """Without its agent the node ends, and the head reports the job as RUNNING forever."""
    head = await cluster.heads.full("zombie")
    job_id = f"{quiet_lab.namespace}-train"
    await head.submit("python -c 'import time; time.sleep(600)'", job_id)
    await head.wait_for(job_id, "RUNNING")
    _kill_inside(head, "ray::DashboardAgent")
    await until(lambda: _node_is_dead(head), timeout=60)
    assert await head.wait_for(job_id, "RUNNING") == "RUNNING"

    await quiet_lab.create_finished("train", annotations=DUE, head=head, head_status=None)

    assert "DEAD" in await quiet_lab.expect_event("train", "HeadUnreachable", timeout=LOOKS_TAKE)
    assert await quiet_lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}
    await cluster.heads.stop(head)


def _kill_inside(head: Head, title: str) -> None:
    """The process with this title."""
    (found,) = [
        pid
        for pid in head.pids
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(title.encode())
    ]
    os.kill(found, signal.SIGKILL)


async def _node_is_dead(head: Head) -> bool:
    status, answer = await head.get("/api/v0/nodes")
    return status == 200 and [
        node["state"] for node in json.loads(answer)["data"]["result"]["result"]
    ] == ["DEAD"]


async def test_a_head_that_requires_a_token(lab: Lab, cluster: Cluster, kubeconfig: Path) -> None:
    """Kept without the setting or the rights, deleted with both. The token appears nowhere."""
    secured = {"rayVersion": "2.60.0", "authOptions": {"mode": "token"}, **CLUSTER_SPEC}
    spec = {"entrypoint": "true", "rayClusterSpec": secured}
    await lab.create("train", annotations={"sandbox/head": "full", **DUE}, spec=spec)
    await reaches(lab, "train", ("Complete", "SUCCEEDED"))
    raycluster = await cluster_name(lab, "train")
    secret = f"/api/v1/namespaces/{lab.namespace}/secrets/{raycluster}"
    encoded = (await cluster.api.request("GET", secret))["data"]["auth_token"]
    token = base64.b64decode(encoded).decode()

    async with running_operator(cluster, kubeconfig) as operator:
        assert "401 Unauthorized" in await lab.expect_event("train", "HeadUnauthorized")
    assert token not in await _told(lab, operator)

    async with running_operator(cluster, kubeconfig, head_tokens="true") as operator:
        await until(
            lambda: "may not get services" in str(operator.log()), timeout=LOOKS_TAKE
        )  # the Event is not repeated
    assert await lab.remaining() == {"rayjobs/train", f"rayclusters/{raycluster}"}

    await _grant(lab)
    async with running_operator(
        cluster, kubeconfig, head_tokens="true", log_level="debug"
    ) as operator:
        await lab.expect_deleted("rayjobs", "train", timeout=LOOKS_TAKE)
        await lab.expect_deleted("rayclusters", raycluster)
        await lab.expect_event("train", "Expired")
        assert token not in await _told(lab, operator)


async def _grant(lab: Lab) -> None:
    """Grants what docs/how-to/install.md describes in this namespace."""
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{lab.namespace}"
    rule = {"apiGroups": [""], "resources": ["services", "secrets"], "verbs": ["get"]}
    await lab.cluster.api.request(
        "POST", f"{rbac}/roles", {"metadata": {"name": "head-tokens"}, "rules": [rule]}
    )
    binding = {
        "metadata": {"name": "head-tokens"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "head-tokens"},
        "subjects": [{"kind": "ServiceAccount", "name": "raysweep", "namespace": "raysweep"}],
    }
    await lab.cluster.api.request("POST", f"{rbac}/rolebindings", binding)


async def _told(lab: Lab, operator: Operator) -> str:
    """All Events and log lines of the operator about it."""
    metrics = (await operator.get("/metrics"))[1]
    return operator.output.read_text() + metrics + str(await lab.events("train"))
