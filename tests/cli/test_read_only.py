"""A run, an index and a release that were moved and made read-only serve another user, who has no home to write to."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from data_factory import write_catalogue
from runs_factory import write_gate, write_run
from tiny_models import OPEN_CLIP, write_open_clip

import clipadapt
from clipadapt.cli import main
from clipadapt.data.catalogue import Catalogue
from clipadapt.search.index import Index
from clipadapt.towers.load import load

pytestmark = pytest.mark.slow
NOBODY = "65534"
SUITE = "name: s\nmin_items: 1\nstatistics: {draws: 100, permutations: 100}\ntasks:\n  - {task: recognition}\n"
SEVERAL_VERBS = """
import contextlib, io, json, sys
from clipadapt.cli import main
done = []
for command in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main(command)
    done.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(done))
"""
READS = {
    "index info run/index": "100 items",
    "index search run/index --text red -k 3": "baseColour",
    "index search releases/versions/000001/index --text red -k 3": "baseColour",
    "release list releases": "000001  current",
    "tag --model run:run --split validation --out {free}/tags.csv": "Pattern",
    "eval --model run:run --suite suite.yaml --out {free}/report": "Balanced accuracy",
    "eval --model release:releases --source {shop} --split validation --suite suite.yaml --out {free}/second":
        "Balanced accuracy",
    "export run:run --to open_clip --out {free}/exported": "image_space",
    "export run:run --to open_clip --out {free}/dialled --strength auto --retain baseColour": "strength",
}  # fmt: skip
"""Command, typed inside the read-only folder -> what stands on stdout."""
REFUSED = {
    "tag --model run:run --split validation --out tags.csv": "is read-only for this user",
    "eval --model run:run --suite suite.yaml --out report": "is read-only for this user",
    "eval --model run:run --suite suite.yaml --out run/report": "is read-only for this user",
    "export run:run --to onnx --out exported": "is read-only for this user",
    "index build --model run:run --split validation --out index": "is read-only for this user",
    "prompts weigh run/prompts.yaml --model run:run": "is read-only for this user",
    "prompts score run/prompts.yaml --model run:run --json scores.json": "is read-only for this user",
    "index remove run/index 0000": "run/index: could not be written",
    "release purge releases": "releases: could not be written",
}
"""Command that would write there -> what stands on stderr."""


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("made")
    write_open_clip(made / "base", OPEN_CLIP["clip"])
    shop = write_catalogue(made / "shop", items=150)
    run = write_run(made / "first" / "run", made / "base", source=str(shop))
    shutil.rmtree(run.path / "index")
    Index.build(Catalogue.load(shop, "train"), run.path / "index", encoder=load(f"run:{run.path}"))
    gate = write_gate(made)
    assert (
        main(["release", "create", str(made / "first/releases"), str(run.path), "--gate", str(gate), "--promote"]) == 0
    )
    (made / "first" / "suite.yaml").write_text(SUITE)
    folder = made / "moved"
    (made / "first").rename(folder)
    everything = [folder, *folder.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in everything:
        path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture(scope="module")
def answers(moved: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
    """Every command of this file -> its exit code, stdout and stderr; all in one process, of a user who is not root."""
    free = tmp_path_factory.mktemp("free")
    free.chmod(0o777)
    commands = [*READS, *REFUSED]
    typed = [command.format(free=free, shop=moved.parent / "shop").split() for command in commands]
    found = subprocess.run(
        [*_another_user(), sys.executable, "-c", SEVERAL_VERBS],
        cwd=moved,
        env={**os.environ, "HOME": str(moved / "nobody"), "PYTHONPATH": str(Path(clipadapt.__file__).parents[1]),
             "TMPDIR": str(free), "PYTHONDONTWRITEBYTECODE": "1"},
        input=json.dumps(typed), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    rows: list[Any] = json.loads(found.stdout.splitlines()[-1])
    return {command: tuple(row) for command, row in zip(commands, rows, strict=True)}


def _another_user() -> list[str]:
    """For root, who may write anywhere: a user who may read all and write nothing; anybody else needs no disguise."""
    if os.geteuid() != 0:
        return []
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    disguise = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *reading]
    if shutil.which("setpriv") is None or subprocess.run([*disguise, "true"], check=False).returncode:
        pytest.skip("root cannot become another user here")
    return disguise


@pytest.mark.parametrize("command", READS)
def test_what_reads_works(command: str, answers: dict[str, tuple[int, str, str]]) -> None:
    code, out, err = answers[command]
    assert code == 0, err
    assert READS[command] in out


@pytest.mark.parametrize("command", REFUSED)
def test_what_writes_says_where(command: str, answers: dict[str, tuple[int, str, str]]) -> None:
    code, out, err = answers[command]
    assert (code, out) == (1, ""), err
    assert REFUSED[command] in err and "embedding" not in err, "before any picture is encoded"


def test_a_strength_curve_that_cannot_stand_in_the_run_stands_in_the_export(
    answers: dict[str, tuple[int, str, str]],
) -> None:
    _, out, err = answers[next(command for command in READS if "--strength auto" in command)]
    assert "the curve is in the export alone" in err
    assert (Path(json.loads(out.splitlines()[-1])["path"]) / "strength.json").is_file()
