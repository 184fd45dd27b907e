"""Each rule speaks where its figures say so, and not where they do not."""

import json
from pathlib import Path
from typing import Any

import pytest

from clipadapt.cli import main
from clipadapt.config import Config
from clipadapt.evaluation.advice import advice
from clipadapt.evaluation.results import Results
from clipadapt.runs import Run


def run_with(
    folder: Path, tune: list[float], accuracy: float = 0.5, report: Results | None = None, **train: Any
) -> Run:
    """A run whose log has these figures of tune: before training, then after each epoch."""
    config = Config.model_validate(
        {
            "name": "advised", "output_dir": str(folder), "prompts": str(folder.parent / "none.yaml"),
            "data": {"source": "shop", "attributes": ["Pattern"]}, "train": {"epochs": len(tune) - 1, **train},
            "loss": {"name": "attributes", "caption_weight": 0.0, "value_vectors": 10.0},
            "eval": {"select_on": "smooth"},
        }
    )  # fmt: skip
    run = Run.create(config)
    run.log(0, when="before", tune_smooth=tune[0], tune_top1=0.3)
    for epoch, figure in enumerate(tune[1:], start=1):
        run.log(10 * epoch, epoch=epoch, loss=1.0, lr=0.1, accuracy=accuracy, images_per_second=10.0)
        run.log(10 * epoch, when=f"epoch {epoch}", tune_smooth=figure, tune_top1=0.4)
    if report is not None:
        report.save(run.report)
    return run


def texts(run: Run) -> str:
    return " | ".join(one.text for one in advice(run, []))


@pytest.mark.parametrize(
    ("tune", "wanted"),
    [
        ([0.2, 0.3, 0.4], "train.epochs=4"),
        ([0.2, 0.4, 0.3, 0.3], "train.patience=2"),
        ([0.5, 0.4, 0.3], "train.lr=5e-05"),
        ([0.2, 0.4, 0.405], ""),
    ],
    ids=["rising", "past its best", "never better", "settled"],
)
def test_how_tune_went(tmp_path: Path, tune: list[float], wanted: str) -> None:
    assert wanted in texts(run_with(tmp_path / "run", tune))
    if not wanted:
        assert advice(run_with(tmp_path / "other", tune), []) == []


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [
        ([1.4, 1.5], "no epoch was better on tune than before training (loss 1.400, then 1.500)"),
        ([1.4, 1.2, 0.9], "loss on tune still fell in the last epoch (1.200 -> 0.900)"),
        ([1.4, 1.0, 1.1, 1.2], "loss on tune was best after epoch 1 of 3"),
        ([1.4, 1.0, 0.99], ""),
    ],
)
def test_tune_without_labels_is_judged_by_its_loss(tmp_path: Path, loss: list[float], wanted: str) -> None:
    run = run_with(tmp_path / "run", [0.0, 0.0])
    run.path.joinpath("metrics.jsonl").unlink()
    run.log(0, when="before", tune_loss=loss[0])
    for epoch, figure in enumerate(loss[1:], start=1):
        run.log(10 * epoch, epoch=epoch, loss=1.0, lr=0.1, accuracy=0.5, images_per_second=10.0)
        run.log(10 * epoch, when=f"epoch {epoch}", tune_loss=figure)
    reasons = [one.why for one in advice(run, [])]
    assert len(reasons) == bool(wanted) and all(wanted in why for why in reasons)


def test_the_text_phase_is_no_epoch(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", [0.2, 0.4, 0.405], order="pictures_first", text_warmup=10)
    run.log(20, when="with value vectors learned again", tune_smooth=0.5)
    run.log(20, when="after the text warm-up", tune_smooth=0.6)
    run.log(20, when="after the text warm-up", tune_smooth=0.61)
    assert advice(run, []) == []


def test_a_training_set_learned_by_heart(tmp_path: Path) -> None:
    found = advice(run_with(tmp_path / "run", [0.2, 0.4, 0.405], accuracy=0.99), [])
    assert "clipadapt data audit" in found[0].text and "99%" in found[0].why and "40%" in found[0].why


def test_texts_that_lag_values_with_few_items_and_what_got_worse(
    tmp_path: Path, compared: Any, record: dict[str, Any]
) -> None:
    rows = [
        *compared(0.2, 0.1, 0.3, 0.01, task="headline", attribute=None, wording="texts", mean=0.3),
        *compared(0.3, 0.2, 0.4, 0.01, task="headline", attribute=None, wording="vectors", mean=0.5),
        *compared(0.1, -0.1, 0.2, 0.5, metric="recall", value="Pleated", bin="few", wording="held_out", mean=0.1),
        *compared(0.1, -0.1, 0.2, 0.5, metric="recall", value="Striped", bin="few", wording="held_out", mean=0.9),
        *compared(-0.2, -0.3, -0.1, 0.01, attribute="Colour", wording="held_out"),
    ]
    found = advice(run_with(tmp_path / "run", [0.2, 0.4, 0.405], text_warmup=200), rows)
    assert [one.text.split(":")[0].split(";")[0] for one in found] == [
        "give texts more steps", "collect or label more items of these values", "hold more of the base",
    ]  # fmt: skip
    assert "train.text_warmup=400" in found[0].text
    assert "Pleated (10%)" in found[1].why and "Striped" not in found[1].why and "1 of 2" in found[1].why
    assert "Colour" in found[2].why and "-20.0 points" in found[2].why


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str], compared: Any, record: dict[str, Any]) -> None:
    rows = tuple(compared(-0.2, -0.3, -0.1, 0.01, attribute="Colour", wording="held_out"))
    report = Results(record | {"headline": ["Pattern"]}, rows)
    run = run_with(tmp_path / "run", [0.2, 0.3, 0.4], report=report)
    assert main(["advise", str(run.path)]) == 0
    assert capsys.readouterr().out.startswith("1. train longer: train.epochs=4\n   smooth on tune still rose")
    assert main(["advise", str(run.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found[0]["text"] == "train longer: train.epochs=4" and "-20.0 points" in found[1]["why"]
    assert main(["advise", str(tmp_path / "nowhere")]) != 0
    assert "nowhere" in capsys.readouterr().err
