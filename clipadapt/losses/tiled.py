"""The contrastive losses without ever holding the picture x caption matrix, neither forward nor backward.

Logits are made tile by tile, used and dropped: forward they feed a running logarithm of the sum of exponentials per
row and column, backward they are made again and turned into gradients. Memory falls from b * t to tile * tile plus
the vectors; the price is one more matrix product backward (about a third more arithmetic). Values and gradients are
those of contrastive.py to rounding. Gradients of gradients are not supported.
Source: Cheng et al., "Breaking the Memory Barrier: Near Infinite Batch Size Scaling for Contrastive Loss" (2024),
in one process; the running logsumexp is Milakov & Gimelshein, "Online normalizer calculation for softmax" (2018).
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from clipadapt.errors import TrainingError
from clipadapt.losses.contrastive import NO_POSITIVES
from clipadapt.losses.terms import Scale, Terms, exact, widen

Pairs = Callable[[slice, slice], tuple[Tensor, Tensor | None]]
"""(pictures, captions) -> what contrastive.py's `positives` and `known` hold for that tile. Called once per tile in the
forward and again in the backward pass, with equal slices, so it must be a pure function of them, such as
`lambda rows, columns: agreement(items[rows], captions[columns])`."""


def tiled_softmax_loss(image: Float[Tensor, "b d"], text: Float[Tensor, "b d"], scale: Scale, tile: int) -> Terms:
    """contrastive.softmax_loss in tiles of `tile` x `tile` logits; the same source, requirements and result.

    Prefer contrastive.softmax_loss while its matrix fits: at 4,096 pairs it takes 64 MB in float32.
    """
    if image.shape != text.shape:
        raise ValueError(f"pictures {tuple(image.shape)} and captions {tuple(text.shape)} must pair up row by row")
    return tiled_multi_positive_loss(image, text, scale, _diagonal(image.device), tile)


def tiled_multi_positive_loss(
    image: Float[Tensor, "b d"],
    text: Float[Tensor, "t d"],
    scale: Scale,
    pairs: Pairs,
    tile: int,
) -> Terms:
    """contrastive.multi_positive_loss in tiles, with the positives made tile by tile too.

    Requires what contrastive.multi_positive_loss does, and `pairs` that answer equally when asked twice.

    Raises:
        TrainingError: no positive pair at all.
        ValueError: a tile of less than one row.
    """
    with exact(image):
        wide_image, wide_text = widen(image), widen(text)
        factor = torch.as_tensor(scale, dtype=wide_image.dtype, device=image.device)
        total, items = _MultiPositive.apply(wide_image, wide_text, factor, pairs, _checked(tile))  # pyright: ignore[reportGeneralTypeIssues]
    return Terms(total, items)


def tiled_sigmoid_loss(
    image: Float[Tensor, "b d"],
    text: Float[Tensor, "t d"],
    scale: Scale,
    bias: Scale,
    tile: int,
    pairs: Pairs | None = None,
) -> Terms:
    """contrastive.sigmoid_loss in tiles; `pairs` None means the diagonal.

    Raises:
        TrainingError: no positive pair at all.
        ValueError: a tile of less than one row; no `pairs`, and not as many captions as pictures.
    """
    if pairs is None and len(image) != len(text):
        raise ValueError(f"{len(image)} pictures and {len(text)} captions do not pair up; hand in pairs")
    with exact(image):
        wide_image, wide_text = widen(image), widen(text)
        factor = torch.as_tensor(scale, dtype=wide_image.dtype, device=image.device)
        offset = torch.as_tensor(bias, dtype=wide_image.dtype, device=image.device)
        chosen = pairs or _diagonal(image.device)
        total = _Sigmoid.apply(wide_image, wide_text, factor, offset, chosen, _checked(tile))
    return Terms(total, wide_image.new_tensor(float(len(image))))  # pyright: ignore[reportArgumentType]


def _checked(tile: int) -> int:
    if tile < 1:
        raise ValueError(f"a tile of {tile} rows; it takes at least 1")
    return tile


def _diagonal(device: torch.device) -> Pairs:
    def pairs(rows: slice, columns: slice) -> tuple[Tensor, None]:
        own = torch.arange(rows.start, rows.stop, device=device)[:, None]
        return own == torch.arange(columns.start, columns.stop, device=device), None

    return pairs


def _tiles(rows: int, columns: int, tile: int) -> Iterator[tuple[slice, slice]]:
    for row in range(0, rows, tile):
        for column in range(0, columns, tile):
            yield (
                slice(row, min(row + tile, rows)),
                slice(column, min(column + tile, columns)),
            )


def _masked(cosines: Tensor, scale: Tensor, pairs: Pairs, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
    """A tile's logits and positive weights, unknown pairs at the lowest finite number and weight 0."""
    logits = scale * cosines
    positives, known = pairs(rows, columns)
    weights = positives.to(logits.dtype)
    if known is not None:
        logits = logits.masked_fill(~known, torch.finfo(logits.dtype).min)
        weights = weights * known
    return logits, weights


def _without_autocast(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A backward pass started under autocast would make its tiles in bfloat16, unlike those of the forward pass."""

    def wrapped(ctx: Any, *gradients: Tensor) -> Any:
        with exact(gradients[0]):
            return backward(ctx, *gradients)

    return wrapped


class _MultiPositive(Function):
    """(image, text, scale, pairs, tile) -> (total, items), as contrastive.multi_positive_loss defines them."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, text: Tensor, scale: Tensor, pairs: Pairs, tile: int) -> tuple[Tensor, Tensor]:
        b, t = len(image), len(text)
        # Per query of either direction: log of the sum of exponentials, positive weight, weight times logit.
        row_lse, column_lse = (
            image.new_full((b,), -torch.inf),
            image.new_full((t,), -torch.inf),
        )
        row_mass, column_mass = image.new_zeros(b), image.new_zeros(t)
        row_own, column_own = image.new_zeros(b), image.new_zeros(t)
        for rows, columns in _tiles(b, t, tile):
            logits, weights = _masked(image[rows] @ text[columns].T, scale, pairs, rows, columns)
            row_lse[rows] = torch.logaddexp(row_lse[rows], logits.logsumexp(1))
            column_lse[columns] = torch.logaddexp(column_lse[columns], logits.logsumexp(0))
            own = torch.where(weights > 0, weights * logits, 0)
            row_mass[rows] += weights.sum(1)
            column_mass[columns] += weights.sum(0)
            row_own[rows] += own.sum(1)
            column_own[columns] += own.sum(0)
        images, texts = (
            (row_mass > 0).sum().to(image.dtype),
            (column_mass > 0).sum().to(image.dtype),
        )
        if not bool(images > 0):
            raise TrainingError(NO_POSITIVES.format(rows=b, columns=t))
        by_image = torch.where(row_mass > 0, row_lse - row_own / row_mass, 0).sum()
        by_text = torch.where(column_mass > 0, column_lse - column_own / column_mass, 0).sum()
        ctx.save_for_backward(image, text, scale, row_lse, column_lse, row_mass, column_mass)
        ctx.pairs, ctx.tile, ctx.ratio = pairs, tile, images / texts
        ctx.mark_non_differentiable(images)
        return (by_image + by_text * ctx.ratio) / 2, images

    @staticmethod
    @once_differentiable
    @_without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient = gradients[0]
        image, text, scale, row_lse, column_lse, row_mass, column_mass = ctx.saved_tensors
        to_image, to_text, to_scale = (
            torch.zeros_like(image),
            torch.zeros_like(text),
            torch.zeros_like(scale),
        )
        # What one unit of each query's loss is worth, and what each unit of positive weight takes off it.
        row_worth = torch.where(row_mass > 0, gradient / 2, 0)
        column_worth = torch.where(column_mass > 0, gradient / 2 * ctx.ratio, 0)
        row_share = row_worth / torch.where(row_mass > 0, row_mass, 1)
        column_share = column_worth / torch.where(column_mass > 0, column_mass, 1)
        for rows, columns in _tiles(len(image), len(text), ctx.tile):
            cosines = image[rows] @ text[columns].T
            logits, weights = _masked(cosines, scale, ctx.pairs, rows, columns)
            slope = row_worth[rows, None] * (logits - row_lse[rows, None]).exp()
            slope += column_worth[columns] * (logits - column_lse[columns]).exp()
            slope -= (row_share[rows, None] + column_share[columns]) * weights
            to_scale += (slope * cosines).sum()
            to_image[rows] += scale * (slope @ text[columns])
            to_text[columns] += scale * (slope.T @ image[rows])
        return to_image, to_text, to_scale, None, None


class _Sigmoid(Function):
    """(image, text, scale, bias, pairs, tile) -> total, as contrastive.sigmoid_loss defines it."""

    @staticmethod
    def forward(
        ctx: Any,
        image: Tensor,
        text: Tensor,
        scale: Tensor,
        bias: Tensor,
        pairs: Pairs,
        tile: int,
    ) -> Tensor:
        total, positive = image.new_zeros(()), image.new_zeros((), dtype=torch.bool)
        for rows, columns in _tiles(len(image), len(text), tile):
            logits = scale * (image[rows] @ text[columns].T) + bias
            target, known = pairs(rows, columns)
            losses = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
            if known is not None:
                target, losses = target * known, torch.where(known, losses, 0)
            total += losses.sum()
            positive |= (target > 0).any()
        if not bool(positive):
            raise TrainingError(NO_POSITIVES.format(rows=len(image), columns=len(text)))
        ctx.save_for_backward(image, text, scale, bias)
        ctx.pairs, ctx.tile = pairs, tile
        return total

    @staticmethod
    @once_differentiable
    @_without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        image, text, scale, bias = ctx.saved_tensors
        to_image, to_text = torch.zeros_like(image), torch.zeros_like(text)
        to_scale, to_bias = torch.zeros_like(scale), torch.zeros_like(bias)
        for rows, columns in _tiles(len(image), len(text), ctx.tile):
            cosines = image[rows] @ text[columns].T
            target, known = ctx.pairs(rows, columns)
            slope = gradients[0] * ((scale * cosines + bias).sigmoid() - target.to(cosines.dtype))
            if known is not None:
                slope = torch.where(known, slope, 0)
            to_scale += (slope * cosines).sum()
            to_bias += slope.sum()
            to_image[rows] += scale * (slope @ text[columns])
            to_text[columns] += scale * (slope.T @ image[rows])
        return to_image, to_text, to_scale, to_bias, None, None
