"""The command itself, as a process of its own."""

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from threadpoolctl import ThreadpoolController

from clipadapt.cli import main
from clipadapt.search.index import Index
from clipadapt.service.server import one_thread_each, open_port


@pytest.fixture(params=[1, pytest.param(2, marks=pytest.mark.slow)])
def served(
    index_folder: Path, model: Path, shop: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """One process, and two behind one port; the index is one that a test may change."""
    shutil.copytree(index_folder, tmp_path / "index")
    arguments = [str(tmp_path / "index"), "--source", str(shop), "--port", "0", "--workers", str(request.param)]
    command = [sys.executable, "-m", "clipadapt.cli", "serve", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            assert line.startswith("open http://127.0.0.1:"), line + process.stderr.read()
            yield process, line.split()[1]
        finally:
            process.terminate()  # it ends its workers, which SIGKILL would leave behind
            try:
                process.wait(60)
            finally:
                process.kill()


def test_it_answers_until_it_is_stopped(served: tuple[subprocess.Popen[str], str], tmp_path: Path):
    process, address = served
    with httpx.Client(base_url=address, timeout=120, transport=httpx.HTTPTransport(retries=20)) as client:
        assert client.get("/healthz").status_code == 200
        deadline = time.monotonic() + 150
        while client.get("/readyz").status_code == 503:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        client.post("/search", json={"text": "privatewish " * 40})
        hits = client.post("/search", json={"text": "red shirt", "k": 2}).json()["hits"]
        assert len(hits) == 2
        assert client.get(hits[0]["image_url"]).headers["content-type"] == "image/jpeg"
        counted = client.get("/metrics", headers={"Connection": "close"}).text
        assert 'clipadapt_requests_total{method="POST",route="/search",status="200"} 2.0' in counted
        Index.open(tmp_path / "index").remove([hits[0]["id"]])
        deadline = time.monotonic() + 60
        while hits[0]["id"] in [hit["id"] for hit in client.post("/search", json={"text": "red shirt"}).json()["hits"]]:
            assert time.monotonic() < deadline, "what others remove is not found any more"
            time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert process.stderr is not None
    log = process.stderr.read()
    assert '"route": "/search"' in log
    assert "privatewish" not in log, "not even where a tower does not read a text to its end"


class Ready:
    """How often a process said that it is ready."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.times = 0
        threading.Thread(target=self._count, args=(process.stderr,), daemon=True).start()

    def _count(self, said: Iterable[str]) -> None:
        for line in said:
            self.times += line.startswith("ready: ")


def answers(address: str, done: Callable[[], bool]) -> set[int]:
    """What searches on connections of their own are answered with, until it is done, and a few more."""
    found, left, deadline = set(), 10, time.monotonic() + 150
    while left:
        assert time.monotonic() < deadline
        found.add(httpx.post(f"{address}/search", json={"text": "red shirt"}, timeout=120).status_code)
        left -= done()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("served", [2], indirect=True)
def test_no_process_says_that_it_is_loading_once_one_is_ready(served: tuple[subprocess.Popen[str], str]):
    """Not while the other loads, and not while what replaces one that crashed does."""
    process, address = served
    ready, deadline = Ready(process), time.monotonic() + 150
    while httpx.get(f"{address}/readyz", timeout=120).status_code == 503:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answers(address, lambda: ready.times >= 2) == {200}
    first, second = sorted(psutil.Process(process.pid).children(), key=lambda child: child.create_time())
    first.kill()
    assert answers(address, lambda: ready.times >= 3) == {200}
    assert first.pid not in (children := [child.pid for child in psutil.Process(process.pid).children()])
    assert len(children) == 2 and second.pid in children


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such folder"),
        (["{index}", "--host", "0.0.0.0"], "--token-file"),
        (["{shop}"], "neither an index, a run, a release"),
        (["{index}", "--source", "nowhere", "--check"], "nowhere: no such folder or file"),
        (["{index}", "--token-file", "nowhere"], "cannot be read"),
        (["{index}", "--host", "203.0.113.1", "--open"], "cannot be opened"),
    ],
)
def test_what_cannot_be_served_is_refused(arguments, message: str, index_folder: Path, shop: Path, capsys):
    given = [argument.format(index=index_folder, shop=shop) for argument in arguments]
    assert main(["serve", *given]) == 2
    assert message in capsys.readouterr().err


def test_products_of_matrices_keep_to_their_thread() -> None:
    blas = ThreadpoolController().select(user_api="blas")
    with blas.limit(limits=2):
        assert {one["num_threads"] for one in blas.info()} == {2}
        one_thread_each()
        assert {one["num_threads"] for one in blas.info()} == {1}


def test_a_kept_connection_does_not_wait_for_acknowledgements() -> None:
    """Linux hands the option of a listening socket to those that it accepts."""
    with (
        open_port("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()[:2]),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
