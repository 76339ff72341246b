"""Token buckets: so many a second, with a burst; the clock is passed in."""

from __future__ import annotations

import time
from collections.abc import Callable

from dolake.errors import RateLimitedError

_BURST_SECONDS = 2.0


class TokenBucket:
    """Lets `rate` things a second pass, and twice as many at once after a pause.

    Source: the token bucket of RFC 2697, without its second bucket.
    """

    def __init__(
        self, rate: Callable[[], float], what: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._what = what
        self._clock = clock
        self._tokens = rate() * _BURST_SECONDS
        self._at = clock()

    def take(self) -> None:
        """Let one pass. Errors: RateLimitedError, with how long to wait for the next."""
        rate, now = self._rate(), self._clock()
        self._tokens = min(self._tokens + (now - self._at) * rate, rate * _BURST_SECONDS)
        self._at = now
        if self._tokens < 1:
            raise RateLimitedError(
                f"more than {rate:g} {self._what} a second", (1 - self._tokens) / rate
            )
        self._tokens -= 1
