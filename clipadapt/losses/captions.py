"""Losses of pictures against captions by the name that a config gives them, and how to bring one's own.

    loss: {name: softmax}                                   one of CAPTION_LOSSES
    loss: {name: "shop.losses:Focal", options: {gamma: 2}}  a class of one's own, importable from where training starts

    class Focal:
        def __init__(self, gamma: float = 2.0) -> None: ...         # takes loss.options
        def __call__(self, image, text, pairs, *, scale, bias) -> Terms: ...

A call gets the unit vectors of a whole batch's pictures [b, d] and distinct captions [t, d], with gradient; which
belong together (`CaptionPairs`); the factor on cosines, a number or a trained scalar; and SigLIP's bias, None for a
base without one. It returns the summed loss and the number of items in it (`Terms`), or their mean as a scalar tensor.
It is the same on every process and must be a pure function: a step may be taken again after a stop. Precision: vectors
may be bfloat16 under autocast; losses.terms.widen and exact give float32. Nothing here knows of attributes or towers.
"""

import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from clipadapt.errors import ConfigError
from clipadapt.losses.contrastive import multi_positive_loss, sigmoid_loss, softmax_loss
from clipadapt.losses.terms import Scale, Terms
from clipadapt.losses.tiled import Pairs, tiled_multi_positive_loss, tiled_sigmoid_loss, tiled_softmax_loss

TILE = 2048
"""Above this many pictures the picture x caption matrix is made in tiles; below, it is smaller than a tower's layer."""


class CaptionPairs(NamedTuple):
    """Which captions belong to which pictures of a batch."""

    own: Integer[Tensor, " b"]
    """For each picture the row of its own caption."""
    true: Pairs
    """(rows, columns) -> positives [r, c] and where they are known [r, c]: captions that are true of a picture, own or
    not. Booleans; shares between 0 and 1 where pictures are mixed."""
    own_only: Pairs
    """The same with nothing but own captions as positives, of both pictures where two are mixed."""
    mixed: bool
    """Whether MixUp or CutMix mixed the pictures, so that `own` alone does not say what a picture shows."""


@runtime_checkable
class CaptionLoss(Protocol):
    """What a loss of pictures against captions looks like; the module's docstring says what is asked of it."""

    def __call__(
        self,
        image: Float[Tensor, "b d"],
        text: Float[Tensor, "t d"],
        pairs: CaptionPairs,
        *,
        scale: Scale,
        bias: Tensor | None,
    ) -> Terms | Tensor: ...


def softmax(image: Tensor, text: Tensor, pairs: CaptionPairs, *, scale: Scale, bias: Tensor | None) -> Terms:
    """Each picture with its own caption, equal captions handled as written; losses.contrastive.softmax_loss."""
    if pairs.mixed:
        return _multi_positive(image, text, pairs.own_only, scale)
    own = text[pairs.own]
    return tiled_softmax_loss(image, own, scale, TILE) if len(image) > TILE else softmax_loss(image, own, scale)


def multi_positive(image: Tensor, text: Tensor, pairs: CaptionPairs, *, scale: Scale, bias: Tensor | None) -> Terms:
    """Captions are right for every picture they are true of; losses.contrastive.multi_positive_loss."""
    return _multi_positive(image, text, pairs.true, scale)


def sigmoid(image: Tensor, text: Tensor, pairs: CaptionPairs, *, scale: Scale, bias: Tensor | None) -> Terms:
    """Every pair on its own; losses.contrastive.sigmoid_loss.

    Without the base's bias: minus the batch's mean logit and the logarithm of its captions.
    """
    if bias is None:
        bias = -(scale * (image.mean(0) @ text.mean(0))).detach() - math.log(len(text))
    if len(image) > TILE:
        return tiled_sigmoid_loss(image, text, scale, bias, TILE, pairs.true)
    return sigmoid_loss(image, text, scale, bias, *pairs.true(slice(0, len(image)), slice(0, len(text))))


CAPTION_LOSSES: Mapping[str, CaptionLoss] = {
    "softmax": softmax,
    "multi_positive": multi_positive,
    "sigmoid": sigmoid,
    "attributes": multi_positive,  # the term beside those of the attributes
}
"""Name in a config -> the loss. One more: its own file, a line here, and its name in config.Loss."""


def caption_loss(name: str, options: Mapping[str, Any]) -> CaptionLoss:
    """The loss of a config's `loss.name`: one of CAPTION_LOSSES, or an object of the class that MODULE:CLASS names.

    Raises:
        ConfigError: no such module or class, a class that refuses the options, or an object that cannot be called.
    """
    if ":" not in name:
        return CAPTION_LOSSES[name]
    module, _, attribute = name.partition(":")
    where = f"loss.name {name}"
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:  # whatever a person's own module raises while it is imported
        raise ConfigError(
            f"{where}: {module} cannot be imported ({type(error).__name__}: {error}); name a module that Python finds "
            "from the working directory or among what is installed"
        ) from error
    if not isinstance(found, type):
        what = "has no such name" if found is None else f"is a {type(found).__name__}, not a class"
        raise ConfigError(f"{where}: {module}.{attribute} {what}; {_FORM}")
    try:
        loss = found(**options)
    except Exception as error:
        raise ConfigError(
            f"{where}: {attribute} cannot be made from loss.options {dict(options)} ({type(error).__name__}: {error})"
        ) from error
    if not callable(loss):
        raise ConfigError(f"{where}: {attribute} cannot be called; {_FORM}")
    return cast("CaptionLoss", loss)


def mean_of(loss: CaptionLoss, name: str) -> Callable[..., Tensor]:
    """A loss as its mean, with a clear word where a class of one's own returns something else.

    Raises, when called:
        ConfigError: it does not take the arguments, or returns neither Terms nor a scalar tensor.
    """

    def mean(image: Tensor, text: Tensor, pairs: CaptionPairs, *, scale: Scale, bias: Tensor | None) -> Tensor:
        if ":" not in name:
            found = loss(image, text, pairs, scale=scale, bias=bias)
        else:
            try:
                found = loss(image, text, pairs, scale=scale, bias=bias)
            except Exception as error:
                raise ConfigError(f"loss.name {name}: raised {type(error).__name__}: {error}; {_FORM}") from error
        if isinstance(found, Terms):
            return found.mean()
        if isinstance(found, torch.Tensor) and found.ndim == 0 and found.is_floating_point():
            return found
        shape = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else repr(found)
        raise ConfigError(f"loss.name {name}: returned {shape}; {_FORM}")

    return mean


def _multi_positive(image: Tensor, text: Tensor, pairs: Pairs, scale: Scale) -> Terms:
    if len(image) > TILE:
        return tiled_multi_positive_loss(image, text, scale, pairs, TILE)
    return multi_positive_loss(image, text, scale, *pairs(slice(0, len(image)), slice(0, len(text))))


_FORM = (
    "a loss is a class whose objects are called with (image, text, pairs, *, scale, bias) and return "
    "clipadapt.losses.terms.Terms or a scalar tensor; see clipadapt/losses/captions.py"
)
