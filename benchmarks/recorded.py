"""RayJobs as a real KubeRay wrote them (tests/samples), each copied under its own name and uid."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parent.parent / "tests" / "samples"
FINISHED = (
    "succeeded",
    "failed",
    "stopped",
    "sidecar-succeeded",
    "interactive-succeeded",
    "failed-after-retry",
)
"""None of them has a TTL of KubeRay that Raysweep would apply."""
TIMES = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")

Body = dict[str, Any]


def texts(kinds: tuple[str, ...] = FINISHED) -> list[str]:
    """The JSON of these samples."""
    return [(SAMPLES / f"rayjob-{kind}.json").read_text() for kind in kinds]


def copy(text: str, number: int, namespace: str) -> Body:
    """The sample under the name and uid of this number. It names no existing RayCluster."""
    body: Body = json.loads(text)
    body["metadata"]["namespace"] = namespace
    body["metadata"]["name"] = f"train-{number}"
    body["metadata"]["uid"] = f"00000000-0000-4000-8000-{number:012d}"
    body["status"]["rayClusterName"] = f"train-{number}-raycluster"
    return body


def copies(numbers: range, namespaces: int) -> Iterator[Body]:
    """Finished RayJobs of all kinds, spread over the namespaces team-0, team-1 and so on."""
    samples = texts()
    for number in numbers:
        yield copy(samples[number % len(samples)], number, f"team-{number % namespaces}")


def due(numbers: range, namespaces: int, ended_at: datetime) -> Iterator[Body]:
    """Copies whose job has ended then, with a TTL of 0 and without a RayCluster.

    They have no finalizer of KubeRay, so they are gone once they are deleted.
    """
    time = ended_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    samples = [TIMES.sub(time, text) for text in texts()]
    for number in numbers:
        body = copy(samples[number % len(samples)], number, f"team-{number % namespaces}")
        body["metadata"]["annotations"] = {"raysweep.io/ttl": "0"}
        body["status"]["rayClusterName"] = ""
        del body["metadata"]["finalizers"]
        yield body


def kib(bodies: list[Body]) -> float:
    """The average size of their compact JSON, in KiB."""
    sizes = [len(json.dumps(body, separators=(",", ":"))) for body in bodies]
    return sum(sizes) / len(sizes) / 1024
