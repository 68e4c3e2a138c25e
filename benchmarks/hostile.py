"""One hostile tenant in many ways: what it creates, what its heads answer, what it writes again.

Each Input is bounded in count, size and time, and stays on loopback. An object is at most as
large as the API server accepts (1.5 MiB a request, 256 KiB of annotations). What is expected of
Raysweep has no place here.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from benchmarks import heads
from benchmarks.heads import Entry, Respond
from sandbox.cluster import Cluster
from tests.support.network_faults import Gateway
from tests.support.operator_process import POLICIES, Operator
from tests.support.workbench import Lab

AT_ONCE = 32
ROOT = Path(__file__).parent.parent
LIST_BYTES = 4 * 2**20
NODES_BYTES = 2**20
NO_CLUSTER: dict[str, Any] = {
    "with_cluster": False,
    "head_status": None,
    "status": {"rayClusterName": ""},
}
Prepare = Callable[[Lab], Awaitable[None]]
Act = Callable[[Lab, Operator], Coroutine[Any, Any, None]]
Reach = Callable[[Cluster, Path], AbstractAsyncContextManager[Path]]


async def _nothing(lab: Lab) -> None:
    """Creates nothing."""


async def _idle(lab: Lab, operator: Operator) -> None:
    """Does nothing while the healthy tenant works."""


@contextlib.asynccontextmanager
async def _directly(_: Cluster, kubeconfig: Path) -> AsyncIterator[Path]:
    yield kubeconfig


@dataclass(frozen=True)
class Input:
    """What the hostile tenant does. `prepare` ends before the operator starts, `act` is canceled.

    allowance_s: how much later a deletion may be besides the bound on lag, because a read that
    must precede every deletion takes longer for everybody.
    """

    name: str
    text: str
    prepare: Prepare = _nothing
    act: Act = _idle
    respond: Respond = heads.own_list
    annotations: Mapping[str, str] = field(default_factory=dict)  # of the hostile Namespace
    reach: Reach = _directly
    allowance_s: float = 0.0
    head_start_s: float = 0.0  # before the healthy tenant works
    slow_names: bool = False  # DNS does not answer for names of the hostile namespace


async def _many(count: int, create: Callable[[int], Awaitable[object]]) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with places:
            await create(number)

    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            tasks.create_task(one(number))


def _due_jobs(count: int, *, first_s: int = 8, **fields: Any) -> Prepare:
    """RayJobs with a cluster each, due one after the other within 8 s, whose heads are asked."""

    async def prepare(lab: Lab) -> None:
        async def create(number: int) -> None:
            ttl = {"raysweep.io/ttl": str(first_s + number * 8 // count)}
            await lab.create_finished(f"due-{number}", annotations=ttl, **fields)

        await _many(count, create)

    return prepare


async def _year_zero(lab: Lab) -> None:
    """H1: whoever writes the RayJob may add an entry of managedFields with any time."""
    rayjob = await lab.create("year-zero", labels={"app": "train"})
    entry = {
        "manager": "another",
        "operation": "Update",
        "apiVersion": "ray.io/v1",
        "time": "0000-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {"f:app": {}}}},
    }
    rayjob["metadata"]["managedFields"].append(entry)
    await lab.cluster.api.request("PUT", lab.path("rayjobs", "year-zero"), rayjob)


def _answers(size: int, first: bytes, again: bytes, last: bytes, *, nodes: bool = False) -> Respond:
    """A body of that size made of one piece over and over: of the list, or of the nodes."""
    count = (size - len(first) - len(last)) // len(again) - 1
    body = first + again * count + again.rstrip(b",") + last

    async def respond(path: str, entry: Entry) -> bytes:
        is_nodes = path.startswith("/api/v0/nodes")
        if is_nodes is nodes:
            return body
        return await heads.own_list(path, entry)

    return respond


SMALLEST = b'{"type":"DRIVER","status":""},'


async def _five_thousand(path: str, entry: Entry) -> bytes:  # noqa: ARG001 - Respond's signature
    return b"[" + json.dumps(entry).encode() + b"," + SMALLEST * 4_998 + SMALLEST[:-1] + b"]"


async def _rayjobs_5000(lab: Lab) -> None:
    await _many(5_000, lambda number: lab.create(f"job-{number}"))


async def _scrape(lab: Lab, operator: Operator) -> None:  # noqa: ARG001 - Act's signature
    """H3: 200 connections that read /metrics."""
    command = ("-m", "benchmarks.scrapers", f"{operator.url}/metrics", "200", "30")
    scrapers = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT)
    try:
        await scrapers.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            scrapers.terminate()
        await scrapers.wait()


def _overdue(count: int, **fields: Any) -> Prepare:
    """H4: RayJobs that are overdue by the default of their Namespace when the operator starts."""

    async def prepare(lab: Lab) -> None:
        await _many(count, lambda number: lab.create_finished(f"overdue-{number}", **fields))

    return prepare


async def _dry_run(lab: Lab) -> None:
    await lab.set_policy(f"{lab.namespace}-observed", {"mode": "DryRun"})
    await _overdue(101, **NO_CLUSTER)(lab)


async def _large(lab: Lab) -> None:
    """H6: 100 RayJobs of 1 MB each in one page; half of the case's 200."""
    padding = {"runtimeEnvYAML": "x" * 1_000_000}
    await _many(100, lambda number: lab.create(f"large-{number}", spec=padding))


async def _many_keys(lab: Lab) -> None:
    """H6: 100 RayJobs with 250 KB of annotation keys each."""
    keys = {f"example.com/{number:050d}": "" for number in range(250_000 // 62)}
    await _many(100, lambda number: lab.create(f"keys-{number}", annotations=keys))


async def _selecting(lab: Lab) -> None:
    """H17: finished RayJobs that all select one cluster; 3,000 of the case's 10,000."""
    spec = {"clusterSelector": {"ray.io/cluster": "shared"}, "rayClusterSpec": None}

    async def create(number: int) -> None:
        status = {"rayClusterName": "shared"}
        name = f"selecting-{number}"
        await lab.create_finished(
            name, spec=spec, with_cluster=False, head_status=None, status=status
        )

    await _many(3_000, create)


async def _annotate_namespace(lab: Lab, operator: Operator) -> None:  # noqa: ARG001
    """Every RayJob of the namespace is judged again, every two seconds."""
    for number in range(15):
        await lab.annotate_namespace({"raysweep.io/ttl": f"{300 + number}d"})
        await asyncio.sleep(2)


async def _unknown_keys(lab: Lab) -> None:
    """H18: 256 KiB of unknown raysweep.io keys on one RayJob."""
    keys = {f"raysweep.io/{number:04x}": "" for number in range(16_000)}
    await lab.create_finished("unknown-keys", annotations=keys, **NO_CLUSTER)


async def _write_labels(lab: Lab, operator: Operator) -> None:  # noqa: ARG001
    """Five writes a second to it."""
    for number in range(150):
        label = {"metadata": {"labels": {"number": str(number)}}}
        await lab.cluster.api.patch(lab.path("rayjobs", "unknown-keys"), label)
        await asyncio.sleep(0.2)


async def _two(lab: Lab) -> None:
    for name in ("one", "two"):
        await lab.create_finished(name, **NO_CLUSTER)


async def _write_often(lab: Lab, operator: Operator) -> None:  # noqa: ARG001
    """H19: at most 6,000 of the case's 30,000 writes, one after the other to each of two."""

    async def write(name: str) -> None:
        for number in range(3_000):
            label = {"metadata": {"labels": {"number": str(number)}}}
            await lab.cluster.api.patch(lab.path("rayjobs", name), label)

    async with asyncio.TaskGroup() as tasks:
        for name in ("one", "two"):
            tasks.create_task(write(name))


async def _malformed(lab: Lab) -> None:
    """H20: each RayJob of 1,200 is told of by an Event."""
    wrong = {"raysweep.io/ttl": "soon"}
    await _many(1_200, lambda number: lab.create(f"wrong-{number}", annotations=wrong))


async def _dead_heads(lab: Lab) -> None:
    """60 heads that refuse the connection though their Pods are ready."""
    await _due_jobs(60)(lab)
    for number in range(60):
        lab.cluster.heads.route(lab.namespace, f"due-{number}{heads.SUFFIX}", None)


@contextlib.asynccontextmanager
async def _slow_policies(_cluster: Cluster, kubeconfig: Path) -> AsyncIterator[Path]:
    """H14: every LIST of policies waits for 11 s before the API server gets it."""

    def late(request: web.Request) -> float:
        is_list = request.method == "GET" and request.path == POLICIES
        return 11.0 if is_list and "watch" not in request.query else 0.0

    async with Gateway.before(kubeconfig, late=late) as (_, through):
        yield through


NODES = {"first": b'{"data":{"result":{"result":[', "again": b"1,", "last": b"]}}}"}
OVERDUE = {"raysweep.io/ttl": "1"}
TRACKED = {"argocd.argoproj.io/tracking-id": "apps:ray.io/RayJob:team-a/train"}
BAD_LIST = _answers(LIST_BYTES, b"[", b"1,", b"]")
LONG_LIST = _answers(LIST_BYTES, b"[", SMALLEST, b"]")
BAD_NODES = _answers(NODES_BYTES, nodes=True, **NODES)

INPUTS = (
    Input("H1", "managedFields of one RayJob in the year 0", _year_zero),
    Input("H2-invalid", "10 heads with a list of 4 MiB 1,1,1", _due_jobs(10), respond=BAD_LIST),
    Input(
        "H2-longest",
        "10 heads with a list of 4 MiB of smallest entries",
        _due_jobs(10),
        respond=LONG_LIST,
    ),
    Input(
        "H2-5000",
        "40 heads with a list of 5,000 entries",
        _due_jobs(40),
        respond=_five_thousand,
    ),
    Input("H3", "200 connections read /metrics, 5,000 RayJobs", _rayjobs_5000, _scrape),
    Input(
        "H4-tracked",
        "101 overdue RayJobs tracked by Argo CD",
        _overdue(101, annotations=TRACKED, **NO_CLUSTER),
        annotations=OVERDUE,
    ),
    Input(
        "H4-running",
        "101 overdue RayJobs whose heads say RUNNING",
        _overdue(101, head_status="RUNNING"),
        annotations=OVERDUE,
    ),
    Input("H4-dry-run", "101 overdue RayJobs, policy in dry-run", _dry_run, annotations=OVERDUE),
    Input(
        "H5",
        "10 heads with 1 MiB of invalid nodes",
        _due_jobs(10, head_status="RUNNING"),
        respond=BAD_NODES,
    ),
    Input("H6-large", "100 RayJobs of 1 MB", _large),
    Input("H6-keys", "100 RayJobs with 250 KB of annotation keys", _many_keys),
    Input("H13", "DNS is silent for 40 heads of one namespace", _due_jobs(40), slow_names=True),
    Input("H14", "LIST of policies takes 11 s", reach=_slow_policies, allowance_s=22.0),
    Input("H17", "3,000 RayJobs select one cluster, judged again", _selecting, _annotate_namespace),
    Input("H18", "256 KiB of unknown keys, 5 writes a second", _unknown_keys, _write_labels),
    Input("H19", "6,000 writes to two RayJobs", _two, _write_often),
    Input("H20", "1,200 malformed RayJobs, an Event each", _malformed),
    Input("dead", "60 heads refuse, for the circuit breaker", _dead_heads),
    Input(
        "hung",
        "100 heads never answer",
        _due_jobs(100, first_s=1),
        respond=heads.never,
        head_start_s=15.0,
    ),
)
