"""Forged statuses: the operator queries only head Services of the RayJob's own namespace."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

import pytest
import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.network_faults import RecordingProxy
from tests.support.operator_process import Operator, deploy, running_operator
from tests.support.workbench import Body, Lab

DUE = {"raysweep.io/ttl": "0"}


@dataclass
class Watched:
    """A sandbox whose operator reaches heads only through a recording proxy."""

    cluster: Cluster
    operator: Operator
    proxy: RecordingProxy


@pytest_asyncio.fixture(scope="module")
async def watched() -> AsyncIterator[Watched]:
    async with (
        sandbox_cluster.start(say=lambda _: None) as cluster,
        RecordingProxy.listening() as proxy,
        running_operator(cluster, await deploy(cluster), head_proxy=proxy.url) as operator,
    ):
        await cluster.heads.light("nobody-asks-it")
        yield Watched(cluster, operator, proxy)


@pytest_asyncio.fixture
async def lab(watched: Watched) -> Lab:
    return await Lab.open(watched.cluster, watched.cluster.heads["nobody-asks-it"])


HOSTS = [
    "evil.example.com",
    "169.254.169.254",
    "kubernetes.default",
    "a/b",
    "a b",
    "x@evil.example.com",
    "x:80",
    "UPPER",
    "-x",
]


@pytest.mark.parametrize("service", [*HOSTS, "x" * 64, "head\u0000", "hëad"], ids=ascii)
async def test_an_invalid_service_name_causes_no_request(
    lab: Lab, watched: Watched, service: str
) -> None:
    await forge_cluster_status(lab, {"head": {"serviceName": service}})

    await lab.expect_event("train", "HeadUnreachable")

    assert watched.proxy.of(lab.namespace) == []


async def test_a_single_label_is_resolved_in_the_namespace_of_the_rayjob(
    lab: Lab, watched: Watched
) -> None:
    await forge_cluster_status(lab, {"head": {"serviceName": "kubernetes"}})

    await lab.expect_event("train", "HeadUnreachable")

    assert set(watched.proxy.of(lab.namespace)) == {
        (f"kubernetes.{lab.namespace}.svc.cluster.local:8265", "/api/jobs/")
    }


OWN_HEAD = "train-c-head-svc"
STATUS: list[tuple[str, Body]] = [
    ("dashboardURL", {"dashboardURL": "evil.example.com:80"}),
    ("dashboardURL", {"dashboardURL": "http://169.254.169.254/latest/meta-data"}),
    (
        "rayClusterStatus",
        {
            "rayClusterStatus": {
                "head": {"serviceName": "evil.example.com", "podIP": "169.254.169.254"}
            }
        },
    ),
    ("message", {"message": "http://evil.example.com"}),
    ("jobId", {"jobId": ".."}),
    ("jobId", {"jobId": "../../v0/nodes"}),
    ("jobId", {"jobId": "x?y=1#z"}),
    ("jobId", {"jobId": "http://evil.example.com/"}),
]


@pytest.mark.parametrize(
    ("field", "status"),
    [pytest.param(f, s, id=f"{f} {next(iter(s.values()))!r}") for f, s in STATUS],
)
async def test_a_forged_status_causes_requests_to_the_own_head_only(
    lab: Lab, watched: Watched, field: str, status: Body
) -> None:
    assert field in status
    await lab.create_finished(
        "train",
        annotations=DUE,
        head_status=None,
        status={**status, "jobDeploymentStatus": "Running"},
    )
    await lab.set_status("train", {"jobDeploymentStatus": "Complete"})

    await lab.expect_event("train", "HeadUnreachable")

    assert set(watched.proxy.of(lab.namespace)) == {
        (f"{OWN_HEAD}.{lab.namespace}.svc.cluster.local:8265", "/api/jobs/")
    }


@pytest.mark.parametrize(
    "job_id", ["a/b", "x?y=1#z", "%2e%2e", "http://evil.example.com/", "ünï", "a b"], ids=ascii
)
async def test_an_id_is_one_segment_of_the_path(lab: Lab, watched: Watched, job_id: str) -> None:
    """The heads of selected clusters are queried by ID."""
    await select(lab, job_id)

    await lab.expect_event("guest", "HeadUnreachable")

    assert set(watched.proxy.of(lab.namespace)) == {
        (
            f"shared-head-svc.{lab.namespace}.svc.cluster.local:8265",
            f"/api/jobs/{quote(job_id, safe='')}",
        )
    }


@pytest.mark.parametrize("job_id", [".", ".."])
async def test_an_id_that_is_a_relative_path_causes_no_request(
    lab: Lab, watched: Watched, job_id: str
) -> None:
    await select(lab, job_id)

    await lab.expect_event("guest", "HeadUnreachable")

    assert watched.proxy.of(lab.namespace) == []


@pytest.mark.parametrize("name", ["../../default/x", "x y", "X", "x/status"])
async def test_an_invalid_cluster_name_causes_no_request(
    lab: Lab, watched: Watched, name: str
) -> None:
    await lab.create_finished(
        "train",
        annotations=DUE,
        head_status=None,
        with_cluster=False,
        status={"rayClusterName": name},
    )

    await lab.expect_event("train", "Unreadable")

    assert watched.proxy.of(lab.namespace) == []
    assert [
        e["verb"] for e in await lab.requests("") if e["objectRef"]["resource"] == "rayclusters"
    ] == []


async def test_a_cluster_name_with_dots_is_read_in_the_own_namespace(
    lab: Lab, watched: Watched
) -> None:
    """KubeRay up to 1.3 created such names."""
    status = {"rayClusterName": "evil.example.com"}
    await lab.create_finished(
        "train", annotations=DUE, head_status=None, with_cluster=False, status=status
    )

    await lab.expect_deleted("rayjobs", "train")

    assert watched.proxy.of(lab.namespace) == []
    asked = [
        e["objectRef"]["name"]
        for e in await lab.requests("")
        if e["objectRef"]["resource"] == "rayclusters"
    ]
    assert set(asked) == {"evil.example.com"}


async def test_no_request_contained_credentials(watched: Watched, lab: Lab) -> None:
    await forge_cluster_status(lab, {"head": {"serviceName": "anything"}})
    await until(lambda: bool(watched.proxy.of(lab.namespace)), timeout=90)

    told = "".join(watched.proxy.heads).lower()
    assert "authorization" not in told
    assert "bearer" not in told


async def forge_cluster_status(lab: Lab, status: Body) -> None:
    await lab.create_finished(
        "train", annotations=DUE, head_status=None, status={"jobDeploymentStatus": "Running"}
    )
    await lab.cluster.api.patch(f"{lab.path('rayclusters', 'train-c')}/status", {"status": status})
    await lab.set_status("train", {"jobDeploymentStatus": "Complete"})


async def select(lab: Lab, job_id: str) -> None:
    await lab.create_cluster(await lab.create("host"), "shared")
    spec = {"clusterSelector": {"ray.io/cluster": "shared"}, "rayClusterSpec": None}
    status = {"rayClusterName": "shared", "jobId": job_id}
    await lab.create_finished(
        "guest", annotations=DUE, spec=spec, with_cluster=False, head_status=None, status=status
    )
