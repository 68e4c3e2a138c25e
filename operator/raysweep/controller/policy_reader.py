"""The cleanup policies: read anew at every change, told what is wrong with them, and their conditions written. Judges nothing.

They are not watched by Kopf: where the CRD goes its watch would end the process, and with it the memory that the backlog rests
on, and a CRD that comes later would need another start. Here a watch only wakes, and the list that follows is the truth.
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

AT_MOST = timedelta(seconds=1)
"""Changes that come close together are read together."""


@dataclass
class PolicyReader:
    """Keeps what the store knows of policies true. every: how often they are read where nothing seems to change."""

    kubernetes: Kubernetes
    store: Store
    reporter: Reporter
    now: Callable[[], datetime]
    every: timedelta
    uptime: Callable[[], timedelta]
    _is_there: bool | None = None
    _backoffs: ItemBackoff = field(
        default_factory=lambda: ItemBackoff(timedelta(seconds=1), timedelta(seconds=30))
    )

    async def for_ever(self) -> None:
        """Reads, waits for a change or for the time to come, and reads again."""
        while True:
            await self.once()
            await asyncio.sleep(AT_MOST.total_seconds())

    async def once(self) -> None:
        """One reading, its consequences, and the wait for the next. A failure is told, and changes nothing that is known."""
        try:
            began = self.uptime()
            listed = await self.kubernetes.policies()
            self.store.replace_policies(listed.policies, began)
            self._tell(is_there=listed.resource_version != "")
            await self._conditions(listed.policies)
            self._backoffs.forget("")
            if listed.resource_version:
                await self.kubernetes.wait_for_policy_change(listed.resource_version, self.every)
            else:
                await asyncio.sleep(self.every.total_seconds())
        except ApiError as error:
            log.warning("policies cannot be read, so nothing goes until they can: %s", error)
            await asyncio.sleep(self._backoffs.after_failure("", error.retry_after).total_seconds())

    def _tell(self, *, is_there: bool) -> None:
        if is_there is not self._is_there:
            log.info(
                "RayJobCleanupPolicies are heeded"
                if is_there
                else "there is no CRD RayJobCleanupPolicy: no policies"
            )
        self._is_there = is_there

    async def _conditions(self, policies: tuple[Policy, ...]) -> None:
        namespaces, where = self.store.namespaces.values(), {}
        for policy in policies:
            self.reporter.faulty(
                policy, tuple(InvalidValue(place(policy), fault) for fault in policy.errors)
            )
            where[policy.uid] = policy_status.selected_namespaces(policy, namespaces)
            await asyncio.sleep(
                0
            )  # hundreds of policies and thousands of Namespaces must not hold up the Lease
        for policy in policies:
            status = policy_status.status(policy, policies, where, self.now())
            if status:
                await self._write(policy, status)
            await asyncio.sleep(0)

    async def _write(self, policy: Policy, status: Mapping[str, Any]) -> None:
        """A condition is for people to read: where it cannot be written all policies count as they do."""
        try:
            await self.kubernetes.set_policy_status(policy, status)
        except (ConflictError, NotFoundError):
            return  # it changed or went; the next reading tells
        except ApiError as error:
            log.warning(
                "the conditions of RayJobCleanupPolicy %s were not written: %s", policy.name, error
            )
