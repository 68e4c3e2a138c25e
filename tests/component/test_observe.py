"""What an Observer confirms right before a deletion, and how waiters share reads."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from raysweep.cleanup.circuit_breaker import CircuitBreaker
from raysweep.cleanup.clock import WallClock
from raysweep.cleanup.confirmation import Confirmations
from raysweep.cleanup.congestion import CongestionWindow
from raysweep.cleanup.observe import Observer
from raysweep.cleanup.reconcile import Pass, clean
from raysweep.clients.connection.api_client import ApiClient, Configuration
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import BusyError
from raysweep.controller.store import Store
from raysweep.core.model.facts import HeadList, HeadSilent
from raysweep.core.model.parameters import DEFAULTS, Mode
from raysweep.core.model.reasons import Reason
from tests.support.assessments import LATE
from tests.support.builders import (
    END,
    HOUR,
    a_list,
    a_namespace,
    a_policy,
    a_rayjob,
    a_submission,
    namespace_json,
    raycluster_json,
)
from tests.support.scripted_api import Script, json_response, serving

MAX_AGE = timedelta(seconds=10)
KEPT = namespace_json(keep_until="2199-01-01T00:00:00Z")
KEPT["metadata"]["resourceVersion"] = "8"


@dataclass
class Clock:
    """A wall clock and an uptime that the test sets."""

    uptime: timedelta = HOUR
    offset: datetime = LATE - HOUR

    def now(self) -> datetime:
        return self.offset + self.uptime


@dataclass
class Head:
    """A head whose answer takes a while, during which something happens."""

    clock: Clock
    takes: timedelta
    silence: HeadSilent | None = None

    async def jobs(self, *_: Any, **__: Any) -> HeadList | HeadSilent:
        self.clock.uptime += self.takes
        if self.silence:
            return self.silence
        return a_list(a_submission(), answered_at=self.clock.now())


@contextlib.asynccontextmanager
async def _dry_run(
    clock: Clock,
    head_takes: timedelta = timedelta(),
    *,
    namespace: Any = None,
    policies: Any = None,
    cluster: Any = None,
    silence: HeadSilent | None = None,
) -> AsyncIterator[tuple[Observer, Script, Store]]:
    """A RayJob that is due, its cluster, and an API server that answers every DELETE with 404."""

    async def answer(request: Any) -> Any:
        path = request.path
        if request.method == "DELETE":
            return json_response({})
        if "rayclusters" in path:
            return json_response(cluster or raycluster_json())
        if "rayjobcleanuppolicies" in path:
            return json_response(policies or {"metadata": {"resourceVersion": "1"}, "items": []})
        return json_response(namespace or namespace_json())

    async with serving(answer) as script:
        store, unused = Store(lambda _: None), cast("Any", None)
        store.upsert_rayjob(a_rayjob())
        store.upsert_namespace(a_namespace(), clock.uptime)
        store.replace_policies((), clock.uptime)
        kubernetes = Kubernetes(ApiClient(Configuration(host=script.url)), lambda *_: None, unused)
        head = cast("Any", Head(clock, head_takes, silence))
        observer = Observer(
            store,
            kubernetes,
            head,
            clock.now,
            DEFAULTS,
            MAX_AGE,
            lambda: clock.uptime,
            None,
            CircuitBreaker(lambda: clock.uptime),
        )
        try:
            yield observer, script, store
        finally:
            await kubernetes.close()


async def test_an_answer_about_an_earlier_job_of_the_rayjob_is_not_used() -> None:
    """The answer may lack the entry of the job that the RayJob names now."""
    async with _dry_run(Clock()) as (observer, _, store):
        asked = observer.dashboard.jobs

        async def jobs(*args: Any, **more: Any) -> HeadList | HeadSilent:
            answer = await asked(*args, **more)
            store.upsert_rayjob(a_rayjob(job_id="train-second", resource_version="101"))
            return answer

        observer.dashboard.jobs = jobs  # type: ignore[method-assign]
        assert await clean(observer, "uid-train") is None


async def _cleaned(observer: Observer) -> Pass:
    result = await clean(observer, "uid-train")
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("head_takes", "changed", "reason"),
    [
        pytest.param(
            timedelta(seconds=11),
            {"namespace": KEPT},
            Reason.KEPT_BY_USER,
            id="H8: keep-until is set on the Namespace while a slow head is asked",
        ),
        pytest.param(
            timedelta(seconds=11),
            {"policies": {"metadata": {"resourceVersion": "2"}, "items": "odd"}},
            Reason.POLICIES_UNKNOWN,
            id="H8: policies cannot be read any more",
        ),
        pytest.param(timedelta(seconds=11), {}, Reason.EXPIRED, id="nothing has changed meanwhile"),
    ],
)
async def test_namespace_and_policies_are_read_after_the_head_has_answered(
    head_takes: timedelta, changed: dict[str, Any], reason: Reason
) -> None:
    async with _dry_run(Clock(), head_takes, **changed) as (observer, script, _):
        result = await _cleaned(observer)
    assert result.decision.explanation.reason is reason
    assert [request.method for request in script.requests].count("DELETE") == (
        2 if reason is Reason.EXPIRED else 0
    )


async def test_a_recent_confirmation_is_not_repeated() -> None:
    async with _dry_run(Clock(), timedelta(seconds=10)) as (observer, script, _):
        await _cleaned(observer)
    assert {request.path for request in script.requests if request.method == "GET"} == {
        "/apis/ray.io/v1/namespaces/team-a/rayclusters/train-cluster"
    }


@dataclass
class Ceiling:
    """Lets a deletion start after a wait."""

    clock: Clock
    takes: timedelta
    started: int = 0

    async def take(self) -> None:
        self.clock.uptime += self.takes
        self.started += 1


def _gets(script: Script) -> int:
    """How often the RayCluster was read, which is once for each probe."""
    return sum(
        request.method == "GET" and request.path.endswith("/rayclusters/train-cluster")
        for request in script.requests
    )


@pytest.mark.parametrize(
    ("waits", "probes"),
    [
        pytest.param(timedelta(seconds=10), 1, id="a recent answer of the head is used"),
        pytest.param(timedelta(seconds=11), 2, id="a head whose answer is old is probed again"),
        pytest.param(timedelta(minutes=9), 2, id="however long the deletion had to wait"),
    ],
)
async def test_the_answer_of_the_head_is_recent_when_a_deletion_starts(
    waits: timedelta, probes: int
) -> None:
    clock = Clock()
    ceiling = Ceiling(clock, waits)
    async with _dry_run(clock) as (observer, script, _):
        limited = replace(observer, before_deletion=ceiling.take)
        await _cleaned(limited)
    assert (_gets(script), ceiling.started) == (probes, 1)
    assert [request.method for request in script.requests].count("DELETE") == 2


async def test_a_pause_of_the_api_server_makes_the_answer_of_the_head_old_too() -> None:
    """Another request gets 429 with Retry-After while the head answers."""
    clock = Clock()
    busy = BusyError("429", code=429, retry_after=timedelta(seconds=30))

    async def sleep(seconds: float) -> None:
        clock.uptime += timedelta(seconds=seconds)

    congestion = CongestionWindow(lambda: clock.uptime, sleep)

    async def refused() -> None:
        with contextlib.suppress(BusyError), congestion.measure("GET RayCluster"):
            raise busy

    async with _dry_run(clock) as (observer, script, _):
        await _cleaned(replace(observer, congestion=congestion, before_deletion=refused))
    assert _gets(script) == 2
    assert [request.method for request in script.requests].count("DELETE") == 2


async def test_a_rayjob_that_is_kept_does_not_count_against_the_ceiling() -> None:
    """Neither a silent head, nor DryRun."""
    clock = Clock()
    dry_run = replace(DEFAULTS, mode=Mode.DRY_RUN)
    for silence, parameters in ((HeadSilent("timeout"), DEFAULTS), (None, dry_run)):
        ceiling = Ceiling(clock, timedelta())
        async with _dry_run(clock, silence=silence) as (observer, script, _):
            limited = replace(observer, before_deletion=ceiling.take, parameters=parameters)
            await _cleaned(limited)
        assert ceiling.started == 0
        assert "DELETE" not in [request.method for request in script.requests]


async def test_no_place_of_the_congestion_window_is_held_while_a_head_is_asked() -> None:
    clock, held = Clock(), []

    async with _dry_run(clock) as (observer, _, _):
        places = observer.congestion._places

        class WatchedHead(Head):
            async def jobs(self, *_: Any, **__: Any) -> HeadList | HeadSilent:
                held.append(places._taken)
                return await super().jobs()

        head = cast("Any", WatchedHead(clock, timedelta()))
        await _cleaned(replace(observer, dashboard=head))
    assert held == [0]


async def test_setting_the_wall_clock_back_does_not_renew_a_confirmation() -> None:
    clock = Clock()
    async with _dry_run(clock, timedelta(seconds=11), namespace=KEPT) as (observer, _, store):
        store.replace_policies((a_policy(),), clock.uptime)
        clock.offset -= HOUR / 2
        result = await _cleaned(observer)
    assert result.decision.explanation.reason is Reason.KEPT_BY_USER


@dataclass
class Reads:
    """Reads that end when the test says so. `sent` are the times at which they were sent."""

    sent: list[timedelta] = field(default_factory=list)
    answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, sent: timedelta) -> None:
        self.sent.append(sent)
        await self.answer.wait()


async def _waiting(
    shared: Confirmations, reads: Reads, seconds: float, confirmed_at: timedelta | None = None
) -> asyncio.Task[None]:
    now = timedelta(seconds=seconds)
    waits = shared.confirm(
        "policies", reads.read, confirmed_at=confirmed_at, now=now, max_age=MAX_AGE
    )
    task = asyncio.create_task(waits)
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def test_waiters_share_one_slow_read() -> None:
    shared, reads = Confirmations(), Reads()
    waiting = [await _waiting(shared, reads, second) for second in (0, 3, 10)]
    reads.answer.set()
    await asyncio.gather(*waiting)
    assert reads.sent == [timedelta()]


async def test_a_read_sent_too_long_ago_is_repeated() -> None:
    shared, reads = Confirmations(), Reads()
    waiting = [await _waiting(shared, reads, second) for second in (0, 10.1, 11)]
    reads.answer.set()
    await asyncio.gather(*waiting)
    assert reads.sent == [timedelta(), timedelta(seconds=10.1)]


async def test_a_canceled_waiter_does_not_cancel_the_read() -> None:
    shared, reads = Confirmations(), Reads()
    first, second = [await _waiting(shared, reads, 0) for _ in range(2)]
    first.cancel()
    reads.answer.set()
    await second
    assert (first.cancelled() or first.cancelling() > 0, reads.sent) == (True, [timedelta()])


async def test_a_failed_read_fails_for_all_waiters_and_is_repeated_later() -> None:
    shared, sent = Confirmations(), list[timedelta]()

    async def fail(at: timedelta) -> None:
        sent.append(at)
        await asyncio.sleep(0)
        raise ConnectionError

    for _ in range(2):
        request = [
            shared.confirm("policies", fail, confirmed_at=None, now=HOUR, max_age=MAX_AGE)
            for _ in range(2)
        ]
        ends = await asyncio.gather(*request, return_exceptions=True)
        assert [type(end) for end in ends] == [ConnectionError, ConnectionError]
    assert sent == [HOUR, HOUR]


MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("steps", "settles"),
    [
        pytest.param([timedelta()], None, id="it was not set"),
        pytest.param([timedelta(seconds=5)], None, id="it was slewed by as much as NTP may"),
        pytest.param([timedelta(seconds=5.1)], 1, id="a step forward"),
        pytest.param([DAY], 1, id="a day forward"),
        pytest.param([-HOUR], None, id="back: what is due comes later, nothing earlier"),
        pytest.param([-HOUR, HOUR], 2, id="back, and forward again"),
        pytest.param([DAY, timedelta(), DAY], 3, id="forward again: the wait begins anew"),
    ],
)
def test_when_the_wall_clock_is_not_trusted(steps: list[timedelta], settles: int | None) -> None:
    """A minute passes between two readings. `settles` counts readings after the first."""
    clock = Clock(timedelta(), END)
    wall = WallClock(clock.now, lambda: clock.uptime, settle=15 * MINUTE)
    result = wall.settles_at()
    for step in steps:
        clock.uptime += MINUTE
        clock.offset += step
        result = wall.settles_at()
    assert result == (None if settles is None else (15 + settles) * MINUTE)


@pytest.mark.parametrize(
    ("silence", "is_on"),
    [
        pytest.param(None, False, id="a list of jobs"),
        pytest.param(
            HeadSilent("its node is DEAD", node_is_dead=True),
            False,
            id="a dead node, which a head that works reports",
        ),
        pytest.param(HeadSilent("connection refused"), True, id="no answer"),
    ],
)
async def test_only_a_head_without_an_answer_counts_for_the_circuit_breaker(
    silence: HeadSilent | None, is_on: bool
) -> None:
    clock = Clock()
    ready = {
        "conditions": [
            {"type": "HeadPodReady", "status": "True", "reason": "HeadPodRunningAndReady"}
        ]
    }
    async with _dry_run(clock, cluster=raycluster_json(status=ready), silence=silence) as (
        observer,
        _,
        _,
    ):
        alone = replace(observer, circuit_breaker=CircuitBreaker(lambda: clock.uptime, at_least=1))
        await alone.probe("uid-train")
    assert alone.circuit_breaker.is_open("team-a") is is_on
