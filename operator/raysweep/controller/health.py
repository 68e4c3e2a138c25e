"""/livez, /readyz and /metrics. Liveness never depends on the API server or on any head; only on our own loops moving."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Check = Callable[[], str | None]
"""None where all is well, else one sentence that says what is not."""
Word = Callable[[], str]
"""What is answered where all is well."""


@dataclass(frozen=True, slots=True)
class Probes:
    """What is asked at each probe."""

    alive: Check
    ready: Check
    metrics: CollectorRegistry
    word: Word = lambda: "ok"


@contextlib.asynccontextmanager
async def serve(probes: Probes, host: str, port: int) -> AsyncIterator[None]:
    """Answers while the context lasts."""
    app = web.Application()
    app.router.add_get("/livez", _probe(probes.alive, lambda: "ok"))
    app.router.add_get("/readyz", _probe(probes.ready, probes.word))
    app.router.add_get("/metrics", _metrics(probes.metrics))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


def _probe(check: Check, word: Word) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        problem = check()
        return web.Response(text=f"{problem or word()}\n", status=503 if problem else 200)

    return answer


def _metrics(registry: CollectorRegistry) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return answer
