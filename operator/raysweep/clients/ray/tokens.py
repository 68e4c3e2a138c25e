"""Tokens of Ray heads: read from the RayCluster's Secret for its own Service, and never stored.

Needs Ray 2.52, KubeRay 1.5.1 and RayCluster spec.authOptions.mode token. Off unless the setting
head_tokens is on, since it needs the rights to get Services and Secrets.
"""

import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import SecretStr

from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import ForbiddenError
from raysweep.core.model.facts import RayCluster
from raysweep.core.text import plain, quoted

HEADER = "X-Ray-Authorization"
"""KubeRay's dashboard client sends it too. The API server's proxy consumes Authorization itself."""
NO_TOKEN: Mapping[str, str] = {}

_SECRET_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""A DNS-1123 subdomain. A tenant can write any text in the RayCluster."""
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")

Result = TypeVar("Result")


class NoTokenError(Exception):
    """A head requires a token that cannot be read. The text says what is missing, never a token."""


class NoServiceError(NoTokenError):
    """The head's Service does not exist. That does not prove that there is no head."""


@dataclass(frozen=True)
class Tokens:
    """Reads tokens. Each call reads the Service and the Secret again, since both can change."""

    kubernetes: Kubernetes

    async def header(self, cluster: RayCluster, service: str) -> Mapping[str, str]:
        """The header with the token of a cluster's head, empty if it requires no token.

        Raises NoTokenError, and ApiError of the API server.
        """
        secret = cluster.auth_secret
        if not secret:
            return NO_TOKEN
        await self._check_service(cluster, service)
        if not _SECRET_NAME.fullmatch(secret) or len(secret) > 253:
            raise NoTokenError(f"{quoted(secret)} is not a valid name of a Secret")
        request = self.kubernetes.head_token(cluster.namespace, secret)
        token = await _permitted(request, "get secrets")
        if token is None:
            raise NoTokenError(f"the Secret {quoted(secret)} or its key auth_token does not exist")
        return _header(token, secret)

    async def _check_service(self, cluster: RayCluster, name: str) -> None:
        """Raises NoTokenError if the Service may lead to other Pods than the cluster's."""
        request = self.kubernetes.service(cluster.namespace, name)
        service = await _permitted(request, "get services")
        if service is None:
            raise NoServiceError(f"the Service {quoted(name)} does not exist")
        problem = None
        if service.controller_uid != cluster.uid:
            problem = "is not owned by the RayCluster"
        elif not service.leads_to_pods:
            problem = "has no selector"
        if problem:
            raise NoTokenError(f"the Service {quoted(name)} {problem}, so no token is sent to it")


async def _permitted(request: Awaitable[Result], right: str) -> Result:
    try:
        return await request
    except ForbiddenError as error:
        problem = f"the service account may not {right}: {plain(error)}"
        raise NoTokenError(f"cannot read the head's token: {problem}") from error


def _header(token: SecretStr, secret: str) -> Mapping[str, str]:
    text = token.get_secret_value().strip()  # as Ray itself does with RAY_AUTH_TOKEN
    if not _TOKEN.fullmatch(text):
        raise NoTokenError(f"auth_token of the Secret {quoted(secret)} is not a valid token")
    return {HEADER: f"Bearer {text}"}
