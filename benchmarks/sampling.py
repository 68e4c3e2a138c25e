"""Reads one metric of a running operator again and again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime

from tests.support.operator_process import Operator
from tests.support.workbench import utc_now

EVERY = 0.25
"""Seconds."""

Samples = list[tuple[datetime, float]]


@contextlib.asynccontextmanager
async def sampled(operator: Operator, metric: str) -> AsyncIterator[Samples]:
    """Fills a list during the block. It stays empty if the name of the metric is empty."""
    samples: Samples = []

    async def read() -> None:
        while True:
            samples.append((utc_now(), await operator.metric(metric)))
            await asyncio.sleep(EVERY)

    reading = asyncio.create_task(read()) if metric else None
    try:
        yield samples
    finally:
        if reading:
            reading.cancel()
