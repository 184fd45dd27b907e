"""What the report draws of a training, from lines as the trainer logs them."""

from pathlib import Path

import pytest

from clipadapt.config import Config
from clipadapt.evaluation.training_log import training_of
from clipadapt.runs import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    words = tmp_path / "words.yaml"
    words.write_text('captions: ["a {Pattern} shirt"]')
    raw = {
        "name": "x", "output_dir": str(tmp_path / "run"), "data": {"source": "s"}, "prompts": str(words),
        "train": {"batch_size": 8, "micro_batch": 8},
    }  # fmt: skip
    return Run.create(Config.model_validate(raw))


def test_curves_and_time_by_hand(run: Run):
    run.log(0, when="before", tune_balanced_accuracy=0.1)
    for step in range(1, 5):
        rate = 2.0 if step <= 2 else 4.0
        run.log(step, epoch=1 if step <= 2 else 2, loss=float(5 - step), lr=0.1, images_per_second=rate)
        if step % 2 == 0:
            run.log(step, when=f"epoch {step // 2}", tune_balanced_accuracy=0.1 * step, tune_top1=0.5)
    run.log(4, epoch=2, advice="none")
    training = training_of(run)
    assert training is not None
    assert training.loss == ((0.5, 4.0), (1.0, 3.0), (1.5, 2.0), (2.0, 1.0))
    assert training.figures["balanced_accuracy"] == ((0.0, 0.1), (1.0, 0.2), (2.0, 0.4))
    assert (training.epochs, training.steps, training.images) == (2, 4, 32)
    assert training.seconds == pytest.approx(16 / 2 + 16 / 4)


def test_long_logs_are_thinned_to_means(run: Run):
    for step in range(1, 1001):
        run.log(step, epoch=1, loss=float(step), lr=0.1, images_per_second=1.0)
    training = training_of(run)
    assert training is not None
    assert len(training.loss) == 300
    assert training.loss[0][1] == pytest.approx(2.5)  # of steps 1 to 4


def test_what_is_no_number_is_passed_over(run: Run):
    run.log(1, epoch=1, loss=float("nan"), lr=0.1, images_per_second=1.0)
    assert training_of(run) is None
    run.log(2, epoch=1, loss=1.0, lr=0.1, images_per_second=float("inf"), tune_top1=float("nan"))
    training = training_of(run)
    assert training is not None
    assert training.loss == ((1.0, 1.0),)
    assert training.figures == {}
    assert training.seconds == 0.0
