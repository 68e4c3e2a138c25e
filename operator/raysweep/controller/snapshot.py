"""Computes the metrics of the current state: RayJobs by reason, and what idle clusters hold.

It goes through the whole store in steps, between which the event loop runs other tasks.
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
"""How many RayJobs are processed before the event loop gets its turn."""

Tally = dict[tuple[str, ...], float]


def take(cleaner: Cleaner, metrics: Metrics) -> Snapshot:
    """Computes the snapshot in one go."""
    steps = take_in_steps(cleaner, metrics)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Snapshot = end.value
            return result


def take_in_steps(cleaner: Cleaner, metrics: Metrics) -> Generator[None, None, Snapshot]:
    """Yields after each step, and returns the snapshot."""
    store = cleaner.store
    held = _Held(cleaner.now(), _zeros(metrics), _zeros(metrics))
    rayjobs: Counter[tuple[str, ...]] = Counter()
    unknown = 0
    for position, rayjob in enumerate(store.rayjobs.values(), 1):
        if position % STEP == 0:
            yield
        labels = metrics.namespace_labels(rayjob.namespace)
        reason = cleaner.reporter.reason_of(rayjob.uid)
        if reason:
            rayjobs[(reason, *labels)] += 1
        if store.owned_by(rayjob.uid):
            memory = store.memory(rayjob.uid)
            held.add_resources(rayjob, memory, labels)
            if reason:
                held.add_overdue(memory, (reason, *labels))
        unknown += rayjob.deployment_status not in KNOWN_DEPLOYMENT_STATUS
    entry = store.policies()
    return Snapshot(
        rayjobs=rayjobs,
        held=held.resources,
        held_seconds=held.seconds,
        overdue=held.overdue,
        unknown_states={(): unknown},
        bulk_expiry={(): len(store.bulk_expiry)},
        queue={(): len(cleaner.cleanup_queue)},
        scheduled={(): len(cleaner.delaying_queue)},
        policies=_policies(entry[0]) if entry else {},
        dry_run=_dry_run(cleaner.observer.parameters.mode, entry[0] if entry else ()),
    )


@dataclass
class _Held:
    """Sums of what existing clusters hold."""

    now: datetime
    resources: Tally
    seconds: Tally
    overdue: Tally = field(default_factory=dict)

    def add_resources(self, rayjob: RayJob, memory: Memory, labels: tuple[str, ...]) -> None:
        """Adds the resources of a RayJob that owns a cluster, if its job has ended."""
        if not kuberay_reports_end(rayjob):
            return
        since = reported_end(rayjob, memory.first_finished or self.now)
        seconds = max((self.now - since).total_seconds(), 0)
        for resource in RESOURCES:
            amount, key = getattr(rayjob.desired, resource), (resource, *labels)
            self.resources[key] = self.resources.get(key, 0) + amount
            self.seconds[key] = self.seconds.get(key, 0) + amount * seconds

    def add_overdue(self, memory: Memory, key: tuple[str, ...]) -> None:
        """Keeps the longest time past a deadline. What DryRun keeps does not count."""
        if memory.due_at is None:
            return
        if memory.kept_by_probe and memory.kept_by_probe.reason.deletes:
            return
        seconds = (self.now - memory.due_at).total_seconds()
        if seconds > 0:
            self.overdue[key] = max(seconds, self.overdue.get(key, 0))


def _zeros(metrics: Metrics) -> Tally:
    """Without the label namespace, resources that no cluster holds are 0 rather than absent."""
    return {} if metrics.by_namespace else {(resource,): 0 for resource in RESOURCES}


def _policies(policies: tuple[Policy, ...]) -> Tally:
    invalid = sum(1 for policy in policies if policy.errors)
    return {("accepted",): len(policies) - invalid, ("invalid",): invalid}


def _dry_run(mode: Mode, policies: tuple[Policy, ...]) -> Tally:
    return {
        ("setting",): mode is Mode.DRY_RUN,
        ("policy",): sum(policy.is_dry_run for policy in policies),
    }
