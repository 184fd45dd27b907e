"""Free memory back to the system, between parts of a job that have nothing to do with one another.

glibc keeps what was freed for the next allocation, and where blocks in use lie between, for good: a service grew by
10 MB with each of 20 releases under 32 clients (eval/benchmarks/serve_promotions.py), and each part of a training went
on top of what the one before had left. Nothing here knows what was freed.
"""

import ctypes
import gc


def give_back() -> None:
    """Frees what lies in cycles, as what is left of a model does, and gives free memory back to the system.

    For the seams of a job: what runs next has to ask for its memory anew. Other C libraries have no such call, and are
    left alone.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
