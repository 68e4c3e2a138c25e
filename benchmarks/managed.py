"""Many RayJobs that the real KubeRay owns, each with a RayCluster, a head Pod and Services.

They run in InteractiveMode: KubeRay creates the RayCluster and follows the status of the job that
its head reports. The heads of a namespace are one server, which answers each Service with its own
job, so a job ends when the benchmark says so.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from benchmarks.audit import Key
from benchmarks.finished import TRUNCATED, in_parallel
from benchmarks.heads import ScriptedHead, scripted_head
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.workbench import Body, Lab, utc_now

TTL, CLUSTER_TTL = "raysweep.io/ttl", "raysweep.io/cluster-ttl"
A_DAY = 86_400
CREATED_WITHIN = 1_200.0
"""Seconds. KubeRay reconciles one object at a time."""
GONE_WITHIN = 600.0
UNNOTICED = timedelta(seconds=10)
"""From the end of a job to the endTime that KubeRay writes, a whole second. If both were in the
same second, Raysweep would count from the exact end, and not all would be due at the same time."""
LISTED_PER_SECOND = 200
"""RayJobs. Waiting must not cost much."""
KUBERAY_TTL: Body = {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": A_DAY}
"""The cleanup of KubeRay, not due before `due_at` sets its time."""


@dataclass
class ManagedJobs:
    """RayJobs of one namespace.

    annotation: what makes them due, raysweep.io/ttl or raysweep.io/cluster-ttl. None: KubeRay's TTL
    does, and KubeRay deletes their RayClusters.
    """

    lab: Lab
    head: ScriptedHead
    annotation: str | None
    clusters: dict[str, str] = field(default_factory=dict)
    """The name of the RayCluster, by RayJob."""
    ended_at: dict[str, datetime] = field(default_factory=dict)
    """The endTime that KubeRay wrote, by RayJob."""

    @classmethod
    @contextlib.asynccontextmanager
    async def in_namespace(
        cls, cluster: Cluster, name: str, annotation: str | None = TTL
    ) -> AsyncIterator["ManagedJobs"]:
        """A namespace without RayJobs, which KubeRay must watch."""
        async with scripted_head(name, cluster.folder) as head:
            cluster.heads.adopt(head)
            yield cls(await Lab.open(cluster, head, name=name), head, annotation)

    @property
    def lead(self) -> timedelta:
        """How long before the first due time `due_at` must be called: one PATCH each."""
        return timedelta(seconds=20 + len(self.clusters) / 10)

    async def create(self, count: int) -> None:
        """Creates RayJobs, and waits until KubeRay has written that each of them has succeeded."""
        names = [f"job-{number}" for number in range(count)]
        for name in names:
            await self._record(name, "RUNNING")
        await in_parallel([self._creation(name) for name in names])
        await self._until_all("Running", count)
        for name in names:
            await self._record(name, "SUCCEEDED")
        await self._until_all("Complete", count)
        for rayjob in await self._rayjobs():
            name, status = rayjob["metadata"]["name"], rayjob["status"]
            self.clusters[name] = status["rayClusterName"]
            self.ended_at[name] = datetime.fromisoformat(status["endTime"])

    async def due_at(self, moments: Mapping[str, datetime]) -> dict[Key, datetime]:
        """Makes each RayJob due at its time, a whole second. The keys are names of RayClusters."""
        await in_parallel([self._deadline(name, moment) for name, moment in moments.items()])
        namespace = self.lab.namespace
        return {(namespace, self.clusters[name]): moment for name, moment in moments.items()}

    async def until_gone(self) -> None:
        """Deletes all RayJobs, and waits until no RayCluster and no Pod is left."""
        await self.lab.cluster.api.request("DELETE", self.lab.path("rayjobs"))
        pods = f"/api/v1/namespaces/{self.lab.namespace}/pods"

        async def are_gone() -> bool:
            paths = (self.lab.path("rayclusters"), pods)
            lists = [await self.lab.cluster.api.request("GET", path) for path in paths]
            return not any(listed["items"] for listed in lists)

        await until(are_gone, timeout=GONE_WITHIN, every=2)
        self.clusters.clear()
        self.ended_at.clear()

    def _creation(self, name: str) -> Callable[[], object]:
        spec: Body = {
            "submissionMode": "InteractiveMode",
            "entrypoint": "",
            "jobId": self._job_id(name),
            **({} if self.annotation else KUBERAY_TTL),
        }
        annotations = {"sandbox/head": f"name:{self.head.name}"}
        return lambda: self.lab.create(name, annotations=annotations, spec=spec)

    def _deadline(self, name: str, moment: datetime) -> Callable[[], object]:
        ttl = moment - self.ended_at[name]
        if self.annotation:
            seconds = round((ttl - TRUNCATED).total_seconds())
            patch: Body = {"metadata": {"annotations": {self.annotation: f"{seconds}s"}}}
        else:
            patch = {"spec": {"ttlSecondsAfterFinished": round(ttl.total_seconds())}}
        path = self.lab.path("rayjobs", name)
        return lambda: self.lab.cluster.api.patch(path, patch)

    def _job_id(self, name: str) -> str:
        return f"{self.lab.namespace}-{name}"

    async def _record(self, name: str, status: str) -> None:
        now = utc_now()
        await self.head.put_record(
            self._job_id(name),
            status=status,
            start_time=now - timedelta(minutes=1),
            end_time=now - UNNOTICED if status == "SUCCEEDED" else None,
        )

    async def _rayjobs(self) -> list[Body]:
        listed = await self.lab.cluster.api.request("GET", self.lab.path("rayjobs"))
        items: list[Body] = listed["items"]
        return items

    async def _until_all(self, status: str, count: int) -> None:
        async def are_there() -> bool:
            statuses = [each.get("status", {}) for each in await self._rayjobs()]
            reached = [each.get("jobDeploymentStatus") for each in statuses]
            return reached.count(status) == count

        await until(are_there, timeout=CREATED_WITHIN, every=max(2, count / LISTED_PER_SECOND))
