"""What will become of a RayJob, by asking the operator's own ladder about now and about every time it waits for. Pure.

Where the ladder wants the head asked and it was not, the head is taken to have nothing against it; `head_asked` says so.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.durations import longest
from raysweep.core.model.decisions import (
    Decision,
    Delete,
    Explanation,
    Keep,
    ProbeHead,
    ProbeKind,
    Target,
    Wait,
)
from raysweep.core.model.facts import HeadList, ProbeResult, Resources
from raysweep.core.model.provenance import SourcedDuration

STEPS = 32
"""More waits in a row than there are guards that wait."""


@dataclass(frozen=True, slots=True)
class Step:
    """What the ladder says at one time."""

    at: datetime
    decision: Decision


@dataclass(frozen=True, slots=True)
class Timeline:
    """The steps from now to the end: a deletion, or what keeps it for good as things stand."""

    assessment: Assessment
    steps: tuple[Step, ...]
    targets: tuple[Target, ...] = ()  # what goes; nothing where it stays

    @property
    def decision(self) -> Decision:
        """What the ladder says now."""
        return self.steps[0].decision

    @property
    def at(self) -> datetime | None:
        """When it goes at the earliest; None: it stays."""
        return self.steps[-1].at if self.targets else None

    @property
    def explanation(self) -> Explanation:
        """What holds it longest, or lets it go now, or keeps it."""
        waits = [
            step.decision.explanation for step in self.steps if isinstance(step.decision, Wait)
        ]
        return waits[-1] if self.targets and waits else self.steps[-1].decision.explanation

    @property
    def is_due(self) -> bool:
        """Whether only the head's word is missing."""
        return (
            isinstance(self.decision, ProbeHead)
            and self.decision.question is ProbeKind.BEFORE_DELETION
        )

    @property
    def head_not_asked(self) -> bool:
        """Whether the ladder wants the head asked now, and nobody did."""
        return isinstance(self.decision, ProbeHead)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of what goes, in its order."""
        return tuple(target.kind for target in self.targets)

    @property
    def frees(self) -> Resources:
        """What the RayCluster asks for, where it goes."""
        return self.assessment.rayjob.desired if "RayCluster" in self.kinds else Resources()

    @property
    def rule(self) -> tuple[str, SourcedDuration] | None:
        """The time that decides about the first that goes, as (key, value with its source)."""
        why = self.steps[-1].decision.explanation
        if why.ttl is None or why.cluster_ttl is None:
            return None
        alone = bool(self.kinds) and "RayJob" not in self.kinds
        later = (
            self.assessment.cluster is not None
            and longest(why.ttl.value, why.cluster_ttl.value) != why.ttl.value
        )
        return ("cluster-ttl", why.cluster_ttl) if alone or later else ("ttl", why.ttl)


def foresee(assessment: Assessment, now: datetime) -> Timeline:
    """Walks from now from one waiting time to the next."""
    steps: list[Step] = []
    moment = now
    while len(steps) < STEPS:
        decision = decide(assessment, moment)
        steps.append(Step(moment, decision))
        if isinstance(decision, ProbeHead) and decision.question is ProbeKind.BEFORE_DELETION:
            decision = decide(
                replace(assessment, probe=_nothing_against_it(assessment, moment)), moment
            )
            steps.append(Step(moment, decision))
        match decision:
            case Delete(targets=targets):
                return Timeline(assessment, tuple(steps), targets)
            case Wait(until=until) if (
                until > moment and decision.explanation.due_at
            ):  # without a due time it waits for news alone
                moment = until
            case Keep() | Wait() | ProbeHead():
                break
    return Timeline(assessment, tuple(steps))


def _nothing_against_it(assessment: Assessment, now: datetime) -> ProbeResult:
    """The cluster as it was listed, and a head with no job left in its list."""
    return ProbeResult(assessment.cluster, HeadList((), now))
