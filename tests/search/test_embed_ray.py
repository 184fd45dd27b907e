"""Embedding by actors of Ray, as typed: a cluster of this machine, one of whose actors is killed in the middle.

What happens to shards whose actors die is tested without Ray first: a stand-in ends its calls in the order of a script.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.garments.write import draw
from clipadapt.errors import ClipadaptError, StoreError
from clipadapt.search.embed import Part, embed_part, embed_pictures
from clipadapt.search.embed_ray import _Crew
from clipadapt.search.vectors import Vectors
from clipadapt.towers.load import load

PATIENCE = 600
"""Seconds; Ray and the libraries of two actors take ten on a quiet machine, and minutes on a busy one."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'clipadapt[ray]'")
    folder = tmp_path_factory.mktemp("ray")
    return str(write_open_clip(folder / "model", OPEN_CLIP["clip"])), draw(folder / "shop", items=40, seed=0, size=32)


def started(shop: tuple[str, Path], out: Path, *more: str) -> subprocess.Popen[str]:
    about = ["--model", shop[0], "--source", str(shop[1]), "--split", "train", "--shard", "1", "--out", str(out)]
    command = [sys.executable, "-m", "clipadapt.cli", "embed", *about, "--engine", "ray", *more]
    return subprocess.Popen(command, env=settings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def settings() -> dict[str, str]:
    """Ray ends actors where a machine's memory is nearly full, by whomever; here none are to die but those killed."""
    own = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "RAY_memory_monitor_refresh_ms": "0"}
    return os.environ | own


def actors_of(process: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any("ray::Maker" in word for word in child.cmdline()):
                found.append(child)
    return found


@pytest.mark.slow
def test_an_actor_is_killed_and_the_vectors_are_those_of_one_process(shop: tuple[str, Path], tmp_path: Path):
    out = tmp_path / "out"
    job = started(shop, out)
    try:
        killed = None
        until = time.monotonic() + PATIENCE
        while killed is None and time.monotonic() < until and job.poll() is None:
            made = list((tmp_path / "out.partial").glob("*.json"))
            if len(made) > 1 and (running := actors_of(psutil.Process(job.pid))):  # plan.json is one of them
                killed = running[0]
                killed.kill()
            time.sleep(0.02)
        said, errors = job.communicate(timeout=PATIENCE)
    finally:
        job.kill()
    assert job.returncode == 0, errors
    assert killed is not None, "all was done before an actor was seen"
    pictures = Catalogue.load(shop[1], "train")
    assert said.startswith(f"{len(pictures)} vectors of"), "what Ray says of the lost actor is on stderr"
    expected = embed_pictures(load(shop[0]), pictures)
    found = Vectors.open(out)
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=2e-6)
    assert found.items.ids() == expected.items.ids()
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.slow
def test_what_a_part_began_actors_end(shop: tuple[str, Path], tmp_path: Path):
    pictures, encoder = Catalogue.load(shop[1], "train"), load(shop[0])
    assert embed_part(encoder, pictures, tmp_path / "out", Part(1, 2), shard=1) == len(pictures) // 2
    made = len(list((tmp_path / "out.partial").glob("*.npy")))
    said, errors = (job := started(shop, tmp_path / "out", "--actors", "1")).communicate(timeout=PATIENCE)
    assert job.returncode == 0, errors
    assert made == (len(pictures) + 1) // 2 and f"{len(pictures)} vectors of" in said
    facts = json.loads((tmp_path / "out" / "embed.json").read_text())
    assert facts["embedded_now"] == len(pictures) - made


@pytest.mark.slow
def test_what_was_begun_with_another_precision_is_refused(shop: tuple[str, Path], tmp_path: Path):
    embed_part(load(shop[0]), Catalogue.load(shop[1], "train"), tmp_path / "out", Part(1, 2), shard=1)
    _, errors = (job := started(shop, tmp_path / "out", "--precision", "bf16")).communicate(timeout=PATIENCE)
    assert job.returncode == 2 and "holds vectors of another job (precision 'fp32', not 'bf16')" in errors


FAULTY = """
import os, sys
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import ClipadaptError
from clipadapt.search.embed_ray import Cluster, embed_by_ray
from clipadapt.towers.load import load

model, source, out, fault = sys.argv[1:]

def opened():
    encoder, pictures = load(model), Catalogue.load(source, "train")
    if fault == "other catalogue":
        return encoder, pictures.subset([0, 1])
    if fault == "dies":
        encoder.encode_images = lambda pixels: os._exit(9)
    return encoder, pictures

if __name__ == "__main__":
    try:
        embed_by_ray(opened, load(model), Catalogue.load(source, "train"), out, Cluster(actors=1), shard=8)
    except ClipadaptError as error:
        print(type(error).__name__, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("other catalogue", "UsageError .*out.partial: holds vectors of another job .*name another --out"),
        (
            "dies",
            r"ClipadaptError .*actor died 3 times at shard 0 \(pictures 1 to 8 of the split\)\. .*--engine ray",
        ),
    ],
)
def test_an_actors_fault_is_named(shop: tuple[str, Path], tmp_path: Path, fault: str, message: str):
    script = tmp_path / "job.py"
    script.write_text(FAULTY)
    command = [sys.executable, str(script), *map(str, shop), str(tmp_path / "out"), fault]
    done = subprocess.run(command, env=settings(), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(message, done.stdout), done.stdout


@pytest.mark.slow
def test_no_cluster_there_and_a_part_beside_it_are_refused(shop: tuple[str, Path], tmp_path: Path):
    job = started(shop, tmp_path / "out", "--ray-address", "127.0.0.1:1")
    _, errors = job.communicate(timeout=PATIENCE)
    assert job.returncode == 2 and "no cluster at 127.0.0.1:1" in errors, errors
    job = started(shop, tmp_path / "out", "--part", "1/2")
    _, errors = job.communicate(timeout=PATIENCE)
    assert job.returncode == 2 and "leave one out" in errors


class DiedError(Exception):
    actor_init_failed = False


class Scripted:
    """A Ray whose calls end as `fates` say, in turn, by the shard or "open"; after those all go well."""

    def __init__(self, fates: dict[object, list[object]]) -> None:
        self.exceptions = SimpleNamespace(
            RayActorError=DiedError, OutOfMemoryError=DiedError, NodeDiedError=DiedError, RayTaskError=TaskError,
            RayError=DiedError,
        )  # fmt: skip
        self.fates, self.started, self.made, self.killed = fates, 0, [], []

    def start(self) -> SimpleNamespace:
        self.started += 1
        actor = SimpleNamespace(number=self.started)
        for name in ("open", "make", "done"):
            setattr(actor, name, SimpleNamespace(remote=partial(self._call, name, actor.number)))
        return actor

    def _call(self, name: str, actor: int, shard: int | str = "open") -> tuple[str, int, int | str, int]:
        return name, actor, shard, next(NUMBERS)

    def wait(self, calls: list, num_returns: int, timeout: float) -> tuple[list, list]:
        ready = [call for call in calls if call[0] == "done" or (self.fates.get(call[2]) or [None])[0] != "never"]
        return ready[:num_returns], []

    def get(self, call: tuple) -> float:
        name, _, shard, _ = call
        if name == "done":
            return 1.0
        fate = self.fates[shard].pop(0) if self.fates.get(shard) else None
        if isinstance(fate, Exception):
            raise fate
        if name == "make":
            self.made.append(shard)
        return 0.0

    def kill(self, actor: SimpleNamespace) -> None:
        self.killed.append(actor.number)


class TaskError(Exception):
    def __init__(self, cause: Exception) -> None:
        super().__init__("a traceback")
        self.cause = cause


class Counted:
    """A bar that keeps what it was moved by."""

    def __init__(self) -> None:
        self.moves: list[float] = []

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.moves.append(amount)


NUMBERS = itertools.count()
ROWS = {number: range(4 * number, 4 * number + 4) for number in (0, 1, 2, 5)}


def crew(fates: dict[object, list[object]], actors: int = 2) -> tuple[Scripted, Counted]:
    ray, shown = Scripted(fates), Counted()
    _Crew(ray, ray.start, ROWS, shown).run(actors)
    return ray, shown


@pytest.mark.parametrize("died", [1, 2])
def test_a_shard_whose_actor_dies_is_made_by_another(died: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("clipadapt.search.embed_ray._EVERY", 0.0)  # looks at the actors all the time
    ray, shown = crew({1: [DiedError("gone")] * died, "open": [None, DiedError("gone")]})
    assert sorted(ray.made) == sorted(ROWS)
    assert ray.started == 2 + died + 1 and len(ray.killed) == died + 1
    assert sum(shown.moves) == 16 and min(shown.moves) > 0


def test_a_shard_that_ends_three_actors_ends_the_job_and_is_named():
    with pytest.raises(
        ClipadaptError, match=r"died 3 times at shard 5 \(pictures 21 to 24 .*without --engine ray.*: gone"
    ):
        crew({5: [DiedError("first\n\n  gone ")] * 3})


def test_actors_that_never_open_the_model_end_the_job():
    with pytest.raises(ClipadaptError, match="died 6 times opening the model and the catalogue"):
        crew({"open": [DiedError("out of memory")] * 6})
    ray, _ = crew({"open": [None, *[DiedError("out of memory")] * 5]})
    assert sorted(ray.made) == sorted(ROWS)


def test_an_actor_that_cannot_begin_is_not_tried_again():
    error = DiedError("Traceback\nModuleNotFoundError: No module named 'clipadapt'")
    error.actor_init_failed = True
    with pytest.raises(ClipadaptError, match=r"cannot begin .*No module named 'clipadapt'.*same version"):
        crew({"open": [error]})


@pytest.mark.parametrize("where", ["open", 2])
def test_an_actors_own_error_is_told_as_it_is(where: object):
    with pytest.raises(StoreError, match="no space"):
        crew({where: [TaskError(StoreError("no space"))]})
    with pytest.raises(TaskError, match="a traceback"):
        crew({where: [TaskError(ZeroDivisionError())]})


def test_an_actor_that_the_cluster_has_no_room_for_is_not_waited_for():
    ray = Scripted({"open": [None, "never"]})
    _Crew(ray, ray.start, ROWS, Counted()).run(2)
    assert sorted(ray.made) == sorted(ROWS) and len(ray.fates["open"]) == 1
