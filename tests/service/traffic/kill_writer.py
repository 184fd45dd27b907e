"""A process that starts writers of one log and kills each with -9 at another moment; prints what each had promised.

    python kill_writer.py FOLDER RUNS

A child writes down, after every record, how many it has handed over and how many its writer calls written. Both are
read after its death. Importing is done once, before the first fork.
"""

import json
import mmap
import os
import signal
import struct
import sys
import time
from pathlib import Path

from clipadapt.service.traffic.writer import Writer


def write_for_ever(folder: Path, run: int, shared: mmap.mmap) -> None:
    writer = Writer(folder, append_seconds=0.01, flush_seconds=0.01, most_bytes=200_000)
    number = 0
    while True:
        kind = ("events", "answers")[number % 2]
        if writer.put(kind, {"run": run, "number": number, "filling": "x" * (number % 7) * 500}):
            number += 1
        shared[:16] = struct.pack("qq", number, writer.written)


folder, runs = Path(sys.argv[1]), int(sys.argv[2])
promised = []
for run in range(runs):
    shared = mmap.mmap(-1, 16)
    child = os.fork()
    if child == 0:
        write_for_ever(folder, run, shared)
    while struct.unpack("qq", shared[:16])[1] == 0:
        time.sleep(0.001)
    time.sleep(0.013 * run)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    promised.append(struct.unpack("qq", shared[:16]))
print(json.dumps(promised))
