"""H13: slow DNS for the names of one namespace costs only that namespace. Real sockets; the lookups are the test's own."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from raysweep.clients.ray.dashboard import Dashboard
from raysweep.clients.ray.resolver import (
    LOOKUPS,
    LOOKUPS_PER_NAMESPACE,
    FairResolver,
    ResolveTimeoutError,
)
from raysweep.clients.ray.transport import direct_transport
from raysweep.core.model.facts import HeadList, HeadSilent
from sandbox.waiting import until
from tests.support.builders import END, a_raycluster
from tests.support.scripted_api import Script, json_response, serving
from tests.support.scripted_head import QUICKLY

HERE = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
SLOW = HeadSilent("no answer in time: DNS")
HANG = 60


@dataclass
class Dns:
    """Lookups as by the C library: they block their thread, for names of namespaces that begin with slow until `answers`."""

    answers: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    under_way: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def lookup(self, host: str, *_: Any, **__: Any) -> list[tuple[Any, Any, Any, Any, Any]]:
        with self.lock:
            self.asked.append(host)
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        try:
            if ".slow" in host:
                self.answers.wait(HANG)
            if ".nowhere" in host:
                raise socket.gaierror(socket.EAI_NONAME, "not known")
            return HERE
        finally:
            with self.lock:
                self.under_way -= 1


@dataclass
class Heads:
    """All heads are the one script; only their names differ."""

    dashboard: Dashboard
    script: Script

    async def ask(self, namespace: str, name: str = "head") -> HeadList | HeadSilent:
        port = int(self.script.url.rpartition(":")[2])
        return await self.dashboard.jobs(
            a_raycluster(namespace=namespace, head_service=name, dashboard_port=port)
        )


@contextlib.asynccontextmanager
async def heads_by(dns: Dns, within: timedelta = timedelta(seconds=0.3)) -> AsyncIterator[Heads]:
    async with serving(json_response([])) as script:
        transport = direct_transport("cluster.local", None, FairResolver(dns.lookup, within))
        dashboard = Dashboard(transport, lambda: END, lambda _: None, pause_up_to=QUICKLY)
        try:
            yield Heads(dashboard, script)
        finally:
            dns.answers.set()
            await dashboard.close()
            await until(lambda: not dns.under_way, timeout=HANG)


async def test_slow_names_of_one_namespace_leave_the_heads_of_another_alone() -> None:
    dns = Dns()
    async with heads_by(dns) as heads:
        slow = [asyncio.create_task(heads.ask("slow", f"head-{n}")) for n in range(20)]
        await until(lambda: dns.under_way == LOOKUPS_PER_NAMESPACE, timeout=HANG)
        assert await heads.ask("quick") == HeadList((), END)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), HANG) == "free"
        assert await asyncio.gather(*slow) == [SLOW] * 20
    assert dns.most == LOOKUPS_PER_NAMESPACE + 1


async def test_a_lookup_keeps_its_place_until_it_ends_though_nobody_waits_any_more() -> None:
    dns = Dns()
    async with heads_by(dns) as heads:
        for n in range(LOOKUPS_PER_NAMESPACE + 2):
            assert await heads.ask("slow", f"head-{n}") == SLOW
        assert (dns.under_way, len(dns.asked)) == (LOOKUPS_PER_NAMESPACE, LOOKUPS_PER_NAMESPACE)
        dns.answers.set()
        await until(lambda: not dns.under_way, timeout=HANG)
        assert await heads.ask("slow", "another") == HeadList((), END)


async def test_a_late_answer_serves_the_next_question_for_the_same_name() -> None:
    dns = Dns()
    async with heads_by(dns, timedelta(seconds=3)) as heads:
        waiting = asyncio.create_task(heads.ask("slow"))
        await until(lambda: dns.under_way == 1, timeout=HANG)
        hurried = FairResolver(dns.lookup, QUICKLY)
        for _ in range(3):
            with pytest.raises(ResolveTimeoutError):
                await hurried.resolve("other.slow.svc")
        dns.answers.set()
        assert await waiting == HeadList((), END)
    assert dns.asked == ["head.slow.svc.cluster.local", "other.slow.svc"]


async def test_threads_are_bounded_under_many_hostile_namespaces_and_come_back() -> None:
    dns = Dns()
    async with heads_by(dns) as heads:
        resolver = FairResolver(dns.lookup, timedelta(seconds=HANG))
        names = [f"head-{n}.slow-{each}.svc" for n in range(6) for each in range(30)]
        waiting = [
            asyncio.create_task(resolver.resolve(name)) for name in [*names, "head.quick.svc"]
        ]
        await until(lambda: dns.under_way == LOOKUPS, timeout=HANG)
        assert await heads.ask("quick") == HeadList((), END)
        dns.answers.set()
        assert {found[0]["host"] for found in await asyncio.gather(*waiting)} == {"127.0.0.1"}
    assert dns.most <= LOOKUPS + 1
    assert dns.asked.index("head.quick.svc") < len(dns.asked) - 30


async def test_a_name_without_an_address_is_an_error_of_its_own() -> None:
    dns = Dns()
    async with heads_by(dns) as heads:
        assert await heads.ask("nowhere") == HeadSilent(
            "ClientConnectorDNSError: the head's name cannot be resolved"
        )
    assert len(dns.asked) == 3


async def test_the_c_librarys_answer_is_used_by_default() -> None:
    found = await FairResolver().resolve("localhost", 8265, socket.AF_INET)
    assert [(each["host"], each["port"], each["hostname"]) for each in found] == [
        ("127.0.0.1", 8265, "localhost")
    ]
