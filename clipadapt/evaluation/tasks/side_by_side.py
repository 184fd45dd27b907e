"""Work of many queries on the cores that torch may use, its results in the order of the queries."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch

from clipadapt.threads import ordered

_MOST = 8
"""Threads; each keeps what the draws and swaps of a query's gallery take."""
One = TypeVar("One")
Result = TypeVar("Result")


def side_by_side(work: Callable[[One], Result], some: Iterable[One]) -> Iterator[Result]:
    """Like map(); numpy, which does most of the work, lets go of the interpreter lock meanwhile."""
    return ordered(work, some, threads=min(_MOST, torch.get_num_threads()))
