"""What is dropped depends on the item and the step alone: not on pieces, padding, repetition or other items."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from clipadapt.training.dropout import Dropouts, ItemDropout, train_adapters


def tower(p: float = 0.25) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 4))
    return inject_adapter_in_model(LoraConfig(r=2, target_modules=["0", "2"], lora_dropout=p), model)


def forward(model: nn.Module, dropouts: Dropouts, items: list[int], x: torch.Tensor, step: int = 0) -> torch.Tensor:
    dropouts.draw(step=step, items=items)
    return model(x)


@pytest.fixture
def adapted() -> tuple[nn.Module, Dropouts]:
    model = tower()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    dropouts = Dropouts(model, "image", seed=0)
    train_adapters(model)
    return model, dropouts


def test_every_dropout_of_peft_is_replaced(adapted):
    model, dropouts = adapted
    assert len(dropouts.layers) == 2
    assert not any(isinstance(module, nn.Dropout) for module in model.modules())


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=6), st.integers(1, 5), st.integers(0, 3))
def test_pieces_repetition_and_padding_change_nothing(items: list[int], cut: int, extra: int):
    model = tower()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    dropouts = Dropouts(model, "image", seed=0)
    train_adapters(model)
    of_item = torch.randn(6, 3 + extra, 8)
    x = of_item[items]
    whole = forward(model, dropouts, items, x)
    pieces = [forward(model, dropouts, items[at : at + cut], x[at : at + cut]) for at in range(0, len(items), cut)]
    torch.testing.assert_close(torch.cat(pieces), whole)
    torch.testing.assert_close(forward(model, dropouts, items, x[:, :3]), whole[:, :3])
    for first, item in enumerate(items):
        torch.testing.assert_close(whole[items.index(item)], whole[first])


def test_steps_items_and_layers_draw_differently(adapted):
    _, dropouts = adapted
    dropouts.draw(step=0, items=[1, 2])
    now = [layer.mask for layer in dropouts.layers]
    assert not torch.equal(now[0][0], now[0][1])
    dropouts.draw(step=1, items=[1, 2])
    assert not torch.equal(now[0], dropouts.layers[0].mask)
    assert not torch.equal(now[0], now[1])


def test_share_and_expectation_are_those_of_dropout():
    _, dropouts = (model := tower(0.25)), Dropouts(model, "image", seed=0)
    dropouts.draw(step=0, items=list(range(4000)))
    mask = dropouts.layers[0].mask
    assert mask is not None
    assert float((mask == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(mask.mean()) == pytest.approx(1.0, abs=0.01)
    assert mask.unique().tolist() == pytest.approx([0.0, 1 / 0.75])


def test_eval_mode_is_the_identity_and_no_mask_is_an_error(adapted):
    model, dropouts = adapted
    x = torch.randn(2, 8)
    dropouts.clear()
    with pytest.raises(RuntimeError, match="none items for a batch of 2"):
        model(x)
    dropouts.draw(step=0, items=[1])
    with pytest.raises(RuntimeError, match="1 items for a batch of 2"):
        model(x)
    model.eval()
    assert torch.equal(model(x), model(x))


def test_no_dropout_asked_for_draws_nothing():
    model = tower(0.0)
    dropouts = Dropouts(model, "image", seed=0)
    train_adapters(model)
    assert dropouts.layers == []
    forward(model, dropouts, [1], torch.randn(1, 8))


def test_only_adapters_are_in_train_mode():
    model = nn.Sequential(nn.BatchNorm1d(8), tower())
    train_adapters(model)
    training = {type(module).__name__ for module in model.modules() if module.training}
    assert "BatchNorm1d" not in training
    assert any(isinstance(module, nn.Dropout) and module.training for module in model.modules())


def test_mask_reaches_every_token_of_an_item():
    dropout = ItemDropout(0.5, 2)
    dropout.mask = torch.tensor([[0.0, 2.0]])
    assert dropout(torch.ones(1, 3, 2)).tolist() == [[[0.0, 2.0]] * 3]
