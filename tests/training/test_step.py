"""A step's gradient is that of the whole batch, however it is cut: against the loss written out over whole towers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from step_bench import Bench

from clipadapt.config import Config

LOSSES = ("softmax", "sigmoid", "multi_positive", "attributes")


def assert_equal(
    one: tuple[float, dict[str, torch.Tensor]], two: tuple[float, dict[str, torch.Tensor]], tolerance: float
) -> None:
    assert one[0] == pytest.approx(two[0], rel=tolerance)
    assert one[1].keys() == two[1].keys()
    for name, gradient in one[1].items():
        assert float((gradient - two[1][name]).norm()) <= tolerance * float(two[1][name].norm()), name


@pytest.mark.parametrize("micro", [8, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_pieces_trimming_and_repetition_leave_the_gradient_exact(
    configured: Callable[..., Config], loss: str, micro: int
):
    bench = Bench(configured(loss={"name": loss, "keep": 0.5}, train={"micro_batch": micro}))
    found = bench.gradients()
    assert all(gradient.abs().sum() > 0 for gradient in found[1].values())
    assert_equal(found, bench.reference(), 1e-9)


@pytest.mark.parametrize("micro", [8, 4])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("mix", [{"mixup": 0.4}, {"cutmix": 1.0, "force": ["cutmix"]}], ids=["mixup", "cutmix"])
def test_mixing_blends_targets_in_pieces_too(
    configured: Callable[..., Config], loss: str, micro: int, mix: dict[str, Any]
):
    sections: dict[str, Any] = {"loss": {"name": loss, "keep": 0.5}, "augment": mix}
    bench = Bench(configured(**sections, train={"micro_batch": micro}))
    assert_equal(bench.gradients(), bench.reference(), 1e-9)


def test_many_texts_go_in_pieces_of_their_own(configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("clipadapt.training.step.TEXTS_PER_PICTURE", 1)
    bench = Bench(configured(loss={"name": "attributes"}, train={"micro_batch": 2}))
    assert_equal(bench.gradients(), bench.reference(), 1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_large_batches_in_tiles_are_the_same(
    configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, loss: str
):
    bench = Bench(configured(loss={"name": loss}))
    whole = bench.gradients()
    monkeypatch.setattr("clipadapt.losses.captions.TILE", 3)
    assert_equal(bench.gradients(), whole, 1e-9)


@pytest.mark.parametrize("preset", ["image", "text"])
@pytest.mark.parametrize("micro", [8, 2])
def test_a_frozen_tower_gets_no_gradient_and_changes_none(configured: Callable[..., Config], preset: str, micro: int):
    bench = Bench(configured(lora={"preset": preset}, train={"micro_batch": micro}), torch.float64)
    found = bench.gradients()
    towers = {bench.encoder.tower_of(name) for name in found[1]}
    assert towers == {preset}
    assert_equal(found, bench.reference(), 1e-9)


def test_a_trained_scale_gets_its_gradient_and_a_fixed_one_replaces_the_base(configured: Callable[..., Config]):
    bench = Bench(configured(loss={"logit_scale": "trained", "scale": 30.0}, train={"micro_batch": 3}))
    found = bench.gradients()
    assert found[1]["logit_scale"].abs() > 0
    assert_equal(found, bench.reference(), 1e-9)
    assert float(bench.logit_scale.scale().detach()) == pytest.approx(30.0)
    fixed = Bench(configured(loss={"scale": 30.0}))
    assert float(fixed.logit_scale.scale()) == 30.0
    assert fixed.encoder.scale != pytest.approx(30.0)
    assert "logit_scale" not in fixed.gradients()[1]


def test_the_same_step_twice_draws_the_same_and_another_step_does_not(configured: Callable[..., Config]):
    bench = Bench(configured(lora={"dropout": 0.5}))
    micros = next(bench.batches().epoch(0))
    losses = [float(bench.step.both(micros, epoch=0, step=step).loss) for step in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_matrix_attention_and_checkpointing_leave_the_gradient(configured: Callable[..., Config]):
    plain = Bench(configured(), torch.float64).gradients()
    checkpointed = Bench(configured(model={"checkpointing": True}), torch.float64).gradients()
    assert_equal(plain, checkpointed, 1e-9)
