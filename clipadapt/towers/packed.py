"""Packed and fused attention <-> Linears of its own for q, k, v and out, in place, with equal outputs.

    split_attention(model)      every layout below; returns what was split
    fuse_attention(model)       the inverse: the same modules, state-dict keys and values as before

    layout      found by                           becomes
    in_proj     a parameter in_proj_weight         q_proj, k_proj, v_proj beside out_proj; the class is exchanged for
                                                   one here that computes the same
    separable   a fused qkv and empty q_proj ...   timm's own separate path (EVA, with its q and v biases, none on k)
    fused       a Linear qkv or kv that is called  a module of Linears whose outputs are concatenated (timm ViT, BEiT,
                                                   attention pools); everything else in the attention stays

Why: an adapter on a packed weight is one low rank for three projections, and where attention reads the weight without
calling its Linear, an adapter there gets no gradient and says nothing. Layouts are recognised by the weight, never by
a class name; an in_proj module is run before and after on random tokens, so that an attention which does something
more is refused instead of changed. Nothing here knows of adapters or towers.
Measured: split and fused unnormalised embeddings differ by at most 4e-6 in float32.
"""

import copy
import inspect
from collections import Counter
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipadapt.errors import AdapterError, ModelError

_NAMES = ("q_proj", "k_proj", "v_proj")


class Split(NamedTuple):
    """What split_attention did: module path -> layout (in_proj, separable, fused)."""

    layouts: dict[str, str]

    def __str__(self) -> str:
        counts = Counter(self.layouts.values())
        return ", ".join(f"{count} {layout}" for layout, count in sorted(counts.items())) or "nothing to split"


def split_attention(model: nn.Module) -> Split:
    """Splits every packed or fused attention of `model` in place; a second call finds nothing to do.

    Raises:
        ModelError: an attention with a packed weight does something that splitting would change; nothing after it is
            touched.
    """
    layouts: dict[str, str] = {}
    for path, module in list(model.named_modules()):
        slots = module._modules
        if _packed_parameter(module):
            _split_in_proj(path, module)
            layouts[path] = "in_proj"
        elif isinstance(slots.get("qkv"), nn.Linear):
            separable = all(getattr(module, name, module) is None for name in _NAMES)
            (_split_separable if separable else _split_fused)(module, "qkv")
            layouts[f"{path}.qkv"] = "separable" if separable else "fused"
        elif isinstance(slots.get("kv"), nn.Linear):
            _split_fused(module, "kv")
            layouts[f"{path}.kv"] = "fused"
    return Split(layouts)


def fuse_attention(model: nn.Module) -> None:
    """Undoes split_attention; a model that was not split stays as it is.

    Raises:
        AdapterError: a projection still carries an adapter; merge first.
    """
    for path, module in list(model.named_modules()):
        origin = getattr(module, "_split_from", None)
        if origin is None:
            continue
        for name, child in module.named_modules():
            if hasattr(child, "base_layer"):
                raise AdapterError(f"{path}.{name} carries an adapter; merge it before fusing the attention")
        origin.fuse(module)
        del module._split_from


def is_split(model: nn.Module) -> bool:
    """Whether some attention of `model` was split and not fused again."""
    return any(hasattr(module, "_split_from") for module in model.modules())


class PackedLinears(nn.Module):
    """Stands where a fused Linear was called: the outputs of its parts, concatenated."""

    def __init__(self, parts: dict[str, nn.Linear]) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([part(inputs) for part in self._modules.values() if part is not None], dim=-1)


class SplitMultiheadAttention(nn.Module):
    """torch.nn.MultiheadAttention's arguments and results, over Linears; other attributes are the original's."""

    def forward(
        self: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As torch's: masks are boolean (true is masked out) or additive; weights [b, q, k], per head on request.

        `is_causal` is a hint about `attn_mask`, as in torch, and is not needed.
        """
        single = query.dim() == 2
        if single:
            query, key, value = (one.unsqueeze(0) for one in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (one.transpose(0, 1) for one in (query, key, value))
        q = _heads(self.q_proj(query), self.num_heads)
        k = _heads(self.k_proj(key), self.num_heads)
        v = _heads(self.v_proj(value), self.num_heads)
        mask = _additive(attn_mask, key_padding_mask, q)
        dropout = self.dropout if self.training else 0.0
        if need_weights:
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            weights = F.dropout((scores if mask is None else scores + mask).softmax(dim=-1), dropout)
            mixed = weights @ v
        else:
            weights = None
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        output = self.out_proj(mixed.transpose(1, 2).flatten(2))
        if weights is not None:
            weights = weights.mean(dim=1) if average_attn_weights else weights
        if single:
            return output.squeeze(0), None if weights is None else weights.squeeze(0)
        return output if self.batch_first else output.transpose(0, 1), weights


class SplitSelfAttention(nn.Module):
    """Self-attention called as (x, attn_mask) -> x, as open_clip's own Attention; its norms and drops are kept."""

    def forward(self: Any, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        q, k, v = (_heads(project(x), self.num_heads) for project in (self.q_proj, self.k_proj, self.v_proj))
        batch, heads, length, _ = q.shape
        if attn_mask is not None:
            if attn_mask.dim() == 3:
                attn_mask = attn_mask.reshape(batch, heads, length, -1)
            attn_mask = _as_additive(attn_mask, q.dtype)
        q, k = _through(self, "ln_q", q), _through(self, "ln_k", k)
        drop = getattr(self, "attn_drop", None)
        dropout = drop.p if drop is not None and self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, dropout_p=dropout)
        if getattr(self, "head_scale", None) is not None:
            mixed = mixed * self.head_scale
        output = self.out_proj(_through(self, "ln_inner", mixed.transpose(1, 2).flatten(2)))
        return _through(self, "out_drop", output)


class _InProj(NamedTuple):
    """How to put an in_proj module together again."""

    original: type[nn.Module]
    same_width: bool
    """Whether q, k and v were one parameter, or three of different width beside one bias."""

    def fuse(self, module: nn.Module) -> None:
        parts = _take(module)
        if self.same_width:
            weight = torch.cat([part.weight.detach() for part in parts])
            _parameter(module, "in_proj_weight", weight, parts[0].weight)
        else:
            for name, part in zip(_NAMES, parts, strict=True):
                _parameter(module, f"{name}_weight", part.weight.detach(), part.weight)
        if parts[0].bias is not None:
            _parameter(module, "in_proj_bias", torch.cat([part.bias.detach() for part in parts]), parts[0].bias)
        for name in _NAMES:
            del module._modules[name]
        module.__class__ = self.original


class _Separable(NamedTuple):
    """How to put timm's separate path together again."""

    biases_outside: bool

    def fuse(self, module: nn.Module) -> None:
        parts = _take(module)
        module._modules["qkv"] = _joined(parts, self.biases_outside)
        if self.biases_outside:
            _restore_biases(module, parts)
        for name in _NAMES:
            del module._modules[name]
            setattr(module, name, None)


class _Fused(NamedTuple):
    """How to put a Linear that was called together again."""

    name: str
    biases_outside: bool

    def fuse(self, module: nn.Module) -> None:
        packed = module._modules[self.name]
        assert isinstance(packed, PackedLinears), f"{self.name} was split"
        parts: Any = [part for part in packed._modules.values() if part is not None]
        module._modules[self.name] = _joined(parts, self.biases_outside)
        if self.biases_outside:
            _restore_biases(module, parts)


def _packed_parameter(module: nn.Module) -> bool:
    parameters = module._parameters
    return parameters.get("in_proj_weight") is not None or parameters.get("q_proj_weight") is not None


def _split_in_proj(path: str, module: Any) -> None:
    """Exchanges the packed parameters for Linears and the class for one that calls them, once proven equal."""
    arguments = inspect.signature(module.forward).parameters
    target = SplitMultiheadAttention if {"key", "value"} <= set(arguments) else SplitSelfAttention
    extras = [name for name in ("bias_k", "bias_v") if getattr(module, name, None) is not None]
    if extras or getattr(module, "add_zero_attn", False):
        raise ModelError(f"{path}: attention with {extras or 'add_zero_attn'} cannot be split")
    before = copy.deepcopy(module)
    original, same_width = type(module), module._parameters.get("in_proj_weight") is not None
    names = ("in_proj_weight",) if same_width else tuple(f"{name}_weight" for name in _NAMES)
    packed = [module._parameters[name] for name in names]
    weights = packed[0].detach().chunk(3) if same_width else [one.detach() for one in packed]
    bias = module._parameters.get("in_proj_bias")
    biases = (None, None, None) if bias is None else bias.detach().chunk(3)
    for name, weight, part_bias in zip(_NAMES, weights, biases, strict=True):
        module.add_module(name, _linear(weight, part_bias, packed[0]))
    for name in names:
        module._parameters[name] = None
    if bias is not None:
        module._parameters["in_proj_bias"] = None
    module.__class__ = target
    module._split_from = _InProj(original, same_width)
    if not _same(before, module):
        module._split_from.fuse(module)
        del module._split_from
        raise ModelError(
            f"{path}: {original.__module__}.{original.__name__} has a packed in_proj_weight but does more with it than "
            "plain attention, so it cannot be split without changing the model; freeze it in the plan's tower"
        )


def _same(before: nn.Module, after: nn.Module) -> bool:
    """Whether both give the same for random tokens, in float64 so that only rounding may differ."""
    one, two = (copy.deepcopy(module).to("cpu", torch.float64).eval() for module in (before, after))
    generator = torch.Generator().manual_seed(0)
    widths = [getattr(two, name).in_features for name in _NAMES]
    tokens = [torch.randn(2, 5, width, generator=generator, dtype=torch.float64) for width in widths]
    try:
        with torch.no_grad():
            if isinstance(two, SplitMultiheadAttention):
                expected, found = (module(*tokens, need_weights=False)[0] for module in (one, two))
            else:
                expected, found = one(tokens[0]), two(tokens[0])
        return expected.shape == found.shape and torch.allclose(expected, found, 1e-6, 1e-6)
    except Exception:  # whatever an unknown attention raises or returns, it is not one that can be split
        return False


def _split_separable(module: Any, name: str) -> None:
    """timm keeps an unused separate path beside its fused one; this fills it and empties the other."""
    parts, outside = _parts(module, name)
    for part_name, part in zip(_NAMES, parts, strict=True):
        setattr(module, part_name, part)
    module._modules[name] = None
    module._split_from = _Separable(outside)


def _split_fused(module: Any, name: str) -> None:
    parts, outside = _parts(module, name)
    module._modules[name] = PackedLinears(dict(zip(_NAMES[-len(parts) :], parts, strict=True)))
    module._split_from = _Fused(name, outside)


def _parts(module: Any, name: str) -> tuple[list[nn.Linear], bool]:
    """The Linears of a fused one, and whether q and v had biases outside it (then k has none, or zeros).

    Clearing q_bias also makes timm's attention call the fused module rather than read its weight.
    """
    fused: nn.Linear = module._modules[name]
    count = {"qkv": 3, "kv": 2}[name]
    weights = fused.weight.detach().chunk(count)
    outside = module._parameters.get("q_bias") is not None
    if outside:
        biases: Any = (module.q_bias.detach(), None, module.v_bias.detach())
        module._parameters["q_bias"] = module._parameters["v_bias"] = None
        module._buffers["k_bias"] = None
    else:
        biases = (None,) * count if fused.bias is None else fused.bias.detach().chunk(count)
    return [_linear(weight, bias, fused.weight) for weight, bias in zip(weights, biases, strict=True)], outside


def _take(module: nn.Module) -> list[Any]:
    return [module._modules[name] for name in _NAMES]


def _linear(weight: Tensor, bias: Tensor | None, like: Tensor) -> nn.Linear:
    """A Linear that owns copies of these values; trainable where `like` was."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.clone(), requires_grad=like.requires_grad)
    if bias is not None:
        linear.bias = nn.Parameter(bias.clone(), requires_grad=like.requires_grad)
    return linear


def _joined(parts: list[nn.Linear], biases_outside: bool) -> nn.Linear:
    weight = torch.cat([part.weight.detach() for part in parts])
    inside = parts[0].bias is not None and not biases_outside
    bias = torch.cat([part.bias.detach() for part in parts]) if inside else None
    return _linear(weight, bias, parts[0].weight)


def _restore_biases(module: nn.Module, parts: list[nn.Linear]) -> None:
    query, key, value = parts
    if key.bias is not None:
        raise AdapterError("a bias was put on k, which the fused layout has no place for")
    _parameter(module, "q_bias", query.bias.detach(), query.bias)
    _parameter(module, "v_bias", value.bias.detach(), value.bias)
    module._buffers["k_bias"] = torch.zeros_like(query.bias)


def _parameter(module: nn.Module, name: str, value: Tensor, like: Tensor) -> None:
    module._parameters[name] = nn.Parameter(value.clone(), requires_grad=like.requires_grad)


def _heads(tokens: Tensor, heads: int) -> Tensor:
    """[b, n, heads * d] -> [b, heads, n, d]."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def _additive(mask: Tensor | None, padding: Tensor | None, q: Tensor) -> Tensor | None:
    """One additive mask that broadcasts to [b, heads, q, k] from torch's two."""
    if mask is not None:
        mask = _as_additive(mask, q.dtype)
        if mask.dim() == 3:  # [b * heads, q, k]
            mask = mask.unflatten(0, (-1, q.shape[1]))
    if padding is None:
        return mask
    padding = _as_additive(padding, q.dtype)[:, None, None, :]
    return padding if mask is None else mask + padding


def _as_additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, float("-inf"))
    return mask.to(dtype)


def _through(module: Any, name: str, tensor: Tensor) -> Tensor:
    """Applies a submodule where there is one."""
    part = getattr(module, name, None)
    return tensor if part is None else part(tensor)
