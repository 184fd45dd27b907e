"""Embedding by actors of Ray, as typed: a cluster of this machine, one of whose actors is killed in the middle."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.garments.write import draw
from clipadapt.search.embed import Part, embed_part, embed_pictures
from clipadapt.search.vectors import Vectors
from clipadapt.towers.load import load

PATIENCE = 240
"""Seconds; Ray and the libraries of two actors take ten on a machine that does nothing else."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("ray")
    return str(write_open_clip(folder / "model", OPEN_CLIP["clip"])), draw(folder / "shop", items=40, seed=0, size=32)


def started(shop: tuple[str, Path], out: Path, *more: str) -> subprocess.Popen[str]:
    about = ["--model", shop[0], "--source", str(shop[1]), "--split", "train", "--shard", "1", "--out", str(out)]
    command = [sys.executable, "-m", "clipadapt.cli", "embed", *about, "--engine", "ray", *more]
    settings = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


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
    assert f"{len(pictures)} vectors of" in said
    expected = embed_pictures(load(shop[0]), pictures)
    found = Vectors.open(out)
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=2e-6)
    assert found.items.ids() == expected.items.ids()
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.slow
def test_what_one_began_the_other_ends_and_an_actors_error_is_told(shop: tuple[str, Path], tmp_path: Path):
    pictures, encoder = Catalogue.load(shop[1], "train"), load(shop[0])
    assert embed_part(encoder, pictures, tmp_path / "out", Part(1, 2), shard=1) == len(pictures) // 2
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out.partial").glob("*.npy")}
    (tmp_path / "out.partial" / "plan.json").write_text(
        json.dumps(json.loads((tmp_path / "out.partial" / "plan.json").read_text()) | {"precision": "bf16"})
    )
    _, errors = (job := started(shop, tmp_path / "out")).communicate(timeout=PATIENCE)
    assert job.returncode == 2 and "holds vectors of another job (precision 'bf16', not 'fp32')" in errors
    (tmp_path / "out.partial" / "plan.json").unlink()
    said, errors = (job := started(shop, tmp_path / "out", "--actors", "1")).communicate(timeout=PATIENCE)
    assert job.returncode == 0, errors
    assert len(before) == (len(pictures) + 1) // 2 and f"{len(pictures)} vectors of" in said
    facts = json.loads((tmp_path / "out" / "embed.json").read_text())
    assert facts["embedded_now"] == len(pictures) - len(before)


@pytest.mark.slow
def test_no_cluster_there_and_a_part_beside_it_are_refused(shop: tuple[str, Path], tmp_path: Path):
    job = started(shop, tmp_path / "out", "--ray-address", "127.0.0.1:1")
    _, errors = job.communicate(timeout=PATIENCE)
    assert job.returncode == 2 and "no cluster at 127.0.0.1:1" in errors, errors
    job = started(shop, tmp_path / "out", "--part", "1/2")
    _, errors = job.communicate(timeout=PATIENCE)
    assert job.returncode == 2 and "leave one out" in errors
