"""What the items of a batch are captioned with, and which of those captions are true of which items.

Each distinct caption is held once. A caption states the cells of the columns it names: it is true of every item with
the same cells, false of an item that has another one, and nobody knows when the item's cell is empty. Cells are
compared whole. Nothing here knows of vectors or losses.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Integer
from torch import Tensor

from clipadapt.data.catalogue import Catalogue
from clipadapt.losses.contrastive import agreement
from clipadapt.prompts import Prompts


class CaptionBatch(NamedTuple):
    """The captions of one batch."""

    texts: list[str]
    """Distinct captions, in order of first use."""
    of: Integer[Tensor, " b"]
    """For each item the row of its caption in `texts`."""
    items: Integer[Tensor, "b a"]
    """For each item a code per column that captions can name; -1 unknown."""
    stated: Integer[Tensor, "t a"]
    """For each caption the codes it states; -1 where it says nothing."""

    def pairs(self, rows: slice, columns: slice) -> tuple[Bool[Tensor, "r c"], Bool[Tensor, "r c"]]:
        """Which captions (`columns`) are true of which items (`rows`), and where that is known.

        An item's own caption is always true of it, whatever it is worded like.
        """
        positives, known = agreement(self.items[rows], self.stated[columns])
        own = self.of[rows, None] == torch.arange(len(self.texts), device=self.of.device)[columns]
        return positives | own, known | own

    def to(self, device: torch.device) -> "CaptionBatch":
        return CaptionBatch(self.texts, self.of.to(device), self.items.to(device), self.stated.to(device))


class Captions:
    """The captions of one catalogue under one prompts file; another template for an item each epoch."""

    def __init__(self, catalogue: Catalogue, prompts: Prompts, *, seed: int) -> None:
        self._catalogue = catalogue
        self._prompts = prompts
        self._seed = seed
        self.columns = prompts.fields
        """Columns that captions can name."""
        self._codes = _codes(catalogue, self.columns)

    def batch(self, items: Sequence[int], epoch: int) -> CaptionBatch:
        """The captions of these rows of the catalogue in `epoch` (from 0); the same for the same epoch and item.

        Raises:
            PromptError: an item has nothing that any template can say.
        """
        position = {column: at for at, column in enumerate(self.columns)}
        texts: dict[str, int] = {}
        stated: list[Tensor] = []
        of: list[int] = []
        for item in items:
            caption = self._prompts.stated(self._catalogue.row(item), (self._seed, epoch, item))
            if caption.text not in texts:
                texts[caption.text] = len(texts)
                said = torch.full((len(self.columns),), -1)
                for column in caption.columns:
                    said[position[column]] = self._codes[item, position[column]]
                stated.append(said)
            of.append(texts[caption.text])
        return CaptionBatch(list(texts), torch.tensor(of), self._codes[torch.as_tensor(items)], torch.stack(stated))


def _codes(catalogue: Catalogue, columns: Sequence[str]) -> Integer[Tensor, "n a"]:
    """One number per distinct cell of a column, -1 for an empty one; the order of a cell's values does not matter."""
    codes = np.full((len(catalogue), len(columns)), -1, dtype=np.int64)
    for at, column in enumerate(columns):
        if column in catalogue.columns:
            seen: dict[frozenset[str], int] = {}
            for item, values in enumerate(catalogue.value_sets(column)):
                if values:
                    codes[item, at] = seen.setdefault(values, len(seen))
    return torch.from_numpy(codes)
