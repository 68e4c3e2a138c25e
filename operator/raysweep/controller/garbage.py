"""Keeps Python's garbage collector from holding the event loop, and memory from growing between its runs.

A full collection visits every object that is not frozen. With 100,000 RayJobs that takes hundreds of
milliseconds, and by default it runs again and again while they are listed and judged. Facts and
memories have no reference cycles, so nothing is gained by it. What does have some, such as Kopf's
views of large objects, must go soon.
"""

import gc
import time

THRESHOLDS = (2_000, 5, 1_000_000)
"""Objects made before the youngest are visited, and collections before the next generation is; the
last one keeps full collections from running by themselves."""
EVERY = 2.0
"""Seconds between two calls of `collect`."""
MANY = 10_000
"""So many judgements leave more than may be visited at once."""
LONG = 0.03
"""Seconds that a full collection may take before what it left is not visited any more."""


def spare() -> None:
    """Call once, when the process starts: no full collection runs by itself from now on."""
    gc.set_threshold(*THRESHOLDS)


def collect(judged: int) -> None:
    """Collects what came since it was last called; after many judgements that is taken for lasting, unvisited."""
    if judged < MANY:
        began = time.monotonic()
        gc.collect()
        if time.monotonic() - began < LONG:
            return
    gc.freeze()
