"""How many requests one client may make in a while; counted by each worker for itself."""

import math
import time

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from clipadapt.errors import UsageError


class Rates:
    """A rate such as "20/second" or "1000/hour", for each client.

    Raises:
        UsageError: no such rate.
    """

    def __init__(self, rate: str) -> None:
        try:
            self._rate = parse(rate)
        except ValueError as error:
            raise UsageError(f"rate {rate!r}: write a number and a time, such as 20/second or 1000/hour") from error
        self._counter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def wait(self, client: str) -> int | None:
        """Counts a request; seconds until the next one is allowed, null when this one is."""
        if self._counter.hit(self._rate, client):
            return None
        return max(1, math.ceil(self._counter.get_window_stats(self._rate, client).reset_time - time.time()))
