"""Towers that read their first token alone give the same features and gradients without the others."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from adapted_towers import adapted, gradients
from tiny_models import LAYOUTS
from torch import Tensor

from clipadapt.towers.cut import find_cut
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.unread import block_of_the_read_token, first_token_alone
from clipadapt.training.attention import MatrixAttention, attention

ONE_TOKEN = {"clip", "raw_in_proj", "eva_separate", "eva_fused", "hf_clip", "timm_vit", "timm_eva"}
"""The others pool the mean, or attend to all."""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_features_and_gradients_are_those_of_all_tokens(
    encoder_of: Callable[[str], TorchEncoder], layout: str, pixels: Tensor
):
    encoder = adapted(encoder_of(layout))
    block = block_of_the_read_token(encoder)
    assert (block is not None) == (layout in ONE_TOKEN)
    whole = encoder.image_features(pixels)
    seen: list[int] = []
    read = [] if block is None else [block.out, block.norm]
    hooks = [one.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1])) for one in read]
    with first_token_alone(block):
        found = encoder.image_features(pixels)
    assert set(seen) <= {1} and bool(seen) == (block is not None)
    for hook in hooks:
        hook.remove()
    cut = find_cut(encoder)
    tokens = cut.lower(pixels)
    with first_token_alone(block):
        of_tokens = cut.upper(tokens)
    expected = gradients(encoder, whole)
    for features in (found, of_tokens):
        torch.testing.assert_close(features, whole, rtol=1e-4, atol=1e-5)
        for name, gradient in gradients(encoder, features).items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-4)
    assert not any(module._forward_pre_hooks for module in block or ())


@pytest.mark.parametrize("layout", ["eva_fused", "clip"])
def test_queries_that_are_not_read_are_not_asked(
    encoder_of: Callable[[str], TorchEncoder], layout: str, pixels: Tensor, monkeypatch: pytest.MonkeyPatch
):
    encoder = adapted(encoder_of(layout))
    block = block_of_the_read_token(encoder)
    queries: list[int] = []

    def counted(query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
        queries.append(query.shape[-2])
        return attention(query, key, value)

    monkeypatch.setattr("clipadapt.training.attention.attention", counted)
    with MatrixAttention(), first_token_alone(block):
        encoder.image_features(pixels)
    assert queries == [5, 1]
