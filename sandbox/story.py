"""The story of `make demo`: three real jobs on real Ray heads, and the installed operator cleaning up, told in a dozen lines.

It only starts things, watches and tells; in the end it checks what is there and what is gone, and exits by that.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sandbox.cluster import Cluster, launch
from sandbox.lifetime import Lifetime, watched
from sandbox.waiting import until

MANIFESTS = Path(__file__).parent.parent / "deploy" / "manifests"
NAMESPACE = "team-a"
KEPT = {"raysweep.io/ttl-failed": "1h"}
JOBS: dict[str, tuple[dict[str, str], str]] = {
    "train": ({"raysweep.io/ttl": "10s"}, "python -c 'import time; time.sleep(2)'"),
    "broken": ({}, "python -c 'import sys; sys.exit(7)'"),
    "long": ({"raysweep.io/ttl": "10s"}, "python -c 'import time; time.sleep(3600)'"),
}
LIMIT = 150.0
"""Seconds for the whole story; it takes about 40 on two cores."""


@dataclass
class Story:
    """Tells each thing once, with the seconds since the jobs were submitted."""

    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    told: set[str] = field(default_factory=set)

    def tell(self, line: str) -> None:
        if line not in self.told:
            self.told.add(line)
            seconds = (datetime.now(UTC) - self.began).total_seconds()
            print(f"{seconds:5.1f} s  {line}", flush=True)


async def tell(life: Lifetime) -> int:
    """The story; 0 where it ended as it should."""
    print(
        "Raysweep demo: a real kube-apiserver, a real Ray head for each of three jobs, and the operator under its own rights.\n"
    )
    cluster = await launch(
        life, say=lambda line: print(f"         {line}", flush=True), on_lost=_fail
    )
    await _kubectl(cluster, "apply", "-f", str(MANIFESTS))
    await _kubectl(cluster, "create", "namespace", NAMESPACE)
    await _kubectl(
        cluster,
        "annotate",
        "namespace",
        NAMESPACE,
        *(f"{key}={value}" for key, value in KEPT.items()),
    )
    cluster.kuberay.watch(NAMESPACE)
    story = Story()
    log = await _start_operator(cluster)
    async with watched() as tellers:
        tellers.create_task(_follow(log, story))
        await _submit(cluster, story)
        tellers.create_task(_watch(cluster, story))
        ended = await _until_told(lambda: _is_as_it_should_be(cluster))
    return await _the_end(cluster, ended=ended)


def _fail(lost: Exception) -> None:
    """Without one of its heads the story does not end."""
    raise lost


async def _submit(cluster: Cluster, story: Story) -> None:
    story.tell(
        f"Namespace {NAMESPACE} says: failed jobs are kept for 1h ({', '.join(f'{k}: {v}' for k, v in KEPT.items())})"
    )
    for name, (annotations, entrypoint) in JOBS.items():
        body = {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {
                "entrypoint": entrypoint,
                "submissionMode": "HTTPMode",
                "rayClusterSpec": _cluster_spec(),
            },
        }
        await cluster.api.request("POST", _path("rayjobs"), body)
        own = (
            ", ".join(f"{key}: {value}" for key, value in annotations.items())
            or "no annotation of its own"
        )
        story.tell(f"submitted {name:6} {entrypoint}   ({own})")


def _cluster_spec() -> dict[str, Any]:
    container = {
        "name": "ray-head",
        "image": "rayproject/ray:2.60.0",
        "resources": {"limits": {"cpu": "1", "memory": "2Gi"}},
    }
    return {
        "headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [container]}}}
    }


async def _watch(cluster: Cluster, story: Story) -> None:
    """What KubeRay and Ray do."""
    while True:
        for name, status in (await _states(cluster, "rayjobs")).items():
            stage, word = status.get("jobDeploymentStatus"), status.get("jobStatus")
            if stage == "Running" and word:
                story.tell(f"running   {name:6} on its own Ray head, {status['rayClusterName']}")
            elif stage in ("Complete", "Failed"):
                story.tell(f"finished  {name:6} {word}")
        await asyncio.sleep(0.2)


async def _follow(output: Path, story: Story) -> None:
    """What the operator says: its log, line by line."""
    line = ""
    with output.open() as log:
        while True:
            line += log.readline()
            if not line.endswith("\n"):
                await asyncio.sleep(0.1)
                continue
            if line.startswith("{"):
                _retell(json.loads(line), story)
            else:
                story.tell(f"operator  {line.rstrip()}")
            line = ""


def _retell(said: dict[str, Any], story: Story) -> None:
    name, reason = f"{said.get('name', ''):6}", said.get("reason")
    if "deleted" in said:
        what = " and ".join(f"{one['kind']} {one['name']}" for one in said["deleted"])
        story.tell(
            f"deleted   {name} {what}, {said['lag_seconds']:.1f} s after it was due; reason {reason}"
        )
    elif said["msg"].startswith("asking the head"):
        story.tell(f"due       {name} asking its Ray head whether the job has really finished")
    elif reason == "NotDue":
        due = (datetime.fromisoformat(said["due_at"]) - datetime.now(UTC)).total_seconds()
        times = f"ttl {said['ttl']['value']} by {said['ttl']['source']}"
        story.tell(f"judged    {name} {said['outcome']}, due in {_readable(due)}: {times}")
    elif reason == "NotFinished" and "Running" in said["message"]:
        story.tell(f"kept      {name} because it has not finished ({reason}: {said['message']})")
    elif said["level"] in ("warning", "error"):
        story.tell(f"operator  {said['msg']}")


def _readable(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"


async def _start_operator(cluster: Cluster) -> Path:
    """`raysweep run` as it is installed, under its own service account; its log, which is retold."""
    kubeconfig = await cluster.kubeconfig_for("raysweep", "raysweep")
    program = Path(sys.executable).parent / "raysweep"
    flags = (
        "--kubeconfig",
        str(kubeconfig),
        "--head-proxy",
        cluster.head_proxy,
        "--listen",
        "127.0.0.1:0",
    )
    options = ("--log-level", "debug", "--log-format", "json")
    cluster.processes.start("operator", program, "run", *flags, *options)
    return cluster.processes.log("operator")


async def _is_as_it_should_be(cluster: Cluster) -> bool:
    """train and its cluster are gone; broken has failed and long runs, and both still have their clusters."""
    jobs, clusters = await _states(cluster, "rayjobs"), await _states(cluster, "rayclusters")
    stages = {name: status.get("jobDeploymentStatus") for name, status in jobs.items()}
    return stages == {"broken": "Failed", "long": "Running"} and {
        name.split("-")[0] for name in clusters
    } == set(stages)


async def _the_end(cluster: Cluster, *, ended: bool) -> int:
    print("\n$ kubectl get rayjobs,rayclusters -n team-a")
    print(await _kubectl(cluster, "get", "rayjobs.ray.io,rayclusters.ray.io", "-n", NAMESPACE))
    if ended:
        print(
            "As it should be: train is gone with its cluster, broken is kept by its Namespace, long runs on."
        )
        return 0
    print(
        "NOT as it should be: train and its cluster should be gone, broken Failed and long Running, with their clusters."
    )
    return 1


async def _until_told(holds: Callable[[], Awaitable[bool]]) -> bool:
    try:
        await until(holds, timeout=LIMIT, every=0.3)
    except TimeoutError:
        return False
    await asyncio.sleep(0.5)  # the last lines of the log
    return True


async def _states(cluster: Cluster, plural: str) -> dict[str, dict[str, Any]]:
    listed = await cluster.api.request("GET", _path(plural))
    return {item["metadata"]["name"]: item.get("status", {}) for item in listed["items"]}


def _path(plural: str) -> str:
    return f"/apis/ray.io/v1/namespaces/{NAMESPACE}/{plural}"


async def _kubectl(cluster: Cluster, *arguments: str) -> str:
    environment = {"KUBECONFIG": str(cluster.kubeconfig)}
    return await cluster.processes.run(
        f"kubectl {arguments[0]}", cluster.kubectl, *arguments, environment=environment
    )
