"""A namespace of a sandbox as a workbench for tests: RayJobs in any state, the operator as a process, and what it did.

It writes the objects that KubeRay would have written; what is expected of Raysweep must not enter here.
"""

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from sandbox.api import ApiError
from sandbox.cluster import Cluster
from sandbox.heads import Head
from sandbox.waiting import until

Body = dict[str, Any]

RAY = "/apis/ray.io/v1"
DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS, CRDS = DEPLOY / "manifests", DEPLOY / "crds"
POLICIES = "/apis/raysweep.io/v1alpha1/rayjobcleanuppolicies"
UNHURRIED = {"lease_duration": "2m", "renew_deadline": "90s"}
"""A machine under load may stand still for longer than a leader's 10 s; only tests of leadership are about that."""
_numbers = itertools.count(1)

CONTAINER = {
    "name": "ray-head",
    "image": "rayproject/ray:2.60.0",
    "resources": {"limits": {"cpu": "1", "memory": "2Gi"}},
}
HEAD_IS_READY = {
    "type": "HeadPodReady",
    "status": "True",
    "reason": "HeadPodRunningAndReady",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
CLUSTER_SPEC = {
    "headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [CONTAINER]}}}
}


def utc_now() -> datetime:
    return datetime.now(UTC)


def written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Lab:
    """One namespace. `head` answers for every cluster unless another is named."""

    cluster: Cluster
    namespace: str
    head: Head

    @classmethod
    async def open(
        cls,
        cluster: Cluster,
        head: Head,
        *,
        annotations: Mapping[str, str] | None = None,
        name: str = "",
    ) -> "Lab":
        name = name or f"lab-{next(_numbers)}"
        body = {"metadata": {"name": name, "annotations": dict(annotations or {})}}
        await cluster.api.request("POST", "/api/v1/namespaces", body)
        return cls(cluster, name, head)

    def path(self, plural: str, name: str = "") -> str:
        base = f"{RAY}/namespaces/{self.namespace}/{plural}"
        return f"{base}/{name}" if name else base

    async def annotate_namespace(self, annotations: Mapping[str, str | None]) -> None:
        await self.cluster.api.patch(
            f"/api/v1/namespaces/{self.namespace}", {"metadata": {"annotations": dict(annotations)}}
        )

    async def set_policy(self, name: str, spec: Body) -> None:
        """A RayJobCleanupPolicy for this namespace alone, unless the spec selects others: made, or given another spec."""
        mine = {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}}
        }
        body = {
            "apiVersion": "raysweep.io/v1alpha1",
            "kind": "RayJobCleanupPolicy",
            "metadata": {"name": name},
            "spec": {**mine, **spec},
        }
        known = await self.cluster.api.find(f"{POLICIES}/{name}")
        if known is None:
            await self.cluster.api.request("POST", POLICIES, body)
        else:
            body["metadata"] = {
                "name": name,
                "resourceVersion": known["metadata"]["resourceVersion"],
            }
            await self.cluster.api.request("PUT", f"{POLICIES}/{name}", body)

    async def delete_policy(self, name: str) -> None:
        await self.cluster.api.delete(f"{POLICIES}/{name}")

    async def condition(self, policy: str, kind: str, *, status: str = "") -> tuple[str, str, str]:
        """(status, reason, message) of a policy's condition, once it was given for its present generation.

        status: wait for that one. It may first be given by what was read before another policy was made.
        """
        found: list[Body] = []

        async def is_there() -> bool:
            body = await self.cluster.api.find(f"{POLICIES}/{policy}")
            assert body is not None
            now = body["metadata"]["generation"]
            given = body.get("status", {}).get("conditions", [])
            found[:] = [
                one for one in given if one["type"] == kind and one["observedGeneration"] == now
            ]
            return bool(found) and status in ("", found[0]["status"])

        await until(is_there, timeout=90)
        return found[0]["status"], found[0]["reason"], found[0]["message"]

    async def annotate(self, name: str, annotations: Mapping[str, str | None]) -> None:
        await self.cluster.api.patch(
            self.path("rayjobs", name), {"metadata": {"annotations": dict(annotations)}}
        )

    async def create(
        self,
        name: str,
        *,
        annotations: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        spec: Body | None = None,
        metadata: Body | None = None,
    ) -> Body:
        """A RayJob as a user writes it."""
        whole = {
            "entrypoint": "python train.py",
            "submissionMode": "HTTPMode",
            "rayClusterSpec": CLUSTER_SPEC,
            **(spec or {}),
        }
        body = {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": {
                "name": name,
                "annotations": dict(annotations or {}),
                "labels": dict(labels or {}),
                **(metadata or {}),
            },
            "spec": {key: value for key, value in whole.items() if value is not None},
        }
        answer: Body = await self.cluster.api.request("POST", self.path("rayjobs"), body)
        return answer

    async def set_status(self, name: str, status: Body) -> Body:
        """What KubeRay writes."""
        answer: Body = await self.cluster.api.patch(
            f"{self.path('rayjobs', name)}/status", {"status": status}
        )
        return answer

    async def try_status(self, name: str, status: Body) -> bool:
        """Writes a status that a strict CRD refuses; whether it was taken."""
        try:
            await self.set_status(name, status)
        except ApiError as error:
            if error.status != 422:
                raise
            return False
        return True

    async def own_cluster(self, rayjob: Body, name: str, *, head: Head | None = None) -> Body:
        """The RayCluster of a RayJob, its head Service's name in the status, and the head behind that name."""
        owner = {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "name": rayjob["metadata"]["name"],
            "uid": rayjob["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
        body = {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "metadata": {"name": name, "ownerReferences": [owner]},
            "spec": CLUSTER_SPEC,
        }
        answer: Body = await self.cluster.api.request("POST", self.path("rayclusters"), body)
        status = {
            "head": {"serviceName": f"{name}-head-svc"},
            "state": "ready",
            "conditions": [HEAD_IS_READY],
        }
        await self.cluster.api.patch(f"{self.path('rayclusters', name)}/status", {"status": status})
        self.cluster.heads.route(self.namespace, f"{name}-head-svc", head or self.head)
        return answer

    async def finished(
        self,
        name: str,
        *,
        outcome: str = "SUCCEEDED",
        ended_at: datetime | None = None,
        annotations: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        spec: Body | None = None,
        status: Body | None = None,
        recorded: str | None = "",
        head: Head | None = None,
        with_cluster: bool = True,
        metadata: Body | None = None,
    ) -> Body:
        """A RayJob that has ended, with its RayCluster and the head's record; recorded: another word there, None: no record."""
        ended_at = ended_at or utc_now()
        job_id, cluster = f"{self.namespace}-{name}", f"{name}-c"
        rayjob = await self.create(
            name, annotations=annotations, labels=labels, spec=spec, metadata=metadata
        )
        if with_cluster:
            await self.own_cluster(rayjob, cluster, head=head)
        if recorded is not None:
            word = recorded or outcome
            ended = ended_at if word in ("SUCCEEDED", "FAILED", "STOPPED") else None
            await (head or self.head).put_record(
                job_id, status=word, start_time=ended_at - timedelta(minutes=1), end_time=ended
            )
        said: Body = {
            "jobDeploymentStatus": "Failed" if outcome == "FAILED" else "Complete",
            "jobStatus": outcome,
            "jobId": job_id,
            "rayClusterName": cluster,
            "startTime": written(ended_at - timedelta(minutes=2)),
            "endTime": written(ended_at),
        }
        return await self.set_status(name, {**said, **(status or {})})

    async def get(self, plural: str, name: str) -> Body | None:
        return await self.cluster.api.find(self.path(plural, name))

    async def expect_gone(self, plural: str, name: str, *, timeout: float = 90) -> None:
        """Waits until it is not there."""

        async def is_gone() -> bool:
            return await self.get(plural, name) is None

        try:
            await until(is_gone, timeout=timeout)
        except TimeoutError as error:
            raise AssertionError(
                f"{plural}/{name} is still there:\n{await self._seen(name)}"
            ) from error

    async def _seen(self, name: str) -> str:
        """What a person would look at first: the objects of this namespace, and the Events of that name."""
        found = [
            await self.cluster.api.request("GET", path)
            for path in (self.path("rayjobs"), self.path("rayclusters"))
        ]
        found.append(
            await self.cluster.api.request("GET", f"/api/v1/namespaces/{self.namespace}/pods")
        )
        lines = [json.dumps(_short(item)) for listed in found for item in listed["items"][:5]]
        return "\n".join([*lines, *map(str, await self.events(name))])

    async def clear(self) -> None:
        """Deletes what is left; where KubeRay acts, heads end with it."""
        for plural in ("rayjobs", "rayclusters"):
            for item in (await self.cluster.api.request("GET", self.path(plural)))["items"]:
                await self.cluster.api.delete(self.path(plural, item["metadata"]["name"]))

        async def is_empty() -> bool:
            return not (await self.cluster.api.request("GET", self.path("rayclusters")))["items"]

        await until(is_empty, timeout=90)

    async def remaining(self) -> set[str]:
        """Kind/name of every RayJob and RayCluster that is there and not being deleted."""
        found: set[str] = set()
        for plural in ("rayjobs", "rayclusters"):
            listed = await self.cluster.api.request("GET", self.path(plural))
            found |= {
                f"{plural}/{i['metadata']['name']}"
                for i in listed["items"]
                if "deletionTimestamp" not in i["metadata"]
            }
        return found

    async def settled(self) -> None:
        """Everything made before this has been judged: a RayJob made after it, due at once, is gone."""
        name = f"canary-{next(_numbers)}"
        await self.finished(
            name,
            annotations={"raysweep.io/ttl": "0"},
            with_cluster=False,
            recorded=None,
            status={"rayClusterName": ""},
        )
        await self.expect_gone("rayjobs", name)

    async def events(self, name: str) -> list[tuple[str, str, str]]:
        """(type, reason, note) of the Events that regard a RayJob of this name, in the order of their times."""
        listed = await self.cluster.api.request(
            "GET", f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events"
        )
        found = sorted(
            (e for e in listed["items"] if e["regarding"].get("name") == name),
            key=lambda e: e["eventTime"],
        )
        return [(event["type"], event["reason"], event["note"]) for event in found]

    async def expect_event(self, name: str, reason: str, *, timeout: float = 90) -> str:
        """Waits for an Event of that reason on a RayJob; its note."""
        notes: list[str] = []

        async def is_there() -> bool:
            notes[:] = [note for _, word, note in await self.events(name) if word == reason]
            return bool(notes)

        await until(is_there, timeout=timeout)
        return notes[0]

    async def requested(self, name: str, verb: str) -> list[tuple[str, datetime]]:
        """(resource, time) of the operator's requests of one verb on objects whose name begins so."""
        found = (event for event in await self.requests(name) if event["verb"] == verb)
        return [
            (event["objectRef"]["resource"], _time(event["requestReceivedTimestamp"]))
            for event in found
        ]

    async def requests(self, name: str) -> list[Body]:
        """Every request of the operator about objects of this namespace whose name begins so."""
        return [
            event
            for event in await self.cluster.audit("raysweep")
            if (ref := event.get("objectRef", {})).get("namespace") == self.namespace
            and ref.get("name", "").startswith(name)
        ]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _short(item: Body) -> Body:
    metadata = {
        key: value for key, value in item["metadata"].items() if key not in ("managedFields", "uid")
    }
    return {"metadata": metadata, "status": item.get("status")}


@dataclass
class Operator:
    """`raysweep run` as a process of its own, under its own service account."""

    process: asyncio.subprocess.Process
    url: str
    output: Path

    def log(self) -> list[Body]:
        """Its log lines so far."""
        return [
            json.loads(line)
            for line in self.output.read_text().splitlines()
            if line.startswith("{")
        ]

    async def get(self, path: str) -> tuple[int, str]:
        """/livez, /readyz or /metrics; status 0 while nothing listens."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{self.url}{path}") as response,
            ):
                return response.status, await response.text()
        except aiohttp.ClientError:
            return 0, ""

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of one metric over all series with these labels, 0 where there is none."""
        _, text = await self.get("/metrics")
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        found = (re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line) for line in text.splitlines())
        return sum(
            float(match[2])
            for match in found
            if match and wanted <= set((match[1] or "").split(","))
        )

    async def is_ready(self) -> bool:
        assert self.process.returncode is None, self.output.read_text()
        return (await self.get("/readyz"))[0] == 200

    async def relisted(self) -> None:
        """Waits until everything was listed anew, from the start of the list on."""
        name = "raysweep_last_relist_timestamp_seconds"
        for _ in range(2):  # the one under way may have begun before
            before = await self.metric(name)

            async def is_newer(before: float = before) -> bool:
                return await self.metric(name) > before

            await until(is_newer, timeout=60)

    def last_words(self, lines: int = 40) -> str:
        """The end of its log."""
        return (
            "\n".join(self.output.read_text().splitlines()[-lines:])
            if self.output.exists()
            else "its log is gone"
        )

    async def kill(self) -> None:
        """kill -9."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


operators: list[Operator] = []
"""Those that were started and are running, or were when the test began: for the report of a test that fails."""


async def deploy(cluster: Cluster, *, crds: bool = True) -> Path:
    """Applies deploy/manifests, and the CRDs, with kubectl; the kubeconfig of the operator's service account."""
    await apply(cluster, MANIFESTS)
    if crds:
        await apply(cluster, CRDS)
        await policies_are_served(cluster)
    return await cluster.kubeconfig_for("raysweep", "raysweep")


SERVED_IN_A_ROW = 10
"""In half a second: the parts of the API server learn of a CRD one after the other."""


async def policies_are_served(cluster: Cluster) -> None:
    """Waits until the API server has taken their CRD up: 404 and 429 come first, and may come again for a moment."""
    in_a_row = 0

    async def is_served() -> bool:
        nonlocal in_a_row
        try:
            in_a_row = in_a_row + 1 if await cluster.api.find(POLICIES) is not None else 0
        except ApiError:
            in_a_row = 0
        return in_a_row == SERVED_IN_A_ROW

    await until(is_served, timeout=90)


async def apply(cluster: Cluster, path: Path) -> None:
    """kubectl apply -f, as the cluster's admin."""
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig)}
    process = await asyncio.create_subprocess_exec(
        str(cluster.kubectl), "apply", "-f", str(path), env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


@contextlib.asynccontextmanager
async def running_operator(
    cluster: Cluster, kubeconfig: Path, *, ready: bool = True, **settings: str
) -> AsyncIterator[Operator]:
    """The installed program, ready; settings by their field's name. It is ended with SIGTERM at the end.

    Each has a Lease of its own, so that several can be at work in one sandbox, and none waits for one that was killed, unless
    the test names the Lease: of `raysweep` alone the manifests speak.
    """
    number = next(_numbers)
    output = cluster.folder / f"operator-{number}.log"
    if "lease_name" not in settings:
        settings = {**UNHURRIED, **settings, "lease_name": f"raysweep-{number}"}
        await _grant_lease(cluster, settings["lease_name"])
    port = await free_port()
    with output.open("wb") as log:
        process = await start_operator(
            cluster, kubeconfig, log.fileno(), listen=f"127.0.0.1:{port}", **settings
        )
    operator = Operator(process, f"http://127.0.0.1:{port}", output)
    operators.append(operator)
    try:
        if ready:
            await until(operator.is_ready, timeout=90)
        yield operator
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(15):
                await process.wait()
        except TimeoutError:
            await operator.kill()


async def start_operator(
    cluster: Cluster, kubeconfig: Path, output: int, **settings: str
) -> asyncio.subprocess.Process:
    """The installed program; output: the file descriptor of its log."""
    given = {"kubeconfig": str(kubeconfig), "head_proxy": cluster.head_proxy, **settings}
    flags = [
        part
        for key, value in given.items()
        if value
        for part in (f"--{key.replace('_', '-')}", value)
    ]
    program = str(Path(sys.executable).parent / "raysweep")
    return await asyncio.create_subprocess_exec(
        program, "run", *flags, "--log-format", "json", stderr=output, stdout=output
    )


async def _grant_lease(cluster: Cluster, name: str) -> None:
    """What the manifests grant for the Lease `raysweep`, for another one."""
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/raysweep"
    rule = {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": [name],
        "verbs": ["get", "update"],
    }
    await cluster.api.request(
        "POST", f"{rbac}/roles", {"metadata": {"name": name}, "rules": [rule]}
    )
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "raysweep", "namespace": "raysweep"}],
    }
    await cluster.api.request("POST", f"{rbac}/rolebindings", binding)


async def free_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()
    return port
