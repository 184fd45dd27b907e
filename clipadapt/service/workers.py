"""Several processes behind one port: a parent that starts them, starts one again that crashed, and ends all together.

    run_workers(4, listening)     in the parent; each worker is the same command, which takes the port by `inherited`

Each worker loads the model for itself, so memory grows with their number; /metrics of any of them answers for all. A
worker that ends by itself, because it cannot serve what was named, ends all with its exit code.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from types import FrameType

from prometheus_client import multiprocess

from clipadapt.service.metrics import DIRECTORY

_SOCKET = "CLIPADAPT_SERVE_SOCKET"
_LOOK = 0.2
"""Seconds between two looks at the workers."""


def inherited() -> socket.socket | None:
    """The open port, in a worker; null in any other process."""
    number = os.environ.get(_SOCKET)
    return None if number is None else socket.socket(fileno=int(number))


def run_workers(count: int, listening: socket.socket) -> int:
    """Runs this very command `count` times on one port until a signal ends it; the exit code."""
    listening.set_inheritable(True)
    ending = False

    def end(_: int, __: FrameType | None) -> None:
        nonlocal ending
        ending = True

    with _handled(end), tempfile.TemporaryDirectory(prefix="clipadapt-metrics-") as counted:
        environment = os.environ | {_SOCKET: str(listening.fileno()), DIRECTORY: counted}

        def start() -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "clipadapt.cli", *sys.argv[1:]]
            return subprocess.Popen(command, env=environment, pass_fds=[listening.fileno()])

        workers = [start() for _ in range(count)]
        code = 0
        while not ending:
            time.sleep(_LOOK)
            for place, worker in enumerate(workers):
                if worker.poll() is not None:
                    code = worker.returncode
                    multiprocess.mark_process_dead(worker.pid, counted)
                    ending = ending or worker.returncode >= 0
                    if not ending:  # a crash; negative is the signal
                        workers[place] = start()
                if ending:
                    break
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.wait()
    return max(code, 0)


@contextlib.contextmanager
def _handled(end: "signal._HANDLER") -> Iterator[None]:
    before = {one: signal.signal(one, end) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
