"""Work in threads whose results come in the order of their inputs: decoding, hashing, the queries of one gallery.

Threads and not processes, for Pillow, hashlib, numpy and FAISS let go of the interpreter's lock while they work.
What is in no hurry gives way to the other processes of the machine.
"""

import contextlib
import functools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")

NICENESS = 10
"""What `give_way` goes to. Linux weighs it as 110, and what asks for nothing as 1,024 (sched_prio_to_weight)."""


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


def together(function: Callable[[_In], _Out], inputs: Sequence[_In]) -> list[_Out]:
    """As list(map()), all inputs at once and the first in this thread: for parts of work that takes milliseconds.

    The threads are kept, one per core. What none of them has begun when this thread is done with its own, it does as
    well: on a machine that is busy with other work, to wait for a thread takes longer than many a search.
    """
    if len(inputs) < 2:
        return [function(one) for one in inputs]
    waiting = [_pool().submit(function, one) for one in inputs[1:]]
    results = {0: function(inputs[0])}
    for number in range(len(inputs) - 1, 0, -1):  # from the end, for threads begin with the first
        if waiting[number - 1].cancel():
            results[number] = function(inputs[number])
    return [results[number] if number in results else waiting[number - 1].result() for number in range(len(inputs))]


def give_way() -> None:
    """Lowers this process's priority for good, if it is not as low already: others that share its cores go first.

    For a process whose only work is in no hurry. Where the system does not let it, the priority stays: nothing but
    time depends on it.
    """
    # Linux ranks each thread by itself, and those of numpy and torch began when they were imported.
    threads = [int(thread.name) for thread in Path("/proc/self/task").glob("[0-9]*")] or [0]
    for thread in threads:
        with contextlib.suppress(OSError):  # it has ended, or may not
            if os.getpriority(os.PRIO_PROCESS, thread) < NICENESS:
                os.setpriority(os.PRIO_PROCESS, thread, NICENESS)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="together")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads are not in a process that was forked
