"""How well chosen values match true ones, with or without a weight per item.

    cells = confusion(truth, chosen, values)                  # [values, values]
    cells = confusion(truth, chosen, values, weights)         # [draws, values, values], for a bootstrap
    balanced_accuracy(cells), macro_f1(cells)                 # the same functions for both

Everything but the counting is a function of the confusion matrix, so a bootstrap weighs items once and reads all
figures off. Values are integer codes; unknown items are left out by the caller. Nothing here knows names or models.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

Confusion = Float[np.ndarray, "*draws values values"]
"""Weight of items by true value (row) and chosen value (column)."""
PerValue = Float[np.ndarray, "*draws values"]
Figure = Float[np.ndarray, "*draws"]
"""One per draw; an array without axes for a plain confusion matrix."""


def confusion(
    truth: Int[np.ndarray, " items"],
    chosen: Int[np.ndarray, " items"],
    values: int,
    weights: Float[np.ndarray, "*draws items"] | None = None,
) -> Confusion:
    """Items by true and chosen value; with weights of shape [draws, items], one matrix per draw.

    Raises:
        ValueError: a code that is no value, such as -1 for unknown.
    """
    for name, codes in (("true", truth), ("chosen", chosen)):
        if len(codes) and (codes.min() < 0 or codes.max() >= values):
            raise ValueError(f"{name} codes reach from {codes.min()} to {codes.max()}, with {values} values")
    cells = truth.astype(np.int64) * values + chosen
    if weights is None:
        return np.bincount(cells, minlength=values * values).reshape(values, values).astype(np.float64)
    # Only cells that occur: values squared is large for articleType, the cells in use are few.
    occurring, places = np.unique(cells, return_inverse=True)
    counted = np.zeros((*weights.shape[:-1], values * values))
    counted[..., occurring] = weights @ np.eye(len(occurring))[places]
    return counted.reshape(*weights.shape[:-1], values, values)


def top1(cells: Confusion) -> Figure:
    """Share of items whose chosen value is the true one."""
    return np.asarray(np.trace(cells, axis1=-2, axis2=-1) / cells.sum(axis=(-2, -1)))


def recalls(cells: Confusion) -> PerValue:
    """Share of each value's items that were recognised; NaN for a value without items."""
    return _ratio(np.diagonal(cells, axis1=-2, axis2=-1), cells.sum(axis=-1))


def balanced_accuracy(cells: Confusion, among: Bool[np.ndarray, " values"] | None = None) -> Figure:
    """Mean recall over values that have items, or over those of them in `among` (rare ones, say).

    Source: Brodersen et al., "The balanced accuracy and its posterior distribution" (2010).

    Raises:
        ValueError: no value with items is in `among`.
    """
    recall = recalls(cells)
    wanted = ~np.isnan(recall) & (True if among is None else among)
    if not wanted.any(axis=-1).all():
        raise ValueError("none of the values has any item, so there is no mean of recalls")
    return np.asarray(np.where(wanted, recall, 0.0).sum(axis=-1) / wanted.sum(axis=-1))


def macro_f1(cells: Confusion) -> Figure:
    """Mean over values of the harmonic mean of precision and recall; over values that occur in truth or choice.

    Source: scikit-learn's f1_score(average="macro"), to which it is equal.
    """
    occurring = cells.sum(axis=-1) + cells.sum(axis=-2)
    f1 = _ratio(2 * np.diagonal(cells, axis1=-2, axis2=-1), occurring)
    return np.asarray(np.nanmean(f1, axis=-1))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where there is nothing to divide by."""
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)
