"""Who leads: one replica at a time, by a Lease, and by this process's own monotonic clock alone. Nothing of RayJobs enters.

The rules are client-go's. A standby takes a Lease that was given back, or that stood still for its duration while this process
watched; nobody's wall clock is believed. The leader counts from the moment before each renewal was sent, and may write until
the renew deadline after it, which is shorter; so it has stopped when another may begin. Every step is compare-and-swap.
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
"""Giving the Lease back is a courtesy; the end of the process does not wait longer for it."""
RELEASED_FOR = timedelta(seconds=1)
"""The duration that client-go writes when it gives a Lease back; the API server wants one above 0."""
REMEDY = (
    "create the namespace and apply the Role in deploy/manifests, use another namespace (lease-namespace), "
    "or switch leader election off where nothing else runs (leader-election false)"
)


class LostError(Exception):
    """This process led and leads no more. It must end: what it knows and has begun is another's by now."""


@dataclass(frozen=True, slots=True)
class Timing:
    """duration > deadline > retry; the settings see to it."""

    duration: timedelta
    deadline: timedelta
    retry: timedelta

    @property
    def attempt(self) -> timedelta:
        """How long one look or renewal may take: at least two must fit before the deadline."""
        return self.deadline / 2


@dataclass
class Elector:
    """This replica's part in the election: `campaign`, then `keep`, and in the end `release`."""

    kubernetes: Kubernetes
    fence: LeaseFence
    name: LeaseName
    identity: str
    timing: Timing
    now: Callable[[], datetime]  # the wall clock is only written down, for people
    clock: Callable[[], timedelta]
    standby: str = ""  # what /readyz says while another leads
    _seen: str = ""  # the resourceVersion, and by the clock since when
    _seen_at: timedelta = timedelta()
    _claim: datetime | None = (
        None  # acquireTime of our last attempt: an answer may get lost after it was carried out
    )
    _held: Lease | None = None
    _keeper: asyncio.Task[object] | None = field(default=None, repr=False)

    async def campaign(self, report: Callable[[str | None], None]) -> str | None:
        """Looks at the Lease every retry period, and does nothing else, until this replica leads: None.

        A refusal that lasts until somebody acts ends the campaign: the problem with its remedy.
        report: called after each look with the problem that may pass by itself; None if there is none.
        """
        while True:
            problem = None
            try:
                async with asyncio.timeout(self.timing.attempt.total_seconds()):
                    if await self._take():
                        break
            except (ApiError, TimeoutError) as error:
                problem = f"leader election by the Lease {self.name}: {_said(error)}"
                if _lasts(error):
                    return f"{problem}; {REMEDY}"
            report(problem)
            await asyncio.sleep(self.timing.retry.total_seconds())
        self.standby = ""
        log.info("%s leads, by the Lease %s", self.identity, self.name)
        return None

    async def keep(self, failed: Callable[[], None]) -> None:
        """Renews the Lease for ever. Raises LostError where somebody else has it, or no renewal succeeded in time.

        failed: told of every renewal that did not succeed.
        """
        self._keeper = asyncio.current_task()
        try:
            await self._renew_for_ever(failed)
        except LostError as lost:
            self.fence.close_lost()
            log.error("%s; this process ends", lost)  # noqa: TRY400 - one line says it
            raise

    async def release(self) -> None:
        """Gives the Lease back, so that another leads at its next look. It never raises, nor takes long."""
        leads = self.fence.remaining() > timedelta()
        self.fence.close()
        if self._held is None or not leads:
            return
        try:
            async with asyncio.timeout(RELEASE_WITHIN.total_seconds()):
                await self._give_back()
            log.info("%s has given back the Lease %s", self.identity, self.name)
        except (ApiError, TimeoutError, LostError) as error:
            log.warning("the Lease %s was not given back: %s", self.name, _said(error))

    async def _take(self) -> bool:
        """One look, and another where somebody was quicker: a standby that calls itself ready knows who leads.

        Whether the Lease is ours now.
        """
        for _ in range(2):
            lease = await self.kubernetes.lease(self.name)
            if lease and not self._is_free(lease):
                return False
            sent = self.clock()
            term = self._term(lease)
            try:
                held = await self._write(lease, term)
            except ConflictError:
                continue
            except NotFoundError:
                if lease is None:
                    raise
                continue  # it was deleted after the look
            self._led(held, sent)
            return True
        return False

    async def _write(self, lease: Lease | None, term: Term) -> Lease:
        if lease is None:
            return await self.kubernetes.create_lease(self.name, term)
        return await self.kubernetes.replace_lease(self.name, lease, term)

    def _is_free(self, lease: Lease) -> bool:
        holder = lease.term.holder
        if lease.resource_version != self._seen:
            self._seen, self._seen_at = lease.resource_version, self.clock()
        if not holder or self._is_ours(lease):
            return True
        standby = f"standby; the leader is {quoted(holder)[1:-1]}"
        if standby != self.standby:
            log.info("%s, by the Lease %s", standby, self.name)
        self.standby = standby
        return self.clock() - self._seen_at >= max(self.timing.duration, lease.term.duration)

    def _is_ours(self, lease: Lease) -> bool:
        """The name alone does not say so: a namesake, or our predecessor, may have been given the same one."""
        return self._claim is not None and (lease.term.holder, lease.term.acquired_at) == (
            self.identity,
            self._claim,
        )

    def _term(self, lease: Lease | None) -> Term:
        now = self.now()
        if lease and self._is_ours(lease):
            return replace(lease.term, duration=self.timing.duration, renewed_at=now)
        self._claim = now
        return Term(
            self.identity,
            self.timing.duration,
            now,
            now,
            lease.term.transitions + 1 if lease else 0,
        )

    async def _renew_for_ever(self, failed: Callable[[], None]) -> None:
        next_at = self.clock() + self.timing.retry
        while True:
            # A renewal that took longer than the retry period has no time to lose: what is left may be just enough for another.
            nap = min(next_at - self.clock(), self.fence.remaining())
            await asyncio.sleep(max(nap.total_seconds(), 0))
            next_at = self.clock() + self.timing.retry
            remaining = self.fence.remaining()
            if remaining <= timedelta():
                raise self._lost(
                    f"no renewal succeeded within {format_duration(self.timing.deadline)}"
                )
            try:
                async with asyncio.timeout(min(self.timing.attempt, remaining).total_seconds()):
                    await self._renew()
            except (ApiError, TimeoutError) as error:
                failed()
                left = max(self.fence.remaining().total_seconds(), 0)
                log.warning(
                    "the Lease %s was not renewed, %.1f s are left: %s",
                    self.name,
                    left,
                    _said(error),
                )

    async def _renew(self) -> None:
        """Twice where it changed: somebody touched it, or an answer got lost and our own renewal is what changed it."""
        try:
            await self._replace()
        except (ConflictError, NotFoundError):
            self._held = await self._still_ours()
            await self._replace()

    async def _replace(self) -> None:
        assert self._held is not None
        sent = self.clock()
        self._led(
            await self.kubernetes.replace_lease(self.name, self._held, self._term(self._held)), sent
        )

    async def _still_ours(self) -> Lease:
        lease = await self.kubernetes.lease(self.name)
        if lease is None:
            raise self._lost("it was deleted")
        if not self._is_ours(lease):
            raise self._lost(
                f"{quoted(lease.term.holder)} holds it"
                if lease.term.holder
                else "somebody gave it back"
            )
        return lease

    async def _give_back(self) -> None:
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))
        while self._held is not None:
            now = self.now()
            term = Term("", RELEASED_FOR, now, now, self._held.term.transitions)
            try:
                await self.kubernetes.replace_lease(self.name, self._held, term)
            except (ConflictError, NotFoundError):
                self._held = await self._still_ours()
            else:
                self._held = None

    def _led(self, held: Lease, sent: timedelta) -> None:
        self._held = held
        self.fence.open_until(sent + self.timing.deadline)

    def _lost(self, why: str) -> LostError:
        return LostError(f"the Lease {self.name} is lost: {why}")


def _said(error: Exception) -> str:
    return str(error) or "no answer in time"


def _lasts(error: Exception) -> bool:
    """Whether it is the API server's own word, which nobody but a person changes: a right, the Namespace or Leases at all
    are missing, or the request itself is refused. No answer, and one that a gateway may have made, may be better next time.
    """
    if isinstance(error, ForbiddenError | NotFoundError):
        return True
    return type(error) is InvalidResponseError and error.code != 0
