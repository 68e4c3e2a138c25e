"""Builds the Events about decisions, as events.k8s.io/v1 objects. Posts nothing."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from raysweep import names
from raysweep.cleanup.act import DeletionResult
from raysweep.core.model.decisions import Explanation, Target
from raysweep.core.model.facts import Namespace, Policy, RayJob
from raysweep.core.model.reasons import Reason

MAX_NOTE_BYTES = 1000
"""The API server accepts 1024."""


@dataclass(frozen=True, slots=True)
class EventContent:
    """What an Event says, and which object it regards."""

    regarding: RayJob | Namespace | Policy
    reason: Reason
    action: str
    note: str


def names_of(targets: Iterable[Target], pods: int = 0) -> str:
    """`RayJob train and RayCluster train-x7k2p and its 3 Pods`."""
    names = [f"{target.kind} {target.name}" for target in targets]
    if pods:
        names.append(f"its {pods} Pods" if pods > 1 else "its Pod")
    return " and ".join(names)


def deletion_note(deletion: DeletionResult, explanation: Explanation) -> str:
    """The note of a deletion's Event."""
    description = explanation.reason.description
    names = names_of(deletion.deleted, deletion.pods)
    return f"Deleted {names}. {description} {explanation.message}"


def body(content: EventContent, now: datetime, instance: str) -> dict[str, Any]:
    """The Event as JSON. Its content determines its name, so a restart emits no duplicate."""
    regarding = content.regarding
    identity = f"{regarding.uid}/{content.reason}/{regarding.resource_version}".encode()
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{regarding.name}.{hashlib.sha256(identity).hexdigest()[:16]}"},
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "type": "Warning" if content.reason.is_warning else "Normal",
        "reason": content.reason.value,
        "action": content.action,
        "note": _truncate(content.note),
        "regarding": _reference(regarding),
        "reportingController": names.EVENT_REPORTER,
        "reportingInstance": instance,
    }


def _reference(regarding: RayJob | Namespace | Policy) -> dict[str, str]:
    reference = {
        "name": regarding.name,
        "uid": regarding.uid,
        "resourceVersion": regarding.resource_version,
    }
    if isinstance(regarding, RayJob):
        reference["namespace"] = regarding.namespace
        return reference | {
            "apiVersion": f"{names.RAY_GROUP}/{names.RAY_VERSION}",
            "kind": "RayJob",
        }
    if isinstance(regarding, Namespace):
        return reference | {"apiVersion": "v1", "kind": "Namespace"}
    return reference | {
        "apiVersion": f"{names.POLICY_GROUP}/{names.POLICY_VERSION}",
        "kind": names.POLICY_KIND,
    }


def _truncate(note: str) -> str:
    encoded = note.encode()
    if len(encoded) <= MAX_NOTE_BYTES:
        return note
    return encoded[: MAX_NOTE_BYTES - 3].decode(errors="ignore") + "…"
