"""Builds the operator and runs it: preflight, leader election, watches and lists, then all loops.

If one loop ends, the process ends. A restart is cheap and safe, because everything follows from the
state of the cluster.
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

from raysweep import names
from raysweep.cleanup.circuit_breaker import CircuitBreaker
from raysweep.cleanup.clock import WallClock
from raysweep.cleanup.congestion import CongestionWindow
from raysweep.cleanup.observe import Observer
from raysweep.clients.connection.credentials import Credentials
from raysweep.clients.connection.overrides import Overrides
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.leases import LeaseName
from raysweep.clients.kubernetes.namespaced import NamespacedKubernetes
from raysweep.clients.ray.dashboard import Dashboard
from raysweep.clients.ray.tokens import Tokens
from raysweep.clients.ray.transport import HeadTransport, api_server_transport, direct_transport
from raysweep.controller import garbage, health, kopf_watch, open_files, preflight, snapshot
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
"""If RayJobs are due and none is judged for this long, the event loop is stuck."""
WATCHES_BEGIN_WITHIN = timedelta(seconds=30)
"""If they take longer, the first list does not wait for them. Each that begins later requests one
more list."""


class EndedError(Exception):
    """A task that must run for ever has ended. The process exits and is restarted."""


@dataclass
class Operator:
    """All parts of one running operator."""

    settings: Settings
    credentials: Credentials
    kubernetes: Kubernetes
    metrics: Metrics
    store: Store
    cleaner: Cleaner
    ceiling: TokenBucket
    relist: Relist
    policies: PolicyReader
    fence: LeaseFence
    elector: Elector | None  # None: leader election is off
    problem: str | None = "starting"
    snapshot: Snapshot = field(default_factory=Snapshot)

    def liveness_problem(self) -> str | None:
        """Why /livez fails. A waiting pass does not count, because its own timeouts end it."""
        stuck_for = self.cleaner.stuck_for()
        if stuck_for > STUCK_AFTER:
            return f"no RayJob was judged for {stuck_for}, although some are due"
        return None

    def readiness_problem(self) -> str | None:
        """Why /readyz fails."""
        return self.problem

    def readiness_text(self) -> str:
        """What /readyz answers if it succeeds."""
        return (self.elector and self.elector.standby) or "ok"

    def report_problem(self, problem: str | None) -> None:
        """Sets why this replica is not ready, and logs each new problem. None: it is ready."""
        if problem and problem != self.problem:
            log.warning("not ready: %s", problem)
        self.problem = problem

    async def take_snapshot(self) -> None:
        """Computes the metrics of the current state, in steps between which other tasks run."""
        steps = snapshot.take_in_steps(self.cleaner, self.metrics)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                self.snapshot = end.value
                return
            await asyncio.sleep(0)


def utc_now() -> datetime:
    """The wall clock. All other code gets the time, or this function, as an argument."""
    return datetime.now(UTC)  # noqa: TID251


def uptime() -> timedelta:
    """The monotonic clock, for the time between two observations of this process."""
    return timedelta(seconds=time.monotonic())


async def run(settings: Settings, overrides: Overrides) -> None:
    """Runs until SIGTERM or SIGINT.

    Raises EndedError, ClientConfigError, or OSError if the address is in use.
    """
    garbage.configure()
    open_files.raise_limit()
    stop = asyncio.Event()
    _handle_signals(stop)
    credentials = Credentials.for_operator(
        replace(overrides, kubeconfig=settings.kubeconfig, context=settings.context)
    )
    await credentials.log_in()
    async with _operator(settings, credentials) as operator:
        host, port = settings.listen_address
        probes = health.Probes(
            operator.liveness_problem,
            operator.readiness_problem,
            operator.metrics.registry,
            operator.readiness_text,
            operator.take_snapshot,
        )
        async with health.serve(probes, host, port):
            log.info("connected to %s", credentials.server)
            await _run_until(stop, operator, _live(operator, stop))


def _handle_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


@asynccontextmanager
async def _operator(settings: Settings, credentials: Credentials) -> AsyncIterator[Operator]:
    """Builds all parts, and closes their connections at the end."""
    metrics = Metrics(by_namespace=settings.metrics_namespaces, counts_pods=settings.delete_pods)
    fence = LeaseFence(lease_clock)
    metrics.leader.set_function(lambda: float(fence.write_refusal() is None))
    async with AsyncExitStack() as stack:
        kubernetes = _kubernetes(settings, credentials, metrics, fence)
        stack.push_async_callback(kubernetes.close)
        dashboard = Dashboard(
            _head_transport(settings, credentials, metrics),
            utc_now,
            metrics.head_probe,
            tokens=Tokens(kubernetes) if settings.head_tokens else None,
        )
        stack.push_async_callback(dashboard.close)
        queue = DelayingQueue(utc_now)
        store = Store(queue.add, queue.add_all)
        ceiling = TokenBucket(settings.deletions_per_second, settings.deletion_burst)
        observer = _observer(settings, store, kubernetes, dashboard, ceiling)
        metrics.congestion_window.set_function(lambda: observer.congestion.size)
        reporter = Reporter(kubernetes, metrics, utc_now)
        cleaner = Cleaner(observer, store, queue, reporter, utc_now)
        relist = Relist(
            kubernetes, store, metrics, utc_now, settings.relist_every, cleaner.after_relist, uptime
        )
        policies = PolicyReader(
            kubernetes, store, reporter, utc_now, settings.policies_every, uptime
        )
        elector = None
        if settings.leader_election:
            elector = _elector(settings, credentials, metrics, fence)
            stack.push_async_callback(elector.kubernetes.close)
        operator = Operator(
            settings=settings,
            credentials=credentials,
            kubernetes=kubernetes,
            metrics=metrics,
            store=store,
            cleaner=cleaner,
            ceiling=ceiling,
            relist=relist,
            policies=policies,
            fence=fence,
            elector=elector,
        )
        metrics.watch(lambda: operator.snapshot)
        yield operator


def _observer(
    settings: Settings,
    store: Store,
    kubernetes: Kubernetes,
    dashboard: Dashboard,
    ceiling: TokenBucket,
) -> Observer:
    circuit_breaker = CircuitBreaker(
        uptime, settings.heads_window, settings.heads_at_least, settings.heads_silent_share
    )
    return Observer(
        state=store,
        kubernetes=kubernetes,
        dashboard=dashboard,
        now=utc_now,
        parameters=settings.parameters,
        max_age=settings.confirmed_within,
        uptime=uptime,
        started_at=utc_now(),
        circuit_breaker=circuit_breaker,
        clock=WallClock(utc_now, uptime, settings.parameters.bulk_expiry_wait),
        congestion=CongestionWindow(uptime),
        before_deletion=ceiling.take,
        deletes_pods=settings.delete_pods,
    )


def _kubernetes(
    settings: Settings, credentials: Credentials, metrics: Metrics, fence: LeaseFence
) -> Kubernetes:
    client, recreated_by = credentials.api_client(), settings.parameters.recreated_by
    if not settings.namespaces:
        return Kubernetes(
            client, metrics.api_request, fence, recreated_by=recreated_by, repeats_lists=True
        )
    return NamespacedKubernetes(
        client,
        metrics.api_request,
        fence,
        namespaces=settings.namespaces,
        reads_namespaces=settings.read_namespaces,
        recreated_by=recreated_by,
        repeats_lists=True,
    )


def _head_transport(
    settings: Settings, credentials: Credentials, metrics: Metrics
) -> HeadTransport:
    if settings.head_access is HeadAccess.DIRECT:
        return direct_transport(settings.cluster_domain, settings.head_proxy or None)
    session = credentials.session(metrics.proxied_head_request, decompress=False)
    return api_server_transport(credentials.server, session)


def _elector(
    settings: Settings, credentials: Credentials, metrics: Metrics, fence: LeaseFence
) -> Elector:
    """Builds the elector with a connection of its own.

    A shared pool may hold several connections that broke together, and each would cost a renewal.
    Its requests are counted separately: one success every two seconds would hide that all other
    requests fail.
    """
    namespace = settings.lease_namespace or credentials.pod_namespace or names.APP_NAME
    return Elector(
        kubernetes=Kubernetes(credentials.api_client(), metrics.lease_request),
        fence=fence,
        name=LeaseName(namespace, settings.lease_name),
        identity=settings.identity or f"{socket.gethostname()}_{secrets.token_hex(4)}",
        timing=Timing(settings.lease_duration, settings.renew_deadline, settings.retry_period),
        now=utc_now,
        clock=lease_clock,
    )


async def _live(operator: Operator, stop: asyncio.Event) -> None:
    """Waits until this replica can work and leads, then works.

    A replica that cannot work never leads, and a standby neither lists nor watches.
    """
    while problem := await _startup_problem(operator):
        operator.report_problem(problem)
        await asyncio.sleep(operator.settings.preflight_every.total_seconds())
    elector, fence = operator.elector, operator.fence
    if elector is None:
        fence.open_always()
        await _work(operator, stop)
        return
    start_watchdog(fence, elector.timing.duration - elector.timing.deadline, die)
    async with asyncio.TaskGroup() as tasks:
        renewals = elector.keep(operator.metrics.lease_failures.inc)
        tasks.create_task(_must_not_end(renewals, stop))
        tasks.create_task(_must_not_end(_work(operator, stop), stop))


async def _startup_problem(operator: Operator) -> str | None:
    """What you must fix before this replica can work. None: it leads, if there is an election."""
    elector = operator.elector
    lease = elector.name if elector else None
    problem = await preflight.missing(operator.kubernetes, operator.settings, lease)
    if problem or elector is None:
        return problem
    return await elector.campaign(operator.report_problem)


async def _work(operator: Operator, stop: asyncio.Event) -> None:
    """Watches, lists everything once, and only then judges and deletes."""
    settings, store, cleaner = operator.settings, operator.store, operator.cleaner
    # A standby may have waited for weeks.
    cleaner.observer = replace(cleaner.observer, started_at=utc_now())
    watch = kopf_watch.KopfWatch(
        settings,
        operator.credentials,
        operator.metrics,
        store,
        utc_now,
        operator.relist.request,
    )
    async with asyncio.TaskGroup() as tasks:
        watching = watch.run(lambda: _handle_signals(stop))
        tasks.create_task(_must_not_end(watching, stop))
        pause = await _list_first(operator, watch)
        _log_scope(settings)
        log.info("ready: %d RayJobs, %d RayClusters", len(store.rayjobs), len(store.rayclusters))
        loops = [
            operator.relist.run(pause),
            cleaner.run_judgements(),
            cleaner.run_deletions(),
            cleaner.run_status_probes(),
            cleaner.collect_garbage(),
            cleaner.reporter.post_events(),
            operator.metrics.measure_loop(uptime),
        ]
        if not settings.namespaces:
            loops.append(operator.policies.run())
        for loop in loops:
            tasks.create_task(_must_not_end(loop, stop))


async def _list_first(operator: Operator, watch: kopf_watch.KopfWatch) -> timedelta:
    """Lists until one list is complete, and returns the pause until the next.

    The watches begin before it. What changes before they begin is in the list, and what changes
    later they report.
    """
    operator.problem = "the watches have not begun"
    try:
        async with asyncio.timeout(WATCHES_BEGIN_WITHIN.total_seconds()):
            await watch.begun.wait()
    except TimeoutError:
        log.warning("the watches have not begun, listing without them")
    operator.problem = "the first complete list is not done"
    pause = await operator.relist.run_once()
    while not operator.relist.complete.is_set():
        await asyncio.sleep(pause.total_seconds())
        pause = await operator.relist.run_once()
    operator.problem = None
    return pause


def _log_scope(settings: Settings) -> None:
    if not settings.namespaces:
        return
    log.info(
        "watching only the namespaces %s, without policies", ", ".join(sorted(settings.namespaces))
    )
    if not settings.read_namespaces:
        log.info("annotations of these Namespaces do not apply (read-namespaces is false)")


async def _must_not_end(loop: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    await loop
    if not stop.is_set():
        raise EndedError(f"{getattr(loop, '__qualname__', loop)} ended")


async def _run_until(
    stop: asyncio.Event, operator: Operator, life: Coroutine[Any, Any, None]
) -> None:
    """Runs until stop is set, or until a task ends that must run for ever."""
    living = asyncio.create_task(life)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((living, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stop.is_set():
        await _shut_down(operator, living)
    living.cancel()
    try:
        await living
    except asyncio.CancelledError:
        log.info("stopped")
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if not stop.is_set():
            raise EndedError(safe(error)) from error
        log.warning("stopped after an error: %s", safe(error))


async def _shut_down(operator: Operator, living: asyncio.Task[None]) -> None:
    """Starts no new deletion, waits for those in progress, and releases the Lease.

    If a deletion is still in progress after the grace period, its effect is unknown. The Lease is
    not released then, and expires by itself.
    """
    in_progress = len(operator.fence.deletions)
    log.info("shutting down: %d deletions in progress, accepting no new ones", in_progress)
    operator.ceiling.close()
    draining = asyncio.create_task(operator.fence.drain(operator.settings.termination_grace))
    await asyncio.wait((draining, living), return_when=asyncio.FIRST_COMPLETED)
    if operator.elector and draining.done() and draining.result():
        await operator.elector.release()
    draining.cancel()
    operator.fence.close()
