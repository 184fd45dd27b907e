"""Several processes behind one port: a parent that starts them, starts one again that crashed, and ends all together.

    run_workers(4, listening)     in the parent; each worker is the same command
    Worker.inherited()            in a worker: the port, and when to answer there

Each worker loads the model for itself, so memory grows with their number; /metrics of any of them answers for all. A
worker that ends by itself, because it cannot serve what was named, ends all with its exit code.

Whoever asks does not know which process answers. So the first one answers at once, that it is loading; the others, and
whatever replaces a worker that crashed, take connections only when they have loaded and the first has, or has crashed:
once /readyz says so, no process answers anything else.
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
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from prometheus_client import multiprocess

from clipadapt.service.metrics import DIRECTORY

_SOCKET = "CLIPADAPT_SERVE_SOCKET"
_PLACE = "CLIPADAPT_SERVE_PLACE"
_LOADED = "loaded"
"""A file beside the counts: the first worker has loaded once."""

_LOOK = 0.2
"""Seconds between two looks at the workers."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One of the processes behind a port.

    Attributes:
        listening: the open port.
        answers_at_once: whether it takes connections while it loads; otherwise only after `wait`.
    """

    listening: socket.socket
    answers_at_once: bool
    _first: bool
    _loaded: Path

    @classmethod
    def inherited(cls) -> "Worker | None":
        """What its parent made this process; null in any process that is no worker."""
        number = os.environ.get(_SOCKET)
        if number is None:
            return None
        first, loaded = os.environ[_PLACE] == "0", Path(os.environ[DIRECTORY]) / _LOADED
        return cls(socket.socket(fileno=int(number)), first and not loaded.exists(), first, loaded)

    def wait(self) -> None:
        """Returns once the first worker has loaded; called by each when it has loaded itself."""
        if self._first:
            self._loaded.touch()
        parent = os.getppid()
        while not self._loaded.exists() and os.getppid() == parent:
            time.sleep(_LOOK / 4)


def run_workers(count: int, listening: socket.socket) -> int:
    """Runs this very command `count` times on one port until a signal ends it; the exit code."""
    listening.set_inheritable(True)
    ending = False

    def end(_: int, __: FrameType | None) -> None:
        nonlocal ending
        ending = True

    with _handled(end), tempfile.TemporaryDirectory(prefix="clipadapt-metrics-") as counted:
        environment = os.environ | {_SOCKET: str(listening.fileno()), DIRECTORY: counted}

        def start(place: int) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "clipadapt.cli", *sys.argv[1:]]
            return subprocess.Popen(command, env=environment | {_PLACE: str(place)}, pass_fds=[listening.fileno()])

        workers = [start(place) for place in range(count)]
        code = 0
        while not ending:
            time.sleep(_LOOK)
            for place, worker in enumerate(workers):
                if worker.poll() is not None:
                    code = worker.returncode
                    multiprocess.mark_process_dead(worker.pid, counted)
                    ending = ending or worker.returncode >= 0
                    if not ending:  # a crash; negative is the signal
                        Path(counted, _LOADED).touch()  # if that was the first, no other waits for it any more
                        workers[place] = start(place)
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
