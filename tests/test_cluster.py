"""The recipes of configs/cluster, run as they stand: two machines are two launchers on the loopback address."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from accelerate.commands.launch import launch_command_parser
from safetensors.torch import load_file
from tiny_models import OPEN_CLIP, write_open_clip
from training_material import configured, material

from clipadapt.config import Config
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.garments.write import draw
from clipadapt.runs import Run
from clipadapt.search.vectors import Vectors
from clipadapt.training import checkpoints

__all__ = ["configured", "material"]
ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "configs" / "cluster"
PROCESSES = 2
PATIENCE = 900
"""Seconds; a launch of four processes takes ten on a machine that does nothing else."""

STUBS = {
    # Two machines at once; the worst exit code, as srun's.
    "srun": 'shift; SLURM_NODEID=0 "$@" & one=$!; SLURM_NODEID=1 "$@" & two=$!; wait $one; a=$?; wait $two; b=$?; '
    "exit $((a > b ? a : b))",
    "scontrol": 'echo "$@" >> "$CALLS"; if [ "$1" = show ]; then printf "127.0.0.1\\nnode-b\\n"; fi',
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def environment(**more: object) -> dict[str, str]:
    settings = {
        "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHON": sys.executable, "NODES": 2, "PROCESSES": PROCESSES,
        "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", **more,
    }  # fmt: skip
    return os.environ | {name: str(value) for name, value in settings.items()}


@contextmanager
def machines(config: Path, log: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The launchers of two machines."""
    command, port = ["bash", str(RECIPES / "torchrun.sh"), str(config)], free_port()
    with log.open("ab") as output:
        started = [
            subprocess.Popen(command, env=environment(NODE_RANK=rank, MASTER_PORT=port), stdout=output, stderr=output)
            for rank in (0, 1)
        ]
    try:
        yield started
    finally:
        for one in started:
            kill(one)


def kill(machine: subprocess.Popen[bytes]) -> None:
    """Everything that a launcher has started, too: its processes are in sessions of their own, and survive it."""
    if machine.poll() is None:
        for process in (*psutil.Process(machine.pid).children(recursive=True), machine):
            with suppress(psutil.NoSuchProcess):
                process.kill()
    machine.wait()


@pytest.fixture
def written(configured: Callable[..., Config], tmp_path: Path) -> Callable[[str], Path]:
    """Name -> the config of a run of that name, over a tiny model that needs no registration."""
    model = write_open_clip(tmp_path / "model", OPEN_CLIP["clip"])

    def write(name: str) -> Path:
        sections: dict[str, Any] = {
            "model": {"name": f"local-dir:{model}"}, "output_dir": str(tmp_path / name),
            "train": {"epochs": 6, "checkpoint_every": 1, "micro_batch": 2},
        }  # fmt: skip
        file = tmp_path / f"{name}.yaml"
        file.write_text(configured(**sections).to_yaml())
        return file

    return write


def adapter(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "adapter" / "adapter_model.safetensors")


@pytest.mark.slow
@pytest.mark.timeout(4 * PATIENCE)
def test_a_lost_machine_and_the_same_lines_again_end_in_the_same_adapter(
    written: Callable[[str], Path], tmp_path: Path
):
    whole, killed = written("whole"), written("killed")
    run_by_slurm(whole, tmp_path)
    made = json.loads((tmp_path / "whole" / "environment.json").read_text())
    assert made["starts"][-1]["processes"] == 2 * PROCESSES, "all of them are one world"

    log = tmp_path / "killed.log"
    with machines(killed, log) as (first, second):
        deadline = time.monotonic() + PATIENCE
        while checkpoints.latest(tmp_path / "killed" / "checkpoints") is None:
            assert first.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        kill(second)
        assert first.wait(timeout=PATIENCE) != 0, "the machine that is left does not go on alone"
    assert "start the same command again to go on from it" in log.read_text()
    steps = [row["step"] for row in Run.open(tmp_path / "killed").metrics() if "lr" in row]
    assert not (tmp_path / "killed" / "adapter").exists(), f"it was killed too late, after step {steps[-1]}"

    with machines(killed, log) as both:
        assert [one.wait(timeout=PATIENCE) for one in both] == [0, 0], log.read_text()[-6000:]
    one, two = adapter(tmp_path / "whole"), adapter(tmp_path / "killed")
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def run_by_slurm(config: Path, tmp_path: Path) -> None:
    """slurm.sbatch with stand-ins for srun and scontrol."""
    done = sbatch(config, tmp_path)
    assert done.returncode == 0, done.stderr[-6000:]


def sbatch(config: Path, tmp_path: Path, **more: object) -> subprocess.CompletedProcess[str]:
    stubs = tmp_path / "bin"
    stubs.mkdir(exist_ok=True)
    for name, script in STUBS.items():
        (stubs / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (stubs / name).chmod(0o755)
    settings = {
        "PATH": f"{stubs}:{os.environ['PATH']}", "CALLS": tmp_path / "calls", "SLURM_JOB_NUM_NODES": 2,
        "SLURM_JOB_NODELIST": "node-[a-b]", "SLURM_JOB_ID": 77, "SLURM_GPUS_ON_NODE": 8, "MASTER_PORT": free_port(),
        "SLURM_STEP_NUM_TASKS": 2, **more,
    }  # fmt: skip
    return subprocess.run(
        ["bash", str(RECIPES / "slurm.sbatch"), str(config)], env=environment(**settings), cwd=ROOT,
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("restarts", "queued"), [("0", True), ("3", False)])
def test_a_job_that_fails_is_queued_again_a_few_times(tmp_path: Path, restarts: str, queued: bool):
    done = sbatch(tmp_path / "c.yaml", tmp_path, PYTHON="false", SLURM_RESTART_COUNT=restarts)
    assert done.returncode == 1
    assert ("requeue 77" in (tmp_path / "calls").read_text()) == queued


def test_accelerate_takes_the_flags_of_its_recipe(tmp_path: Path):
    python = tmp_path / "python"
    python.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", str(RECIPES / "accelerate.sh"), "configs/mine.yaml", "train.lr=2e-4"],
        env=environment(PYTHON=python, NODE_RANK=1, PROCESSES=8), capture_output=True, text=True, check=True,
    )  # fmt: skip
    module, *flags = done.stdout.splitlines()[1:]
    assert module == "accelerate.commands.launch"
    parsed = launch_command_parser().parse_args(flags)
    assert (parsed.num_machines, parsed.num_processes, parsed.machine_rank) == (2, 16, 1)
    assert (parsed.main_process_ip, parsed.main_process_port) == ("127.0.0.1", 29500)
    assert parsed.module and parsed.training_script == "clipadapt.launch"
    assert parsed.training_script_args == ["--config", "configs/mine.yaml", "train.lr=2e-4"]


def array(numbers: list[int], job: int, step: int = 1) -> dict[str, object]:
    """What SLURM tells a job of an array; the step is that of `--array 0-6:2`, else 1, whatever the numbers."""
    return {
        "SLURM_ARRAY_TASK_MIN": min(numbers), "SLURM_ARRAY_TASK_MAX": max(numbers), "SLURM_ARRAY_TASK_ID": job,
        "SLURM_ARRAY_TASK_COUNT": len(numbers), "SLURM_ARRAY_TASK_STEP": step,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("numbers", "step", "parts"),
    [
        ([1, 2, 3], 1, ["1/3", "2/3", "3/3"]),
        ([7], 1, ["1/1"]),
        ([0, 5, 10], 5, ["1/3", "2/3", "3/3"]),
        ([1, 2, 7], 1, None),
        ([3, 7], 1, None),
    ],
)
def test_each_job_of_an_array_has_its_share(numbers: list[int], step: int, parts: list[str] | None):
    for place, job in enumerate(numbers):
        done = subprocess.run(
            ["bash", str(RECIPES / "embed_array.sbatch"), "--out", "x"],
            env=environment(PYTHON="echo", **array(numbers, job, step)), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if parts is None:
            assert done.returncode == 2 and f"submit --array 1-{len(numbers)}" in done.stderr
        else:
            assert done.stdout.split()[-2:] == ["--part", parts[place]]


@pytest.mark.slow
def test_an_array_of_jobs_embeds_a_catalogue(tmp_path: Path):
    model, source = write_open_clip(tmp_path / "model", OPEN_CLIP["clip"]), draw(tmp_path / "shop", items=24, size=32)
    about = ["--model", str(model), "--source", str(source), "--split", "train", "--shard", "4"]
    said = []
    for job in (11, 10):  # of an array that begins at 10
        settings = environment(**array([10, 11], job))
        command = ["bash", str(RECIPES / "embed_array.sbatch"), *about, "--out", str(tmp_path / "out")]
        done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0].startswith("part 2/2 is done") and "vectors of" in said[1]
    pictures = Catalogue.load(source, "train")
    assert Vectors.open(tmp_path / "out").items.ids() == pictures.ids
    done = subprocess.run(
        ["bash", str(RECIPES / "embed_array.sbatch")], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "submit this as an array" in done.stderr


@pytest.mark.parametrize("recipe", ["torchrun.sh", "accelerate.sh"])
@pytest.mark.parametrize("missing", ["NODES", "PROCESSES", "MASTER_ADDR", "NODE_RANK"])
def test_a_variable_that_is_missing_is_named(recipe: str, missing: str):
    settings = {
        name: value for name, value in environment(NODE_RANK=0).items() if name not in (missing, "SLURM_NODEID")
    }
    done = subprocess.run(
        ["bash", str(RECIPES / recipe), "c.yaml"], env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and missing in done.stderr
