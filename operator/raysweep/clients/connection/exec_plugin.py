"""Exec credential plugins: runs the program of a kubeconfig and parses the printed credentials.

Protocol: client.authentication.k8s.io v1 and v1beta1 (Kubernetes reference, "client-go credential
plugins").
"""

import asyncio
import base64
import json
import os
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from raysweep.clients.connection.kubeconfig import EXEC_EXTENSION, ClientConfigError, Cluster, Exec
from raysweep.core.text import plain, quoted

INFO_VARIABLE = "KUBERNETES_EXEC_INFO"


@dataclass(frozen=True, slots=True)
class Credential:
    """The output of a plugin: a token, a certificate with its key in PEM, or both."""

    token: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    expires_at: datetime | None = None


class _Status(BaseModel):
    model_config = ConfigDict(extra="ignore")

    token: str | None = None
    certificate: str | None = Field(None, alias="clientCertificateData")
    key: str | None = Field(None, alias="clientKeyData")
    expires_at: datetime | None = Field(None, alias="expirationTimestamp")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    api_version: str = Field(alias="apiVersion")
    kind: str
    status: _Status | None = None


class ExecPlugin:
    """The plugin of one user. It runs again after its credential expired or was refused."""

    def __init__(self, plugin: Exec, cluster: Cluster) -> None:
        self._plugin = plugin
        self._cluster = cluster
        self._credential: Credential | None = None
        self._running: asyncio.Task[Credential] | None = None

    async def credential(self) -> Credential:
        """The current credential. Raises ClientConfigError if the plugin fails."""
        if self._credential is None or _has_expired(self._credential):
            return await self._fresh()
        return self._credential

    async def renew(self, refused: Credential) -> Credential:
        """A new credential after the API server refused one with 401. Raises ClientConfigError."""
        if self._credential is None or self._credential is refused:
            return await self._fresh()
        return self._credential

    async def _fresh(self) -> Credential:
        """Runs the plugin, at most once at a time.

        A login may take minutes. A request that times out meanwhile does not stop the plugin.
        """
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        self._credential = await asyncio.shield(self._running)
        return self._credential

    async def _run(self) -> Credential:
        is_interactive = self._is_interactive()
        environment = dict(os.environ)
        environment |= {variable.name: variable.value for variable in self._plugin.env}
        environment[INFO_VARIABLE] = json.dumps(self._info(is_interactive))
        try:
            process = await asyncio.create_subprocess_exec(
                self._plugin.command,
                *self._plugin.args,
                env=environment,
                stdin=None if is_interactive else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=None,  # for login codes, questions and errors of the plugin
            )
        except OSError as error:
            hint = f" {plain(self._plugin.install_hint)}" if self._plugin.install_hint else ""
            raise ClientConfigError(f"{self} cannot be run: {error.strerror}.{hint}") from None
        output = await _output_of(process)
        if process.returncode:
            raise ClientConfigError(f"{self} failed with exit code {process.returncode}")
        return self._read(output)

    def __str__(self) -> str:
        return f"exec plugin {quoted(self._plugin.command)}"

    def _is_interactive(self) -> bool:
        """Whether the plugin gets the terminal as its standard input."""
        is_terminal = sys.stdin is not None and sys.stdin.isatty()
        if self._plugin.interactive_mode == "Always" and not is_terminal:
            raise ClientConfigError(
                f"{self} needs a terminal (interactiveMode Always), and standard input is not one"
            )
        return is_terminal and self._plugin.interactive_mode != "Never"

    def _info(self, is_interactive: bool) -> dict[str, Any]:
        spec: dict[str, Any] = {"interactive": is_interactive}
        if self._plugin.provide_cluster_info:
            spec["cluster"] = cluster_info(self._cluster)
        return {"apiVersion": self._plugin.api_version, "kind": "ExecCredential", "spec": spec}

    def _read(self, output: bytes) -> Credential:
        """Parses the output. Errors never quote it, since it holds secrets."""
        try:
            answer = _Answer.model_validate_json(output)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in problem["loc"]) or "its output"
            raise ClientConfigError(
                f"{self} did not print an ExecCredential: {place}: {plain(problem['msg'])}"
            ) from None
        if answer.api_version != self._plugin.api_version or answer.kind != "ExecCredential":
            printed = quoted(f"{answer.api_version} {answer.kind}")
            expected = f"{self._plugin.api_version} ExecCredential"
            raise ClientConfigError(f"{self} printed {printed} instead of {quoted(expected)}")
        status = answer.status or _Status()
        if not status.token and not status.certificate and not status.key:
            raise ClientConfigError(
                f"{self} printed neither a token nor a certificate with its key"
            )
        if bool(status.certificate) != bool(status.key):
            raise ClientConfigError(f"{self} printed a certificate without its key, or a key alone")
        return Credential(
            status.token or "",
            status.certificate or "",
            status.key or "",
            _aware(status.expires_at),
        )


def cluster_info(cluster: Cluster) -> dict[str, Any]:
    """`spec.cluster` of an ExecCredential. Raises ClientConfigError if the CA file is invalid."""
    authority = cluster.certificate_authority_data
    if cluster.certificate_authority:
        try:
            with open(cluster.certificate_authority, "rb") as file:  # noqa: PTH123 - its name is text
                authority = file.read()
        except OSError as error:
            raise ClientConfigError(
                f"{cluster.certificate_authority} cannot be read: {error.strerror}"
            ) from None
    configs = [item.extension for item in cluster.extensions if item.name == EXEC_EXTENSION]
    fields = {
        "server": cluster.server,
        "tls-server-name": cluster.tls_server_name,
        "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
        "certificate-authority-data": base64.b64encode(authority).decode(),
        "proxy-url": cluster.proxy_url,
        "disable-compression": cluster.disable_compression,
    }
    info = {name: value for name, value in fields.items() if value}
    return info | {"config": configs[0] if configs else None}


async def _output_of(process: asyncio.subprocess.Process) -> bytes:
    """The output of a plugin until it exits. Kills the plugin if the wait is cancelled."""
    try:
        output, _ = await process.communicate()
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    return output


def _has_expired(credential: Credential) -> bool:
    return credential.expires_at is not None and credential.expires_at <= datetime.now(UTC)  # noqa: TID251


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
