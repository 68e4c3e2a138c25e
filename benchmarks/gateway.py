"""A gateway before the API server that delays lists of policies and passes on the rest."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from sandbox.cluster import Cluster
from tests.component.certificates import Authority
from tests.lab import POLICIES

HOST = "127.0.0.1"

PASSED = ("Authorization", "Accept", "Content-Type", "User-Agent")


@contextlib.asynccontextmanager
async def slow_policies(cluster: Cluster, kubeconfig: Path, seconds: float) -> AsyncIterator[Path]:
    """The same kubeconfig through a gateway whose LIST of policies takes that long."""
    connector = aiohttp.TCPConnector(ssl=_trusted(kubeconfig), limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def pass_on(request: web.BaseRequest) -> web.StreamResponse:
            is_watch = "watch" in request.query
            if request.path == POLICIES and request.method == "GET" and not is_watch:
                await asyncio.sleep(seconds)
            return await _pass_on(session, cluster.server, request)

        authority = Authority(kubeconfig.with_name("gateway-certificates"))
        runner = web.ServerRunner(web.Server(pass_on), access_log=None, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0, ssl_context=authority.server(HOST)).start()
        try:
            server = f"https://{HOST}:{runner.addresses[0][1]}"
            yield _through(kubeconfig, server, authority.file)
        finally:
            await runner.cleanup()


async def _pass_on(
    session: aiohttp.ClientSession,
    server: str,
    request: web.BaseRequest,
) -> web.StreamResponse:
    headers = {name: request.headers[name] for name in PASSED if name in request.headers}
    body = await request.read() or None  # a body that is empty would get a Content-Type
    url = server + request.path_qs
    async with session.request(request.method, url, data=body, headers=headers) as answer:
        response = web.StreamResponse(status=answer.status)
        response.content_type = answer.content_type
        with contextlib.suppress(ConnectionError):  # who asked has gone
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
        return response


def _trusted(kubeconfig: Path) -> ssl.SSLContext:
    entry = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]
    return ssl.create_default_context(cafile=entry["certificate-authority"])


def _through(kubeconfig: Path, server: str, authority: Path) -> Path:
    content: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    for entry in content["clusters"]:
        entry["cluster"] = {"server": server, "certificate-authority": str(authority)}
    path = kubeconfig.with_name(f"{kubeconfig.name}-gateway")
    path.write_text(yaml.safe_dump(content))
    return path
