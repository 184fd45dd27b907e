"""Adapters folded into the weights, in float32, with a strength per tower.

    merge(encoder)                                    what was trained; no added latency
    merge(encoder, {"image": 0.8, "text": 1.0})       W + strength (W adapted - W), tower by tower
    merge(encoder, dtype=torch.bfloat16)              merged in float32, then cast; warns when that loses the update

Strength 1 is the adapted model, 0 the base bit for bit, between them a straight line, which for weights trained in
place is WiSE-FT. An update is often smaller than the steps of a half-precision number, so the share of weights that
a cast still changes is counted. Nothing here chooses a strength or writes files.
Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022 (interpolation).
"""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clipadapt.errors import AdapterError, ConfigError
from clipadapt.towers.adapter_state import Adapters, unwrap
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.identity import TOWERS, Tower, adapted_space
from clipadapt.towers.tokens import wrappers

SWALLOWED = 0.5
"""Share of changed weights under which a cast is warned of."""
_HALF = (torch.float16, torch.bfloat16)


class Merged(NamedTuple):
    """What a merge did, per tower that had something to merge."""

    strength: dict[Tower, float]
    changed: dict[Tower, float]
    """Share of the adapted weights that differ from the base's in the type they are stored in."""


@torch.no_grad()
def merge(
    encoder: TorchEncoder,
    strength: Mapping[Tower, float] | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> Merged:
    """Folds what was trained into the weights, in place, and takes the adapters off; attention stays split.

    A tower that `strength` leaves out has 1. `dtype` casts all weights of both towers afterwards; null keeps the type
    each had. The encoder's spaces are those of the adaptation at this strength; the logit scale stays the trained one.

    Raises:
        AdapterError: nothing was adapted.
        ConfigError: a strength for something that is no tower.
    """
    adapters = encoder.adapters
    if not isinstance(adapters, Adapters):
        raise AdapterError(f"{encoder.name}: nothing to merge; it carries no adapter")
    given: Mapping[Tower, float] = strength or {}
    unknown = set(given) - set(TOWERS)
    if unknown:
        raise ConfigError(f"strength: {', '.join(sorted(unknown))} is no tower; towers are image and text")
    strengths: dict[Tower, float] = {tower: float(given.get(tower, 1.0)) for tower in TOWERS}
    if encoder.head is not None and strengths["image"] != 1.0:
        raise AdapterError(
            f"{encoder.name}: its linear head was trained on the image tower at strength 1 and reads no other; "
            "merge at 1"
        )
    lineage = encoder.lineage
    bases = {"image": lineage.image_space, "text": lineage.text_space}
    spaces: dict[Tower, str | None] = {}
    for tower in TOWERS:
        base = bases[tower]
        spaces[tower] = base and adapted_space(tower, base, adapters.digest(tower), strengths[tower])
    counts: dict[Tower, list[int]] = {}
    for tower, parameter, base, target in _merged(adapters, strengths):
        stored_as = dtype or parameter.dtype
        parameter.data = target.to(parameter.dtype if dtype is None else torch.promote_types(dtype, torch.float32))
        count = counts.setdefault(tower, [0, 0])
        count[0] += int((target.to(stored_as) != base.to(stored_as)).sum())
        count[1] += int((target != base).sum())
    unwrap(encoder.model)
    encoder.requires_grad_(False)
    changed: dict[Tower, float] = {tower: after / max(1, wanted) for tower, (after, wanted) in counts.items()}
    if dtype is not None:
        encoder.cast_frozen(dtype)
    _warn(changed, strengths, dtype or next(encoder.model.parameters()).dtype)
    if encoder.value_vectors is not None and strengths["image"] != 1.0:
        warnings.warn(
            f"{encoder.name}: its value vectors were learned from pictures at strength 1 and are left out at "
            f"{strengths['image']:g}; values go by their texts alone",
            stacklevel=2,
        )
        encoder.value_vectors = None
    encoder.lineage = lineage.after(spaces, {tower: strengths[tower] for tower in TOWERS if bases[tower]})
    encoder.adapters = None
    return Merged({tower: strengths[tower] for tower in changed}, changed)


def _merged(adapters: Adapters, strengths: Mapping[Tower, float]) -> Any:
    """(tower, parameter, its base value, its value at the strength), one at a time, values in float32 or wider."""
    for path, layer in adapters.layers().items():
        tower: Any = adapters.tower_of(path)
        inner: nn.Linear = layer.get_base_layer()
        before = {name: _wide(value) for name, value in inner.named_parameters()}
        types = {name: value.dtype for name, value in inner.named_parameters()}
        for name, parameter in inner.named_parameters():
            parameter.data = before[name].clone()
        layer.merge(safe_merge=False)
        if path in adapters.originals:
            before["weight"] = _wide(adapters.originals[path][0]).to(inner.weight.device)
        for name, parameter in inner.named_parameters():
            target = _between(before[name], parameter.data, strengths[tower])
            parameter.data = parameter.data.to(types[name])
            yield tower, parameter, before[name], target
    rows, ids = adapters.token_rows(), adapters.token_ids()
    for path, wrapper in wrappers(adapters.model).items():
        parameter: Any = wrapper.token_adapter.base_layer.weight
        base = _wide(parameter)
        adapted = base.clone()
        adapted[ids[path]] = _wide(rows[path]).to(adapted)
        tower = adapters.tower_of(path)
        yield tower, parameter, base, _between(base, adapted, strengths[tower])
    parameters = dict(adapters.model.named_parameters())
    for name, base in adapters.base.items():
        tower = adapters.tower_of(name)
        parameter = parameters[name]
        base = _wide(base).to(parameter.device)
        yield tower, parameter, base, _between(base, _wide(parameter), strengths[tower])


def _wide(value: Tensor) -> Tensor:
    return value.detach().to(torch.promote_types(value.dtype, torch.float32))


def _between(base: Tensor, adapted: Tensor, strength: float) -> Tensor:
    """Exact at both ends."""
    if strength in (0.0, 1.0):
        return adapted if strength else base
    return base + strength * (adapted - base)


def _warn(changed: Mapping[Tower, float], strengths: Mapping[Tower, float], stored_as: torch.dtype) -> None:
    lost = [f"{tower} {share:.0%}" for tower, share in changed.items() if share < SWALLOWED and strengths[tower]]
    if stored_as in _HALF and lost:
        warnings.warn(
            f"casting to {str(stored_as).removeprefix('torch.')} swallows the update: of the weights that adaptation "
            f"changed only {', '.join(lost)} still differ from the base's; keep float32",
            stacklevel=3,
        )
