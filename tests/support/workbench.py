"""A namespace of a sandbox in which a test creates RayJobs in any state and reads what is left.

It writes the objects that KubeRay would write. What a test expects of Raysweep must not enter here.
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.api import ApiError
from sandbox.cluster import Cluster
from sandbox.heads import Head
from sandbox.waiting import until
from tests.support.operator_process import POLICIES

Body = dict[str, Any]

RAY = "/apis/ray.io/v1"
REPORTER = "raysweep.io/operator"
SAME_AS_OUTCOME = ""
TERMINAL = ("SUCCEEDED", "FAILED", "STOPPED")
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


def rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Lab:
    """One namespace. `head` answers for every RayCluster unless another head is given."""

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
        name: str | None = None,
    ) -> "Lab":
        name = name or f"lab-{next(_numbers)}"
        body = {"metadata": {"name": name, "annotations": dict(annotations or {})}}
        await cluster.api.request("POST", "/api/v1/namespaces", body)
        return cls(cluster, name, head)

    def path(self, plural: str, name: str = "") -> str:
        base = f"{RAY}/namespaces/{self.namespace}/{plural}"
        return f"{base}/{name}" if name else base

    async def annotate_namespace(self, annotations: Mapping[str, str | None]) -> None:
        path = f"/api/v1/namespaces/{self.namespace}"
        await self.cluster.api.patch(path, {"metadata": {"annotations": dict(annotations)}})

    async def annotate(self, name: str, annotations: Mapping[str, str | None]) -> None:
        path = self.path("rayjobs", name)
        await self.cluster.api.patch(path, {"metadata": {"annotations": dict(annotations)}})

    async def set_policy(self, name: str, spec: Body) -> None:
        """Creates or replaces a RayJobCleanupPolicy. It selects this namespace by default."""
        labels = {"kubernetes.io/metadata.name": self.namespace}
        metadata = {"name": name}
        body = {
            "apiVersion": "raysweep.io/v1alpha1",
            "kind": "RayJobCleanupPolicy",
            "metadata": metadata,
            "spec": {"namespaceSelector": {"matchLabels": labels}, **spec},
        }
        path = f"{POLICIES}/{name}"
        if await self.cluster.api.find(path) is None:
            await self.cluster.api.request("POST", POLICIES, body)
            return

        async def is_replaced() -> bool:
            """The operator may write the status between the GET and the PUT."""
            existing = await self.cluster.api.request("GET", path)
            metadata["resourceVersion"] = existing["metadata"]["resourceVersion"]
            try:
                await self.cluster.api.request("PUT", path, body)
            except ApiError as error:
                if error.status == 409:
                    return False
                raise
            return True

        await until(is_replaced, timeout=30)

    async def delete_policy(self, name: str) -> None:
        await self.cluster.api.delete(f"{POLICIES}/{name}")

    async def condition(
        self, policy: str, kind: str, *, status: str | None = None
    ) -> tuple[str, str, str]:
        """Waits for a condition of the present generation of a policy: (status, reason, message).

        With `status`, it waits for that status: the first may rest on a list of policies that is
        older than the policy created last.
        """
        current: list[Body] = []

        async def is_reported() -> bool:
            body = await self.cluster.api.find(f"{POLICIES}/{policy}")
            assert body is not None
            generation = body["metadata"]["generation"]
            current[:] = [
                condition
                for condition in body.get("status", {}).get("conditions", [])
                if condition["type"] == kind and condition["observedGeneration"] == generation
            ]
            return bool(current) and status in (None, current[0]["status"])

        await until(is_reported, timeout=90)
        return current[0]["status"], current[0]["reason"], current[0]["message"]

    async def create(
        self,
        name: str,
        *,
        annotations: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        spec: Body | None = None,
        metadata: Body | None = None,
    ) -> Body:
        """Creates a RayJob as a user writes it. A value None in `spec` removes a default."""
        defaults = {
            "entrypoint": "python train.py",
            "submissionMode": "HTTPMode",
            "rayClusterSpec": CLUSTER_SPEC,
        }
        fields = {**defaults, **(spec or {})}
        body = {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": {
                "name": name,
                "annotations": dict(annotations or {}),
                "labels": dict(labels or {}),
                **(metadata or {}),
            },
            "spec": {key: value for key, value in fields.items() if value is not None},
        }
        rayjob: Body = await self.cluster.api.request("POST", self.path("rayjobs"), body)
        return rayjob

    async def set_status(self, name: str, status: Body) -> Body:
        """Writes a status as KubeRay does."""
        path = f"{self.path('rayjobs', name)}/status"
        rayjob: Body = await self.cluster.api.patch(path, {"status": status})
        return rayjob

    async def try_status(self, name: str, status: Body) -> bool:
        """Writes a status that a strict CRD rejects. Returns whether the API server accepted it."""
        try:
            await self.set_status(name, status)
        except ApiError as error:
            if error.status != 422:
                raise
            return False
        return True

    async def create_cluster(self, rayjob: Body, name: str, *, head: Head | None = None) -> Body:
        """Creates the RayCluster of a RayJob and routes the name of its head Service to a head."""
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
        raycluster: Body = await self.cluster.api.request("POST", self.path("rayclusters"), body)
        service = f"{name}-head-svc"
        status = {
            "head": {"serviceName": service},
            "state": "ready",
            "conditions": [HEAD_IS_READY],
        }
        await self.cluster.api.patch(f"{self.path('rayclusters', name)}/status", {"status": status})
        self.cluster.heads.route(self.namespace, service, head or self.head)
        return raycluster

    async def create_finished(
        self,
        name: str,
        *,
        outcome: str = "SUCCEEDED",
        ended_at: datetime | None = None,
        annotations: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        spec: Body | None = None,
        status: Body | None = None,
        head_status: str | None = SAME_AS_OUTCOME,
        head: Head | None = None,
        with_cluster: bool = True,
        metadata: Body | None = None,
    ) -> Body:
        """Creates a RayJob that has ended, with its RayCluster and the head's record of the job.

        `head_status` is the status in the record. None: the head has no record.
        """
        ended_at = ended_at or utc_now()
        job_id, cluster = f"{self.namespace}-{name}", f"{name}-c"
        rayjob = await self.create(
            name, annotations=annotations, labels=labels, spec=spec, metadata=metadata
        )
        if with_cluster:
            await self.create_cluster(rayjob, cluster, head=head)
        if head_status is not None:
            record_status = head_status or outcome
            await (head or self.head).put_record(
                job_id,
                status=record_status,
                start_time=ended_at - timedelta(minutes=1),
                end_time=ended_at if record_status in TERMINAL else None,
            )
        kuberay_status: Body = {
            "jobDeploymentStatus": "Failed" if outcome == "FAILED" else "Complete",
            "jobStatus": outcome,
            "jobId": job_id,
            "rayClusterName": cluster,
            "startTime": rfc3339(ended_at - timedelta(minutes=2)),
            "endTime": rfc3339(ended_at),
        }
        return await self.set_status(name, {**kuberay_status, **(status or {})})

    async def get(self, plural: str, name: str) -> Body | None:
        return await self.cluster.api.find(self.path(plural, name))

    async def expect_deleted(self, plural: str, name: str, *, timeout: float = 90) -> None:
        """Waits until the API server has no such object."""

        async def is_deleted() -> bool:
            return await self.get(plural, name) is None

        try:
            await until(is_deleted, timeout=timeout)
        except TimeoutError as error:
            details = await self._describe(name)
            raise AssertionError(f"{plural}/{name} was not deleted:\n{details}") from error

    async def _describe(self, name: str) -> str:
        """The objects of this namespace and the Events of one name, for a failed test."""
        pods = f"/api/v1/namespaces/{self.namespace}/pods"
        lines: list[str] = []
        for path in (self.path("rayjobs"), self.path("rayclusters"), pods):
            items = (await self.cluster.api.request("GET", path))["items"]
            lines += [json.dumps(_shorten(item)) for item in items[:5]]
        return "\n".join([*lines, *map(str, await self.events(name))])

    async def delete_all(self) -> None:
        """Deletes what is left. If KubeRay watches the namespace, heads end too."""
        for plural in ("rayjobs", "rayclusters"):
            for item in (await self.cluster.api.request("GET", self.path(plural)))["items"]:
                await self.cluster.api.delete(self.path(plural, item["metadata"]["name"]))

        async def is_empty() -> bool:
            return not (await self.cluster.api.request("GET", self.path("rayclusters")))["items"]

        await until(is_empty, timeout=90)

    async def remaining(self) -> set[str]:
        """kind/name of every RayJob and RayCluster that is not being deleted."""
        remaining: set[str] = set()
        for plural in ("rayjobs", "rayclusters"):
            items = (await self.cluster.api.request("GET", self.path(plural)))["items"]
            for metadata in (item["metadata"] for item in items):
                if "deletionTimestamp" not in metadata:
                    remaining.add(f"{plural}/{metadata['name']}")
        return remaining

    async def wait_until_judged(self) -> None:
        """Waits until the operator has judged all that was created before this call.

        It creates a RayJob that is due at once, and waits for its deletion. KubeRay must not watch
        the namespace: it would create a RayCluster.
        """
        name = f"canary-{next(_numbers)}"
        await self.create_finished(
            name,
            annotations={"raysweep.io/ttl": "0"},
            with_cluster=False,
            head_status=None,
            status={"rayClusterName": ""},
        )
        await self.expect_deleted("rayjobs", name)

    async def events(self, name: str) -> list[tuple[str, str, str]]:
        """(type, reason, note) of Raysweep's Events about a RayJob, oldest first."""
        path = f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events"
        selector = {"fieldSelector": f"regarding.name={name},reportingController={REPORTER}"}
        events = (await self.cluster.api.request("GET", path, params=selector))["items"]
        events.sort(key=lambda event: event["eventTime"])
        return [(event["type"], event["reason"], event["note"]) for event in events]

    async def expect_event(self, name: str, reason: str, *, timeout: float = 90) -> str:
        """Waits for an Event with this reason on a RayJob. Returns its note."""
        notes: list[str] = []

        async def is_emitted() -> bool:
            notes[:] = [note for _, word, note in await self.events(name) if word == reason]
            return bool(notes)

        await until(is_emitted, timeout=timeout)
        return notes[0]

    async def requests(self, prefix: str) -> list[Body]:
        """The operator's requests for objects of this namespace with a name prefix."""
        requests: list[Body] = []
        for event in await self.cluster.audit("raysweep"):
            target = event.get("objectRef", {})
            is_here = target.get("namespace") == self.namespace
            if is_here and target.get("name", "").startswith(prefix):
                requests.append(event)
        return requests

    async def requested(self, prefix: str, verb: str) -> list[tuple[str, datetime]]:
        """(resource, time) of the operator's requests with a verb and a name prefix."""
        return [
            (
                event["objectRef"]["resource"],
                datetime.fromisoformat(event["requestReceivedTimestamp"]),
            )
            for event in await self.requests(prefix)
            if event["verb"] == verb
        ]


def _shorten(item: Body) -> Body:
    metadata = {
        key: value for key, value in item["metadata"].items() if key not in ("managedFields", "uid")
    }
    return {"metadata": metadata, "status": item.get("status")}
