"""A task of one's own: one class, registered; suite, evaluation, headline, results and gate know it from then on."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import pytest

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import ConfigError
from clipadapt.evaluation.evaluate import evaluate
from clipadapt.evaluation.gate import Gate, judge
from clipadapt.evaluation.results import Results
from clipadapt.evaluation.suite import Suite
from clipadapt.evaluation.tasks import registry
from clipadapt.evaluation.tasks.context import EvalContext, Measured
from clipadapt.evaluation.tasks.task import Task
from clipadapt.statistics.cells import Cell
from clipadapt.statistics.evidence import ClassMeans
from clipadapt.statistics.rows import HEADLINE, select


class Alikeness(Task):
    """How alike the two pictures of a product are: the mean cosine of a picture with its product's first."""

    task: str = "alikeness"
    least: float = 0.0
    needs_texts: ClassVar[bool] = False

    def faults(self, catalogue: Catalogue) -> Iterator[str]:
        if len(set(catalogue.products)) == len(catalogue):
            yield "no product has two pictures"

    def measure(self, context: EvalContext) -> Measured:
        first = np.unique(context.sampler.of_row, return_index=True)[1][context.sampler.of_row]
        scores = {name: np.clip((own * own[first]).sum(axis=1), self.least, 1.0).astype(np.float64)
                  for name, own in context.pictures.items()}  # fmt: skip
        rows = np.arange(len(context.catalogue))
        evidence = ClassMeans(scores, np.zeros(len(rows), np.int64), rows, np.ones(1))
        size = (len(rows), context.sampler.products(rows))
        return Measured([Cell("alikeness", None, None, "all", "cosine", None, *size, evidence)])

    @classmethod
    def headlines(cls, context: EvalContext, measured: Measured, headline: Sequence[str]) -> Measured:
        return Measured([cell._replace(task=HEADLINE) for cell in measured.cells if cell.task == "alikeness"])


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))
    registry.register(Alikeness)


@pytest.mark.usefixtures("registered")
def test_a_new_task_is_loaded_measured_quoted_kept_and_gated(validation, good, poor, words, tmp_path):
    file = tmp_path / "suite.yaml"
    file.write_text("name: own\ntasks: [{task: alikeness, least: 0.1}]")
    suite = Suite.load(file)
    results = evaluate(good, validation, words, suite, against=poor, out=tmp_path / "report", progress=False)
    row = results.headline("cosine")
    assert row.n == len(validation)
    assert row.mean > 0.5
    assert row.delta == pytest.approx(0.0), "both systems see alike"
    assert select(Results.load(tmp_path / "report").rows, task="alikeness", system="adapted")[0].mean == row.mean
    assert results.config["suite"]["tasks"] == [{"task": "alikeness", "least": 0.1}]
    gate = Gate.model_validate(
        {"conditions": [{"row": "alikeness", "metric": "cosine", "bound": "mean", "above": 0.5}]}
    )
    assert [outcome.passed for outcome in judge(gate, results.rows)] == [True]
    assert "alikeness" in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.usefixtures("registered")
def test_its_faults_are_told_before_anything_is_encoded(validation, good, words):
    alone = validation.subset(np.unique(validation.products, return_index=True)[1])
    suite = Suite.model_validate({"name": "own", "tasks": [{"task": "alikeness"}]})
    with pytest.raises(ConfigError, match=r"tasks\.0 \(alikeness\): no product has two pictures"):
        evaluate(good, alone, words, suite)
    assert good.encoded == 0


@pytest.mark.usefixtures("registered")
def test_a_name_is_given_once():
    class Other(Alikeness):
        pass

    registry.register(Alikeness)  # again: nothing happens
    with pytest.raises(ValueError, match="there is a task 'alikeness' already"):
        registry.register(Other)


def test_without_it_the_name_is_unknown():
    with pytest.raises(ValueError, match="no task 'alikeness'"):
        Suite.model_validate({"name": "own", "tasks": [{"task": "alikeness"}]})
