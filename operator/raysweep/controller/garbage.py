"""Keeps Python's garbage collector from holding the event loop.

A full collection visits every object that is known: with 100,000 RayJobs it takes hundreds of
milliseconds, and by default it runs again and again while they are listed. RayJobs and their facts
have no reference cycles, so nothing is gained by it.
"""

import gc

THRESHOLDS = (2_000, 5, 1_000_000)
"""Objects made before the youngest are visited, and collections before the next generation is; the
last one keeps full collections from running by themselves."""
MANY = 10_000


def spare() -> None:
    """Call once, when the process starts: no full collection runs by itself from now on."""
    gc.set_threshold(*THRESHOLDS)


def settle(judged: int) -> None:
    """Call after each complete list: what is known by then is not visited any more.

    judged: how many judgements were taken since the last call. After a few, what came since is
    collected first. After many, that would hold the loop, and what came are facts and memories.
    """
    if judged < MANY:
        gc.collect()
    gc.freeze()
