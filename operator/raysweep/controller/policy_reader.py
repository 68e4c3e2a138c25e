"""Reads the cleanup policies when they change, reports invalid ones and writes their conditions.

Kopf does not watch them. If their CRD were deleted, its watch would end the process, and the memory
of bulk expiries would be lost. A CRD that is installed later would need a restart. Here a watch
only triggers a new list.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import ApiError, ConflictError, NotFoundError
from raysweep.controller.reporter import Reporter
from raysweep.controller.store import Store
from raysweep.controller.workqueue import ItemBackoff
from raysweep.core.model.facts import Policy
from raysweep.core.model.provenance import InvalidValue, place
from raysweep.core.retention import policy_status

log = logging.getLogger("raysweep")

PAUSE = timedelta(seconds=1)
"""Changes within this time are read together."""


@dataclass
class PolicyReader:
    """Keeps the policies in the store current. every: how often to read them if none changes."""

    kubernetes: Kubernetes
    store: Store
    reporter: Reporter
    now: Callable[[], datetime]
    every: timedelta
    uptime: Callable[[], timedelta]
    _is_installed: bool | None = None
    _backoff: ItemBackoff = field(
        default_factory=lambda: ItemBackoff(timedelta(seconds=1), timedelta(seconds=30))
    )

    async def run(self) -> None:
        """Reads the policies for ever."""
        while True:
            await self.run_once()
            await asyncio.sleep(PAUSE.total_seconds())

    async def run_once(self) -> None:
        """Reads the policies, writes their conditions, and waits for a change or for `every`.

        A failure is logged, and leaves the store as it is.
        """
        try:
            sent_at = self.uptime()
            listed = await self.kubernetes.policies()
            self.store.replace_policies(listed.policies, sent_at)
            self._log_installed(is_installed=bool(listed.resource_version))
            await self._update_status(listed.policies)
            self._backoff.forget("policies")
            if listed.resource_version:
                await self.kubernetes.wait_for_policy_change(listed.resource_version, self.every)
            else:
                await asyncio.sleep(self.every.total_seconds())
        except ApiError as error:
            log.warning("cannot read policies, nothing is deleted until it succeeds: %s", error)
            delay = self._backoff.after_failure("policies", error.retry_after)
            await asyncio.sleep(delay.total_seconds())

    def _log_installed(self, *, is_installed: bool) -> None:
        if is_installed is self._is_installed:
            return
        self._is_installed = is_installed
        if is_installed:
            log.info("RayJobCleanupPolicies apply")
        else:
            log.info("the CRD RayJobCleanupPolicy is not installed: no policies apply")

    async def _update_status(self, policies: tuple[Policy, ...]) -> None:
        """Pauses between policies: hundreds of them must not delay the renewal of the Lease."""
        namespaces = self.store.namespaces.values()
        selected: dict[str, frozenset[str]] = {}
        for policy in policies:
            errors = tuple(InvalidValue(place(policy), error) for error in policy.errors)
            self.reporter.report_invalid(policy, errors)
            selected[policy.uid] = policy_status.selected_namespaces(policy, namespaces)
            await asyncio.sleep(0)
        for policy in policies:
            status = policy_status.status(policy, policies, selected, self.now())
            if status:
                await self._write_status(policy, status)
            await asyncio.sleep(0)

    async def _write_status(self, policy: Policy, status: Mapping[str, Any]) -> None:
        """Writes the conditions. They are for people only: a failure changes no decision."""
        try:
            await self.kubernetes.set_policy_status(policy, status)
        except (ConflictError, NotFoundError):
            return  # it was changed or deleted, so it is read again
        except ApiError as error:
            message = "cannot write the conditions of RayJobCleanupPolicy %s: %s"
            log.warning(message, policy.name, error)
