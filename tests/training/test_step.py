"""A step's gradient is that of the whole batch, however it is cut: against the loss written out over whole towers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator

from clipadapt.config import Config
from clipadapt.data.augment import Augment
from clipadapt.data.batches import Batches
from clipadapt.data.splits import load_splits
from clipadapt.prompts import Prompts
from clipadapt.training import mixup, optim
from clipadapt.training.base import BaseModel
from clipadapt.training.objective import Objective
from clipadapt.training.preparation import prepare
from clipadapt.training.processes import Processes
from clipadapt.training.step import Step

LOSSES = ("softmax", "sigmoid", "multi_positive", "attributes")


class Bench:
    """Everything a step needs, with adapters that are not zero any more."""

    def __init__(self, config: Config, dtype: torch.dtype = torch.float64) -> None:
        self.config = config
        self.train = load_splits(config.data, config.seed).train
        self.encoder, self.head, _ = prepare(config, "cpu")
        self.encoder.to(dtype)
        self.parameters = optim.trainable(self.encoder.model)
        pictures = F.normalize(torch.randn(len(self.train), self.encoder.dim, generator=seeded(1)), dim=-1)
        base = BaseModel(self.encoder, self.parameters, lambda: pictures) if config.loss.keep else None
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                if "lora_B" in name:
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=seeded(2), dtype=dtype))
        prompts = Prompts.load(config.prompts)
        self.objective = Objective(config.loss, self.train, prompts, seed=config.seed)
        self.processes = Processes(Accelerator(cpu=True))
        self.base = base
        self.step = Step(self.encoder, self.objective, self.head, self.processes, config, base=base)

    def batches(self) -> Batches:
        augment = Augment(self.config.augment, self.encoder.preprocess, self.config.seed)
        return Batches(self.train, self.config.train, augment, self.config.seed)

    def gradients(self) -> tuple[float, dict[str, torch.Tensor]]:
        """Loss and gradients of the first step, as training takes them."""
        self.encoder.zero_grad()
        outcome = self.step.both(next(self.batches().epoch(0)), epoch=0, step=0)
        return float(outcome.loss), self.collected()

    def reference(self) -> tuple[float, dict[str, torch.Tensor]]:
        """The same from whole towers at once: full token length, every caption of every item, one graph."""
        self.encoder.zero_grad()
        micros = next(self.batches().epoch(0))
        items = np.concatenate([micro.indices for micro in micros])
        mix = mixup.draw(items, [len(m) for m in micros], alpha=self.config.augment.mixup, seed=0, step=0)
        pixels = torch.cat([micro.pixels for micro in micros])
        asked = self.objective.ask(items, epoch=0, step=0)._replace(mix=mix)
        if mix is not None:
            pixels = torch.lerp(pixels[mix.partner], pixels, mix.share[:, None, None, None])
        self.step._dropouts["image"].draw(step=0, items=items.tolist())
        image = F.normalize(self.encoder.image_features(pixels), dim=-1)
        repeated = [*asked.texts, *asked.texts]
        self.step._dropouts["text"].draw(step=0, items=repeated)
        text = F.normalize(self.encoder.text_features(self.encoder.stock.tokens(repeated)), dim=-1)
        text = (text[: len(asked.texts)] + text[len(asked.texts) :]) / 2
        base = self.base.batch(asked) if self.base else None
        loss = self.objective.loss(asked, image, text, scale=self.head.scale(), bias=self.head.bias, base=base).loss
        loss.backward()
        return float(loss.detach()), self.collected()

    def collected(self) -> dict[str, torch.Tensor]:
        return {name: p.grad.clone() for name, p in self.parameters.items() if p.grad is not None}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
def test_mixup_blends_targets_in_pieces_too(configured: Callable[..., Config], loss: str, micro: int):
    sections: dict[str, Any] = {"loss": {"name": loss, "keep": 0.5}, "augment": {"mixup": 0.4}}
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
    monkeypatch.setattr("clipadapt.training.objective.TILE", 3)
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
    assert float(bench.head.scale().detach()) == pytest.approx(30.0)
    fixed = Bench(configured(loss={"scale": 30.0}))
    assert float(fixed.head.scale()) == 30.0
    assert fixed.encoder.scale != pytest.approx(30.0)
    assert "logit_scale" not in fixed.gradients()[1]


def test_the_same_step_twice_draws_the_same_and_another_step_does_not(configured: Callable[..., Config]):
    bench = Bench(configured(lora={"dropout": 0.5}))
    micros = next(bench.batches().epoch(0))
    losses = [float(bench.step.both(micros, epoch=0, step=step).loss) for step in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_matrix_attention_and_checkpointing_leave_the_gradient(configured: Callable[..., Config]):
    plain = Bench(configured(), torch.float32).gradients()
    checkpointed = Bench(configured(model={"checkpointing": True}), torch.float32).gradients()
    assert_equal(plain, checkpointed, 1e-5)
