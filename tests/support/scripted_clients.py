"""Clients of the API server that a script answers."""

import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

from raysweep.clients.connection.api_client import ApiClient, Configuration
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import ApiError
from tests.support.scripted_api import Answer, Script, serving

Client = TypeVar("Client", bound=Kubernetes)


@contextlib.asynccontextmanager
async def client_of(
    client_class: type[Client], url: str, **options: Any
) -> AsyncIterator[tuple[Client, list[tuple[str, int]]]]:
    """A client of the API server at a URL, and the method and status of each counted request."""
    counted: list[tuple[str, int]] = []

    def count(method: str, status: int) -> None:
        counted.append((method, status))

    client = client_class(ApiClient(Configuration(host=url)), count, **options)
    try:
        yield client, counted
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def scripted(
    client_class: type[Client], *answers: Answer, **options: Any
) -> AsyncIterator[tuple[Client, Script]]:
    """A client, and the script that answers it."""
    async with (
        serving(*answers) as script,
        client_of(client_class, script.url, **options) as (client, _),
    ):
        yield client, script


async def error_of(request: Awaitable[object]) -> ApiError | None:
    """The error that a request raises."""
    try:
        await request
    except ApiError as error:
        return error
    return None
