"""What a process holds without using it: free memory that is not given back, and kernels that are not met again.

glibc keeps what was freed for the next allocation, and where blocks in use lie between, for good: a service grew by
10 MB with each of 20 releases under 32 clients (eval/benchmarks/serve_promotions.py), and each part of a training went
on top of what the one before had left. oneDNN, which multiplies torch's bf16 matrices on a CPU, compiles a kernel for
each shape and keeps 1,024 of them, and torch keeps as many beside it: every step over texts has a shape of its own.
Nothing here knows what was freed or multiplied.
"""

import ctypes
import gc
import os

KERNELS = 256
"""Kept by each of the two: twice those of a step's own shapes, which are what comes again. A step of both towers has
about a hundred, and with too few kept each would be made anew every time."""


def bound_kernels() -> None:
    """Fewer kernels are kept, unless the environment says how many. To be called before the first product: both read
    it then. Results are the same.
    """
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, str(KERNELS))


def trim() -> None:
    """Gives free memory back to the system; other C libraries than glibc have no such call, and are left alone."""
    call = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if call is not None:
        call(ctypes.c_size_t(0))


def give_back() -> None:
    """The same, after what lies in cycles was freed, as what is left of a model does.

    For the seams of a job: it looks at every object of the process, half a second of a processor and more, and what
    runs next has to ask for its memory anew.
    """
    gc.collect()
    trim()
