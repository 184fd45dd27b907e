"""How many threads a model gets for a batch: all of them only where the batch is worth waking them.

    cores = Cores()
    with cores.of(len(texts)):
        vectors = encoder.encode_texts(texts)

Between requests torch's threads fall asleep, and each of a model's many small products wakes them again. On two cores
one text of a small tower then takes 15 ms instead of 9, one picture 31 instead of 17; sixteen pictures take a fifth
less with both (eval/LOG.md). So a batch that one thread is expected to be done with soon is left to it alone.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

import torch

SOON = 0.03
"""Seconds. Beyond them all threads help."""
_TRIED = 3
"""Batches at first that one thread makes, to see how long it takes; the first of them also warms the model up."""
_ALL = torch.get_num_threads()
"""As torch was told or found when the process began: asked later, it says what was set here."""


class Cores:
    """For one tower; one thread uses it."""

    def __init__(
        self,
        most: int = _ALL,
        limit: Callable[[int], None] = torch.set_num_threads,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._most, self._limit, self._clock = most, limit, clock
        self._batches = 0
        self._each = float("inf")
        """Seconds that one thread takes for one input, at most."""

    @contextlib.contextmanager
    def of(self, inputs: int) -> Iterator[None]:
        """For a batch of so many inputs."""
        if self._most == 1:
            yield
            return
        threads = 1 if self._batches < _TRIED or self._each * inputs <= SOON else self._most
        self._limit(threads)
        start = self._clock()
        yield
        if self._batches:
            # Several threads together are never busy for longer than one would be with all of it.
            self._each = min(self._each, threads * (self._clock() - start) / inputs)
        self._batches += 1
