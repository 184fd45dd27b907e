"""Tokens that nobody reads are not computed in the image tower's last block.

A tower that pools its first token reads one row of the last block's output. The attention there needs keys and values
of every token; its queries, its output Linear and the whole MLP matter for the first token alone. The one row they give
is added to all, which makes the others wrong and leaves them unread. Saves most of one block, forward and backward: a
fifth of a step that trains four blocks on kept tokens. Whether a tower is of that kind is tried on random pictures; one
that pools in another way computes everything. Nothing here knows of training.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clipadapt.towers.encoder import TorchEncoder, evaluating

_EXACT, _ROUNDED = 1e-5, 5e-2
"""Largest difference, relative to the largest feature, for float32 weights and for weights held in bfloat16."""


class LastBlock(NamedTuple):
    """What of it may compute the first token alone."""

    entry: nn.Module
    """The norm before attention, from which on queries are cut."""
    out: nn.Module
    """The attention's output Linear."""
    norm: nn.Module
    """The norm before the MLP."""


def block_of_the_read_token(encoder: TorchEncoder) -> LastBlock | None:
    """The image tower's last block, where its first token alone is read; None where all of them are."""
    names = encoder.logical_names()
    numbers = [int(name.split(".")[2]) for name in names if name.startswith("image.blocks.")]
    wanted = [f"image.blocks.{max(numbers, default=0)}.{part}" for part in ("norm.1", "attention.out", "norm.2")]
    if any(name not in names for name in wanted):
        return None
    block = LastBlock(*(encoder.model.get_submodule(names[name]) for name in wanted))
    side, weight = encoder.preprocess.size, next(encoder.model.parameters())
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)).to(weight)
    precision, encoder.precision = encoder.precision, "fp32"
    try:
        with evaluating(encoder), torch.no_grad(), torch.compiler.set_stance("force_eager"):
            whole = encoder.image_features(pixels)
            with first_token_alone(block):
                found = encoder.image_features(pixels)
    except Exception:  # whatever a tower of another kind makes of fewer tokens
        return None
    finally:
        encoder.precision = precision
    bound = _ROUNDED if weight.dtype in (torch.bfloat16, torch.float16) else _EXACT
    same = found.shape == whole.shape and float((found - whole).abs().max()) <= bound * float(whole.abs().max())
    return block if same else None


@contextmanager
def first_token_alone(block: LastBlock | None) -> Iterator[None]:
    """Within: this block's queries, output Linear and MLP see [b, 1, ...] of the [b, n, ...] that they are handed."""
    if block is None:
        yield
        return
    queries = _FirstQuery()
    hooks = [
        block.entry.register_forward_pre_hook(queries.begin),
        block.out.register_forward_pre_hook(queries.end),
        block.norm.register_forward_pre_hook(lambda _, inputs: _first(inputs)),
    ]
    try:
        with queries:
            yield
    finally:
        for hook in hooks:
            hook.remove()


class _FirstQuery(TorchFunctionMode):
    """Between `begin` and `end`, attention answers the first query, and that answer stands for all."""

    def __init__(self) -> None:
        super().__init__()
        self._inside = False

    def begin(self, _: nn.Module, __: tuple[Any, ...]) -> None:
        self._inside = True

    def end(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        self._inside = False
        return _first(inputs)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not (self._inside and func is F.scaled_dot_product_attention and _is_plain(args, kwargs)):
            return func(*args, **kwargs)
        query: Tensor = args[0]
        answer = func(query[..., :1, :], *args[1:], **kwargs)
        return answer.expand(*answer.shape[:-2], query.shape[-2], answer.shape[-1])


def _is_plain(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether queries, keys and values came by position and nothing depends on which query it is."""
    return len(args) == 3 and kwargs.get("attn_mask") is None and not kwargs.get("is_causal")


def _first(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    tokens: Tensor = inputs[0]
    return (tokens[:, :1], *inputs[1:])
