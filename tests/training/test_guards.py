"""Each trouble is named with its step, its items and what to change."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from data_factory import write_table

from clipadapt.config import Config
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.splits import Splits
from clipadapt.errors import TrainingError
from clipadapt.training import guards
from clipadapt.training.checkpoints import Epoch, Progress
from clipadapt.training.labels import labels_of


def config(**sections) -> Config:
    return Config.model_validate({"name": "t", "output_dir": "o", "prompts": "p", "data": {"source": "s"}, **sections})


def epochs(*figures: tuple[float, float | None], chance: float | None = 0.1) -> list[Epoch]:
    return [Epoch(loss=loss, accuracy=accuracy, chance=chance, score=(0.0,)) for loss, accuracy in figures]


def test_numbers_pass_and_the_rest_is_named():
    assert guards.finite(1.0, 2.0, step=3, items=["a"]) is None
    fault = guards.finite(math.nan, 2.0, step=3, items=[str(item) for item in range(12)])
    assert fault is not None and fault.startswith("step 3: the loss is nan (items 0, 1, 2, 3, 4, 5, 6, 7 and 4 more)")
    assert "gradient's norm is inf" in str(guards.finite(1.0, math.inf, step=3, items=["a"]))


def test_memory_errors_are_recognised_and_name_what_to_lower():
    assert guards.out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert guards.out_of_memory(
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
    )
    assert not guards.out_of_memory(RuntimeError("shapes do not match"))
    message = str(guards.memory_error(config()))
    assert "out of memory" in message
    assert "train.micro_batch (now 64)" in message
    assert "model.checkpointing=true" in message
    lowest = config(train={"micro_batch": 1}, model={"checkpointing": True, "frozen_dtype": "bf16"})
    assert "model.image_size" in str(guards.memory_error(lowest))


def test_a_rising_accuracy_is_left_alone():
    assert guards.advice([], config()) is None
    assert guards.advice(epochs((3.0, 0.2), (2.5, 0.3), (2.0, 0.5)), config()) is None
    assert guards.advice(epochs((3.0, 0.96), (2.5, 0.96), (2.0, 0.96)), config()) is None


def test_a_stall_names_mlp_adapters_first():
    advice = guards.advice(epochs((3.0, 0.5), (2.9, 0.5), (2.9, 0.505)), config())
    assert advice is not None and "stalls at 50.5%" in advice
    assert advice.index("MLP adapters") < advice.index("LayerNorm tuning")


@pytest.mark.parametrize("last", [(3.5, 0.5), (2.9, 0.11), (3.0, 0.12)])
def test_a_collapse_names_norms_first(last: tuple[float, float]):
    advice = guards.advice(epochs((3.0, 0.5), last), config())
    assert advice is not None and "collapsed" in advice and "train.lr" in advice
    assert advice.index("LayerNorm tuning") < advice.index("MLP adapters")


def test_a_short_run_that_begins_by_guessing_and_whose_loss_falls_is_left_alone():
    assert guards.advice(epochs((19.013, 0.104), (17.925, 0.105)), config()) is None
    assert guards.advice(epochs((3.0, 0.1), (2.6, 0.1), (2.2, 0.11)), config()) is None


def test_guessing_while_the_loss_stands_is_no_collapse_but_said():
    advice = guards.advice(epochs((3.0, 0.1), (2.99, 0.1)), config())
    assert advice is not None and "nothing is learned" in advice and "higher train.lr" in advice
    assert "collapsed" not in advice


def test_a_first_step_without_any_gradient_is_the_batchs_fault():
    weight = torch.nn.Parameter(torch.ones(2))
    for gradient in (None, torch.zeros(2)):
        weight.grad = gradient
        with pytest.raises(TrainingError, match=r"a batch of 512 holds none that differ. Raise train.batch_size"):
            guards.refuse_without_gradient([weight], config())
    weight.grad = torch.tensor([0.0, 1e-9])
    guards.refuse_without_gradient([weight], config())


def test_options_that_are_on_already_are_not_named():
    everything = config(lora={"norms": True, "plan": [["*.mlp.*", 8]]})
    advice = guards.advice(epochs((3.0, 0.5), (2.9, 0.5), (2.9, 0.5)), everything)
    assert advice is not None and "lora.rank" in advice and "MLP" not in advice


def test_where_nothing_is_judged_only_the_loss_tells():
    assert guards.advice(epochs((3.0, None), (2.9, None), (2.9, None), chance=None), config()) is None
    advice = guards.advice(epochs((3.0, None), (3.5, None), chance=None), config())
    assert advice is not None and "3.000 in the first epoch, 3.500 now. Try" in advice


@pytest.mark.parametrize(
    ("best", "now", "kept"), [(1, 0.3, True), (1, 0.29, False), (2, 0.2, True), (0, 0.35, False), (None, 0.4, True)]
)
def test_rare_values_are_compared_with_the_best_epoch(best: int | None, now: float, kept: bool) -> None:
    rows: list[dict[str, object]] = [
        {"step": 0, "when": "before", "tune_rare_balanced_accuracy": 0.1},
        {"step": 0, "when": "with value vectors", "tune_rare_balanced_accuracy": 0.4},
        {"step": 5, "when": "epoch 1", "tune_rare_balanced_accuracy": 0.3},
        {"step": 6, "loss": 1.0},
        {"step": 9, "when": "epoch 2", "tune_rare_balanced_accuracy": 0.2},
        {"step": 9, "when": "with value vectors learned again", "tune_rare_balanced_accuracy": now},
    ]
    progress = Progress(
        start=(0.5,),
        epochs=[one.model_copy(update={"score": (0.5,)}) for one in epochs((1.0, 0.5), (1.0, 0.5))],
        best=best,
    )
    assert guards.better_again((0.6,), progress, rows) is kept
    assert guards.better_again((0.6,), progress, [{**row, "tune_rare_balanced_accuracy": None} for row in rows])
    assert not guards.better_again((0.5,), progress, rows)


def test_few_labels_are_said_with_how_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = [
        {"file_name": f"{at}.png", "Pattern": "ab"[at % 2], "Neck": "xyz"[at % 3], "note": ["no", "yes"][at % 2]}
        for at in range(2 * guards.FEW + 2)
    ]
    whole = Catalogue.load(write_table(tmp_path, rows), attributes=["Pattern", "Neck", "note"])
    weights = {"note": 0.0}
    said = guards.few_labels(labels_of(whole, weights))
    assert said is not None and f"take the linear probe ({guards.PROBE_ALONE})" in said
    assert "there are Neck 14.0 labelled items a value, and up to 20" in said
    monkeypatch.setenv("CLIPADAPT_REAL_DATA", str(tmp_path))
    recipe = Path(__file__).parents[2] / "configs" / "fashion_small.yaml"
    assert Config.load(recipe, guards.PROBE_ALONE.split()).train.trainable == "head", "as it can be typed"
    assert "Pattern 13.0, Neck 8.7 labelled" in (guards.few_labels(labels_of(whole.subset(range(26)), weights)) or "")
    assert guards.few_labels(labels_of(whole, {**weights, "Neck": 0.0})) is None


def test_a_value_with_all_its_labels_in_tune_is_named(tmp_path):
    cells = ["Striped", "Solid", "Striped", "Solid", "Dyed", "", "Washed"]
    rows = [{"file_name": f"{at}.png", "Pattern": cell, "note": f"n{at}"} for at, cell in enumerate(cells)]
    whole = Catalogue.load(write_table(tmp_path, rows), attributes=["Pattern", "note"])

    def advice(*tune: int) -> str | None:
        parts = [whole.subset(np.setdiff1d(np.arange(7), tune)), whole, whole.subset(tune)]
        data = {"source": "s", "attributes": ["Pattern", "note"]}
        loss = {"name": "attributes", "attribute_weights": {"note": 0.0}}
        return guards.only_in_tune(Splits(*parts), config(data=data, loss=loss))

    assert advice(0, 1, 5) is None, "another item of each is learned from, and an empty cell is no value"
    said = advice(0, 4, 6)
    assert said is not None and "Pattern Dyed, Pattern Washed, or change data.splits.tune (now 0.1)" in said
    assert "note" not in said, "nothing is taught about it"
    said = advice(1, 3, 4, 5, 6)
    assert said is not None and "Pattern Solid, Pattern Dyed, Pattern Washed," in said, "one value alone is left"
