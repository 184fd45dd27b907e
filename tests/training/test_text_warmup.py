"""The text warm-up trains texts alone, without a picture pass, and better texts come of it."""

from collections.abc import Callable

import pytest
import torch
from accelerate import Accelerator

from clipadapt import memory
from clipadapt.config import Config
from clipadapt.data.splits import load_splits
from clipadapt.processes.exchange import Processes
from clipadapt.prompts import Prompts
from clipadapt.training import optim, text_warmup
from clipadapt.training.objective import Objective
from clipadapt.training.preparation import prepare
from clipadapt.training.step import Step
from clipadapt.training.vectors import picture_vectors


@pytest.mark.parametrize("loss", ["attributes", "multi_positive"])
def test_texts_learn_and_pictures_stay(configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, loss: str):
    config = configured(
        loss={"name": loss} | ({"caption_weight": 0.2} if loss == "attributes" else {}),
        train={"text_warmup": 30, "text_warmup_lr": 0.05},
        lora={"dropout": 0.0},
    )
    train = load_splits(config.data, 0).train
    encoder, logit_scale, _ = prepare(config, "cpu")
    processes = Processes(Accelerator(cpu=True))
    pictures = picture_vectors(encoder, train, processes, batch_size=8)
    objective = Objective(config.loss, train, Prompts.load(config.prompts), seed=0)
    step = Step(encoder, objective, logit_scale, processes, config)
    before = {name: parameter.clone() for name, parameter in optim.trainable(encoder.model).items()}
    monkeypatch.setattr(encoder.backend, "image", None)
    trimmed: list[None] = []
    monkeypatch.setattr(text_warmup, "trim", lambda: trimmed.append(memory.trim()))
    figures = text_warmup.warm_up(config, encoder, train, objective, step, processes, pictures)
    assert len(trimmed) == 10, "what each step frees would pile up"
    assert figures["loss"] < 0.95 * figures["loss_first"]
    changed = {name for name, p in optim.trainable(encoder.model).items() if not torch.equal(p, before[name])}
    assert {encoder.tower_of(name) for name in changed} == {"text"}
    assert all(p.grad is None for p in encoder.parameters())


def test_a_scaled_loss_trains_as_an_unscaled_one(configured: Callable[..., Config]):
    """fp16's scaling is a power of two: with it undone before clipping, every step is the same."""
    after = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)):
        config = configured(train={"text_warmup": 8, "text_warmup_lr": 0.05, "clip": 0.1}, lora={"dropout": 0.0})
        train = load_splits(config.data, 0).train
        encoder, logit_scale, _ = prepare(config, "cpu")
        processes = Processes(Accelerator(cpu=True))
        objective = Objective(config.loss, train, Prompts.load(config.prompts), seed=0)
        backward = torch.Tensor.backward if scaler is None else lambda loss, by=scaler: by.scale(loss).backward()
        step = Step(encoder, objective, logit_scale, processes, config, backward=backward)
        pictures = picture_vectors(encoder, train, processes, batch_size=8)
        text_warmup.warm_up(config, encoder, train, objective, step, processes, pictures, scaler=scaler)
        after.append({name: p.detach().clone() for name, p in optim.trainable(encoder.model).items()})
    for name, value in after[0].items():
        torch.testing.assert_close(after[1][name], value, rtol=1e-4, atol=1e-6)


def test_each_step_draws_equally_many_and_all_are_drawn(configured: Callable[..., Config]):
    config = configured(train={"text_warmup": 5})
    train = load_splits(config.data, 0).train
    objective = Objective(config.loss, train, Prompts.load(config.prompts), seed=0)
    draws = text_warmup._draws(config, train, objective)
    assert [len(items) for items in draws] == [8] * 5
    assert set(range(len(train))) == {int(item) for items in draws[:3] for item in items}
