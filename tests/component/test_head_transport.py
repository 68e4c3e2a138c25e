"""W1: a head that cannot be reached is silent, whatever is in between, and that proves nothing."""

import socket

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from raysweep.clients.ray.dashboard import Dashboard
from raysweep.clients.ray.transport import HeadTransport, api_server_transport, direct_transport
from raysweep.core.model.facts import HeadList, HeadSilent
from tests.support.builders import END, Body, a_raycluster
from tests.support.scripted_api import json_response, serving
from tests.support.scripted_head import ADDRESS, QUICKLY, scripted_head


class FailingResolver(AbstractResolver):
    """A resolver that raises one error of getaddrinfo."""

    def __init__(self, number: int) -> None:
        self._number = number

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise socket.gaierror(self._number, "the resolver's own text")

    async def close(self) -> None:
        return None


async def probes_by(transport: HeadTransport) -> list[HeadList | HeadSilent]:
    """The answers to both kinds of probes."""
    dashboard = Dashboard(transport, lambda: END, lambda _: None, pause_up_to=QUICKLY)
    try:
        jobs = await dashboard.jobs(a_raycluster())
        return [jobs, await dashboard.job(a_raycluster(), "train-x7k2p")]
    finally:
        await dashboard.close()


async def test_w1_a_name_without_an_address_is_silent() -> None:
    detail = "ClientConnectorDNSError: the head's name cannot be resolved"
    for number in (socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_AGAIN, socket.EAI_FAIL):
        connector = aiohttp.TCPConnector(resolver=FailingResolver(number))
        session = aiohttp.ClientSession(connector=connector)
        answers = await probes_by(HeadTransport(session, lambda *_: ADDRESS))
        assert answers == [HeadSilent(detail)] * 2, number


async def test_w1_a_refused_connection_is_silent() -> None:
    async with serving(json_response([])) as script:
        closed = script.url

    def session() -> aiohttp.ClientSession:
        return direct_transport("unused.local", None).session

    transports = {
        "the head": HeadTransport(session(), lambda *_: closed),
        "the forward proxy": direct_transport("cluster.local", closed),
        "the API server": api_server_transport(closed, session()),
    }
    for case, transport in transports.items():
        for answer in await probes_by(transport):
            assert isinstance(answer, HeadSilent), case
            assert answer == HeadSilent(answer.detail), case
            assert answer.detail.endswith(": Connection refused"), case


STATUS: Body = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
NO_ENDPOINTS: Body = STATUS | {
    "reason": "ServiceUnavailable",
    "code": 503,
    "message": 'no endpoints available for service "x"',
}
REFUSED = "error trying to reach service: dial tcp 10.244.0.5:8265: connect: connection refused"
NO_SERVICE: Body = STATUS | {
    "reason": "NotFound",
    "code": 404,
    "message": 'services "x" not found',
    "details": {"kind": "services"},
}


async def test_w1_h24_only_known_words_of_the_api_server_are_shown() -> None:
    """From a head that is probed directly not even these are shown."""
    unknown_words = NO_ENDPOINTS | {"message": "etcd", "reason": "etcd"}
    rows: list[tuple[web.Response, str]] = [
        (
            json_response(NO_ENDPOINTS, 503),
            "a Kubernetes Status: ServiceUnavailable, no endpoints available for service",
        ),
        (
            json_response(NO_ENDPOINTS | {"message": REFUSED}, 503),
            "a Kubernetes Status: ServiceUnavailable, error trying to reach service",
        ),
        (json_response(NO_SERVICE, 404), "a Kubernetes Status: NotFound"),
        (json_response(unknown_words, 503), "a Kubernetes Status"),
        (json_response(NO_ENDPOINTS | {"code": 404}, 503), "an unknown body"),
        (json_response(NO_ENDPOINTS["message"], 503), "an unknown body"),
        (json_response("[" * 60_000, 503), "an unknown body"),
    ]
    for answer, body in rows:
        for by_api_server, shown in ((True, body), (False, "an unknown body")):
            async with scripted_head(answer, by_api_server=by_api_server) as head:
                answers = [await head.jobs(), await head.job()]
            assert answers == [HeadSilent(f"HTTP {answer.status} with {shown}")] * 2
