"""Foresees what happens to a RayJob, by the operator's own checks at each time it waits for. Pure.

If a check wants to probe the head before a deletion, the timeline assumes that the head reports
no reason to keep the RayJob. `head_not_asked` is true then.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.durations import longest
from raysweep.core.model.decisions import Decision, Delete, Explanation, ProbeHead, Target, Wait
from raysweep.core.model.facts import HeadList, ProbeKind, ProbeResult, Resources
from raysweep.core.model.provenance import SourcedDuration

MOST_STEPS = 32
"""More than the waits of all checks in a row."""


@dataclass(frozen=True, slots=True)
class Step:
    """The decision at one time."""

    at: datetime
    decision: Decision


@dataclass(frozen=True, slots=True)
class Timeline:
    """The steps from now to a deletion, or to what keeps the RayJob as things stand."""

    assessment: Assessment
    steps: tuple[Step, ...]
    targets: tuple[Target, ...] = ()
    """What is deleted; nothing if the RayJob stays."""

    @property
    def decision(self) -> Decision:
        """The decision now."""
        return self.steps[0].decision

    @property
    def at(self) -> datetime | None:
        """The earliest time of the deletion. None: the RayJob stays."""
        return self.steps[-1].at if self.targets else None

    @property
    def explanation(self) -> Explanation:
        """Why it waits longest, is deleted now, or is kept."""
        waits = [each.decision for each in self.steps if isinstance(each.decision, Wait)]
        if self.targets and waits:
            return waits[-1].explanation
        return self.steps[-1].decision.explanation

    @property
    def is_due(self) -> bool:
        """Whether only the probe of the head before a deletion is missing."""
        return _wants_deletion_probe(self.decision)

    @property
    def head_not_asked(self) -> bool:
        """Whether a check wants to probe the head now, and the head was not probed."""
        return isinstance(self.decision, ProbeHead)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the targets, in the order of deletion."""
        return tuple(target.kind for target in self.targets)

    @property
    def frees(self) -> Resources:
        """The resources that the RayCluster requests, if it is deleted."""
        return self.assessment.rayjob.desired if "RayCluster" in self.kinds else Resources()

    @property
    def rule(self) -> tuple[str, SourcedDuration] | None:
        """The TTL that decides about the first deletion: its key, and its value with the source."""
        explanation = self.steps[-1].decision.explanation
        ttl, cluster_ttl = explanation.ttl, explanation.cluster_ttl
        if ttl is None or cluster_ttl is None:
            return None
        is_cluster_alone = bool(self.kinds) and "RayJob" not in self.kinds
        is_cluster_later = longest(ttl.value, cluster_ttl.value) != ttl.value
        if is_cluster_alone or (self.assessment.cluster is not None and is_cluster_later):
            return "cluster-ttl", cluster_ttl
        return "ttl", ttl


def foresee(assessment: Assessment) -> Timeline:
    """Steps from the assessment's time from one wait to the next."""
    steps: list[Step] = []
    at_step = assessment
    while len(steps) < MOST_STEPS:
        decision = decide(at_step)
        steps.append(Step(at_step.now, decision))
        if _wants_deletion_probe(decision):
            decision = decide(replace(at_step, probe=_favorable_probe(at_step)))
            steps.append(Step(at_step.now, decision))
        if isinstance(decision, Delete):
            return Timeline(assessment, tuple(steps), decision.targets)
        if not isinstance(decision, Wait) or decision.until <= at_step.now:
            break
        if decision.explanation.due_at is None:
            break  # it waits for news, not for a time
        at_step = replace(at_step, now=decision.until)
    return Timeline(assessment, tuple(steps))


def _wants_deletion_probe(decision: Decision) -> bool:
    return isinstance(decision, ProbeHead) and decision.kind is ProbeKind.BEFORE_DELETION


def _favorable_probe(assessment: Assessment) -> ProbeResult:
    """The cluster as it was listed, and a head without jobs."""
    return ProbeResult(assessment.cluster, HeadList((), assessment.now))
