"""Both halves of every layout make the whole tower: the same features and the same gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from adapted_towers import adapted, gradients
from tiny_models import LAYOUTS, OPEN_CLIP, TWO_TOWERS
from torch import Tensor, nn

from clipadapt.config import Lora, Train
from clipadapt.errors import ModelError
from clipadapt.towers.cut import find_cut
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.lora import select_trainable

Encoders = Callable[[str], TorchEncoder]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_halves_make_the_whole(encoder_of: Encoders, layout: str, pixels: Tensor):
    encoder = adapted(encoder_of(layout))
    cut = find_cut(encoder)
    assert (cut.first, cut.blocks) == (1, 2)
    whole = encoder.image_features(pixels)
    tokens = cut.lower(pixels)
    assert tokens.shape == (len(pixels), *cut.shape) and not tokens.requires_grad
    halves = cut.upper(tokens)
    torch.testing.assert_close(halves, whole, rtol=1e-4, atol=1e-5)
    one, two = gradients(encoder, whole), gradients(encoder, halves)
    assert one.keys() == two.keys() and len(one) >= 8
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_trained_alone_reaches_the_upper_half(encoder_of: Encoders, layout: str, pixels: Tensor):
    """Other tokens give other features, row by row: nothing of the blank picture is left in them."""
    encoder = adapted(encoder_of(layout))
    cut = find_cut(encoder)
    tokens = cut.lower(pixels)
    turned = cut.upper(tokens.flip(0))
    torch.testing.assert_close(turned.flip(0), cut.upper(tokens), rtol=1e-4, atol=1e-5)
    assert float((turned - cut.upper(tokens)).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("layout", ["eva_fused", "hf_clip"])
def test_in_half_precision_tokens_and_features_are_those_of_the_whole(
    encoder_of: Encoders, layout: str, pixels: Tensor
):
    encoder = adapted(encoder_of(layout))
    encoder.precision = "bf16"
    cut = find_cut(encoder)
    whole, halves = encoder.image_features(pixels), cut.upper(cut.lower(pixels))
    assert halves.dtype == torch.float32
    torch.testing.assert_close(halves, whole, rtol=2e-2, atol=2e-2)
    encoder.precision = "fp32"
    assert not torch.equal(cut.upper(cut.lower(pixels)), halves)


@pytest.mark.parametrize("layout", ["clip", "eva_separate", "vit_fused", "hf_siglip"])
def test_blocks_that_are_run_again_for_their_gradient_find_the_tokens(
    encoder_of: Encoders, layout: str, pixels: Tensor
):
    encoder = adapted(encoder_of(layout))
    cut = find_cut(encoder)
    expected = gradients(encoder, cut.upper(cut.lower(pixels)))
    encoder.checkpointing()
    encoder.train()
    found = gradients(encoder, cut.upper(cut.lower(pixels)))
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5)


def test_the_tower_is_as_it_was_after_either_half(encoder_of: Encoders, pixels: Tensor):
    encoder = adapted(encoder_of("eva_fused"))
    whole = encoder.image_features(pixels)
    cut = find_cut(encoder)
    cut.upper(cut.lower(pixels))
    with pytest.raises(RuntimeError):
        cut.upper(torch.zeros(2, 7, 5))
    assert torch.equal(encoder.image_features(pixels), whole)
    for module in encoder.model.modules():
        assert "forward" not in module.__dict__ and not module._forward_pre_hooks


@pytest.mark.parametrize("layout", [layout for layout in TWO_TOWERS if layout in OPEN_CLIP])
def test_trained_norms_count(encoder_of: Encoders, layout: str):
    """Norms of every block train with `norms`, so the first block does, too."""
    with pytest.raises(ModelError, match=r"first block .* is trained|before the blocks"):
        find_cut(adapted(encoder_of(layout), norms=True))


@pytest.mark.parametrize("layout", ["clip", "timm_beit"])
def test_what_cannot_be_cut_says_why(encoder_of: Encoders, layout: str):
    with pytest.raises(ModelError, match="first block of its image tower is trained"):
        find_cut(adapted(encoder_of(layout), plan=[["*.attention.{q,k,v,out}", 2], ["*", None]]))
    whole = encoder_of(layout)
    select_trainable(whole, Train(trainable="all"), Lora(preset="image"))
    with pytest.raises(ModelError, match="before the blocks of its image tower is trained"):
        find_cut(whole)
    with pytest.raises(ModelError, match="nothing of its image tower is trained"):
        find_cut(encoder_of(layout))


def test_a_convolutional_tower_has_no_blocks(encoder_of: Encoders):
    encoder = encoder_of("timm_vit")
    backend: Any = encoder.backend
    encoder.model = backend.model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ModelError, match="no transformer blocks that it could be cut between"):
        find_cut(encoder)


def test_a_tower_that_runs_a_block_twice_is_refused(encoder_of: Encoders):
    encoder = adapted(encoder_of("timm_vit"))
    blocks: Any = encoder.backend.model
    blocks.blocks = nn.Sequential(blocks.blocks[0], blocks.blocks[0])
    with pytest.raises(ModelError):
        find_cut(encoder)
