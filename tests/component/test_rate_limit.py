"""The token bucket."""

import asyncio
from dataclasses import dataclass, field

from raysweep.controller.rate_limit import TokenBucket


@dataclass
class Clock:
    """A clock that only sleeping moves. A sleep takes a little longer than asked."""

    seconds: float = 0.0
    sleeps: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.seconds += seconds + 1e-6
        await asyncio.sleep(0)


async def _times(bucket: TokenBucket, clock: Clock, count: int) -> list[float]:
    """When each of `count` tasks that begin together gets its token."""

    async def taken() -> float:
        await bucket.take()
        return round(clock.seconds, 3)

    return await asyncio.gather(*(taken() for _ in range(count)))


async def test_after_the_burst_tokens_refill_with_time_first_come_first_served() -> None:
    clock = Clock()
    bucket = TokenBucket(5, 2, clock.now, clock.sleep)
    assert await _times(bucket, clock, 5) == [0, 0, 0.2, 0.4, 0.6]


async def test_the_bucket_never_holds_more_than_the_burst() -> None:
    clock = Clock()
    bucket = TokenBucket(5, 2, clock.now, clock.sleep)
    clock.seconds = 3600
    assert await _times(bucket, clock, 3) == [3600, 3600, 3600.2]


async def test_only_the_first_of_many_waiters_sleeps() -> None:
    clock = Clock()
    bucket = TokenBucket(5, 1, clock.now, clock.sleep)
    await _times(bucket, clock, 101)
    assert len(clock.sleeps) <= 200


async def test_a_closed_bucket_hands_out_no_more_tokens() -> None:
    clock = Clock()
    bucket = TokenBucket(5, 2, clock.now, clock.sleep)
    await bucket.take()
    bucket.close()
    waiter = asyncio.create_task(bucket.take())
    await asyncio.sleep(0.01)
    assert not waiter.done()
    waiter.cancel()
