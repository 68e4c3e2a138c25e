"""The wait for the head of a new RayJob, without its time in Kueue's queue (C17)."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from aiohttp import web

from raysweep.clients.connection.api_client import ApiClient, Configuration
from raysweep.clients.kubernetes.user_writer import UserWriter
from raysweep.clients.parsing.rayjob import parse_rayjob
from raysweep.submission.head_wait import (
    HeadTimeouts,
    NotReadyError,
    ReadyRayJob,
    StillQueuedError,
    wait_for_head,
)
from tests.support.builders import Body, raycluster_json, rayjob_json
from tests.support.scripted_api import json_response, object_not_found, serving

NO_QUOTA = "couldn't assign flavors to pod set head: insufficient unused quota for cpu"


def a_stage(status: str, *, suspend: bool = False, queue: str = "lq") -> Body:
    labels = {"kueue.x-k8s.io/queue-name": queue} if queue else {}
    here = {"jobDeploymentStatus": status, "jobStatus": "", "jobId": "", "endTime": None}
    return rayjob_json(metadata={"labels": labels}, spec={"suspend": suspend}, status=here)


@dataclass
class Cluster:
    """An API server whose RayJob passes through stages.

    stages: the body, and how often it is returned. The last one remains.
    """

    stages: list[tuple[Body, int]]
    workloads: list[Body] | None = None
    reports: list[str] = field(default_factory=list)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.endswith("/rayjobs/train"):
            body, times = self.stages[0]
            if len(self.stages) > 1:
                self.stages[0] = (body, times - 1)
                if times == 1:
                    self.stages.pop(0)
            return json_response(body)
        if request.path.endswith("/rayclusters/train-cluster"):
            return json_response(raycluster_json())
        if (
            "/v1beta1/" in request.path
            and request.path.endswith("/workloads")
            and self.workloads is not None
        ):
            assert request.query["labelSelector"] == "kueue.x-k8s.io/job-uid=uid-train"
            return json_response({"items": self.workloads})
        return await object_not_found(request)

    async def until_ready(self, head: float, queue: float | None = None) -> ReadyRayJob:
        """Waits with these limits, in seconds."""
        created = parse_rayjob(self.stages[0][0])
        async with self.writer() as writer:
            queue_timeout = timedelta(seconds=queue) if queue else None
            timeouts = HeadTimeouts(timedelta(seconds=head), queue_timeout)
            return await wait_for_head(writer, created, timeouts, self.report)

    def report(self, stage: str, title: str = "") -> None:
        self.reports.append(f"{title}: {stage}")

    @asynccontextmanager
    async def writer(self) -> AsyncIterator[UserWriter]:
        async with (
            serving(self.handle) as script,
            ApiClient(Configuration(host=script.url)) as client,
        ):
            yield UserWriter(client, lambda *_: None)


def a_workload(**conditions: tuple[str, str]) -> Body:
    listed = [
        {"type": kind, "status": status, "message": message}
        for kind, (status, message) in conditions.items()
    ]
    return {"metadata": {"name": "rayjob-train-1"}, "status": {"conditions": listed}}


async def test_the_queue_may_take_longer_than_the_head_timeout() -> None:
    cluster = Cluster(
        [
            (a_stage("", suspend=True), 1),
            (a_stage("Suspended", suspend=True), 3),
            (a_stage("Waiting"), 1),
        ]
    )
    ready = await cluster.until_ready(head=1.5)
    assert ready.cluster.name == "train-cluster"
    assert cluster.reports[0].startswith("waiting in Kueue queue lq: ")
    assert "Ctrl-C deletes the RayJob" in cluster.reports[0]


async def test_the_time_for_the_head_starts_after_the_queue() -> None:
    cluster = Cluster([(a_stage("Suspended", suspend=True), 3), (a_stage("Initializing"), 1)])
    with pytest.raises(NotReadyError, match=r"no Ray head within 2 s \(Initializing"):
        await cluster.until_ready(head=2)
    assert cluster.reports[-1] == "waiting for the Ray head: Initializing, RayCluster train-cluster"


async def test_the_time_for_the_head_starts_again_after_an_eviction() -> None:
    starting, evicted = a_stage("Initializing"), a_stage("Suspending", suspend=True)
    cluster = Cluster(
        [
            (starting, 2),
            (evicted, 2),
            (a_stage("Suspended"), 1),
            (starting, 2),
            (a_stage("Waiting"), 1),
        ]
    )
    await cluster.until_ready(head=2.8)
    places = [report.startswith("waiting in Kueue queue lq: ") for report in cluster.reports]
    assert [place for place, _ in itertools.groupby(places)] == [False, True, False]


async def test_a_head_of_a_suspended_rayjob_is_not_used() -> None:
    cluster = Cluster([(a_stage("Waiting", suspend=True), 2), (a_stage("Waiting"), 1)])
    await cluster.until_ready(head=5)
    assert cluster.reports[0].startswith("waiting in Kueue queue lq: Waiting")


async def test_the_queue_timeout_ends_the_wait() -> None:
    cluster = Cluster([(a_stage("Suspended", suspend=True), 1)])
    with pytest.raises(StillQueuedError, match=r"still queued after 2 s \(Suspended"):
        await cluster.until_ready(head=1, queue=2)


@pytest.mark.parametrize(
    ("workloads", "message"),
    [
        pytest.param([a_workload(QuotaReserved=("False", NO_QUOTA))], NO_QUOTA, id="no quota"),
        pytest.param(
            [
                a_workload(
                    QuotaReserved=("True", "Quota reserved"),
                    Admitted=("False", "waiting for a check"),
                )
            ],
            "waiting for a check",
            id="an admission check",
        ),
        pytest.param(
            [a_workload(QuotaReserved=("False", "\x1b[2Jowned"))],
            " [2Jowned",
            id="control characters",
        ),
        pytest.param([a_workload()], "Suspended", id="no message yet"),
        pytest.param([], "Suspended", id="no Workload yet"),
        pytest.param([{"status": 5}], "Suspended", id="an invalid Workload"),
        pytest.param(None, "Suspended", id="no list, or no right to read it"),
    ],
)
async def test_the_message_of_kueue_is_reported_if_it_is_readable(
    workloads: list[Body] | None, message: str
) -> None:
    cluster = Cluster([(a_stage("Suspended", suspend=True), 1), (a_stage("Waiting"), 1)], workloads)
    await cluster.until_ready(head=5)
    assert cluster.reports[0].startswith(f"waiting in Kueue queue lq: {message}")


async def test_a_rayjob_that_the_user_suspended_is_awaited() -> None:
    cluster = Cluster(
        [(a_stage("Suspended", suspend=True, queue=""), 2), (a_stage("Waiting", queue=""), 1)]
    )
    await cluster.until_ready(head=1)
    assert cluster.reports[0].startswith(
        "waiting until the RayJob is resumed (spec.suspend is true): Suspended"
    )


async def test_a_rayjob_that_kuberay_refuses_ends_the_wait() -> None:
    cluster = Cluster([(a_stage("ValidationFailed", suspend=True), 1)])
    with pytest.raises(NotReadyError, match="KubeRay reports ValidationFailed"):
        await cluster.until_ready(head=5)
