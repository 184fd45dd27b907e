"""A fused adapter computes what peft's own does, forward and backward."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners import lora
from torch import Tensor, nn

from clipadapt.training.dropout import ItemDropout
from clipadapt.training.lora_linear import LoraLinear, fuse


def adapted(*, bias: bool = True, dropout: float = 0.0, **options: Any) -> nn.Module:
    """One Linear in a Sequential, with an adapter that is not zero any more."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 5, bias=bias)).requires_grad_(False)
        config = LoraConfig(r=3, lora_alpha=12, target_modules=["0"], lora_dropout=dropout, **options)
        inject_adapter_in_model(config, model, "default")
        for parameter in model.parameters():
            if parameter.requires_grad:
                nn.init.normal_(parameter)
    return model


def results(model: nn.Module, x: Tensor, **autocast: Any) -> list[Tensor]:
    """Output, and the gradients of the input and of what is trained."""
    entering = x.clone().requires_grad_()
    with torch.autocast("cpu", **autocast):
        found = model(entering)
    (found.float() * torch.linspace(-1, 1, found.numel()).view_as(found)).sum().backward()
    assert entering.grad is not None
    trained = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    return [found.detach(), entering.grad, *[gradient for gradient in trained if gradient is not None]]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 6), (2, 3, 2, 6)])
@pytest.mark.parametrize(
    ("autocast", "tolerance"),
    [({"enabled": False}, 1e-5), ({"dtype": torch.bfloat16}, 3e-2)],
    ids=["float32", "bfloat16"],
)
def test_output_and_gradients_are_pefts(bias: bool, shape: tuple[int, ...], autocast: dict[str, Any], tolerance: float):
    peft = adapted(bias=bias)
    fused = copy.deepcopy(peft)
    assert fuse(fused) == 1
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    expected, found = results(peft, x, **autocast), results(fused, x, **autocast)
    assert len(found) == len(expected) == 4
    for one, two in zip(expected, found, strict=True):
        assert two.dtype == one.dtype and two.shape == one.shape
        torch.testing.assert_close(two, one, rtol=tolerance, atol=tolerance * float(one.abs().max()))


def test_dropped_channels_reach_the_adapter_alone():
    peft = adapted(dropout=0.5)
    layer: Any = peft[0]  # pyright: ignore[reportIndexIssue]
    layer.lora_dropout["default"] = ItemDropout(0.5, 6)
    layer.lora_dropout["default"].mask = torch.tensor([[0.0, 2, 2, 0, 2, 0], [2, 2, 0, 0, 0, 2]])
    peft.train()
    fused = copy.deepcopy(peft)
    assert fuse(fused) == 1
    x = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(1))
    for one, two in zip(results(peft, x, enabled=False), results(fused, x, enabled=False), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-5)


def trained_base() -> nn.Module:
    model = adapted()
    layer: Any = model[0]  # pyright: ignore[reportIndexIssue]
    layer.base_layer.weight.requires_grad_(True)
    return model


@pytest.mark.parametrize(
    "make",
    [lambda: adapted(use_dora=True), lambda: adapted(lora_bias=True), lambda: adapted(dropout=0.1), trained_base],
    ids=["dora", "biases", "pefts own dropout", "trained base"],
)
def test_other_adapters_stay_pefts(make: Callable[[], nn.Module]):
    model = make()
    assert fuse(model) == 0
    assert not any(isinstance(module, LoraLinear) for module in model.modules())


def test_switched_off_and_merged_adapters_are_pefts():
    model = adapted()
    fuse(model)
    layer: Any = model[0]  # pyright: ignore[reportIndexIssue]
    x = torch.randn(4, 6)
    with_adapter = model(x).detach()
    layer.enable_adapters(False)
    torch.testing.assert_close(model(x), layer.base_layer(x))
    layer.enable_adapters(True)
    layer.merge()
    torch.testing.assert_close(model(x), with_adapter, rtol=1e-5, atol=1e-5)
    assert isinstance(layer, lora.Linear)
