"""H13: slow DNS for the names of one namespace delays only that namespace."""

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
    """Lookups that block their thread. For a slow namespace they wait for `answers`."""

    answers: threading.Event = field(default_factory=threading.Event)
    names: list[str] = field(default_factory=list)
    running: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def lookup(self, host: str, *_: Any, **__: Any) -> list[tuple[Any, Any, Any, Any, Any]]:
        with self.lock:
            self.names.append(host)
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            if ".slow" in host:
                self.answers.wait(HANG)
            if ".nowhere" in host:
                raise socket.gaierror(socket.EAI_NONAME, "not known")
            return HERE
        finally:
            with self.lock:
                self.running -= 1


@dataclass
class Heads:
    """Heads with different names that are all the same script."""

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
            await until(lambda: not dns.running, timeout=HANG)


async def test_slow_names_of_one_namespace_do_not_delay_another() -> None:
    dns = Dns()
    async with heads_by(dns) as heads:
        slow = [asyncio.create_task(heads.ask("slow", f"head-{n}")) for n in range(20)]
        await until(lambda: dns.running == LOOKUPS_PER_NAMESPACE, timeout=HANG)
        assert await heads.ask("quick") == HeadList((), END)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), HANG) == "free"
        assert await asyncio.gather(*slow) == [SLOW] * 20
    assert dns.most == LOOKUPS_PER_NAMESPACE + 1


async def test_a_lookup_keeps_its_place_until_it_ends() -> None:
    dns = Dns()
    async with heads_by(dns) as heads:
        for n in range(LOOKUPS_PER_NAMESPACE + 2):
            assert await heads.ask("slow", f"head-{n}") == SLOW
        assert (dns.running, len(dns.names)) == (LOOKUPS_PER_NAMESPACE, LOOKUPS_PER_NAMESPACE)
        dns.answers.set()
        await until(lambda: not dns.running, timeout=HANG)
        assert await heads.ask("slow", "another") == HeadList((), END)


async def test_a_late_answer_serves_the_next_request_for_the_same_name() -> None:
    dns = Dns()
    async with heads_by(dns, timedelta(seconds=3)) as heads:
        waiting = asyncio.create_task(heads.ask("slow"))
        await until(lambda: dns.running == 1, timeout=HANG)
        hurried = FairResolver(dns.lookup, QUICKLY)
        for _ in range(3):
            with pytest.raises(ResolveTimeoutError):
                await hurried.resolve("other.slow.svc")
        dns.answers.set()
        assert await waiting == HeadList((), END)
    assert dns.names == ["head.slow.svc.cluster.local", "other.slow.svc"]


async def test_threads_are_bounded_with_many_hostile_namespaces() -> None:
    dns = Dns()
    async with heads_by(dns) as heads:
        resolver = FairResolver(dns.lookup, timedelta(seconds=HANG))
        names = [f"head-{n}.slow-{each}.svc" for n in range(6) for each in range(30)]
        waiting = [
            asyncio.create_task(resolver.resolve(name)) for name in [*names, "head.quick.svc"]
        ]
        await until(lambda: dns.running == LOOKUPS, timeout=HANG)
        assert await heads.ask("quick") == HeadList((), END)
        dns.answers.set()
        assert {addresses[0]["host"] for addresses in await asyncio.gather(*waiting)} == {
            "127.0.0.1"
        }
    assert dns.most <= LOOKUPS + 1
    assert dns.names.index("head.quick.svc") < len(dns.names) - 30


async def test_a_name_without_an_address_is_reported() -> None:
    dns = Dns()
    async with heads_by(dns) as heads:
        assert await heads.ask("nowhere") == HeadSilent(
            "ClientConnectorDNSError: the head's name cannot be resolved"
        )
    assert len(dns.names) == 3


async def test_the_c_library_resolves_names_by_default() -> None:
    addresses = await FairResolver().resolve("localhost", 8265, socket.AF_INET)
    assert [(each["host"], each["port"], each["hostname"]) for each in addresses] == [
        ("127.0.0.1", 8265, "localhost")
    ]
