"""Attention by matrix products is torch's own, in value and gradient."""

import pytest
import torch
import torch.nn.functional as F
from timm.layers import pos_embed_sincos
from torch import nn

from clipadapt.training.attention import MatrixAttention, attention, training_attention
from clipadapt.training.rotation import rotate


def heads(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 5, 4, generator=generator, dtype=torch.float64, requires_grad=True)


MASKS = {
    "none": {},
    "additive": {"attn_mask": torch.randn(5, 5, dtype=torch.float64)},
    "boolean": {"attn_mask": torch.ones(5, 5, dtype=torch.bool).tril()},
    "causal": {"is_causal": True},
    "scaled": {"scale": 0.3},
}


@pytest.mark.parametrize("mask", MASKS)
def test_values_and_gradients_are_torch_own(mask: str):
    q, k, v = heads(0), heads(1), heads(2)
    ours, theirs = attention(q, k, v, **MASKS[mask]), F.scaled_dot_product_attention(q, k, v, **MASKS[mask])
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    weights = torch.randn(ours.shape, dtype=torch.float64)
    for one, two in zip(
        torch.autograd.grad((ours * weights).sum(), (q, k, v)),
        torch.autograd.grad((theirs * weights).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


def test_half_precision_is_within_its_rounding():
    q, k, v = (heads(seed).detach().bfloat16() for seed in range(3))
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
    ours = attention(q, k, v)
    assert ours.dtype == torch.bfloat16
    assert float((ours.double() - exact).norm() / exact.norm()) < 0.01


def test_a_call_inside_is_replaced_and_others_are_not(monkeypatch: pytest.MonkeyPatch):
    calls = []
    monkeypatch.setattr("clipadapt.training.attention.attention", lambda *args, **_: calls.append(1) or args[0])
    q = heads(0)
    with MatrixAttention():
        F.scaled_dot_product_attention(q, q, q)
        F.scaled_dot_product_attention(q, q, q, dropout_p=0.5)
        F.gelu(q)
    F.scaled_dot_product_attention(q, q, q)
    assert calls == [1]


def test_what_is_not_served_is_refused():
    q = heads(0)
    with pytest.raises(ValueError, match="dropout_p"):
        attention(q, q, q, dropout_p=0.1)


def test_cpu_alone_and_not_with_checkpointing(monkeypatch: pytest.MonkeyPatch):
    def is_served(device: str, checkpointing: bool) -> bool:
        calls: list[object] = []
        monkeypatch.setattr("clipadapt.training.attention.attention", lambda *_: calls.append(1))
        q = torch.zeros(1, 1, 2, 4)
        with training_attention(torch.device(device), checkpointing=checkpointing):
            F.scaled_dot_product_attention(q, q, q)
            assert (pos_embed_sincos.apply_rot_embed is rotate) == bool(calls)
        return bool(calls)

    assert is_served("cpu", False)
    assert not is_served("cpu", True)
    assert not is_served("cuda", False)


def test_torch_multihead_attention_still_works_within():
    layer = nn.MultiheadAttention(8, 2, batch_first=True).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    expected = layer(x, x, x, need_weights=False)[0]
    with MatrixAttention():
        torch.testing.assert_close(layer(x, x, x, need_weights=False)[0], expected)
