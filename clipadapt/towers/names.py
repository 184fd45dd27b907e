"""Module paths -> logical names, so that one plan fits every library and attention layout.

    image.blocks.3.attention.q     .k .v .out .gate      image.pool.attention.q, as SigLIP has
    image.blocks.3.mlp.fc1         .fc1_g .fc1_x .fc2    image.pool.mlp.fc1
    image.blocks.3.norm.1          .2 .inner .mlp .q ..  image.norm.pre, image.norm.post, image.pool.norm.1
    text.blocks.0.attention.q      the same              text.projection, image.projection

A Linear or LayerNorm that no rule names is called `image.other.PATH`, so that a plan can still reach it and nothing is
lost. Names are read off the split model (`packed`): an unsplit one simply has no q, k and v.
Nothing here changes a module.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from timm.layers import RmsNorm
from torch import nn

from clipadapt.towers.identity import Tower

PROJECTIONS = ("q", "k", "v", "out")
"""What every attention must have, once it is split."""

_PARTS = {
    r"(?:self_)?attn\.(?:qkv\.)?q_proj": "attention.q",
    r"(?:self_)?attn\.(?:qkv\.)?k_proj": "attention.k",
    r"(?:self_)?attn\.(?:qkv\.)?v_proj": "attention.v",
    r"(?:self_)?attn\.(?:out_proj|proj)": "attention.out",
    r"attn\.gate": "attention.gate",
    r"mlp\.(?:c_fc|fc1)": "mlp.fc1",
    r"mlp\.(?:c_proj|fc2)": "mlp.fc2",
    r"mlp\.(fc1_[gx])": r"mlp.\1",
    r"(?:ln_|norm|layer_norm)([12])": r"norm.\1",
    r"attn\.(?:norm|ln_inner)": "norm.inner",
    r"attn\.(?:q_norm|ln_q)": "norm.q",
    r"attn\.(?:k_norm|ln_k)": "norm.k",
    r"ln_attn": "norm.attention",
    r"mlp\.(?:norm|ln)": "norm.mlp",
}
"""Inside a block: module path -> logical name."""

_POOL = {
    r"attn_pool\.q": "attention.q",
    r"attn_pool\.kv\.([kv])_proj": r"attention.\1",
    r"attn_pool\.proj": "attention.out",
    r"head\.attention\.([qkv])_proj": r"attention.\1",
    r"head\.attention\.out_proj": "attention.out",
    r"attn_pool\.attn\.([qkv])_proj": r"attention.\1",
    r"attn_pool\.attn\.out_proj": "attention.out",
    r"(?:attn_pool|head)\.mlp\.(fc[12])": r"mlp.\1",
    r"attn_pool\.norm": "norm.1",
    r"head\.layernorm": "norm.1",
    r"attn_pool\.ln_([qk])": r"norm.\1",
    r"attn_pool\.([qk])_norm": r"norm.\1",
}
"""Inside an attention pool."""

_REST = {
    r"ln_pre|pre_layrnorm|norm_pre": "norm.pre",
    r"ln_post|post_layernorm|ln_final|final_layer_norm|norm|fc_norm": "norm.post",
    r"proj|visual_projection|text_projection|head|head\.proj": "projection",
}
"""Neither in a block nor in a pool."""

_BLOCK = re.compile(r"(?:(?:transformer|encoder)\.)?(?:blocks|resblocks|layers)\.(\d+)\.(.+)")
_TOWER = re.compile(r"^(?:visual\.trunk|visual|text|vision_model|text_model)\.")
"""Prefixes that say which tower a path is in, and nothing more."""


def logical_names(model: nn.Module, tower_of: Callable[[str], Tower | None]) -> dict[str, str]:
    """Logical name -> module path in `model`, in the model's order; what an adapter wraps keeps its name."""
    names: dict[str, str] = {}
    for path, _ in _leaves(model):
        tower = tower_of(path)
        if tower is None:
            continue
        logical = f"{tower}.{_logical(_TOWER.sub('', path))}"
        if logical in names:  # two modules of one role, such as norm and fc_norm: the later keeps its path
            logical = f"{tower}.other.{path}"
        names[logical] = path
    return names


def is_norm(module: nn.Module) -> bool:
    """Whether a module scales and shifts normalised features: LayerNorm, RMSNorm and their subclasses."""
    return isinstance(module, nn.LayerNorm | nn.RMSNorm | RmsNorm)


def _leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Linears, wrapped or not, and norms; never what lies inside an adapter's wrapper."""
    wrapped: list[str] = []
    for path, module in model.named_modules():
        if any(path.startswith(prefix) for prefix in wrapped):
            continue
        inner: Any = getattr(module, "base_layer", None)
        if isinstance(inner, nn.Module):
            wrapped.append(path + ".")
            if not isinstance(inner, nn.Embedding):
                yield path, inner
        elif isinstance(module, nn.Linear) or is_norm(module):
            yield path, module


def _logical(path: str) -> str:
    block = _BLOCK.fullmatch(path)
    if block:
        name = _first(_PARTS, block[2])
        return f"blocks.{block[1]}.{name}" if name else f"blocks.{block[1]}.other.{block[2]}"
    pooled = _first(_POOL, path)
    if pooled:
        return f"pool.{pooled}"
    return _first(_REST, path) or f"other.{path}"


def _first(rules: dict[str, str], path: str) -> str | None:
    for pattern, name in rules.items():
        match = re.fullmatch(pattern, path)
        if match:
            return match.expand(name)
    return None
