"""The Events that tell of decisions, as events.k8s.io/v1 bodies. Who posts them, and how often, is no matter here."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from raysweep import names
from raysweep.core.model.decisions import Explanation, Target
from raysweep.core.model.facts import Namespace, Policy, RayJob
from raysweep.core.model.reasons import Reason

LONGEST_NOTE = 1000
"""In bytes; the API server takes 1024."""


@dataclass(frozen=True, slots=True)
class About:
    """What is told, of what."""

    thing: RayJob | Namespace | Policy
    reason: Reason
    action: str
    note: str


def deleted(targets: Iterable[Target], why: Explanation) -> str:
    """The note of a deletion."""
    what = " and ".join(f"{target.kind} {target.name}" for target in targets)
    return f"Deleted {what}. {why.reason.description} {why.message}"


def body(about: About, now: datetime, instance: str) -> dict[str, Any]:
    """The name follows from what is told, so that a restart does not tell it again."""
    thing, reason = about.thing, about.reason
    told = f"{thing.uid}/{reason}/{thing.resource_version}".encode()
    regarding: dict[str, str] = {
        "name": thing.name,
        "uid": thing.uid,
        "resourceVersion": thing.resource_version,
    }
    if isinstance(thing, RayJob):
        group = f"{names.RAY_GROUP}/{names.RAY_VERSION}"
        regarding |= {"apiVersion": group, "kind": "RayJob", "namespace": thing.namespace}
    elif isinstance(thing, Namespace):
        regarding |= {"apiVersion": "v1", "kind": "Namespace"}
    else:
        regarding |= {
            "apiVersion": f"{names.POLICY_GROUP}/{names.POLICY_VERSION}",
            "kind": names.POLICY_KIND,
        }
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{thing.name}.{hashlib.sha256(told).hexdigest()[:16]}"},
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "type": "Warning" if reason.is_warning else "Normal",
        "reason": reason.value,
        "action": about.action,
        "note": _cut(about.note),
        "regarding": regarding,
        "reportingController": names.EVENT_REPORTER,
        "reportingInstance": instance,
    }


def _cut(note: str) -> str:
    encoded = note.encode()
    return (
        note
        if len(encoded) <= LONGEST_NOTE
        else encoded[: LONGEST_NOTE - 3].decode(errors="ignore") + "…"
    )
