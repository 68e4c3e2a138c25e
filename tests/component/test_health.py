"""The endpoints /livez, /readyz and /metrics, and the limits on their connections."""

import asyncio
import contextlib
import select
import socket
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from raysweep.controller import health
from raysweep.controller.health import Connections, Probes, serve
from sandbox.ports import free_port
from sandbox.waiting import until


@dataclass(eq=False)
class Counted(Collector):
    """Metrics that count how often they are collected."""

    collected: int = 0

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        self.collected += 1
        yield GaugeMetricFamily("collections", "How often this was collected.", self.collected)


@dataclass
class Listener:
    """A listener on a port of its own."""

    port: int
    metrics: Counted
    problems: list[str] = field(default_factory=list)

    async def get(self, path: str, address: str = "127.0.0.1") -> tuple[int, str]:
        """Status and text, by a connection of its own from that address."""
        connector = aiohttp.TCPConnector(local_addr=(address, 0))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://127.0.0.1:{self.port}{path}") as response,
        ):
            return response.status, await response.text()

    async def dangle(self, count: int, address: str) -> list[asyncio.StreamReader]:
        """Opens connections that send half a request and no more."""
        readers = []
        for _ in range(count):
            with contextlib.suppress(ConnectionError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self.port, local_addr=(address, 0)
                )
                self._writers.append(writer)
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: here\r\n")
                readers.append(reader)
        return readers

    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()


@contextlib.asynccontextmanager
async def _listening() -> AsyncIterator[Listener]:
    registry, metrics = CollectorRegistry(), Counted()
    registry.register(metrics)
    listener = Listener(free_port(), metrics)
    probes = Probes(
        lambda: "; ".join(listener.problems) or None, lambda: None, registry, lambda: "standby"
    )
    async with serve(probes, "127.0.0.1", listener.port):
        try:
            yield listener
        finally:
            listener.hang_up()


async def test_all_endpoints_answer() -> None:
    async with _listening() as listener:
        assert await listener.get("/livez") == (200, "ok\n")
        assert await listener.get("/readyz") == (200, "standby\n")
        listener.problems.append("a loop stands still")
        assert await listener.get("/livez") == (503, "a loop stands still\n")
        status, text = await listener.get("/metrics")
    assert (status, "collections 1.0" in text) == (200, True)


async def test_simultaneous_scrapes_share_one_computation() -> None:
    """200 connections, one computation."""
    async with _listening() as listener:
        answers = await asyncio.gather(*(listener.get("/metrics") for _ in range(200)))
    assert {status for status, _ in answers} == {200}
    assert listener.metrics.collected <= 3  # they take longer than a second to connect, perhaps


async def test_a_scrape_gets_values_computed_after_it_arrived() -> None:
    """It waits for the next computation rather than getting older values."""
    async with _listening() as listener:
        answers = [await listener.get("/metrics") for _ in range(3)]
    assert [
        "collections 1.0" in answers[0][1],
        "collections 2.0" in answers[1][1],
        "collections 3.0" in answers[2][1],
    ] == [True] * 3


async def test_a_failed_preparation_fails_one_scrape_only() -> None:
    tries = 0

    async def prepare() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ValueError("not yet")

    exposition = health.Exposition(CollectorRegistry(), prepare)
    with pytest.raises(ValueError, match="not yet"):
        await exposition.text()
    assert await exposition.text() == b""
    await exposition.close()


async def test_scrapes_are_answered_one_after_the_other() -> None:
    """Otherwise a probe that arrives meanwhile would wait for all of them."""
    exposition = health.Exposition(CollectorRegistry(), health.no_preparation)
    scrapes = [asyncio.create_task(exposition.text()) for _ in range(50)]
    answered, most = 0, 0
    while answered < len(scrapes):
        await asyncio.sleep(0)
        before, answered = answered, sum(scrape.done() for scrape in scrapes)
        most = max(most, answered - before)
    await exposition.close()
    assert most <= 2


async def test_a_busy_event_loop_accepts_connections_in_batches() -> None:
    """Otherwise a probe would wait for as many iterations as connections precede it."""
    async with _listening() as listener:
        waiting = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(100)]
        probe = waiting[-1]
        probe.sendall(b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n")
        turns = 0
        while not select.select([probe], [], [], 0)[0]:
            turns += 1
            await asyncio.sleep(0)
        answer = probe.recv(4096)
        for connection in waiting:
            connection.close()
    assert answer.startswith(b"HTTP/1.1 200")
    assert turns < 50


async def _ended(readers: list[asyncio.StreamReader]) -> int:
    """How many of these connections the server has closed."""
    return sum(reader.at_eof() or reader.exception() is not None for reader in readers)


async def test_idle_connections_are_limited_and_do_not_block_a_probe() -> None:
    """The oldest are closed, and the probe is answered."""
    more = 50
    async with _listening() as listener:
        readers = await listener.dangle(health.MAX_CONNECTIONS + more, "127.0.0.2")
        assert (await listener.get("/livez"))[0] == 200

        async def are_limited() -> bool:
            return await _ended(readers) >= more

        await until(are_limited, timeout=90)


async def test_an_address_that_floods_loses_only_its_own_connections() -> None:
    async with _listening() as listener:
        others = await listener.dangle(2, "127.0.0.1")
        readers = await listener.dangle(health.MAX_CONNECTIONS + 50, "127.0.0.2")

        async def are_limited() -> bool:
            return await _ended(readers) >= 50

        await until(are_limited, timeout=90)
        assert await _ended(others) == 0


async def test_a_connection_is_closed_after_its_lifetime() -> None:
    connections = Connections(asyncio.Protocol, lifetime=0.2)
    port = free_port()
    (listening,) = await health._listen("127.0.0.1", port)
    tasks = [
        asyncio.create_task(loop)
        for loop in (connections.accept_connections(listening), connections.close_old())
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET")
    async with asyncio.timeout(90):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    await until(lambda: len(connections) == 0, timeout=90)
    for task in tasks:
        task.cancel()
    writer.close()
    listening.close()


async def test_an_address_in_use_is_an_error() -> None:
    async with _listening() as listener:
        with pytest.raises(OSError, match="in use"):
            async with serve(
                Probes(lambda: None, lambda: None, CollectorRegistry()), "127.0.0.1", listener.port
            ):
                pass
