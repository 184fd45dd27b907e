"""How many threads a model gets for a batch: all of them only where the batch is worth waking them.

    cores = Cores()
    with cores.of(len(texts)):
        vectors = encoder.encode_texts(texts)

Between requests torch's threads fall asleep, and each of a model's many small products wakes them again. On two cores
one text of a small tower then takes 15 ms instead of 9, one picture 31 instead of 17, while 32 clients' pictures are
encoded by 172 a second on both and by 146 on one (eval/LOG.md). So a batch that one thread is expected to be done with
soon is left to it alone. The limit is the calling thread's own: torch and everything else keep theirs.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from threadpoolctl import ThreadpoolController

SOON = 0.03
"""Seconds. Beyond them all threads help."""
_TRIED = 3
"""Batches at first of which one thread makes those of one input, to see how long it takes."""


@functools.cache
def _openmp() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="openmp")


def _one_thread() -> AbstractContextManager[object]:
    return _openmp().limit(limits=1)


class Cores:
    """For one tower; one thread uses it."""

    def __init__(
        self,
        most: int | None = None,
        alone: Callable[[], AbstractContextManager[object]] = _one_thread,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """With `most` threads, or as many as torch has."""
        self._most = most or torch.get_num_threads()
        self._alone, self._clock = alone, clock
        self._batches = 0
        self._each = float("inf")
        """Seconds in which one thread makes one input, as far as is known: as the last batch on one thread took, and at
        most what all threads together took."""

    @contextlib.contextmanager
    def of(self, inputs: int) -> Iterator[None]:
        """For a batch of so many inputs."""
        if self._most == 1:
            yield
            return
        alone = self._each * inputs <= SOON or (inputs == 1 and self._batches < _TRIED)
        start = self._clock()
        with self._alone() if alone else contextlib.nullcontext():
            yield
        took = (self._clock() - start) / inputs
        if self._batches:  # the first one also warms the model up
            self._each = took if alone else min(self._each, self._most * took)
        self._batches += 1
