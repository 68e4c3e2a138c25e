"""The Pods that the kubelet runs: heads, submitters, and Pods with neither."""

import base64
from typing import Any

import pytest

from sandbox.cluster import Cluster
from sandbox.heads import Head
from sandbox.objects import head_pod, head_service
from sandbox.waiting import until

Body = dict[str, Any]

REACHES_THE_HEAD = """\
import sys, urllib.request
sys.exit(b"ray_version" not in urllib.request.urlopen(sys.argv[1], timeout=20).read())
"""
LABEL = {"ray.io/node-type": "worker"}


def core(namespace: str, plural: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/{plural}/{name}".rstrip("/")


async def create(cluster: Cluster, namespace: str, plural: str, body: Body) -> None:
    async def default_account_exists() -> bool:
        return await cluster.api.find(core(namespace, "serviceaccounts", "default")) is not None

    await until(default_account_exists, timeout=60)
    await cluster.api.request("POST", core(namespace, plural), body)


def submitter(*command: str, policy: str = "Never", env: list[Body] | None = None) -> Body:
    container = {
        "name": "ray-job-submitter",
        "image": "sandbox",
        "command": list(command),
        "env": env or [],
    }
    spec = {"restartPolicy": policy, "containers": [container]}
    return {"metadata": {"name": "submitter"}, "spec": spec}


async def until_status(cluster: Cluster, namespace: str, name: str, **expected: object) -> Body:
    """Waits until the status of a Pod has these fields. Returns the status."""
    status: Body = {}

    async def has_them() -> bool:
        found = await cluster.api.find(core(namespace, "pods", name))
        status.clear()
        status.update((found or {}).get("status", {}))
        (container,) = status.get("containerStatuses") or [{}]
        is_ready = {one["type"]: one for one in status.get("conditions", [])}.get("Ready", {})
        seen = {
            "phase": status.get("phase"),
            "ready": container.get("ready"),
            "restarts": container.get("restartCount"),
            "reason": is_ready.get("reason"),
        }
        return expected.items() <= seen.items()

    await until(has_them, timeout=90)
    return status


async def test_a_head_is_behind_its_services_and_its_pod_is_ready(
    cluster: Cluster, namespace: str
) -> None:
    await create(cluster, namespace, "services", head_service("train"))
    await create(cluster, namespace, "pods", head_pod("train", "light"))
    await until_status(cluster, namespace, "train-pod", phase="Running", ready=True, reason=None)
    head = cluster.heads.at(namespace, "train")
    assert head is not None
    await create(
        cluster, namespace, "services", head_service("train") | {"metadata": {"name": "later"}}
    )

    await until(lambda: cluster.heads.at(namespace, "later") is head, timeout=60)


async def test_a_head_that_exits_is_restarted_without_its_memory(
    cluster: Cluster, namespace: str
) -> None:
    await create(cluster, namespace, "services", head_service("train"))
    await create(cluster, namespace, "pods", head_pod("train", "light"))
    await until_status(cluster, namespace, "train-pod", ready=True)
    first = cluster.heads.at(namespace, "train")
    assert first is not None
    first.kill()

    status = await until_status(cluster, namespace, "train-pod", restarts=1, ready=True)
    ended = status["containerStatuses"][0]["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"] > 0) == ("Error", True)
    assert cluster.heads.at(namespace, "train") not in (None, first)


async def test_a_head_that_must_not_be_restarted_fails_its_pod(
    cluster: Cluster, namespace: str
) -> None:
    body = head_pod("train", "light")
    body["spec"]["restartPolicy"] = "Never"
    await create(cluster, namespace, "pods", body)
    await until_status(cluster, namespace, "train-pod", ready=True)
    head = cluster.heads.at(namespace, "train-pod")
    assert head is not None
    head.kill()

    await until_status(cluster, namespace, "train-pod", phase="Failed", reason="PodFailed")


async def test_a_deleted_pod_ends_its_head_and_disappears(cluster: Cluster, namespace: str) -> None:
    body = head_pod("train", "light")
    body["spec"]["terminationGracePeriodSeconds"] = 30
    await create(cluster, namespace, "pods", body)
    await until_status(cluster, namespace, "train-pod", ready=True)
    head = cluster.heads.at(namespace, "train-pod")
    assert head is not None
    await cluster.api.delete(core(namespace, "pods", "train-pod"))

    async def is_gone() -> bool:
        return await cluster.api.find(core(namespace, "pods", "train-pod")) is None

    await until(is_gone, timeout=60)
    assert not head.is_alive()


async def test_a_head_of_an_unknown_kind_is_not_ready_and_says_why(
    cluster: Cluster, namespace: str
) -> None:
    await create(cluster, namespace, "pods", head_pod("train", "biggest"))

    status = await until_status(cluster, namespace, "train-pod", restarts=1, ready=False)
    ended = status["containerStatuses"][0]["lastState"]["terminated"]
    assert "sandbox/head=biggest" in ended["message"]


@pytest.mark.parametrize(
    "domain", ["", ".{namespace}", ".{namespace}.svc", ".{namespace}.svc.cluster.local"]
)
async def test_a_submitter_reaches_a_head_by_the_name_of_its_service(
    cluster: Cluster, light: Head, namespace: str, domain: str
) -> None:
    await create(cluster, namespace, "services", head_service("train"))
    await create(cluster, namespace, "pods", head_pod("train", f"name:{light.name}"))
    await until_status(cluster, namespace, "train-pod", ready=True)
    url = f"http://train{domain.format(namespace=namespace)}:8265/api/version"
    await create(cluster, namespace, "pods", submitter("python", "-c", REACHES_THE_HEAD, url))

    await until_status(cluster, namespace, "submitter", phase="Succeeded", reason="PodCompleted")


async def test_a_submitter_that_fails_has_its_exit_code_and_its_last_words(
    cluster: Cluster, namespace: str
) -> None:
    await create(cluster, namespace, "pods", submitter("bash", "-c", "echo no such file; exit 7"))

    status = await until_status(cluster, namespace, "submitter", phase="Failed")
    ended = status["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (7, "Error")
    assert "no such file" in ended["message"]


async def test_a_submitter_is_restarted_on_failure_and_reads_secrets(
    cluster: Cluster, namespace: str
) -> None:
    secret = {
        "metadata": {"name": "token"},
        "data": {"auth": base64.b64encode(b"open sesame").decode()},
    }
    await create(cluster, namespace, "secrets", secret)
    reference = {"secretKeyRef": {"name": "token", "key": "auth"}}
    env: list[Body] = [
        {"name": "TOKEN", "valueFrom": reference},
        {"name": "PLAIN", "value": "x"},
    ]
    script = 'echo "$PLAIN $TOKEN"; exit 1'
    await create(
        cluster,
        namespace,
        "pods",
        submitter("bash", "-c", script, policy="OnFailure", env=env),
    )

    status = await until_status(cluster, namespace, "submitter", phase="Running", restarts=1)
    assert "x open sesame" in status["containerStatuses"][0]["lastState"]["terminated"]["message"]


async def test_other_pods_of_ray_are_reported_as_ready_and_foreign_pods_stay_pending(
    cluster: Cluster, namespace: str
) -> None:
    spec = {"containers": [{"name": "worker", "image": "sandbox"}]}
    await create(cluster, namespace, "pods", {"metadata": {"name": "foreign"}, "spec": spec})
    worker = {"metadata": {"name": "worker", "labels": LABEL}, "spec": spec}
    await create(cluster, namespace, "pods", worker)

    await until_status(cluster, namespace, "worker", phase="Running", ready=True)
    await until_status(cluster, namespace, "foreign", phase="Pending", ready=None)
