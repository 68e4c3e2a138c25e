"""A small client of the sandbox's API server. What an object means must not enter here."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import aiohttp

Body = dict[str, Any]

TIMEOUT = aiohttp.ClientTimeout(total=60)


class ApiError(Exception):
    """The API server returned an error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Api:
    """Sends requests as one user. Audit log and managedFields show its user agent."""

    def __init__(self, server: str, token: str, certificate: str, *, user_agent: str) -> None:
        self._server = server
        headers = {"Authorization": f"Bearer {token}", "User-Agent": user_agent}
        connector = aiohttp.TCPConnector(
            ssl=ssl.create_default_context(cafile=certificate), limit=0
        )
        self._session = aiohttp.ClientSession(
            headers=headers, connector=connector, trust_env=False, timeout=TIMEOUT
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await asyncio.sleep(0)  # TLS connections close one turn later

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "*/*",
    ) -> Any:
        """Returns the JSON of the response, or its text if it is not JSON."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type, "Accept": accept}
        url = self._server + path
        async with self._session.request(
            method, url, data=data, params=params, headers=headers
        ) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise _error(answer.status, text)
            return json.loads(text) if "json" in answer.content_type else text

    async def patch(self, path: str, body: object) -> Any:
        return await self.request("PATCH", path, body, content_type="application/merge-patch+json")

    async def find(self, path: str) -> Body | None:
        """The object. None if it does not exist."""
        try:
            body: Body = await self.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return body

    async def delete(self, path: str, uid: str | None = None) -> None:
        """Deletes an object. It ignores that the object, or that uid, does not exist any more."""
        try:
            options = {"preconditions": {"uid": uid}} if uid else None
            await self.request("DELETE", path, options)
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def watch(self, path: str, selector: str = "") -> AsyncIterator[tuple[str, Body]]:
        """Yields every object as ADDED, then SYNCED, then each change, without end.

        After an interruption it starts again with every object.
        """
        while True:
            try:
                params = {"labelSelector": selector}
                listed = await self.request("GET", path, params=params)
                for item in listed["items"]:
                    yield "ADDED", item
                yield "SYNCED", {"uids": {item["metadata"]["uid"] for item in listed["items"]}}
                async for event in self._stream(path, params | _from(listed)):
                    yield event
            except (aiohttp.ClientError, ApiError, TimeoutError):
                await asyncio.sleep(0.5)

    async def _stream(
        self, path: str, params: Mapping[str, str]
    ) -> AsyncIterator[tuple[str, Body]]:
        timeout = aiohttp.ClientTimeout(total=None, sock_read=330)
        async with self._session.get(self._server + path, params=params, timeout=timeout) as answer:
            if answer.status != 200:
                raise _error(answer.status, await answer.text())
            buffer = b""
            async for chunk in answer.content.iter_any():
                *lines, buffer = (buffer + chunk).split(b"\n")
                for event in map(json.loads, lines):
                    if event["type"] == "ERROR":
                        return
                    yield event["type"], event["object"]


def _from(listed: Body) -> dict[str, str]:
    return {
        "watch": "true",
        "resourceVersion": listed["metadata"]["resourceVersion"],
        "timeoutSeconds": "300",
    }


def _error(status: int, text: str) -> ApiError:
    try:
        answer = json.loads(text)
        return ApiError(status, str(answer["reason"]), str(answer["message"]))
    except (ValueError, KeyError, TypeError):
        return ApiError(status, "", text[:500])
