"""Leader election: one replica at a time is the leader, by a Lease. Nothing here concerns RayJobs.

The rules are those of client-go. A standby takes a Lease that was released, or that did not change
for its duration while this process watched it. No wall clock of another process is trusted. The
leader counts from the moment before it sent each renewal. It may write until the renew deadline,
which is shorter than the duration, so it has stopped before another replica may start. Every write
of the Lease is a compare-and-swap.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    InvalidResponseError,
    NotFoundError,
)
from raysweep.clients.kubernetes.leases import Lease, LeaseName, Term
from raysweep.controller.fencing import LeaseFence
from raysweep.core.durations import format_duration
from raysweep.core.text import quoted

log = logging.getLogger("raysweep")

RELEASE_WITHIN = timedelta(seconds=3)
"""The process does not wait longer before it exits, because the Lease expires by itself."""
RELEASED_DURATION = timedelta(seconds=1)
"""client-go writes this duration into a released Lease. The API server requires more than 0."""
HINT = (
    "create the namespace and apply the Role in deploy/manifests, set another namespace "
    "(lease-namespace), or turn leader election off if this is the only replica "
    "(leader-election false)"
)


class LostError(Exception):
    """This replica was the leader and has lost the Lease. The process must exit."""


@dataclass(frozen=True, slots=True)
class Timing:
    """duration > deadline > retry, as Settings ensures."""

    duration: timedelta
    deadline: timedelta
    retry: timedelta

    @property
    def attempt(self) -> timedelta:
        """How long one attempt may take. Two must fit before the deadline."""
        return self.deadline / 2


@dataclass
class Elector:
    """Takes part in the election: `campaign`, then `keep`, and `release` at the end."""

    kubernetes: Kubernetes
    fence: LeaseFence
    name: LeaseName
    identity: str
    timing: Timing
    now: Callable[[], datetime]  # the wall clock, written into the Lease for people only
    clock: Callable[[], timedelta]
    standby: str | None = None  # the text of /readyz while another replica leads
    _seen_version: str = ""
    _seen_at: timedelta = timedelta()
    _claimed_at: datetime | None = None
    """acquireTime of the last attempt. The request may succeed although its response is lost."""
    _held: Lease | None = None
    _keeper: asyncio.Task[object] | None = field(default=None, repr=False)

    async def campaign(self, report: Callable[[str | None], None]) -> str | None:
        """Tries to take the Lease every retry period. Returns None once this replica leads.

        Returns a problem with its remedy if only a person can fix it.
        report: called after each attempt with a problem that may be temporary, or None.
        """
        while True:
            problem = None
            try:
                async with asyncio.timeout(self.timing.attempt.total_seconds()):
                    if await self._take():
                        break
            except (ApiError, TimeoutError) as error:
                problem = f"leader election by the Lease {self.name}: {_message(error)}"
                if _is_permanent(error):
                    return f"{problem}; {HINT}"
            report(problem)
            await asyncio.sleep(self.timing.retry.total_seconds())
        self.standby = None
        log.info("%s is the leader, by the Lease %s", self.identity, self.name)
        return None

    async def keep(self, on_failure: Callable[[], None]) -> None:
        """Renews the Lease until it is lost. Then raises LostError.

        on_failure: called for each renewal that fails.
        """
        self._keeper = asyncio.current_task()
        try:
            await self._renew_until_lost(on_failure)
        except LostError as error:
            self.fence.close_lost()
            log.error("%s; exiting", error)  # noqa: TRY400 - no traceback needed
            raise

    async def release(self) -> None:
        """Releases the Lease, so that another replica leads at once. Never raises or takes long."""
        is_leader = self.fence.remaining() > timedelta()
        self.fence.close()
        if self._held is None or not is_leader:
            return
        try:
            async with asyncio.timeout(RELEASE_WITHIN.total_seconds()):
                await self._release()
            log.info("%s released the Lease %s", self.identity, self.name)
        except (ApiError, TimeoutError, LostError) as error:
            log.warning("the Lease %s was not released: %s", self.name, _message(error))

    async def _take(self) -> bool:
        """Reads the Lease and takes it if it is free. Whether this replica leads now.

        Tries again if another replica was faster, so that a ready standby knows its leader.
        """
        for _ in range(2):
            lease = await self.kubernetes.lease(self.name)
            if lease and not self._is_free(lease):
                return False
            sent_at = self.clock()
            term = self._next_term(lease)
            try:
                held = await self._write(lease, term)
            except ConflictError:
                continue
            except NotFoundError:
                if lease is None:
                    raise
                continue  # it was deleted since it was read
            self._hold(held, sent_at)
            return True
        return False

    async def _write(self, lease: Lease | None, term: Term) -> Lease:
        if lease is None:
            return await self.kubernetes.create_lease(self.name, term)
        return await self.kubernetes.replace_lease(self.name, lease, term)

    def _is_free(self, lease: Lease) -> bool:
        holder = lease.term.holder
        if lease.resource_version != self._seen_version:
            self._seen_version, self._seen_at = lease.resource_version, self.clock()
        if not holder or self._is_own(lease):
            return True
        standby = f"standby; the leader is {quoted(holder)[1:-1]}"
        if standby != self.standby:
            log.info("%s, by the Lease %s", standby, self.name)
        self.standby = standby
        return self.clock() - self._seen_at >= max(self.timing.duration, lease.term.duration)

    def _is_own(self, lease: Lease) -> bool:
        """Compares acquireTime too: another replica or a predecessor may have the same name."""
        own = (self.identity, self._claimed_at)
        return self._claimed_at is not None and (lease.term.holder, lease.term.acquired_at) == own

    def _next_term(self, lease: Lease | None) -> Term:
        now = self.now()
        if lease and self._is_own(lease):
            return replace(lease.term, duration=self.timing.duration, renewed_at=now)
        self._claimed_at = now
        transitions = lease.term.transitions + 1 if lease else 0
        return Term(self.identity, self.timing.duration, now, now, transitions)

    async def _renew_until_lost(self, on_failure: Callable[[], None]) -> None:
        next_at = self.clock() + self.timing.retry
        while True:
            # After a renewal that took longer than the retry period the next one starts at once:
            # the remaining time may just suffice for it.
            pause = min(next_at - self.clock(), self.fence.remaining())
            await asyncio.sleep(max(pause.total_seconds(), 0))
            next_at = self.clock() + self.timing.retry
            remaining = self.fence.remaining()
            if remaining <= timedelta():
                deadline = format_duration(self.timing.deadline)
                raise self._lost_error(f"no renewal succeeded within {deadline}")
            try:
                async with asyncio.timeout(min(self.timing.attempt, remaining).total_seconds()):
                    await self._renew()
            except (ApiError, TimeoutError) as error:
                on_failure()
                left = max(self.fence.remaining().total_seconds(), 0)
                message = "the Lease %s was not renewed, %.1f s remain: %s"
                log.warning(message, self.name, left, _message(error))

    async def _renew(self) -> None:
        """Renews the Lease, and tries again if it changed.

        Another client may have changed it, or an earlier renewal whose response was lost.
        """
        try:
            await self._replace()
        except (ConflictError, NotFoundError):
            self._held = await self._read_own()
            await self._replace()

    async def _replace(self) -> None:
        assert self._held is not None
        sent_at, term = self.clock(), self._next_term(self._held)
        self._hold(await self.kubernetes.replace_lease(self.name, self._held, term), sent_at)

    async def _read_own(self) -> Lease:
        """Reads the Lease. Raises LostError if this replica no longer holds it."""
        lease = await self.kubernetes.lease(self.name)
        if lease is None:
            raise self._lost_error("it was deleted")
        if self._is_own(lease):
            return lease
        holder = lease.term.holder
        raise self._lost_error(f"{quoted(holder)} holds it" if holder else "it has no holder")

    async def _release(self) -> None:
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))
        while self._held is not None:
            now = self.now()
            term = Term("", RELEASED_DURATION, now, now, self._held.term.transitions)
            try:
                await self.kubernetes.replace_lease(self.name, self._held, term)
            except (ConflictError, NotFoundError):
                self._held = await self._read_own()
            else:
                self._held = None

    def _hold(self, held: Lease, sent_at: timedelta) -> None:
        self._held = held
        self.fence.open_until(sent_at + self.timing.deadline)

    def _lost_error(self, cause: str) -> LostError:
        return LostError(f"the Lease {self.name} is lost: {cause}")


def _message(error: Exception) -> str:
    return str(error) or "no answer in time"


def _is_permanent(error: Exception) -> bool:
    """Whether only a person can fix it: the API server itself refuses the request.

    A permission, the Namespace or the API of Leases is missing, or the request is invalid. No
    response, or one that a gateway may have sent, is temporary.
    """
    if isinstance(error, ForbiddenError | NotFoundError):
        return True
    return type(error) is InvalidResponseError and error.code != 0
