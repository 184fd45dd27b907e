"""Groups, rates, clipping and the clamp, against values a hand can compute."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from clipadapt.errors import TrainingError
from clipadapt.training import optim


def parameters(**shapes: tuple[int, ...]) -> dict[str, nn.Parameter]:
    return {name.replace("__", "."): nn.Parameter(torch.ones(shape)) for name, shape in shapes.items()}


def test_matrices_decay_and_the_rest_does_not():
    named = parameters(lora_A__weight=(2, 4), norm__weight=(4,), fc__bias=(4,), logit_scale=())
    optimizer = optim.adamw(named, lr=1e-3, weight_decay=0.1)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert [decay[id(named[name])] for name in named] == [0.1, 0.0, 0.0, 0.0]
    assert all(group["fused"] for group in optimizer.param_groups)


def test_nothing_to_train_names_the_remedy():
    with pytest.raises(TrainingError, match=r"lora\.plan"):
        optim.adamw({}, lr=1.0, weight_decay=0.0)


def test_trainable_lists_each_shared_parameter_once():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    assert list(optim.trainable(nn.ModuleList([layer, layer]))) == ["0.weight"]


def test_rate_rises_then_follows_the_cosine():
    rates = [optim.lr_at(step, steps=100, peak=1.0, warmup=0.05) for step in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5] == 1.0
    assert rates[52] == pytest.approx(0.5 * (1 + math.cos(math.pi * 47 / 95)))
    assert 0 < rates[-1] < 0.001


@given(st.integers(1, 500), st.floats(0, 1))
def test_rate_is_positive_and_bounded_for_any_length(steps: int, warmup: float):
    rates = [optim.lr_at(step, steps=steps, peak=2.0, warmup=warmup) for step in range(steps)]
    assert all(0 < rate <= 2.0 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_clip_scales_to_the_limit_and_returns_the_norm_before():
    (parameter,) = parameters(w=(2,)).values()
    parameter.grad = torch.tensor([3.0, 4.0])
    assert optim.clip([parameter], 1.0) == pytest.approx(5.0)
    assert parameter.grad.tolist() == pytest.approx([0.6, 0.8], rel=1e-5)
    assert optim.clip([parameter], None) == pytest.approx(1.0, rel=1e-5)


def test_clip_leaves_a_gradient_that_is_no_number_alone():
    (parameter,) = parameters(w=(2,)).values()
    parameter.grad = torch.tensor([math.nan, 4.0])
    assert math.isnan(optim.clip([parameter], 1.0))
    assert parameter.grad[1] == 4.0


def test_scale_is_clamped_at_100():
    scale = torch.tensor([5.0, -1.0, 3.0])
    optim.clamp_scale(scale)
    assert scale.tolist() == pytest.approx([math.log(100), 0.0, 3.0])
