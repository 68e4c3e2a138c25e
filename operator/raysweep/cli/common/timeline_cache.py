"""Timelines that are reused while nothing has changed, for a plan that is made every second."""

import random
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta

from raysweep.core.assessment import Assessment
from raysweep.core.timeline import Timeline, foresee

LIFETIME = (20.0, 40.0)
"""Seconds, at random. Time may change a timeline in other ways than by its next step."""
_FACTS = tuple(fact.name for fact in fields(Assessment) if fact.name not in ("uptime", "now"))


@dataclass(frozen=True, slots=True)
class _CachedTimeline:
    timeline: Timeline
    since: datetime
    until: datetime


@dataclass
class TimelineCache:
    """The latest timeline of each RayJob."""

    _timelines: dict[str, _CachedTimeline] = field(default_factory=dict)

    def foresee(self, assessment: Assessment) -> Timeline:
        """The timeline. It is made anew if the facts have changed or its next step has come."""
        uid, now = assessment.rayjob.uid, assessment.now
        cached = self._timelines.get(uid)
        is_current = cached is not None and cached.since <= now < cached.until
        if cached and is_current and _has_same_facts(cached.timeline.assessment, assessment):
            return cached.timeline
        timeline = foresee(assessment)
        until = now + timedelta(seconds=random.uniform(*LIFETIME))
        next_steps = [step.at for step in timeline.steps if step.at > now]
        self._timelines[uid] = _CachedTimeline(timeline, now, min([until, *next_steps]))
        return timeline

    def keep_only(self, uids: set[str]) -> None:
        """Drops the timelines of other RayJobs."""
        for uid in self._timelines.keys() - uids:
            del self._timelines[uid]


def _has_same_facts(assessment: Assessment, other: Assessment) -> bool:
    for name in _FACTS:
        fact, other_fact = getattr(assessment, name), getattr(other, name)
        if fact is not other_fact and fact != other_fact:
            return False
    return True
