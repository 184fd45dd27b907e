"""Splitting and fusing attention: equal outputs, identical keys and values, and refusals."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import LAYOUTS, TEXTS, shake
from torch import Tensor, nn

from clipadapt.errors import AdapterError, ModelError
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.packed import Split, fuse_attention, is_split, split_attention

EXPECTED = {
    "clip": {"in_proj": 4},
    "raw_in_proj": {"in_proj": 4},
    "attentional_pool": {"in_proj": 5},
    "eva_separate": {"in_proj": 2},
    "eva_fused": {"in_proj": 2, "separable": 2},
    "vit_fused": {"in_proj": 2, "fused": 2},
    "beit": {"in_proj": 2, "fused": 2},
    "siglip": {"in_proj": 2, "fused": 3},
    "hf_clip": {},
    "hf_siglip": {"in_proj": 1},
    "timm_vit": {"fused": 2},
    "timm_beit": {"fused": 2},
    "timm_eva": {"separable": 2},
}


def features(encoder: TorchEncoder, pixels: Tensor) -> Tensor:
    """Unnormalised features of both towers, one below the other."""
    with torch.no_grad():
        image = encoder.image_features(pixels)
        if encoder.context_length is None:
            return image
        return torch.cat([image, encoder.text_features(encoder.tokenize(TEXTS))])


def counts(split: Split) -> dict[str, int]:
    found = list(split.layouts.values())
    return {layout: found.count(layout) for layout in sorted(set(found))}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_split_equals_and_fuse_restores(layout: str, encoder_of: Callable[[str], TorchEncoder], pixels: Tensor) -> None:
    encoder = encoder_of(layout)
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    buffers = [name for name, _ in encoder.model.named_buffers()]
    unsplit = features(encoder, pixels)

    assert counts(split_attention(encoder.model)) == EXPECTED[layout]
    assert is_split(encoder.model) == bool(EXPECTED[layout])
    torch.testing.assert_close(features(encoder, pixels), unsplit, atol=1e-5, rtol=0)
    assert split_attention(encoder.model).layouts == {}, "a second split has nothing to do"

    fuse_attention(encoder.model)
    assert not is_split(encoder.model)
    after = encoder.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert [name for name, _ in encoder.model.named_buffers()] == buffers
    assert torch.equal(features(encoder, pixels), unsplit)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_projection_is_reached_by_the_gradient(
    layout: str, encoder_of: Callable[[str], TorchEncoder], pixels: Tensor
) -> None:
    """A Linear that attention bypassed would have none."""
    encoder = encoder_of(layout)
    split_attention(encoder.model)
    encoder.requires_grad_(True)
    tokens = None if encoder.context_length is None else encoder.tokenize(TEXTS)
    image, text = encoder(pixels, tokens)
    (image.square().sum() + (0 if text is None else text.square().sum())).backward()
    names = encoder.logical_names()
    projections = [path for name, path in names.items() if ".attention." in name]
    assert len(projections) == 4 * len({name.rpartition(".")[0] for name in names if ".attention." in name})
    for path in projections:
        weight = encoder.model.get_submodule(path).weight
        assert isinstance(weight, nn.Parameter)
        assert weight.grad is not None, path
        assert weight.grad.any(), path


def test_dtype_training_mode_and_frozenness_survive(encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of("eva_fused")
    model: Any = encoder.model.double().train()
    model.visual.trunk.blocks[0].requires_grad_(True)
    split_attention(model)
    first, second = model.visual.trunk.blocks[0].attn, model.visual.trunk.blocks[1].attn
    assert first.q_proj.weight.dtype == torch.float64
    assert first.q_proj.bias.requires_grad
    assert first.k_proj.bias is None
    assert not second.v_proj.weight.requires_grad
    assert all(part.training for part in model.modules())
    fuse_attention(model)
    assert first.qkv.weight.requires_grad
    assert first.q_bias.requires_grad
    assert not second.qkv.weight.requires_grad
    assert torch.equal(first.k_bias, torch.zeros_like(first.q_bias))


def attention(**changes: object) -> nn.MultiheadAttention:
    module = nn.MultiheadAttention(12, 3, **changes)  # pyright: ignore[reportArgumentType]
    shake(module)
    return module


@settings(deadline=None, max_examples=40)
@given(
    batch_first=st.booleans(),
    bias=st.booleans(),
    widths=st.sampled_from([(None, None), (6, 10)]),
    mask=st.sampled_from(["none", "bool", "float", "per head"]),
    padding=st.sampled_from(["none", "bool", "float"]),
    weights=st.sampled_from(["no", "mean", "per head"]),
    batched=st.booleans(),
)
def test_split_multihead_attention_is_torchs(
    batch_first: bool,
    bias: bool,
    widths: tuple[int | None, int | None],
    mask: str,
    padding: str,
    weights: str,
    batched: bool,
) -> None:
    """Every argument of torch.nn.MultiheadAttention, against torch itself."""
    holder = nn.Sequential(attention(batch_first=batch_first, bias=bias, kdim=widths[0], vdim=widths[1]))
    original = copy.deepcopy(holder)[0]
    split_attention(holder)
    generator = torch.Generator().manual_seed(0)
    queries, keys, batch = 4, 5, 2

    def tokens(length: int, width: int) -> Tensor:
        shape = (batch, length, width) if batch_first else (length, batch, width)
        return torch.randn(shape if batched else (length, width), generator=generator)

    inputs = tokens(queries, 12), tokens(keys, widths[0] or 12), tokens(keys, widths[1] or 12)
    allowed = torch.rand(queries, keys, generator=generator) < 0.7
    allowed[:, 0] = True
    attn_mask = {
        "none": None,
        "bool": ~allowed,
        "float": torch.randn(queries, keys, generator=generator).masked_fill(~allowed, -torch.inf),
        "per head": (~allowed).expand(3 * (batch if batched else 1), -1, -1),
    }[mask]
    padded = torch.zeros(batch, keys, dtype=torch.bool)
    padded[:, -1] = True
    padded = padded if batched else padded[0]
    additive = torch.zeros(padded.shape).masked_fill(padded, -torch.inf)
    key_padding_mask = {"none": None, "bool": padded, "float": additive}[padding]
    if attn_mask is not None and key_padding_mask is not None and attn_mask.dtype != key_padding_mask.dtype:
        key_padding_mask = padded if attn_mask.dtype == torch.bool else additive  # torch warns of mixed types
    options = {"need_weights": weights != "no", "average_attn_weights": weights != "per head"}
    arguments = {"attn_mask": attn_mask, "key_padding_mask": key_padding_mask, **options}
    expected, expected_weights = original(*inputs, **arguments)
    found, found_weights = holder[0](*inputs, **arguments)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    if expected_weights is None:
        assert found_weights is None
    else:
        torch.testing.assert_close(found_weights, expected_weights, atol=1e-6, rtol=1e-5)


def test_attention_dropout_is_kept() -> None:
    holder = nn.Sequential(attention(batch_first=True, dropout=0.5))
    split_attention(holder)
    tokens = torch.randn(2, 6, 12)
    one, two = (holder[0](tokens, tokens, tokens, need_weights=False)[0] for _ in range(2))
    assert not torch.equal(one, two)
    holder.eval()
    one, two = (holder[0](tokens, tokens, tokens, need_weights=False)[0] for _ in range(2))
    assert torch.equal(one, two)


class Doubling(nn.Module):
    """A packed in_proj_weight, and something that plain attention does not do."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = 2
        self.in_proj_weight = nn.Parameter(torch.randn(24, 8))
        self.in_proj_bias = None
        self.out_proj = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.out_proj((x @ self.in_proj_weight.T)[..., :8])


def test_an_attention_that_does_more_is_refused_and_left_alone() -> None:
    model = nn.ModuleDict({"odd": Doubling()})
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ModelError, match=r"odd: .*Doubling has a packed in_proj_weight"):
        split_attention(model)
    assert type(model["odd"]) is Doubling
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_key_and_value_biases_are_refused() -> None:
    with pytest.raises(ModelError, match="bias_k"):
        split_attention(nn.Sequential(attention(add_bias_kv=True)))
    with pytest.raises(ModelError, match="add_zero_attn"):
        split_attention(nn.Sequential(attention(add_zero_attn=True)))


def test_fusing_under_an_adapter_is_refused() -> None:
    from peft import LoraConfig, inject_adapter_in_model

    holder = nn.Sequential(attention())
    split_attention(holder)
    inject_adapter_in_model(LoraConfig(target_modules=["q_proj"]), holder)
    with pytest.raises(AdapterError, match=r"0\.q_proj carries an adapter"):
        fuse_attention(holder)


def test_split_survives_deepcopy_and_compiles_whole(encoder_of: Callable[[str], TorchEncoder], pixels: Tensor) -> None:
    encoder = encoder_of("raw_in_proj")
    split_attention(encoder.model)
    twin = copy.deepcopy(encoder)
    assert torch.equal(features(twin, pixels), features(encoder, pixels))
    fuse_attention(twin.model)
    assert is_split(encoder.model)
    model: Any = encoder.model
    compiled = torch.compile(model.visual, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(pixels), encoder.image_features(pixels))
