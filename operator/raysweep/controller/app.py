"""The operator's life: preflight, first relist, then Kopf's watches and our loops side by side until one ends or is told to.

Where the watching machinery fails the process ends, and a restart is cheap and safe: everything follows from the cluster.
"""

import asyncio
import logging
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from raysweep import names
from raysweep.cleanup.circuit_breaker import CircuitBreaker
from raysweep.cleanup.clock import WallClock
from raysweep.cleanup.observe import Observer
from raysweep.clients.connection.credentials import Credentials
from raysweep.clients.connection.overrides import Overrides
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.leases import LeaseName
from raysweep.clients.kubernetes.namespaced import NamespacedKubernetes
from raysweep.clients.kubernetes.pages import LARGEST_PAGE
from raysweep.clients.ray.dashboard import Dashboard
from raysweep.clients.ray.tokens import Tokens
from raysweep.clients.ray.transport import HeadTransport, api_server_transport, direct_transport
from raysweep.controller import garbage, health, kopf_watch, preflight, snapshot
from raysweep.controller.cleaner import Cleaner
from raysweep.controller.fencing import LeaseFence, die, lease_clock, start_watchdog
from raysweep.controller.leader import Elector, Timing
from raysweep.controller.log_format import safe
from raysweep.controller.metrics import Metrics, Snapshot
from raysweep.controller.policy_reader import PolicyReader
from raysweep.controller.rate_limit import TokenBucket
from raysweep.controller.relist import Relist
from raysweep.controller.reporter import Reporter
from raysweep.controller.store import Store
from raysweep.controller.workqueue import DelayingQueue
from raysweep.settings import HeadAccess, Settings

log = logging.getLogger("raysweep")

STUCK_AFTER = timedelta(minutes=2)
"""Due judgements of which none is taken for so long mean that the loop is dead."""
LOGIN_LASTS = timedelta(minutes=10)
"""A new session for Kopf that often; its token is fresh at every request anyway, but a running watch keeps its old one."""


class EndedError(Exception):
    """Something that should run for ever ended; the process ends with it and is started again."""


@dataclass
class Operator:
    """All parts of one running operator."""

    settings: Settings
    credentials: Credentials
    kubernetes: Kubernetes
    metrics: Metrics
    store: Store
    schedule: DelayingQueue
    cleaner: Cleaner
    relist: Relist
    policies: PolicyReader
    fence: LeaseFence
    elector: Elector | None  # None: leader election is off
    problem: str | None = "starting"
    taken: Snapshot = field(default_factory=Snapshot)

    def alive(self) -> str | None:
        """What /livez says: a loop that does not move. A pass that waits ends by its own timeouts."""
        if self.cleaner.stands_still_for() > STUCK_AFTER:
            return (
                f"judgements are due, and none has been taken for {self.cleaner.stands_still_for()}"
            )
        return None

    def ready(self) -> str | None:
        """What /readyz says."""
        return self.problem

    def standing(self) -> str:
        """What /readyz says where it is."""
        return self.elector.standby if self.elector and self.elector.standby else "ok"

    def report_problem(self, problem: str | None) -> None:
        """What keeps it from being ready, logged when it changes; None: nothing does."""
        if problem and problem != self.problem:
            log.warning("not ready: %s", problem)
        self.problem = problem

    async def take_snapshot(self) -> None:
        """Takes what /metrics shows of the moment, and lets the event loop do something else in between."""
        steps = snapshot.take_in_steps(self.cleaner, self.metrics)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                self.taken = end.value
                return
            await asyncio.sleep(0)


def utc_now() -> datetime:
    """The one clock; everything else takes the time, or this function, as an argument."""
    return datetime.now(UTC)  # noqa: TID251


def uptime() -> timedelta:
    """The one monotonic clock, for graces between two looks of ours."""
    return timedelta(seconds=time.monotonic())


async def run(settings: Settings, overrides: Overrides) -> None:
    """Runs until SIGTERM or SIGINT. Raises EndedError, ClientConfigError or OSError (the address is taken)."""
    garbage.spare()
    stop = asyncio.Event()
    _hear_signals(stop)
    credentials = Credentials.for_operator(
        replace(overrides, kubeconfig=settings.kubeconfig, context=settings.context)
    )
    await credentials.log_in()
    async with _operator(settings, credentials) as operator:
        host, port = settings.listen_address
        registry, prepare = operator.metrics.registry, operator.take_snapshot
        probes = health.Probes(operator.alive, operator.ready, registry, operator.standing, prepare)
        async with health.serve(probes, host, port):
            log.info("raysweep watches %s", credentials.server)
            await _until(stop, operator, _live(operator, stop))


def _hear_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


@asynccontextmanager
async def _operator(settings: Settings, credentials: Credentials) -> AsyncIterator[Operator]:
    """Builds all parts and closes what must be closed."""
    metrics, fence = Metrics(by_namespace=settings.metrics_namespaces), LeaseFence(lease_clock)
    metrics.leader.set_function(lambda: float(fence.write_refusal() is None))
    async with AsyncExitStack() as stack:
        kubernetes = _kubernetes(settings, credentials, metrics, fence)
        stack.push_async_callback(kubernetes.close)
        tokens = Tokens(kubernetes) if settings.head_tokens else None
        dashboard = Dashboard(
            _head_transport(settings, credentials, metrics),
            utc_now,
            metrics.head_probe,
            tokens=tokens,
        )
        stack.push_async_callback(dashboard.close)
        schedule = DelayingQueue(utc_now)
        store = Store(schedule.add, schedule.add_all)
        circuit_breaker = CircuitBreaker(
            uptime, settings.heads_window, settings.heads_at_least, settings.heads_silent_share
        )
        rules, max_age = settings.parameters, settings.confirmed_within
        clock = WallClock(utc_now, uptime, rules.bulk_expiry_wait)
        observer = Observer(
            store,
            kubernetes,
            dashboard,
            utc_now,
            rules,
            max_age,
            uptime,
            utc_now(),
            circuit_breaker,
            clock=clock,
        )
        reporter = Reporter(kubernetes, metrics, utc_now)
        bucket = TokenBucket(settings.deletions_per_second, settings.deletion_burst)
        cleaner = Cleaner(observer, store, schedule, reporter, bucket, utc_now)
        relist = Relist(
            kubernetes, store, metrics, utc_now, settings.relist_every, cleaner.after_round, uptime
        )
        policies = PolicyReader(
            kubernetes, store, reporter, utc_now, settings.policies_every, uptime
        )
        elector = (
            _elector(settings, credentials, metrics, fence) if settings.leader_election else None
        )
        if elector:
            stack.push_async_callback(elector.kubernetes.close)
        operator = Operator(
            settings,
            credentials,
            kubernetes,
            metrics,
            store,
            schedule,
            cleaner,
            relist,
            policies,
            fence,
            elector,
        )
        metrics.watch(lambda: operator.taken)
        yield operator


def _kubernetes(
    settings: Settings, credentials: Credentials, metrics: Metrics, fence: LeaseFence
) -> Kubernetes:
    client, keys = credentials.api_client(), settings.parameters.recreated_by
    if not settings.namespaces:
        return Kubernetes(client, metrics.api_request, fence, recreated_by=keys)
    return NamespacedKubernetes(
        client,
        metrics.api_request,
        fence,
        namespaces=settings.namespaces,
        reads_namespaces=settings.read_namespaces,
        recreated_by=keys,
    )


def _head_transport(
    settings: Settings, credentials: Credentials, metrics: Metrics
) -> HeadTransport:
    if settings.head_access is HeadAccess.API_SERVER:
        return api_server_transport(
            credentials.server, credentials.session(metrics.head_by_api_server, decompress=False)
        )
    return direct_transport(settings.cluster_domain, settings.head_proxy or None)


def _elector(
    settings: Settings, credentials: Credentials, metrics: Metrics, fence: LeaseFence
) -> Elector:
    """It has a connection of its own: where one is dead, the renewal that noticed has closed it, and the next opens another.

    A pool that is shared may hold several that died together, and each would cost a renewal. Its requests are counted apart:
    one every two seconds that succeeds would hide that all others fail.
    """
    kubernetes = Kubernetes(credentials.api_client(), metrics.lease_request)
    lease = LeaseName(
        settings.lease_namespace or credentials.pod_namespace or names.APP_NAME, settings.lease_name
    )
    identity = settings.identity or f"{socket.gethostname()}_{secrets.token_hex(4)}"
    timing = Timing(settings.lease_duration, settings.renew_deadline, settings.retry_period)
    return Elector(kubernetes, fence, lease, identity, timing, utc_now, lease_clock)


async def _live(operator: Operator, stop: asyncio.Event) -> None:
    """A replica that could not work never leads, and one that does not lead neither lists nor watches."""
    while problem := await _obstacle(operator):
        operator.report_problem(problem)
        await asyncio.sleep(operator.settings.preflight_every.total_seconds())
    elector, fence = operator.elector, operator.fence
    if elector is None:
        fence.open_always()
        await _work(operator, stop)
        return
    start_watchdog(fence, elector.timing.duration - elector.timing.deadline, die)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_never_ends(elector.keep(operator.metrics.lease_failures.inc), stop))
        tasks.create_task(_never_ends(_work(operator, stop), stop))


async def _work(operator: Operator, stop: asyncio.Event) -> None:
    operator.cleaner.observer = replace(
        operator.cleaner.observer, started_at=utc_now()
    )  # it may have stood by for weeks
    operator.problem = "the first complete list is not done"
    pause = await operator.relist.once()
    while not operator.relist.complete.is_set():
        await asyncio.sleep(pause.total_seconds())
        pause = await operator.relist.once()
    operator.problem = None
    _tell_where(operator.settings)
    log.info(
        "ready: %d RayJobs, %d RayClusters",
        len(operator.store.rayjobs),
        len(operator.store.rayclusters),
    )
    loops = (
        operator.relist.for_ever(),
        *(() if operator.settings.namespaces else (operator.policies.for_ever(),)),
        operator.cleaner.judge_for_ever(),
        operator.cleaner.clean_for_ever(),
        operator.cleaner.poll_for_ever(),
        operator.cleaner.collect_for_ever(),
        operator.cleaner.reporter.post_events(),
        operator.metrics.measure_loop(uptime),
        _watch(operator, stop),
    )
    async with asyncio.TaskGroup() as tasks:
        for loop in loops:
            tasks.create_task(_never_ends(loop, stop))


def _tell_where(settings: Settings) -> None:
    if settings.namespaces:
        what = (
            "" if settings.read_namespaces else "; the annotations of these Namespaces do not count"
        )
        log.info(
            "works in namespaces %s alone, without policies%s",
            ", ".join(sorted(settings.namespaces)),
            what,
        )


async def _obstacle(operator: Operator) -> str | None:
    """What a person must mend before this replica can work. None: nothing, and it leads if there is an election."""
    elector = operator.elector
    lease = elector.name if elector else None
    missing = await preflight.missing(operator.kubernetes, operator.settings, lease)
    if missing or elector is None:
        return missing
    return await elector.campaign(operator.report_problem)


async def _never_ends(loop: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    await loop
    if not stop.is_set():
        raise EndedError(f"{getattr(loop, '__qualname__', loop)} ended")


async def _until(stop: asyncio.Event, operator: Operator, life: Coroutine[Any, Any, None]) -> None:
    """Lives until told to stop, or until something that should run for ever ended."""
    living = asyncio.create_task(life)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((living, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stop.is_set():
        await _step_down(operator, living)
    living.cancel()
    try:
        await living
    except asyncio.CancelledError:
        log.info("stopped")
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if not stop.is_set():
            raise EndedError(safe(first)) from first
        log.warning("stopped; on the way: %s", safe(first))


async def _step_down(operator: Operator, living: asyncio.Task[None]) -> None:
    """No new deletion; those under way come to their end; then the Lease goes to whoever looks next.

    Where one is still under way after its grace nobody knows what the API server will make of it: the Lease runs out by itself.
    """
    log.info(
        "told to stop: no deletion begins any more, %d are under way",
        len(operator.fence.deletions),
    )
    operator.cleaner.bucket.close()
    finishing = asyncio.create_task(operator.fence.drain(operator.settings.termination_grace))
    await asyncio.wait((finishing, living), return_when=asyncio.FIRST_COMPLETED)
    if operator.elector and finishing.done() and finishing.result():
        await operator.elector.release()
    finishing.cancel()
    operator.fence.close()


async def _watch(operator: Operator, stop: asyncio.Event) -> None:
    """Kopf: discovery, watching, reconnecting. It writes nothing, lists no CRDs and knows nothing of peers."""
    registry = kopf.OperatorRegistry()
    namespaces = sorted(operator.settings.namespaces)
    keys = operator.settings.parameters.recreated_by
    kopf_watch.register(registry, operator.store, namespaces=not namespaces, recreated_by=keys)

    async def login(**_: Any) -> kopf.AiohttpSession:
        page_limit = operator.kubernetes.page_limit
        session = operator.credentials.session(operator.metrics.api_request, page_limit=page_limit)
        expiration = utc_now() + LOGIN_LASTS
        return kopf.AiohttpSession(
            server=operator.credentials.server, aiohttp_session=session, expiration=expiration
        )

    kopf.on.login(registry=registry)(login)
    where: dict[str, Any] = {"namespaces": namespaces} if namespaces else {"clusterwide": True}
    older = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=registry, settings=_kopf_settings(), standalone=True, memo=kopf.Memo(), **where
    )
    _hear_signals(
        stop
    )  # Kopf has just taken them for itself, and would cut short what is under way
    await kopf.run_tasks(tasks, ignored=older)


class _NoDiffBase(kopf.DiffBaseStorage):
    """Kopf would copy every object to tell what changed in it; nobody here asks."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


def _kopf_settings() -> kopf.OperatorSettings:
    """Measured for ten thousand RayJobs: 106 to 116 MiB instead of 679 (docs/decisions/0003)."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.queueing.idle_timeout = 0.1
    settings.watching.chunk_size = LARGEST_PAGE  # less where the complete lists found objects heavy
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = 1
    settings.networking.request_timeout = 30
    settings.persistence.diffbase_storage = _NoDiffBase()
    return settings
