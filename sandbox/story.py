"""The story of `make demo`: three real jobs on real Ray heads, and the operator that cleans up.

It starts everything and reports what happens. At the end it compares what is left with what
should be left, and the exit code shows the result.
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
NAMESPACE_ANNOTATION = "raysweep.io/ttl-failed=1h"
INTRODUCTION = """\
Raysweep demo: a real kube-apiserver and KubeRay, three jobs with a real Ray head each, and the
operator under its own service account.
"""
JOBS: dict[str, tuple[dict[str, str], str]] = {
    "train": ({"raysweep.io/ttl": "10s"}, "python -c 'import time; time.sleep(5)'"),
    "broken": ({}, "python -c 'import sys; sys.exit(7)'"),
    "long": ({"raysweep.io/ttl": "10s"}, "python -c 'import time; time.sleep(3600)'"),
}
EXPECTED = {"broken": ("Failed", "FAILED"), "long": ("Running", "RUNNING")}
"""The deployment status and the job status of the jobs that should be left."""
SUCCESS = """\
Success: train and its RayCluster are deleted, the annotation of the namespace keeps broken,
and long is still running."""
FAILURE = """\
Failure: train and its RayCluster should be deleted. broken should be Failed and long Running,
both with their RayClusters."""
SLOW_LEASE = {"RAYSWEEP_LEASE_DURATION": "2m", "RAYSWEEP_RENEW_DEADLINE": "90s"}
"""Environment of an operator. A busy machine can pause it for more than the default 10 s."""
TIMEOUT = 300.0
"""Seconds for the whole story. It takes about 30 on two cores."""


@dataclass
class Story:
    """Prints each line once, with the seconds since the first job was submitted."""

    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    printed: set[str] = field(default_factory=set)

    def tell(self, line: str) -> None:
        if line not in self.printed:
            self.printed.add(line)
            seconds = (datetime.now(UTC) - self.began).total_seconds()
            print(f"{seconds:5.1f} s  {line}", flush=True)


async def tell(life: Lifetime) -> int:
    """Runs the demo. Returns 0 if the expected objects are left."""
    print(INTRODUCTION)
    cluster = await launch(life, say=_say_indented, on_lost=_raise)
    await _kubectl(cluster, "apply", "-f", str(MANIFESTS))
    await _kubectl(cluster, "create", "namespace", NAMESPACE)
    await _kubectl(cluster, "annotate", "namespace", NAMESPACE, NAMESPACE_ANNOTATION)
    await cluster.start_kuberay()
    story = Story()
    log = await _start_operator(cluster)
    async with watched() as reporters:
        reporters.create_task(_report_log(log, story))
        await _submit(cluster, story)
        reporters.create_task(_report_jobs(cluster, story))
        succeeded = await _wait_for(lambda: _is_as_expected(cluster))
    return await _conclude(cluster, succeeded=succeeded)


def _say_indented(line: str) -> None:
    print(f"         {line}", flush=True)


def _raise(error: Exception) -> None:
    """Ends the demo when a head exits: the story cannot end without it."""
    raise error


async def _submit(cluster: Cluster, story: Story) -> None:
    story.tell(f"namespace {NAMESPACE} has the annotation {NAMESPACE_ANNOTATION}")
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
        pairs = [f"{key}={value}" for key, value in annotations.items()]
        story.tell(f"submitted {name:6} {entrypoint}   ({', '.join(pairs) or 'no annotation'})")


def _cluster_spec() -> dict[str, Any]:
    container = {
        "name": "ray-head",
        "image": "rayproject/ray:2.60.0",
        "resources": {"limits": {"cpu": "1", "memory": "2Gi"}},
    }
    template = {"spec": {"containers": [container]}}
    return {"headGroupSpec": {"rayStartParams": {}, "template": template}}


async def _report_jobs(cluster: Cluster, story: Story) -> None:
    """Reports what KubeRay and Ray do."""
    while True:
        for name, status in (await _statuses(cluster, "rayjobs")).items():
            stage, job_status = status.get("jobDeploymentStatus"), status.get("jobStatus")
            if stage == "Running" and job_status == "RUNNING":
                story.tell(f"running   {name:6} on the Ray head of {status['rayClusterName']}")
            elif stage in ("Complete", "Failed"):
                story.tell(f"finished  {name:6} {job_status}")
        await asyncio.sleep(0.2)


async def _report_log(output: Path, story: Story) -> None:
    """Reports the operator's log, line by line."""
    line = ""
    with output.open() as log:
        while True:
            line += log.readline()
            if not line.endswith("\n"):
                await asyncio.sleep(0.1)
                continue
            if line.startswith("{"):
                _report_entry(json.loads(line), story)
            else:
                story.tell(f"operator  {line.rstrip()}")
            line = ""


def _report_entry(entry: dict[str, Any], story: Story) -> None:
    name, reason = f"{entry.get('name', ''):6}", entry.get("reason")
    if "deleted" in entry:
        objects = " and ".join(f"{each['kind']} {each['name']}" for each in entry["deleted"])
        lag = f"{entry['lag_seconds']:.1f} s after it was due"
        story.tell(f"deleted   {name} {objects}, {lag} (reason {reason})")
    elif entry["msg"].startswith("probing the head"):
        story.tell(f"due       {name} asking its Ray head whether the job has finished")
    elif reason == "NotDue":
        due = (datetime.fromisoformat(entry["due_at"]) - datetime.now(UTC)).total_seconds()
        ttl = f"ttl {entry['ttl']['value']} from {entry['ttl']['source']}"
        story.tell(f"judged    {name} {entry['outcome']}, due in {_duration(due)}: {ttl}")
    elif reason == "NotFinished" and "Running" in entry["message"]:
        story.tell(f"kept      {name} ({reason}: {entry['message']})")
    elif entry["level"] in ("warning", "error"):
        story.tell(f"operator  {entry['msg']}")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"


async def _start_operator(cluster: Cluster) -> Path:
    """Starts the installed `raysweep run` under its own service account. Returns its log."""
    kubeconfig = await cluster.kubeconfig_for("raysweep", "raysweep")
    program = Path(sys.executable).parent / "raysweep"
    access = ("--kubeconfig", str(kubeconfig), "--head-proxy", cluster.head_proxy)
    options = ("--listen", "127.0.0.1:0", "--log-level", "debug", "--log-format", "json")
    command = (program, "run", *access, *options)
    cluster.processes.start("operator", *command, environment=SLOW_LEASE)
    return cluster.processes.log("operator")


async def _is_as_expected(cluster: Cluster) -> bool:
    """Whether only the expected jobs are left, each with its statuses and its RayCluster."""
    jobs = await _statuses(cluster, "rayjobs")
    left = {
        name: (status.get("jobDeploymentStatus"), status.get("jobStatus"))
        for name, status in jobs.items()
    }
    owners = {name.split("-")[0] for name in await _statuses(cluster, "rayclusters")}
    return left == EXPECTED and owners == set(EXPECTED)


async def _conclude(cluster: Cluster, *, succeeded: bool) -> int:
    print(f"\n$ kubectl get rayjobs,rayclusters -n {NAMESPACE}")
    print(await _kubectl(cluster, "get", "rayjobs.ray.io,rayclusters.ray.io", "-n", NAMESPACE))
    print(SUCCESS if succeeded else FAILURE)
    return 0 if succeeded else 1


async def _wait_for(holds: Callable[[], Awaitable[bool]]) -> bool:
    try:
        await until(holds, timeout=TIMEOUT, every=0.3)
    except TimeoutError:
        return False
    await asyncio.sleep(0.5)  # for the last lines of the log
    return True


async def _statuses(cluster: Cluster, plural: str) -> dict[str, dict[str, Any]]:
    items = (await cluster.api.request("GET", _path(plural)))["items"]
    return {item["metadata"]["name"]: item.get("status", {}) for item in items}


def _path(plural: str) -> str:
    return f"/apis/ray.io/v1/namespaces/{NAMESPACE}/{plural}"


async def _kubectl(cluster: Cluster, *arguments: str) -> str:
    environment = {"KUBECONFIG": str(cluster.kubeconfig)}
    return await cluster.processes.run(
        f"kubectl {arguments[0]}", cluster.kubectl, *arguments, environment=environment
    )
