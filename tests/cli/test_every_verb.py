"""Every verb once, through the command line's own entry, over one tiny run; each must leave what it is for."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from data_factory import write_catalogue
from event_logs import answer, mirror, simulated, write_log
from runs_factory import write_gate, write_run
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.cli import VERBS, main

SUITE = "name: s\nmin_items: 1\nstatistics: {draws: 100, permutations: 100}\ntasks:\n  - {task: recognition}\n"
TYPED: dict[str, list[str]] = {
    "init": ["init shop --name mine --yes --model local-dir:base"],
    "data": ["data check --config configs/mine.yaml"],
    "prompts": ["prompts lint prompts/mine.yaml --config configs/mine.yaml"],
    "embed": ["embed --model run:run --split validation --out vectors --parts parquet --dtype float16"],
    "eval": ["eval --model run:run --against local-dir:base --suite suite.yaml --out report"],
    "tag": ["tag --model run:run --split validation --out tags.csv"],
    "captions": ["captions --model run:run --split validation --out gallery"],
    "index": [
        "index build --model run:run --vectors vectors --out index",
        "index info index",
        "index search index --text red -k 3 --where baseColour=Red",
    ],
    "export": ["export run:run --to open_clip --out exported"],
    "release": [
        "release create releases run --gate gate.yaml --promote",
        "release list releases",
        "release create releases run --gate gate.yaml --promote",
        "release rollback releases",
    ],
    "serve": ["serve run --check"],
    "advise": ["advise run --json"],
    "drift": [
        "embed --model run:run --split train --out reference",
        "embed --model run:run --split validation --out arrived",
        "drift arrived --reference reference --effect 1000 --out drifted",
    ],
    "events": ["events export logs events.parquet"],
    "evidence": ["release create reviewed run --gate gate.yaml --promote", "evidence reviewed --out packet"],
    "shadow": ["shadow logs --gate eval/shadow_gate.yaml --out mirrored"],
    "experiment": ["experiment logs --share 50% --out read"],
    "bench": ["bench run:run --rounds 2 --batch 1 --budget-ms 1e6"],
    "garments": [
        "garments --out drawn --items 48 --size 32 train.epochs=1 train.batch_size=8 train.micro_batch=8 "
        "data.splits.tune=0.5"
    ],
}
LEFT = {
    "init": "configs/mine.yaml",
    "embed": "vectors/parts/000000.parquet",
    "eval": "report/report.html",
    "tag": "tags.csv",
    "captions": "gallery/gallery.json",
    "index": "index/current",
    "export": "exported/open_clip_model.safetensors",
    "drift": "drifted/drift.html",
    "events": "events.parquet",
    "evidence": "packet/evidence.html",
    "shadow": "mirrored/shadow.html",
    "experiment": "read/experiment.html",
    "release": "releases/versions/000002/manifest.json",
    "garments": "drawn/base/open_clip_model.safetensors",
}
SAID = {
    "data": "Pattern: known for",
    "index": "baseColour: Red",
    "release": "000001  current",
    "serve": "ready: ",
    "bench": "p50",
    "advise": "[",
}
"""On stdout."""


def test_no_verb_is_forgotten() -> None:
    assert set(TYPED) == set(VERBS)
    assert set(LEFT) | set(SAID) | {"prompts"} == set(VERBS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("verbs")
    write_open_clip(root / "base", OPEN_CLIP["clip"])
    shop = write_catalogue(root / "shop", items=60)
    write_run(root / "run", root / "base", source=str(shop))
    write_gate(root)
    answers = [make(str(number), user=f"u{number}", items=["a"]) for number in range(200) for make in (answer, mirror)]
    write_log(root / "logs", simulated(40, (0.1, 0.1), start=datetime(2026, 3, 1, tzinfo=UTC)), answers)
    (root / "suite.yaml").write_text(SUITE)
    return root


@pytest.mark.parametrize("verb", list(TYPED))
def test_it_runs(verb: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CLIPADAPT_CACHE", str(folder / "cache"))
    needed = {"data": "init", "prompts": "init", "index": "embed"}.get(verb)
    if needed and not (folder / LEFT[needed]).exists():  # where this test runs alone
        assert all(main(command.split()) == 0 for command in TYPED[needed])
    said = ""
    for command in TYPED[verb]:
        code = main(command.split())
        out, err = capsys.readouterr()
        assert code == 0, f"{command}\n{out}\n{err}"
        said += out
    assert SAID.get(verb, "") in said
    assert verb not in LEFT or (folder / LEFT[verb]).exists()
    if verb == "prompts":
        assert main(["prompts", "lint", "nowhere.yaml"]) != 0, "which a verb that does nothing would not notice"
