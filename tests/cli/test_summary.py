"""What a training ends with: figures and signs are those of the report."""

from pathlib import Path

import pytest

from clipadapt import places
from clipadapt.cli.summary import closing_summary, shell_command
from clipadapt.config import Config
from clipadapt.evaluation.results import Results
from clipadapt.runs import Run
from clipadapt.statistics.rows import Row


def headline(metric: str, mean: float, delta: float, low: float | None, high: float | None, p: float) -> Row:
    about = ("headline", None, None, "all", metric, None, "adapted", "validation", 60, 30)
    return Row(*about, mean, mean - 0.1, mean + 0.1, "base", delta, low, high, p, 0.05)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    config = Config.model_validate(
        {
            "name": "small",
            "output_dir": str(tmp_path / "run"),
            "model": {"name": "local-dir:somewhere"},
            "data": {"source": "shop", "attributes": ["Pattern"]},
            "prompts": "prompts/generic.yaml",
        }
    )
    return Run.create(config)


def report(run: Run, *rows: Row) -> None:
    run.report.mkdir()
    record = {"systems": {"adapted": {}, "base": {}}}
    (run.report / "results.json").write_text(Results(places.public(record), rows).to_json())


def test_a_gain_is_a_gain_and_a_loss_a_loss(run: Run) -> None:
    report(
        run,
        headline("balanced_accuracy", 0.75, 0.125, 0.0625, 0.1875, 0.001),
        headline("rare_balanced_accuracy", 0.25, -0.125, -0.1875, -0.03125, 0.001),
        headline("average_precision", 0.5, 0.25, 0.125, 0.375, 0.001),
    )
    said = closing_summary(run).splitlines()
    gained = next(line for line in said if "attributes recognised" in line)
    assert " ".join(gained.split()) == (
        "attributes recognised base 62.5% adapted 75.0% difference +12.5% (95% interval +6.2% to +18.8%): better"
    )
    lost = next(line for line in said if "rare values recognised" in line)
    assert " ".join(lost.split()) == (
        "rare values recognised base 37.5% adapted 25.0% difference -12.5% (95% interval -18.8% to -3.1%): worse"
    )
    assert not any("average" in line for line in said)


def test_a_difference_without_an_interval_says_so(run: Run) -> None:
    report(run, headline("balanced_accuracy", 0.75, 0.25, None, None, 1.0))
    assert "difference +25.0% (95% interval unknown to unknown)" in closing_summary(run)


def test_a_report_without_figures_of_attributes_says_that_nothing_was_compared(run: Run) -> None:
    report(run)
    said = closing_summary(run)
    assert "Nothing was compared with the base" in said and "Base against adapted" not in said


def test_without_a_report_nothing_was_measured_and_an_index_comes_first(run: Run) -> None:
    said = closing_summary(run)
    assert "Nothing was measured (eval.suite is null)." in said and "report.html" not in said
    assert said.index("clipadapt index build") < said.index("clipadapt index search")
    (run.path / "index").mkdir()
    assert "clipadapt index build" not in closing_summary(run)


def test_a_command_can_be_pasted() -> None:
    assert shell_command("index", "search", Path("my runs/index")) == "clipadapt index search 'my runs/index'"
