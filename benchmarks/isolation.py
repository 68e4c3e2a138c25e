"""What one hostile tenant costs another: deletion lag, event loop stall and memory.

`python -m benchmarks.isolation [--only NAME,...] [--json FILE]`. A real operator works on a real
API server. A healthy tenant finishes RayJobs in a steady stream; beside it a hostile tenant does
one thing per row. The first row is the same run without the hostile tenant. The exit code is 1 if
a row is outside its bounds.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import children, filling, slow_names
from benchmarks.heads import SUFFIX, ScriptedHead, address_transport, scripted_head
from benchmarks.hostile import INPUTS, NO_CLUSTER, Input
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.operator_process import Operator, deploy, running_operator
from tests.support.workbench import Lab, rfc3339, utc_now

LAG_FACTOR = 2.0
LAG_FLOOR = 1.0
"""Seconds. KubeRay writes whole seconds, so the ratio of two shorter lags means nothing."""
STALL_BOUND = 0.25
MEMORY_BOUND = 64.0
"""MiB more than without the hostile tenant."""

STREAM = 30
EVERY = 0.5
OVERDUE = 5
OVERDUE_AFTER = 3.0
"""The TTL of one second, the whole second, and what the API server takes."""
EVENTS = 10
READY_WITHIN = 20.0
TAIL = 15.0
EVENTS_WITHIN = 10.0
BULK_DELAY = 3.0
TTL = timedelta(seconds=2)
WHOLE_SECOND = timedelta(seconds=1)
"""A job may have ended almost a second after the time that its status says."""

SETTINGS = {
    "relist_every": "20s",
    "bulk_expiry_wait": f"{BULK_DELAY:.0f}s",
    "unconfirmed_after": "4s",
    "silent_probe_after": "2s",
    "silent_probe_at_most": "2s",
    "lease_duration": "15s",
    "renew_deadline": "10s",
    "retry_period": "2s",
}
NONE = Input("none", "without a hostile tenant")


@dataclass
class Lags:
    """Seconds from due to DELETE, of the healthy tenant's RayJobs.

    What is not deleted when the run ends counts with the time until then.
    """

    p50: float
    max: float
    overdue: float  # the largest of those that wait for the bulk-expiry delay after the start
    silent: float  # of the one whose head is gone
    not_deleted: int


@dataclass
class Row:
    """One input: seconds, MiB, and what is outside the bounds."""

    input: str
    text: str
    ready_after_s: float | None  # None: not within 20 s
    lags: Lags
    stall_s: float
    machine_late_s: float
    peak_mib: float
    events: int  # of its first EVENTS deletions
    outside: list[str] = field(default_factory=list)


@dataclass
class HealthyTenant:
    """Its RayJobs and when each is due. `due` is by kind (stream, overdue, silent) and name."""

    lab: Lab
    head: ScriptedHead
    due: dict[tuple[str, str], datetime] = field(default_factory=dict)
    deleted: dict[str, datetime] = field(default_factory=dict)

    async def create_overdue(self) -> None:
        """Overdue by the default of the Namespace when the operator starts."""
        for number in range(OVERDUE):
            name = f"overdue-{number}"
            await self.lab.create_finished(name, **NO_CLUSTER)
            self.due["overdue", name] = utc_now()
        await asyncio.sleep(OVERDUE_AFTER)

    def operator_is_ready(self, at: datetime) -> None:
        """The delay for what was due before counts from the start of the operator."""
        for kind, name in self.due:
            self.due[kind, name] = at + timedelta(seconds=BULK_DELAY)

    async def work(self) -> None:
        """A steady stream of RayJobs, and one whose head is gone while its status says the end."""
        begun = time.monotonic()
        await self._finish_silent()
        async with asyncio.TaskGroup() as tasks:
            for number in range(STREAM):
                wait = begun + number * EVERY - time.monotonic()
                await asyncio.sleep(max(wait, 0))
                tasks.create_task(self._finish("stream", f"stream-{number}"))

    async def _finish(self, kind: str, name: str, **fields: Any) -> None:
        ended_at = utc_now()
        ttl = {"raysweep.io/ttl": str(round(TTL.total_seconds()))}
        await self.lab.create_finished(name, ended_at=ended_at, annotations=ttl, **fields)
        due = ended_at.replace(microsecond=0) + TTL + WHOLE_SECOND
        self.due[kind, name] = max(due, utc_now())

    async def _finish_silent(self) -> None:
        status = {"rayJobInfo": {"endTime": rfc3339(utc_now())}}
        await self._finish("silent", "silent", head_status=None, status=status)
        self.lab.cluster.heads.route(self.lab.namespace, f"silent{SUFFIX}", None)

    def is_done(self) -> bool:
        return all(name in self.deleted for _, name in self.due)

    def lags(self, until: datetime) -> Lags:
        """So far; `until` stands for the time of a DELETE that has not come."""
        found: dict[str, list[float]] = {"stream": [], "overdue": [], "silent": []}
        for (kind, name), due in self.due.items():
            lag = (self.deleted.get(name, until) - due).total_seconds()
            found[kind].append(max(lag, 0.0))
        stream = found["stream"] or [0.0]
        missing = sum(name not in self.deleted for _, name in self.due)
        overdue = max(found["overdue"])
        silent = max(found["silent"], default=0.0)
        return Lags(median(stream), max(stream), overdue, silent, missing)

    async def events(self) -> int:
        """How many of its first deletions have an Event."""
        first = sorted(self.deleted, key=lambda name: self.deleted[name])[:EVENTS]
        path = f"/apis/events.k8s.io/v1/namespaces/{self.lab.namespace}/events"
        listed = await self.lab.cluster.api.request("GET", path)
        named = {e["regarding"].get("name") for e in listed["items"] if e["action"] == "Delete"}
        return sum(name in named for name in first)


@dataclass
class AuditLog:
    """Reads the DELETEs of the operator as they are written down."""

    cluster: Cluster
    offset: int

    @classmethod
    def from_now_on(cls, cluster: Cluster) -> "AuditLog":
        return cls(cluster, cluster.audit_log.stat().st_size)

    def read(self, tenant: HealthyTenant) -> None:
        """Notes when each RayJob of the tenant was deleted: when the API server had the request."""
        with self.cluster.audit_log.open("rb") as file:
            file.seek(self.offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        for line in whole.splitlines():
            if b'"verb":"delete"' not in line or b'"raysweep' not in line:
                continue
            event = json.loads(line)
            reference = event.get("objectRef", {})
            is_own = reference.get("namespace") == tenant.lab.namespace
            is_deleted = event.get("responseStatus", {}).get("code") == 200
            if is_own and is_deleted and reference.get("resource") == "rayjobs":
                at = datetime.fromisoformat(event["requestReceivedTimestamp"])
                tenant.deleted.setdefault(reference["name"], at)


@dataclass
class Bench:
    """One sandbox for all rows."""

    cluster: Cluster
    kubeconfig: Path
    number: int = 0

    async def row(self, what: Input) -> Row:
        """One run: its own namespaces, its own operator."""
        self.number += 1
        async with contextlib.AsyncExitStack() as stack:
            mine, theirs = f"healthy-{self.number}", f"hostile-{self.number}"
            head = await stack.enter_async_context(scripted_head(mine, self.cluster.folder))
            other = scripted_head(theirs, self.cluster.folder, what.respond)
            ttl = {"raysweep.io/ttl": "1"}
            healthy = HealthyTenant(await self._lab(stack, mine, head, ttl), head)
            their_head = await stack.enter_async_context(other)
            enemy = await self._lab(stack, theirs, their_head, what.annotations)
            audit = AuditLog.from_now_on(self.cluster)
            await what.prepare(enemy)
            await healthy.create_overdue()
            kubeconfig = await stack.enter_async_context(what.reach(self.cluster, self.kubeconfig))
            operator = await stack.enter_async_context(self._operator(what, kubeconfig, healthy))
            return await _measured(what, operator, (healthy, enemy), audit)

    async def _lab(
        self,
        stack: contextlib.AsyncExitStack,
        name: str,
        head: ScriptedHead,
        annotations: Mapping[str, str],
    ) -> Lab:
        """A namespace whose objects are deleted at the end, so that the next row starts alike."""
        lab = await Lab.open(self.cluster, head, annotations=annotations, name=name)

        async def clear() -> None:
            for plural in ("rayjobs", "rayclusters"):
                await self.cluster.api.request("DELETE", lab.path(plural))

        stack.push_async_callback(clear)
        return lab

    @contextlib.asynccontextmanager
    async def _operator(
        self,
        what: Input,
        kubeconfig: Path,
        healthy: HealthyTenant,
    ) -> AsyncIterator[Operator]:
        if not what.slow_names:
            starting = running_operator(self.cluster, kubeconfig, ready=False, **SETTINGS)
            async with starting as operator:
                yield operator
            return
        silent = f"hostile-{self.number}"
        settings = {**SETTINGS, "leader_election": "false"}
        starting = slow_names.started(self.cluster, kubeconfig, silent, settings)
        async with address_transport(healthy.head, slow_names.HEAD), starting as operator:
            yield operator


async def _measured(
    what: Input,
    operator: Operator,
    tenants: tuple[HealthyTenant, Lab],
    audit: AuditLog,
) -> Row:
    healthy, enemy = tenants
    begun = time.monotonic()
    async with children.probe(operator) as samples:
        is_ready = await _ready(operator)
        ready_after = time.monotonic() - begun
        healthy.operator_is_ready(utc_now())
        acting = asyncio.create_task(what.act(enemy, operator))
        try:
            await asyncio.sleep(what.head_start_s)
            await healthy.work()
            await _until_done(healthy, audit, TAIL + what.allowance_s / 2)
        finally:
            acting.cancel()
            (ended,) = await asyncio.gather(acting, return_exceptions=True)
        lags, events = healthy.lags(utc_now()), await _events(healthy)
    row = Row(
        input=what.name,
        text=what.text,
        ready_after_s=ready_after if is_ready else None,
        lags=lags,
        stall_s=samples["stall_s"],
        machine_late_s=samples["machine_late_s"],
        peak_mib=samples["peak_mib"],
        events=events,
    )
    if isinstance(ended, Exception):
        row.outside.append(f"the input failed: {ended!r}")
    if operator.process.returncode is not None:
        row.outside.append(f"the operator ended with exit code {operator.process.returncode}")
        print(operator.log_tail(5), file=sys.stderr)
    if samples["unhealthy"]:
        row.outside.append(f"/livez failed {samples['unhealthy']} times")
    return row


async def _ready(operator: Operator) -> bool:
    """Whether it becomes ready in time."""

    async def is_ready() -> bool:
        async with asyncio.timeout(READY_WITHIN):
            return (await operator.get("/readyz"))[0] == 200

    try:
        await until(is_ready, timeout=READY_WITHIN)
    except TimeoutError:
        return False
    return True


async def _until_done(healthy: HealthyTenant, audit: AuditLog, within: float) -> None:
    def is_done() -> bool:
        audit.read(healthy)
        return healthy.is_done()

    with contextlib.suppress(TimeoutError):
        await until(is_done, timeout=within, every=0.2)


async def _events(healthy: HealthyTenant) -> int:
    async def are_there() -> bool:
        return await healthy.events() >= EVENTS

    with contextlib.suppress(TimeoutError):
        await until(are_there, timeout=EVENTS_WITHIN, every=0.5)
    return await healthy.events()


def judge(row: Row, baseline: Row, allowance_s: float) -> None:
    """Adds to `row.outside` what is over its bound."""
    for name in ("p50", "max", "overdue", "silent"):
        lag, usual = getattr(row.lags, name), getattr(baseline.lags, name)
        bound = LAG_FACTOR * usual + LAG_FLOOR + allowance_s
        if lag > bound:
            row.outside.append(f"lag {name} {lag:.1f} s, bound {bound:.1f} s")
    if row.lags.not_deleted:
        row.outside.append(f"{row.lags.not_deleted} not deleted")
    stall = row.stall_s - row.machine_late_s
    if stall > STALL_BOUND:
        row.outside.append(f"stall {stall * 1000:.0f} ms, bound {STALL_BOUND * 1000:.0f} ms")
    more = row.peak_mib - baseline.peak_mib
    if more > MEMORY_BOUND:
        row.outside.append(f"{more:.0f} MiB more, bound {MEMORY_BOUND:.0f} MiB")
    if row.events < baseline.events:
        row.outside.append(f"{baseline.events - row.events} deletion Events missing")


async def _main(inputs: list[Input]) -> list[Row]:
    async with filling.large_cluster() as cluster:
        bench = Bench(cluster, await deploy(cluster))
        print(HEADER, flush=True)
        baseline = await bench.row(NONE)
        print(_line(baseline), flush=True)
        rows = [baseline]
        for what in inputs:
            row = await bench.row(what)
            judge(row, baseline, what.allowance_s)
            print(_line(row), flush=True)
            rows.append(row)
        return rows


HEADER = """\
input | ready | lag p50 | lag max | overdue | silent | stall | peak memory | Events | within
--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---"""


def _line(row: Row) -> str:
    ready = "never" if row.ready_after_s is None else f"{row.ready_after_s:.1f} s"
    lags = [row.lags.p50, row.lags.max, row.lags.overdue, row.lags.silent]
    stall = f"{row.stall_s * 1000:.0f} ms"
    cells = [f"{row.input}: {row.text}", ready, *(f"{lag:.1f} s" for lag in lags), stall]
    within = "yes" if not row.outside else f"no: {'; '.join(row.outside)}"
    return " | ".join([*cells, f"{row.peak_mib:.0f} MiB", f"{row.events}/{EVENTS}", within])


def main() -> int:
    """Prints the table; 1 if a row is outside its bounds."""
    names = ", ".join(each.name for each in INPUTS)
    description = f"{__doc__}\nInputs: {names}."
    parser = argparse.ArgumentParser("python -m benchmarks.isolation", description=description)
    parser.add_argument("--only", default="", help="names of inputs, separated by commas")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    given = parser.parse_args()
    wanted = [name for name in given.only.split(",") if name]
    unknown = sorted(set(wanted) - {each.name for each in INPUTS})
    if unknown:
        parser.error(f"no such input: {', '.join(unknown)}; there are {names}")
    rows = asyncio.run(_main([each for each in INPUTS if not wanted or each.name in wanted]))
    print(EXPLANATION)
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=2))
    return 1 if any(row.outside for row in rows) else 0


EXPLANATION = f"""
Lags are from due to DELETE: of a stream of {STREAM} RayJobs (p50, max), of {OVERDUE} that are
overdue by a default when the operator starts, and of one whose head is silent. Each may be
{LAG_FACTOR:.0f} times the first row's plus {LAG_FLOOR:.0f} s, since KubeRay writes whole seconds;
H14 has 22 s more, two reads of the policies. The stall is the longest wait for /livez; it may be
{STALL_BOUND * 1000:.0f} ms more than this machine delays a process that only sleeps. Memory may be
{MEMORY_BOUND:.0f} MiB more than the first row's. Events: of the first {EVENTS} deletions."""


if __name__ == "__main__":
    sys.exit(main())
