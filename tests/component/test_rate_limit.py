"""The token bucket."""

import time

from raysweep.controller.rate_limit import TokenBucket

SLOW = 1e-6
"""Tokens a second, so few that none comes during a test."""


def _taken(bucket: TokenBucket) -> int:
    count = 0
    while bucket.try_take():
        count += 1
    return count


def test_a_burst_is_limited() -> None:
    assert _taken(TokenBucket(SLOW, 20)) == 20


def test_an_unused_token_can_be_given_back() -> None:
    bucket = TokenBucket(SLOW, 3)
    _taken(bucket)
    bucket.give_back()
    assert _taken(bucket) == 1


def test_the_bucket_never_holds_more_than_the_burst() -> None:
    bucket = TokenBucket(SLOW, 3)
    bucket.give_back()
    assert _taken(bucket) == 3


async def test_after_the_burst_tokens_refill_with_time() -> None:
    bucket = TokenBucket(200, 1)
    began = time.monotonic()
    for _ in range(11):
        await bucket.take()
    assert time.monotonic() - began >= 10 / 200 * 0.99
