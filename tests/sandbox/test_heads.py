"""Heads are real: they run jobs, hang, end with their processes, and both proxies reach them."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from sandbox.api import ApiError
from sandbox.cluster import Cluster
from sandbox.heads import Head
from sandbox.processes import Identity
from sandbox.waiting import until

START = datetime(2026, 11, 22, 19, 36, 54, tzinfo=UTC)


async def through_the_proxy(cluster: Cluster, host: str, path: str = "/api/jobs/") -> Any:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:8265{path}", proxy=cluster.head_proxy) as answer,
    ):
        return await answer.json()


async def through_the_api_server(cluster: Cluster, namespace: str, service: str) -> Any:
    path = f"/api/v1/namespaces/{namespace}/services/{service}:dashboard/proxy/api/jobs/"
    return await cluster.api.request("GET", path)


async def test_a_record_is_in_the_list_and_found_by_id(light: Head) -> None:
    await light.put_record(
        "recorded", status="FAILED", start_time=START, end_time=START, message="so it was"
    )
    code, answer = await light.get("/api/jobs/recorded")
    entry = json.loads(answer)
    assert (code, entry["status"], entry["message"]) == (200, "FAILED", "so it was")
    assert (entry["start_time"], entry["end_time"]) == (1795376214000, 1795376214000)
    assert entry in json.loads((await light.get("/api/jobs/"))[1])


async def test_many_records_at_once(light: Head) -> None:
    many = [
        {"submission_id": f"many-{n}", "status": "RUNNING", "entrypoint": "true"}
        for n in range(500)
    ]
    await light.put_records(many)
    listed = {entry["submission_id"] for entry in json.loads((await light.get("/api/jobs/"))[1])}
    assert listed >= {record["submission_id"] for record in many}


async def test_an_invalid_record_is_reported_without_consequences(light: Head) -> None:
    with pytest.raises(RuntimeError, match="NO SUCH WORD"):
        await light.put_records(
            [{"submission_id": "odd", "status": "NO SUCH WORD", "entrypoint": "true"}]
        )
    await light.put_record("after", status="PENDING", start_time=START)


async def test_a_full_head_runs_jobs_of_all_outcomes(full: Head) -> None:
    await asyncio.gather(
        full.submit("true", "good"), full.submit("exit 7", "bad"), full.submit("sleep 300", "long")
    )
    assert await full.wait_for("good") == "SUCCEEDED"
    assert await full.wait_for("bad") == "FAILED"
    assert await full.wait_for("long", "RUNNING") == "RUNNING"
    await full.post("/api/jobs/long/stop", {})
    assert await full.wait_for("long") == "STOPPED"


async def test_a_head_with_a_token_answers_only_to_it(cluster: Cluster) -> None:
    head = await cluster.heads.full("guarded", token="t" * 40)
    assert json.loads((await head.get("/api/jobs/"))[1]) == []
    cluster.heads.route("anywhere", "guarded", head)
    with pytest.raises(aiohttp.ContentTypeError, match="401"):
        await through_the_proxy(cluster, "guarded.anywhere.svc")
    await cluster.heads.stop(head)


async def test_a_stopped_head_leaves_no_process_and_no_file(cluster: Cluster) -> None:
    head = await cluster.heads.light("short")
    running = [Identity.of(pid) for pid in head.pids]
    assert len(running) > 3
    await cluster.heads.stop(head)
    assert [process for process in running if process and process.is_alive()] == []
    assert not head.folder.exists()
    assert "short" not in cluster.heads


async def test_a_suspended_head_hangs_until_it_is_resumed(light: Head) -> None:
    light.suspend()
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await light.get("/api/version")
    finally:
        light.resume()
    assert (await light.get("/api/version"))[0] == 200


async def test_both_proxies_reach_a_routed_head(
    cluster: Cluster, light: Head, namespace: str
) -> None:
    await light.put_record("both-ways", status="SUCCEEDED", start_time=START)
    await cluster.route_service(namespace, "some-head-svc", light)
    directly = await through_the_proxy(cluster, f"some-head-svc.{namespace}.svc.any.domain")
    assert "both-ways" in {entry["submission_id"] for entry in directly}
    assert await through_the_api_server(cluster, namespace, "some-head-svc") == directly


async def test_a_route_to_none_refuses_connections_of_both_proxies(
    cluster: Cluster, light: Head, namespace: str
) -> None:
    await cluster.route_service(namespace, "refusing", light)
    cluster.heads.route(namespace, "refusing", None)
    with pytest.raises(aiohttp.ClientConnectionError):
        await through_the_proxy(cluster, f"refusing.{namespace}.svc")
    with pytest.raises(ApiError) as refused:
        await through_the_api_server(cluster, namespace, "refusing")
    assert refused.value.status in (502, 503)


@pytest.mark.parametrize(
    "host", ["unknown.default.svc", "example", "unknown.default.pod.cluster.local"]
)
async def test_an_unknown_host_is_refused(host: str, cluster: Cluster) -> None:
    with pytest.raises(aiohttp.ClientConnectionError):
        await through_the_proxy(cluster, host)


async def test_a_head_that_ends_is_no_longer_ready(cluster: Cluster, namespace: str) -> None:
    head = await cluster.heads.light("ending")
    await cluster.route_service(namespace, "ending", head)
    await head.stop()
    pods = f"/api/v1/namespaces/{namespace}/pods"

    async def is_unready() -> bool:
        (pod,) = (await cluster.api.request("GET", pods))["items"]
        conditions = {each["type"]: each["status"] for each in pod["status"]["conditions"]}
        return bool(conditions["Ready"] == "False")

    await until(is_unready, timeout=90)
    with pytest.raises(aiohttp.ClientConnectionError):
        await through_the_proxy(cluster, f"ending.{namespace}.svc")
