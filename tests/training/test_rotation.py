"""Rotary embeddings by complex products: timm's numbers and gradients."""

import pytest
import torch
from timm.layers import RotaryEmbeddingCat, pos_embed_sincos
from torch import Tensor

from clipadapt.training.rotation import fused_rotation, rotate


def embedding() -> tuple[Tensor, Tensor]:
    sine, cosine = RotaryEmbeddingCat(8, in_pixels=False, feat_shape=[3, 3]).get_embed().chunk(2, -1)
    return sine, cosine


def turned(whole: Tensor, *, half: bool = False) -> tuple[Tensor, Tensor]:
    """From a view that is neither contiguous nor starts at the first token, as attention hands it over."""
    entering = whole.clone().requires_grad_()
    x = entering.transpose(1, 2)[:, :, 1:]
    found = pos_embed_sincos.apply_rot_embed_cat(x, torch.cat(embedding(), -1), half=half)
    (found.float() * torch.linspace(-1, 1, found.numel()).view_as(found)).sum().backward()
    assert entering.grad is not None
    return found.detach(), entering.grad


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 1e-2)]
)
@pytest.mark.parametrize("half", [False, True])
def test_it_turns_as_timm_does(dtype: torch.dtype, tolerance: float, half: bool):
    whole = torch.randn(2, 10, 3, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = turned(whole, half=half)
    with fused_rotation():
        found = turned(whole, half=half)
    for one, two in zip(expected, found, strict=True):
        assert two.dtype == dtype and two.shape == one.shape
        torch.testing.assert_close(two, one, rtol=tolerance, atol=tolerance)


def test_angles_that_are_trained_or_not_shared_are_left_to_timm():
    x = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(0))
    sine, cosine = embedding()
    trained = sine.clone().requires_grad_()
    rotate(x, trained, cosine).sum().backward()
    assert trained.grad is not None
    odd = sine + torch.arange(8) / 10
    torch.testing.assert_close(rotate(x, odd, cosine), pos_embed_sincos.apply_rot_embed(x, odd, cosine))


def test_timm_is_as_it_was_afterwards():
    before = pos_embed_sincos.apply_rot_embed
    with pytest.raises(KeyError), fused_rotation():
        assert pos_embed_sincos.apply_rot_embed is rotate
        raise KeyError
    assert pos_embed_sincos.apply_rot_embed is before
