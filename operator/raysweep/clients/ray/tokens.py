"""The tokens of Ray heads that want one: from the cluster's Secret, for that cluster's own Service alone, kept nowhere.

Ray 2.52 and later, KubeRay 1.5.1 and later (RayCluster spec.authOptions.mode token). Off unless the setting head_tokens is
on, since it takes the rights to get Services and Secrets, which many platforms will not give.
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
"""Beside Authorization, which the API server takes for itself on the way through it (KubeRay's dashboard client does so too)."""
NO_TOKEN: Mapping[str, str] = {}

_SECRET_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""A DNS-1123 subdomain. A tenant who writes the RayCluster may write anything."""
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")

Found = TypeVar("Found")


class NoTokenError(Exception):
    """The head wants a token and is not asked without; the text says what is missing, never a token."""


class NoServiceError(NoTokenError):
    """There is no Service to ask at, whatever token it would want. That does not prove that there is no head."""


@dataclass(frozen=True)
class Tokens:
    """Reads tokens. Each question reads the Service and the Secret anew: tokens change, and Services change hands."""

    kubernetes: Kubernetes

    async def header(self, cluster: RayCluster, service: str) -> Mapping[str, str]:
        """The header for that cluster's head, none where it wants none. Raises NoTokenError, and ApiError of the API server."""
        if not cluster.auth_secret:
            return NO_TOKEN
        await self._check(cluster, service)
        if not _SECRET_NAME.fullmatch(cluster.auth_secret) or len(cluster.auth_secret) > 253:
            raise NoTokenError(f"{quoted(cluster.auth_secret)} is no name of a Secret")
        token = await _allowed(
            self.kubernetes.head_token(cluster.namespace, cluster.auth_secret), "get secrets"
        )
        if token is None:
            raise NoTokenError(
                f"there is no Secret {quoted(cluster.auth_secret)} with a key auth_token"
            )
        return _header(token, cluster.auth_secret)

    async def _check(self, cluster: RayCluster, service: str) -> None:
        """The token goes to that cluster's own Pods only, wherever else a Service of this name may lead."""
        found = await _allowed(self.kubernetes.service(cluster.namespace, service), "get services")
        if found is None:
            raise NoServiceError(f"there is no Service {quoted(service)}")
        if found.controller_uid != cluster.uid:
            raise NoTokenError(
                f"the Service {quoted(service)} is not owned by the RayCluster, so no token is sent there"
            )
        if not found.leads_to_pods:
            raise NoTokenError(
                f"the Service {quoted(service)} has no selector, so no token is sent there"
            )


async def _allowed(question: Awaitable[Found], right: str) -> Found:
    try:
        return await question
    except ForbiddenError as error:
        raise NoTokenError(
            f"its token cannot be read, the service account may not {right}: {plain(error)}"
        ) from error


def _header(token: SecretStr, secret: str) -> Mapping[str, str]:
    text = token.get_secret_value().strip()  # as Ray itself does with RAY_AUTH_TOKEN
    if not _TOKEN.fullmatch(text):
        raise NoTokenError(f"auth_token of the Secret {quoted(secret)} is no token")
    return {HEADER: f"Bearer {text}"}
