"""What /metrics shows of the moment: where RayJobs stand, and what the clusters of finished ones hold. Decides nothing.

It is taken of everything that is known, so it is taken in steps, between which the event loop has its turn.
"""

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import datetime

from raysweep.controller.cleaner import Cleaner
from raysweep.controller.metrics import RESOURCES, Metrics, Snapshot
from raysweep.core.finish import reported_end
from raysweep.core.job_status import KNOWN_DEPLOYMENT_STATUS, kuberay_reports_end
from raysweep.core.model.facts import Policy, RayJob
from raysweep.core.model.memory import Memory
from raysweep.core.model.parameters import Mode

STEP = 500
"""How many RayJobs are walked before the event loop gets its turn."""

Tally = dict[tuple[str, ...], float]


def take(cleaner: Cleaner, metrics: Metrics) -> Snapshot:
    """What is so right now."""
    steps = take_in_steps(cleaner, metrics)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            taken: Snapshot = end.value
            return taken


def take_in_steps(cleaner: Cleaner, metrics: Metrics) -> Generator[None, None, Snapshot]:
    """Yields after each step, and returns what was so meanwhile."""
    store, held = cleaner.store, _Held(cleaner.now(), *_zeros(metrics))
    rayjobs: Counter[tuple[str, ...]] = Counter()
    unknown = 0
    for position, job in enumerate(store.rayjobs.values(), 1):
        if position % STEP == 0:
            yield
        place, reason = metrics.place(job.namespace), cleaner.reporter.reason_of(job.uid)
        if reason:
            rayjobs[(reason, *place)] += 1
        if store.owned_by(job.uid):
            held.add(job, store.memory(job.uid), (place, reason))
        unknown += job.deployment_status not in KNOWN_DEPLOYMENT_STATUS
    known = store.policies()
    return Snapshot(
        rayjobs=rayjobs,
        held=held.resources,
        held_seconds=held.seconds,
        overdue=held.overdue,
        unknown_states={(): unknown},
        bulk_expiry={(): store.bulk_expiry_size()},
        queue={(): len(cleaner.cleanup_queue)},
        scheduled={(): len(cleaner.delaying_queue)},
        policies=_policies(known[0]) if known else {},
        dry_run=_dry_run(cleaner.observer.parameters.mode, known[0] if known else ()),
    )


@dataclass
class _Held:
    """What the clusters that are there hold, summed up."""

    now: datetime
    resources: Tally
    seconds: Tally
    overdue: Tally = field(default_factory=dict)

    def add(self, job: RayJob, memory: Memory, at: tuple[tuple[str, ...], str]) -> None:
        """A RayJob that owns a cluster. at: its place among the labels, and the reason it stands at, "" before any."""
        place, reason = at
        if kuberay_reports_end(job):
            since = reported_end(job, memory.first_finished or self.now)
            seconds = max((self.now - since).total_seconds(), 0)
            for resource in RESOURCES:
                amount, key = getattr(job.desired, resource), (resource, *place)
                self.resources[key] = self.resources.get(key, 0) + amount
                self.seconds[key] = self.seconds.get(key, 0) + amount * seconds
        late = (self.now - memory.due_at).total_seconds() if memory.due_at else 0
        is_observed = memory.kept_by_probe is not None and memory.kept_by_probe.reason.deletes
        if reason and late > 0 and not is_observed:
            self.overdue[(reason, *place)] = max(late, self.overdue.get((reason, *place), 0))


def _zeros(metrics: Metrics) -> tuple[Tally, Tally]:
    """Nothing held is 0 and not unknown; of namespaces only those that hold something are told."""
    resources = () if metrics.by_namespace else RESOURCES
    return {(resource,): 0 for resource in resources}, {(resource,): 0 for resource in resources}


def _policies(policies: tuple[Policy, ...]) -> Tally:
    invalid = sum(1 for policy in policies if policy.errors)
    return {("accepted",): len(policies) - invalid, ("invalid",): invalid}


def _dry_run(mode: Mode, policies: tuple[Policy, ...]) -> Tally:
    return {
        ("setting",): mode is Mode.DRY_RUN,
        ("policy",): sum(policy.is_dry_run for policy in policies),
    }
