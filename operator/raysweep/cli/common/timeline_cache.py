"""Outlooks that are used again while nothing has changed, for a plan that is made every second."""

import random
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta

from raysweep.core.assessment import Assessment
from raysweep.core.timeline import Timeline, foresee

KEPT_FOR = (20.0, 40.0)
"""Seconds, at random. Time may change an outlook in other ways than by its next step."""
_FACTS = tuple(each.name for each in fields(Assessment) if each.name not in ("now", "uptime"))


@dataclass(frozen=True, slots=True)
class _Kept:
    timeline: Timeline
    since: datetime
    until: datetime


@dataclass
class TimelineCache:
    """The latest outlook of each RayJob."""

    _kept: dict[str, _Kept] = field(default_factory=dict)

    def foresee(self, assessment: Assessment) -> Timeline:
        """The outlook. It is made anew if the facts have changed, or its next step has come."""
        uid, now = assessment.rayjob.uid, assessment.now
        kept = self._kept.get(uid)
        if (
            kept
            and kept.since <= now < kept.until
            and _is_same(kept.timeline.assessment, assessment)
        ):
            return kept.timeline
        timeline = foresee(assessment)
        until = now + timedelta(seconds=random.uniform(*KEPT_FOR))
        steps = [step.at for step in timeline.steps if step.at > now]
        self._kept[uid] = _Kept(timeline, now, min([until, *steps]))
        return timeline

    def keep_only(self, uids: set[str]) -> None:
        """Drops the outlooks of other RayJobs."""
        for uid in self._kept.keys() - uids:
            del self._kept[uid]


def _is_same(assessment: Assessment, other: Assessment) -> bool:
    pairs = ((getattr(assessment, name), getattr(other, name)) for name in _FACTS)
    return all(one is another or one == another for one, another in pairs)
