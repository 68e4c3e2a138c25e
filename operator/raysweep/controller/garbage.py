"""Keeps Python's garbage collector from holding the event loop.

A full collection visits every object that is known: with 100,000 RayJobs it takes hundreds of
milliseconds, and by default it runs again and again while they are listed. RayJobs and their facts
have no reference cycles, so nothing is gained by it.
"""

import gc

THRESHOLDS = (10_000, 5, 1_000_000)
"""Objects made before the youngest are visited, and collections before the next generation is; the
last one keeps full collections from running by themselves."""


def spare() -> None:
    """Call once, when the process starts: no full collection runs by itself from now on."""
    gc.set_threshold(*THRESHOLDS)


def settle() -> None:
    """Call after each complete list: what is known by then is not visited any more.

    What came since the last call is collected first. The first call collects nothing, since it
    would visit the whole first list.
    """
    if gc.get_freeze_count():
        gc.collect()
    gc.freeze()
