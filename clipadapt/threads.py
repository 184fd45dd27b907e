"""Work in threads whose results come in the order of their inputs: decoding, hashing, the queries of one gallery.

Threads and not processes, for Pillow, hashlib and numpy let go of the interpreter's lock while they work.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def ordered(
    function: Callable[[_In], _Out],
    inputs: Iterable[_In],
    *,
    threads: int | None = None,
    waiting: int | None = None,
) -> Generator[_Out, None, None]:
    """As map(), in `threads` threads (null: one per core), `waiting` results ahead of the reader (null: 4 a thread).

    An error of `function` is raised in its place; what has not begun by then is left.
    """
    threads = threads or os.cpu_count() or 1
    waiting = 4 * threads if waiting is None else waiting
    begun: deque[Future[_Out]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for one in inputs:
            begun.append(pool.submit(function, one))
            if len(begun) > waiting:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        # Not waited for: a reader that stops half-way leaves this to the garbage collector, which may run in one of
        # these very threads, and a thread cannot wait for itself.
        pool.shutdown(wait=False, cancel_futures=True)
