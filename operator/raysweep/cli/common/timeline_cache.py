"""Outlooks that are used again while nothing has changed, for a plan that is made every second."""

import random
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta

from raysweep.core.assessment import Case
from raysweep.core.timeline import Outlook, foresee

KEPT_FOR = (20.0, 40.0)
"""Seconds, at random. Time may change an outlook in other ways than by its next step."""
_FACTS = tuple(each.name for each in fields(Case) if each.name != "uptime")


@dataclass(frozen=True, slots=True)
class _Kept:
    outlook: Outlook
    since: datetime
    until: datetime


@dataclass
class OutlookCache:
    """The latest outlook of each RayJob."""

    _kept: dict[str, _Kept] = field(default_factory=dict)

    def foresee(self, case: Case, now: datetime) -> Outlook:
        """The outlook. It is made anew if the facts have changed, or its next step has come."""
        uid = case.rayjob.uid
        kept = self._kept.get(uid)
        if kept and kept.since <= now < kept.until and _is_same(kept.outlook.case, case):
            return kept.outlook
        outlook = foresee(case, now)
        until = now + timedelta(seconds=random.uniform(*KEPT_FOR))
        steps = [step.at for step in outlook.steps if step.at > now]
        self._kept[uid] = _Kept(outlook, now, min([until, *steps]))
        return outlook

    def keep_only(self, uids: set[str]) -> None:
        """Drops the outlooks of other RayJobs."""
        for uid in self._kept.keys() - uids:
            del self._kept[uid]


def _is_same(case: Case, other: Case) -> bool:
    pairs = ((getattr(case, name), getattr(other, name)) for name in _FACTS)
    return all(one is another or one == another for one, another in pairs)
