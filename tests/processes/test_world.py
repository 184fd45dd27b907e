"""A launch whose processes did not meet is refused before anything is written."""

import os
import subprocess
import sys
from pathlib import Path

import light
import pytest

from clipadapt.errors import ConfigError
from clipadapt.processes import is_main_process, rank, refuse_broken_world, world_size

LAUNCHERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*LAUNCHERS, "PMI_SIZE", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)


def test_rank_and_size_are_what_launchers_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (rank(), world_size(), is_main_process()) == (0, 1, True)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_main_process()
    monkeypatch.setenv("RANK", "0")  # the first process of all, whatever its number on its own machine
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (is_main_process(), world_size()) == (True, 4)


def test_a_world_as_large_as_promised_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_broken_world(1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    refuse_broken_world(2)


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"])
def test_fewer_processes_than_promised_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "2")
    with pytest.raises(ConfigError, match=rf"set {name}=2, but 1 process\(es\) met.*torchrun"):
        refuse_broken_world(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "machines",
    [[], ["--num_machines", "2", "--machine_rank", "1", "--main_process_ip", "10.0.0.1", "--main_process_port", "1"]],
    ids=["one machine", "a node of two"],
)
def test_what_accelerate_starts_on_processors_alone_is_refused(tmp_path: Path, machines: list[str]) -> None:
    script = tmp_path / "world.py"
    script.write_text("from clipadapt.processes import refuse_broken_world\nrefuse_broken_world(1)\n")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", *machines]
    environment = os.environ | {"PYTHONPATH": str(Path(light._PACKAGE).parent)}
    done = subprocess.run([*launch, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "gave this one no rank: it would train alone" in done.stderr


def test_asking_who_is_who_imports_no_heavy_package() -> None:
    script = "import clipadapt.processes; print({'torch', 'numpy', 'accelerate'} & set(sys.modules))"
    assert subprocess.run(light.command(script), capture_output=True, text=True, check=True).stdout == "set()\n"
