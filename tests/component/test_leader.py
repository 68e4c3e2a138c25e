"""Leader election: who may take a Lease and when, and how long a leader may write."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from raysweep.clients.connection.api_client import ApiClient, Configuration
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import NotLeaderError
from raysweep.clients.kubernetes.leases import LeaseName
from raysweep.controller.fencing import LeaseFence, lease_clock, start_watchdog
from raysweep.controller.leader import HINT, Elector, LostError, Timing
from raysweep.core.model.decisions import Target
from tests.support.builders import a_rayjob
from tests.support.scripted_api import (
    Answer,
    Script,
    json_response,
    not_found,
    object_not_found,
    serving,
)

Body = dict[str, Any]

TARGET = Target("RayJob", "team-a", "train", "uid-train", "100")
OWNED = Target("RayCluster", "team-a", "train-c", "uid-cluster")
POD = Target("Pod", "team-a", "train-c-head", "uid-head")
LEASE = "/apis/coordination.k8s.io/v1/namespaces/raysweep/leases"
WALL = datetime(2026, 11, 24, 12, 0, 0, 123456, UTC)
MICRO = timedelta(microseconds=1)
DURATION, DEADLINE = timedelta(seconds=15), timedelta(seconds=10)
TIMING = Timing(DURATION, DEADLINE, retry=timedelta(milliseconds=1))
OURS = {"holderIdentity": "us", "acquireTime": "2026-11-24T12:00:00.123456Z"}


@dataclass
class Clock:
    """A clock that the test sets."""

    now: timedelta = timedelta(days=3)

    def __call__(self) -> timedelta:
        return self.now


def lease(version: str, **spec: Any) -> Body:
    whole = {
        "holderIdentity": "other",
        "leaseDurationSeconds": 15,
        "renewTime": "2026-11-24T12:00:00.000000Z",
        **spec,
    }
    return {
        "metadata": {"name": "raysweep", "uid": "uid-lease", "resourceVersion": version},
        "spec": whole,
    }


def status(code: int, message: str) -> web.Response:
    return json_response({"kind": "Status", "message": message, "code": code}, code)


NONE, CONFLICT = (
    not_found("leases", "raysweep", "coordination.k8s.io"),
    status(409, "the object has been modified"),
)


async def taken(request: web.BaseRequest) -> web.StreamResponse:
    """The API server accepts the write, with a new resourceVersion."""
    body = await request.json()
    version = str(int(body["metadata"].get("resourceVersion", "0")) + 1)
    return json_response(
        {**body, "metadata": {**body["metadata"], "uid": "uid-lease", "resourceVersion": version}}
    )


@dataclass
class Replica:
    """The election of one replica against a scripted API server."""

    script: Script
    elector: Elector
    fence: LeaseFence
    clock: Clock
    problems: list[str | None] = field(default_factory=list)
    words: list[str] = field(default_factory=list)  # what /readyz would have said after each look
    failures: list[None] = field(default_factory=list)

    async def campaign(self) -> str | None:
        return await self.elector.campaign(self._looked)

    async def keep(self) -> None:
        await self.elector.keep(lambda: self.failures.append(None))

    def _looked(self, problem: str | None) -> None:
        self.problems.append(problem)
        self.words.append(problem or self.elector.standby or "")

    @property
    def asked(self) -> list[str]:
        return [request.method for request in self.script.requests]

    @property
    def written(self) -> Body:
        """The spec that was written last."""
        spec: Body = self.script.requests[-1].body["spec"]
        return spec


@contextlib.asynccontextmanager
async def replica(
    *answers: Answer, identity: str = "us", timing: Timing = TIMING
) -> AsyncIterator[Replica]:
    clock = Clock()
    fence = LeaseFence(clock)
    async with serving(*answers) as script:
        kubernetes = Kubernetes(ApiClient(Configuration(host=script.url)), lambda *_: None, fence)
        name = LeaseName("raysweep", "raysweep")
        elector = Elector(kubernetes, fence, name, identity, timing, lambda: WALL, clock)
        try:
            yield Replica(script, elector, fence, clock)
        finally:
            await kubernetes.close()


def after(
    pause: timedelta, clock: Callable[[], Clock], answer: Body
) -> Callable[[web.BaseRequest], Awaitable[web.Response]]:
    """An answer that comes after this time."""

    async def answered(_: web.BaseRequest) -> web.Response:
        clock().now += pause
        return json_response(answer)

    return answered


# taking


async def test_a_missing_lease_is_created_as_client_go_writes_it() -> None:
    async with replica(NONE, taken) as candidate:
        await candidate.campaign()
    assert [(request.method, request.path) for request in candidate.script.requests] == [
        ("GET", f"{LEASE}/raysweep"),
        ("POST", LEASE),
    ]
    assert candidate.written == {
        "holderIdentity": "us",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-11-24T12:00:00.123456Z",
        "renewTime": "2026-11-24T12:00:00.123456Z",
        "leaseTransitions": 0,
    }
    assert candidate.fence.remaining() == DEADLINE


async def test_the_second_replica_is_a_standby_and_names_the_leader() -> None:
    async with replica(NONE, CONFLICT, json_response(lease("7"))) as candidate:
        campaign = asyncio.create_task(candidate.campaign())
        [
            request
            async for request in candidate.script.until(
                lambda _: len(candidate.script.requests) == 5
            )
        ]
        campaign.cancel()
        assert candidate.elector.standby == "standby; the leader is other"
        assert candidate.fence.write_refusal() == "this replica is not the leader"
    assert candidate.asked == ["GET", "POST", "GET", "GET", "GET"]
    assert set(candidate.words) == {"standby; the leader is other"}


async def test_a_released_lease_is_taken_at_the_next_attempt() -> None:
    spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 4}
    async with replica(json_response(lease("7", **spec)), taken) as candidate:
        await candidate.campaign()
    assert candidate.asked == ["GET", "PUT"]
    assert (candidate.written["holderIdentity"], candidate.written["leaseTransitions"]) == ("us", 5)
    assert candidate.script.requests[-1].body["metadata"]["resourceVersion"] == "7"


@pytest.mark.parametrize(
    ("spec", "silence"),
    [
        pytest.param({}, DURATION, id="its duration"),
        pytest.param(
            {"leaseDurationSeconds": 60}, timedelta(seconds=60), id="its holder's longer duration"
        ),
        pytest.param(
            {"leaseDurationSeconds": 1}, DURATION, id="ours where the holder's is shorter"
        ),
        pytest.param(
            {"leaseDurationSeconds": None, "renewTime": None},
            DURATION,
            id="ours where it says nothing but a holder",
        ),
        pytest.param(
            {"renewTime": "1999-01-01T00:00:00Z"},
            DURATION,
            id="its duration whatever the holder's clock said long ago",
        ),
        pytest.param(
            {"renewTime": "2099-01-01T00:00:00Z"},
            DURATION,
            id="its duration whatever the holder's clock says ahead",
        ),
    ],
)
async def test_a_lease_is_taken_when_it_has_not_changed_for_its_duration(
    spec: Body, silence: timedelta
) -> None:
    still = lease("7", **spec)

    def clock() -> Clock:
        return candidate.clock

    async with replica(
        json_response(still),
        after(silence - MICRO, clock, still),
        after(MICRO, clock, still),
        taken,
    ) as candidate:
        await candidate.campaign()
    assert candidate.asked == ["GET", "GET", "GET", "PUT"]


async def test_every_renewal_restarts_the_wait() -> None:
    def clock() -> Clock:
        return candidate.clock

    probes = [after(DURATION - MICRO, clock, lease(str(version))) for version in range(1, 6)]
    async with replica(*probes, after(DURATION, clock, lease("5")), taken) as candidate:
        await candidate.campaign()
    assert candidate.asked == ["GET"] * 6 + ["PUT"]


async def test_a_replica_that_another_outruns_is_a_standby() -> None:
    free = json_response(lease("7", holderIdentity=""))
    async with replica(free, CONFLICT, json_response(lease("8"))) as candidate:
        campaign = asyncio.create_task(candidate.campaign())
        [
            request
            async for request in candidate.script.until(
                lambda _: len(candidate.script.requests) == 3
            )
        ]
        campaign.cancel()
        assert candidate.fence.write_refusal() == "this replica is not the leader"
    assert candidate.asked == ["GET", "PUT", "GET"]


async def test_an_own_lease_is_recognized_after_a_lost_response() -> None:
    async with replica(
        NONE, ConnectionError(), json_response(lease("8", **OURS, leaseTransitions=2)), taken
    ) as candidate:
        await candidate.campaign()
    assert candidate.asked == ["GET", "POST", "GET", "PUT"]
    assert candidate.written["leaseTransitions"] == 2


async def test_a_replica_of_the_same_name_is_another() -> None:
    async with replica(
        json_response(lease("7", holderIdentity="us", acquireTime="2026-11-24T11:00:00Z"))
    ) as candidate:
        campaign = asyncio.create_task(candidate.campaign())
        [
            request
            async for request in candidate.script.until(
                lambda _: len(candidate.script.requests) == 3
            )
        ]
        campaign.cancel()
    assert candidate.asked == ["GET", "GET", "GET"]


async def test_foreign_fields_of_the_lease_stay() -> None:
    current = lease("7", holderIdentity="", strategy="OldestEmulationVersion")
    current["metadata"]["labels"] = {"team": "platform"}
    async with replica(json_response(current), taken) as candidate:
        await candidate.campaign()
    sent = candidate.script.requests[-1].body
    assert (sent["metadata"]["labels"], sent["spec"]["strategy"]) == (
        {"team": "platform"},
        "OldestEmulationVersion",
    )
    assert sent["metadata"]["uid"] == "uid-lease"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        pytest.param(json_response({"spec": {}}), "metadata", id="no metadata"),
        pytest.param(
            json_response(lease("7", renewTime="soon")),
            "spec.renewTime: invalid value 'soon': not an RFC 3339",
            id="an odd time",
        ),
        pytest.param(
            json_response(lease("7", leaseDurationSeconds=10**40)),
            "spec.leaseDurationSeconds",
            id="a duration without end",
        ),
        pytest.param(
            json_response(lease("7", holderIdentity=["a"])),
            "spec.holderIdentity",
            id="a holder that is a list",
        ),
        pytest.param(json_response("<html>"), "not a JSON object", id="a proxy's page"),
        pytest.param(status(404, "page not found"), "404 page not found", id="a gateway's 404"),
        pytest.param(
            status(429, "too many requests"),
            "429 too many requests",
            id="an API server that is busy",
        ),
        pytest.param(
            status(500, "etcd is away"), "500 etcd is away", id="an API server that fails"
        ),
        pytest.param(ConnectionError(), "GET /apis/coordination.k8s.io", id="no answer"),
    ],
)
async def test_a_lease_that_cannot_be_read_is_reported_and_not_taken(
    answer: Answer, text: str
) -> None:
    async with replica(answer) as candidate:
        campaign = asyncio.create_task(candidate.campaign())
        [
            request
            async for request in candidate.script.until(lambda _: len(candidate.problems) == 2)
        ]
        campaign.cancel()
    assert set(candidate.asked) == {"GET"}
    assert candidate.problems[0] is not None
    assert candidate.problems[0].startswith("leader election by the Lease raysweep/raysweep: ")
    assert text in candidate.problems[0]


NO_LEASES = json_response(
    {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "coordination.k8s.io/v1",
        "resources": [],
    }
)


@pytest.mark.parametrize(
    ("answers", "methods", "text"),
    [
        pytest.param(
            (object_not_found,),
            "GET POST",
            'namespaces "raysweep" not found',
            id="its Namespace is missing",
        ),
        pytest.param(
            (status(403, "may not get leases"),),
            "GET",
            "may not get leases",
            id="the right to read it is missing",
        ),
        pytest.param(
            (NONE, status(403, "may not create")),
            "GET POST",
            "may not create",
            id="the right to create it is missing",
        ),
        pytest.param(
            (json_response(lease("7", holderIdentity="")), status(403, "may not update")),
            "GET PUT",
            "may not update",
            id="the right to update it is missing",
        ),
        pytest.param(
            (status(401, "who are you"),), "GET", "who are you", id="nobody knows these credentials"
        ),
        pytest.param(
            (NONE, status(422, "denied by policy")),
            "GET POST",
            "denied by policy",
            id="an admission policy refuses it",
        ),
        pytest.param(
            (status(404, "page not found"), NO_LEASES),
            "GET GET",
            "the API server does not serve leases.coordination.k8s.io",
            id="there are no Leases at all",
        ),
    ],
)
@pytest.mark.parametrize("standing_by", [False, True], ids=["at the start", "while it stands by"])
async def test_a_permanent_problem_ends_the_campaign_with_its_remedy(
    answers: tuple[Answer, ...], methods: str, text: str, standing_by: bool
) -> None:
    before = (json_response(lease("6")), json_response(lease("6"))) if standing_by else ()
    async with replica(*before, *answers) as candidate:
        problem = await candidate.campaign()
        assert candidate.fence.write_refusal() == "this replica is not the leader"
    assert problem is not None
    assert problem.startswith("leader election by the Lease raysweep/raysweep: ")
    assert problem.endswith(f"{text}; {HINT}")
    assert candidate.asked[len(before) :] == methods.split()


async def test_a_lease_that_is_deleted_before_the_write_is_recreated() -> None:
    async with replica(
        json_response(lease("7", holderIdentity="")), NONE, NONE, taken
    ) as candidate:
        assert await candidate.campaign() is None
    assert candidate.asked == ["GET", "PUT", "GET", "POST"]


# keeping


async def test_a_renewal_counts_from_before_it_was_sent() -> None:
    async def slowly(request: web.BaseRequest) -> web.StreamResponse:
        candidate.clock.now += timedelta(seconds=4)
        return await taken(request)

    async with replica(NONE, slowly, slowly, ConnectionError()) as candidate:
        await candidate.campaign()
        assert candidate.fence.remaining() == timedelta(seconds=6)
        keeping = asyncio.create_task(candidate.keep())
        [
            request
            async for request in candidate.script.until(
                lambda _: len(candidate.script.requests) == 4
            )
        ]
        keeping.cancel()
        assert candidate.fence.remaining() == timedelta(seconds=6)
    assert candidate.asked[:3] == ["GET", "POST", "PUT"]


@pytest.mark.parametrize(
    ("current", "why"),
    [
        pytest.param(
            lease("9", holderIdentity="thief"), "'thief' holds it", id="taken by somebody"
        ),
        pytest.param(
            lease("9", **{**OURS, "holderIdentity": ""}),
            "it has no holder",
            id="emptied by somebody",
        ),
        pytest.param(
            lease("9", **{**OURS, "acquireTime": "2026-11-24T13:00:00Z"}),
            "'us' holds it",
            id="taken by a namesake",
        ),
        pytest.param(None, "it was deleted", id="deleted"),
    ],
)
async def test_a_lease_that_another_holds_is_lost_at_once(current: Body | None, why: str) -> None:
    answers = (CONFLICT, json_response(current)) if current else (NONE, NONE)
    async with replica(NONE, taken, *answers) as candidate:
        await candidate.campaign()
        with pytest.raises(LostError, match=why):
            await candidate.keep()
        assert candidate.fence.write_refusal() == "this replica has lost the Lease"
    assert candidate.asked == ["GET", "POST", "PUT", "GET"]


async def test_a_lease_with_an_unrelated_change_is_kept() -> None:
    touched = lease("9", **OURS)
    async with replica(
        NONE, taken, CONFLICT, json_response(touched), taken, ConnectionError()
    ) as candidate:
        await candidate.campaign()
        keeping = asyncio.create_task(candidate.keep())
        [
            request
            async for request in candidate.script.until(
                lambda _: len(candidate.script.requests) == 6
            )
        ]
        keeping.cancel()
    assert candidate.asked[:5] == ["GET", "POST", "PUT", "GET", "PUT"]
    assert candidate.script.requests[4].body["metadata"]["resourceVersion"] == "9"


async def test_renewals_are_tried_until_the_deadline() -> None:
    pauses = iter((timedelta(seconds=4.5), timedelta(seconds=4.5), timedelta(seconds=1)))

    async def fails(_: web.BaseRequest) -> web.StreamResponse:
        candidate.clock.now += next(pauses)
        return status(500, "etcd is away")

    async with replica(NONE, taken, fails) as candidate:
        await candidate.campaign()
        with pytest.raises(LostError, match="no renewal succeeded within 10s"):
            await candidate.keep()
    assert candidate.asked == ["GET", "POST", "PUT", "PUT", "PUT"]
    assert len(candidate.failures) == 3


async def test_a_missing_response_is_not_awaited_beyond_the_deadline() -> None:
    """On the real clock: the deadline is short."""

    over = asyncio.Event()

    async def never(_: web.BaseRequest) -> web.StreamResponse:
        await over.wait()
        return NONE

    short = Timing(timedelta(seconds=1), timedelta(seconds=0.4), timedelta(seconds=0.01))
    async with serving(NONE, taken, never) as script:
        fence = LeaseFence(lease_clock)
        kubernetes = Kubernetes(ApiClient(Configuration(host=script.url)), lambda *_: None, fence)
        elector = Elector(
            kubernetes,
            fence,
            LeaseName("raysweep", "raysweep"),
            "us",
            short,
            lambda: WALL,
            lease_clock,
        )
        await elector.campaign(lambda _: None)
        with pytest.raises(LostError, match=r"no renewal succeeded within 0\.4s"):
            await elector.keep(lambda: None)
        over.set()
        await kubernetes.close()


async def test_a_loop_that_resumes_after_the_deadline_does_not_renew() -> None:
    async with replica(NONE, taken, taken) as candidate:
        await candidate.campaign()
        candidate.clock.now += DEADLINE
        with pytest.raises(LostError, match="no renewal succeeded"):
            await candidate.keep()
    assert candidate.asked == ["GET", "POST"]


# writing


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda kubernetes: kubernetes.delete(TARGET), id="a deletion"),
        pytest.param(lambda kubernetes: kubernetes.delete_pod(POD), id="a deletion of a Pod"),
        pytest.param(
            lambda kubernetes: kubernetes.annotate(a_rayjob(), "raysweep.io/outcome", "failed"),
            id="an annotation",
        ),
        pytest.param(lambda kubernetes: kubernetes.post_event("team-a", {}), id="an Event"),
    ],
)
async def test_writes_are_sent_just_before_the_deadline_and_not_from_it_on(
    write: Callable[[Kubernetes], Awaitable[None]],
) -> None:
    async with replica(json_response({})) as candidate:
        candidate.fence.open_until(candidate.clock.now + MICRO)
        await write(candidate.elector.kubernetes)
        assert len(candidate.asked) == 1
        candidate.clock.now += MICRO
        with pytest.raises(NotLeaderError, match=r": not sent: this replica has lost the Lease$"):
            await write(candidate.elector.kubernetes)
    assert len(candidate.asked) == 1


@pytest.mark.parametrize(
    "is_connected", [False, True], ids=["on a new connection", "on one that is open"]
)
async def test_an_allowed_deletion_that_waits_past_the_deadline_is_not_sent(
    is_connected: bool,
) -> None:
    """The process pauses while it waits for a connection."""

    def allowed_once() -> timedelta:
        candidate.clock.now += timedelta(seconds=6)
        return candidate.clock.now

    async with replica(NONE) as candidate:
        fence = LeaseFence(allowed_once)
        fence.open_until(candidate.clock.now + DEADLINE)
        kubernetes = Kubernetes(
            ApiClient(Configuration(host=candidate.script.url)), lambda *_: None, fence
        )
        if is_connected:
            await kubernetes.lease(candidate.elector.name)
        before = len(candidate.asked)
        with pytest.raises(
            NotLeaderError,
            match=r"^DELETE .*/rayjobs/train: not sent: this replica has lost the Lease$",
        ):
            await kubernetes.delete(TARGET)
        await kubernetes.close()
    assert len(candidate.asked) == before


async def test_shutdown_finishes_the_deletion_in_progress_and_starts_no_new_one() -> None:
    held = asyncio.Event()

    async def holding(_: web.BaseRequest) -> web.StreamResponse:
        await held.wait()
        return json_response({})

    async with replica(holding) as candidate:
        candidate.fence.open_always()

        async def deletion() -> None:
            await candidate.elector.kubernetes.delete(TARGET)
            await candidate.elector.kubernetes.delete(OWNED)

        begun = asyncio.create_task(deletion())
        [request async for request in candidate.script.until(lambda _: True)]
        finishing = asyncio.create_task(candidate.fence.drain(timedelta(seconds=30)))
        with pytest.raises(
            NotLeaderError, match="this process is shutting down and starts no new deletions"
        ):
            await asyncio.create_task(candidate.elector.kubernetes.delete(TARGET))
        assert not finishing.done()
        held.set()
        assert await finishing is True
        await begun
    assert [request.path.rpartition("/")[2] for request in candidate.script.requests] == [
        "train",
        "train-c",
    ]


async def test_shutdown_waits_no_longer_than_the_grace_period() -> None:
    async with replica(json_response({})) as candidate:
        candidate.fence.open_always()

        async def deletion() -> None:
            await candidate.elector.kubernetes.delete(TARGET)
            await asyncio.Event().wait()

        begun = asyncio.create_task(deletion())
        [request async for request in candidate.script.until(lambda _: True)]
        assert await candidate.fence.drain(timedelta(seconds=0.01)) is False
        begun.cancel()


# giving back


async def test_the_lease_is_released_as_client_go_does_and_nothing_is_written_after() -> None:
    async with replica(NONE, taken) as candidate:
        await candidate.campaign()
        keeping = asyncio.create_task(candidate.keep())
        [
            request
            async for request in candidate.script.until(
                lambda _: len(candidate.script.requests) == 3
            )
        ]
        await candidate.elector.release()
        assert keeping.cancelled()
        assert candidate.fence.write_refusal() == "this replica is not the leader"
    assert candidate.script.requests[-1].method == "PUT"
    assert (candidate.written["holderIdentity"], candidate.written["leaseDurationSeconds"]) == (
        "",
        1,
    )


async def test_a_changed_lease_is_released_if_this_replica_still_holds_it() -> None:
    async with replica(
        NONE, taken, CONFLICT, json_response(lease("9", **OURS)), taken
    ) as candidate:
        await candidate.campaign()
        await candidate.elector.release()
    assert candidate.asked == ["GET", "POST", "PUT", "GET", "PUT"]
    assert candidate.script.requests[-1].body["metadata"]["resourceVersion"] == "9"


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param((CONFLICT, json_response(lease("9"))), id="another holds it"),
        pytest.param((NONE, NONE), id="it was deleted"),
        pytest.param((status(500, "etcd is away"),), id="the API server fails"),
        pytest.param((ConnectionError(),), id="nobody answers"),
    ],
)
async def test_a_failed_release_raises_nothing(
    answers: tuple[Answer, ...],
) -> None:
    async with replica(NONE, taken, *answers) as candidate:
        await candidate.campaign()
        await candidate.elector.release()
        assert candidate.fence.write_refusal() == "this replica is not the leader"


async def test_a_standby_and_a_lost_leader_release_nothing() -> None:
    async with replica(NONE, taken) as candidate:
        await candidate.elector.release()
        assert candidate.asked == []
        candidate.fence.open_until(candidate.clock.now)
        await candidate.elector.release()
    assert candidate.asked == []


# the watchdog


async def test_the_watchdog_ends_a_process_that_outlives_the_grace_period() -> None:
    clock, dead = Clock(), threading.Event()
    fence = LeaseFence(clock)
    probed = [threading.Event(), threading.Event()]

    def watched() -> timedelta:
        probed[clock.now > timedelta(days=3)].set()
        return clock.now

    fence = LeaseFence(watched)
    fence.open_until(clock.now - timedelta(seconds=0.04))
    start_watchdog(fence, timedelta(seconds=0.04), dead.set)
    await asyncio.to_thread(probed[0].wait, 10)
    assert not dead.is_set()
    clock.now += MICRO
    assert await asyncio.to_thread(dead.wait, 10)


async def test_the_watchdog_ignores_a_process_that_released_its_lease() -> None:
    clock, dead = Clock(), threading.Event()
    fence = LeaseFence(clock)
    fence.open_until(clock.now)
    before = set(threading.enumerate())
    start_watchdog(fence, timedelta(seconds=0.04), dead.set)
    (watchdog,) = set(threading.enumerate()) - before
    fence.close()
    clock.now += timedelta(days=1)
    await asyncio.to_thread(watchdog.join, 10)
    assert not dead.is_set()
