"""`make demo`: three real jobs on real Ray heads, and the installed operator cleaning up, told in a dozen lines.

It only starts things, watches and tells; in the end it checks what is there and what is gone, and exits by that.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sandbox.cluster import Cluster, start
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


async def main() -> int:
    """The story; 0 where it ended as it should."""
    print(
        "Raysweep demo: a real kube-apiserver, a real Ray head for each of three jobs, and the operator under its own rights.\n"
    )
    async with start(say=lambda line: print(f"         {line}", flush=True)) as cluster:
        await _kubectl(cluster, "apply", "-f", str(MANIFESTS))
        await _kubectl(cluster, "create", "namespace", NAMESPACE)
        await _kubectl(cluster, "annotate", "namespace", NAMESPACE, *(f"{key}={value}" for key, value in KEPT.items()))
        cluster.kuberay.watch(NAMESPACE)
        story = Story()
        async with _operator(cluster, story):
            await _submit(cluster, story)
            watching = asyncio.create_task(_watch(cluster, story))
            ended = await _until_told(lambda: _is_as_it_should_be(cluster))
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            return await _the_end(cluster, ended=ended)


async def _submit(cluster: Cluster, story: Story) -> None:
    story.tell(f"Namespace {NAMESPACE} says: failed jobs are kept for 1h ({', '.join(f'{k}: {v}' for k, v in KEPT.items())})")
    for name, (annotations, entrypoint) in JOBS.items():
        body = {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"entrypoint": entrypoint, "submissionMode": "HTTPMode", "rayClusterSpec": _cluster_spec()},
        }
        await cluster.api.request("POST", _path("rayjobs"), body)
        own = ", ".join(f"{key}: {value}" for key, value in annotations.items()) or "no annotation of its own"
        story.tell(f"submitted {name:6} {entrypoint}   ({own})")


def _cluster_spec() -> dict[str, Any]:
    container = {"name": "ray-head", "image": "rayproject/ray:2.60.0", "resources": {"limits": {"cpu": "1", "memory": "2Gi"}}}
    return {"headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [container]}}}}


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
    with output.open() as log:
        while True:
            line = log.readline()
            if line.endswith("\n"):
                _retell(json.loads(line), story)
            else:
                await asyncio.sleep(0.1)


def _retell(said: dict[str, Any], story: Story) -> None:
    name, reason = f"{said.get('name', ''):6}", said.get("reason")
    if "deleted" in said:
        what = " and ".join(f"{one['kind']} {one['name']}" for one in said["deleted"])
        story.tell(f"deleted   {name} {what}, {said['lag_seconds']:.1f} s after it was due; reason {reason}")
    elif said["msg"].startswith("asking the head"):
        story.tell(f"due       {name} asking its Ray head whether the job has really finished")
    elif reason == "NotDue":
        due = (datetime.fromisoformat(said["due_at"]) - datetime.now(UTC)).total_seconds()
        times = f"ttl {said['ttl']['value']} by {said['ttl']['source']}"
        story.tell(f"judged    {name} {said['outcome']}, due in {_readable(due)}: {times}")
    elif reason == "NotFinished" and "Running" in said["evidence"]:
        story.tell(f"kept      {name} because it has not finished ({reason}: {said['evidence']})")
    elif said["level"] in ("warning", "error"):
        story.tell(f"operator  {said['msg']}")


def _readable(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"


@contextlib.asynccontextmanager
async def _operator(cluster: Cluster, story: Story) -> AsyncIterator[None]:
    """`raysweep run` as it is installed, under its own service account; its log is retold."""
    kubeconfig = await cluster.kubeconfig_for("raysweep", "raysweep")
    output = cluster.folder / "operator.log"
    flags = ("--kubeconfig", str(kubeconfig), "--head-proxy", cluster.head_proxy, "--listen", "127.0.0.1:0")
    with output.open("wb") as log:
        program = Path(sys.executable).parent / "raysweep"
        options = ("--log-level", "debug", "--log-format", "json")
        process = await asyncio.create_subprocess_exec(str(program), "run", *flags, *options, stdout=log, stderr=log)
    following = asyncio.create_task(_follow(output, story))
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _is_as_it_should_be(cluster: Cluster) -> bool:
    """train and its cluster are gone; broken has failed and long runs, and both still have their clusters."""
    jobs, clusters = await _states(cluster, "rayjobs"), await _states(cluster, "rayclusters")
    stages = {name: status.get("jobDeploymentStatus") for name, status in jobs.items()}
    return stages == {"broken": "Failed", "long": "Running"} and {name.split("-")[0] for name in clusters} == set(stages)


async def _the_end(cluster: Cluster, *, ended: bool) -> int:
    print("\n$ kubectl get rayjobs,rayclusters -n team-a")
    print(await _kubectl(cluster, "get", "rayjobs.ray.io,rayclusters.ray.io", "-n", NAMESPACE))
    if ended:
        print("As it should be: train is gone with its cluster, broken is kept by its Namespace, long runs on.")
        return 0
    print("NOT as it should be: train and its cluster should be gone, broken Failed and long Running, with their clusters.")
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
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig)}
    pipe, both = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    process = await asyncio.create_subprocess_exec(str(cluster.kubectl), *arguments, env=environment, stdout=pipe, stderr=both)
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"kubectl {' '.join(arguments)}: {said.decode()}")
    return said.decode()


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit(130)
