"""Scripts of this folder in processes of their own that need not import the libraries first.

    start("run_train.py", "config.yaml", log=tmp_path / "log")      # a process, to be waited for or killed
    run("step_bench.py", "config.yaml", processes=2, log=...)       # one world, waited for; each has to end with 0

Importing torch, transformers and timm takes eight seconds of a processor, a fork next to none: the processes are forked
from a server that has imported them and done nothing else. They check no annotations, as a user's do not. How launchers
start processes is tested elsewhere, with launchers (test_cluster.py, test_readme_walk.py).
"""

import multiprocessing
import os
import runpy
import socket
import sys
from collections.abc import Mapping
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from unittest import mock

TESTS = Path(__file__).parent
_CONTEXT = multiprocessing.get_context("forkserver")
_IMPORTED = ["tiny_models", "accelerate", "clipadapt.launch", "clipadapt.training.trainer", "clipadapt.search.embed"]
_ALONE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def start(script: str, *arguments: object, log: Path, **environment: object) -> ForkServerProcess:
    """Starts a script of tests/; what it prints is added to `log`."""
    _serve()
    inherited = {name: value for name, value in os.environ.items() if name not in _ALONE}
    variables = inherited | {name: str(value) for name, value in environment.items()}
    process = _CONTEXT.Process(target=_program, args=(str(TESTS / script), [*map(str, arguments)], variables, str(log)))
    process.start()
    return process


def run(
    script: str, *arguments: object, log: Path, processes: int = 1, timeout: float = 300, **environment: object
) -> None:
    """Runs a script in so many processes that are one world, with the variables that torchrun sets."""
    port, started = free_port(), []
    for rank in range(processes):
        world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        world |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        started.append(start(script, *arguments, log=log, **environment, **(world if processes > 1 else {})))
    try:
        for process in started:
            process.join(timeout)
        assert [process.exitcode for process in started] == [0] * processes, log.read_text()[-6000:]
    finally:
        for process in started:
            process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def _serve() -> None:
    """Starts the server unless it runs: one thread, and a path on which it finds the package."""
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}):
        _CONTEXT.set_forkserver_preload(_IMPORTED)
        forkserver.ensure_running()


def _program(script: str, arguments: list[str], environment: Mapping[str, str], log: str) -> None:
    with Path(log).open("ab") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
