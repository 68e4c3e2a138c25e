"""Keeps Python's garbage collector from blocking the event loop, and memory from growing.

A full collection visits every object that is not frozen. With 100,000 RayJobs that takes hundreds
of milliseconds, and by default it runs again and again while they are listed and judged. Facts and
memories have no reference cycles, so it would free nothing. Other objects have some, such as
Kopf's views of large objects, and must be freed soon.
"""

import gc
import time

THRESHOLDS = (2_000, 5, 1_000_000)
"""Allocations before a collection of the youngest generation, and collections of one generation
before one of the next. The last value keeps full collections from running by themselves."""
EVERY = 2.0
"""Seconds between two calls of `collect`."""
MANY = 10_000
"""After this many judgements there are too many new objects to visit at once."""
SLOW = 0.03
"""If a full collection takes longer, in seconds, the remaining objects are not visited again."""


def configure() -> None:
    """Turns off automatic full collections. Call it once, when the process starts."""
    gc.set_threshold(*THRESHOLDS)


def collect(judgements: int) -> None:
    """Collects garbage and freezes what should not be visited again.

    judgements: how many were made since the last call. After many, nothing is visited.
    """
    if judgements < MANY:
        began = time.monotonic()
        gc.collect()
        if time.monotonic() - began < SLOW:
            return
    gc.freeze()
