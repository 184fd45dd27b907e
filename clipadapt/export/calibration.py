"""What INT8 is fitted on: pictures and captions for ranges, other products' pictures to choose exceptions by.

    calibration = Calibration.of("my/catalogue", prompts="prompts/fashion.yaml")

Both come from the training split, tune carved from it by product, so that the split that is reported stays unseen.
A decision is what recognition does: for one picture and one attribute, which value's text is nearest. Nothing here
knows of graphs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.splits import carve
from clipadapt.errors import PromptError, UsageError
from clipadapt.inputs import resolve
from clipadapt.keyed import generator
from clipadapt.prompts import Prompts

FEWEST = 32
"""Calibration pictures below which the ends of activations are a matter of luck."""
PICTURES, TUNE, CAPTIONS = 64, 240, 256
_TUNE_SHARE = 0.25


@dataclass(frozen=True)
class Calibration:
    """Pictures, captions and decisions."""

    source: str
    pictures: Catalogue
    """Ranges are measured on these."""
    tune: Catalogue
    """Other products; exceptions are chosen on these."""
    captions: list[str]
    values: dict[str, list[str]]
    """Attribute -> one text per value, at least two; empty for a source without attributes."""

    @classmethod
    def of(
        cls,
        source: str | Path,
        *,
        model: str | None = None,
        split: str = "train",
        image: str | None = None,
        product: str | None = None,
        prompts: str | Path | None = None,
        attributes: Sequence[str] = (),
        pictures: int = PICTURES,
        tune: int = TUNE,
        seed: int = 0,
    ) -> Self:
        """Draws them from one split of a source.

        Args:
            model: a MODEL string; a run brings columns, attributes, prompts and the train split of its training.
            split: of a source that the run was not trained on.
            image: column of pictures; likewise `product`.
            prompts: null: the run's, else the generic ones.
            attributes: columns to make decisions on; none: the run's, else a default config's that the source has.
            pictures: how many to measure ranges on.
            tune: how many to choose exceptions by.

        Raises:
            UsageError: fewer than FEWEST pictures to calibrate on.
            CatalogueError: no such source, split or column.
            PromptError: the prompts file is at fault.
        """
        words = None if prompts is None else str(prompts)
        found = resolve(
            model=model, source=str(source), image=image, product=product, attributes=attributes, prompts=words
        )
        whole = found.splits.train if found.known_source else found.items(split).permitted("train")
        if pictures < FEWEST or len(whole) < FEWEST + 1:
            raise UsageError(
                f"{source}, split {split!r}: {min(pictures, len(whole))} picture(s) to calibrate INT8 with; it needs "
                f"{FEWEST}, and some of other products to choose exceptions by; name a larger --calibrate source"
            )
        rest, carved = carve(whole, _TUNE_SHARE, seed, purpose="int8")
        if len(rest) < FEWEST:
            raise UsageError(
                f"{source}, split {split!r}: {len(rest)} picture(s) to calibrate INT8 with once other products are set "
                f"aside to choose exceptions by; it needs {FEWEST}; name a larger --calibrate source"
            )
        named = [name for name in found.data.kinds() if name in whole.columns]
        words = found.prompts.with_separators(whole.separators)
        values = {name: texts for name in named if len(texts := _texts(whole, words, name)) > 1}
        samples = [_draw(part, count, seed) for part, count in ((rest, pictures), (carved, tune))]
        captions = _captions(samples[0], words, values)
        if not captions:
            raise PromptError(
                f"{found.words}: gives no caption and no value text for {source}; name others with --prompts"
            )
        return cls(str(source), samples[0], samples[1], captions, values)


def agreement(
    pictures: tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]],
    texts: Mapping[str, tuple[Float[np.ndarray, "v d"], Float[np.ndarray, "v d"]]],
) -> dict[str, float]:
    """Attribute -> share of pictures that take the same value by both systems' vectors; and "all" of them together."""
    same = {
        name: (pictures[0] @ one.T).argmax(axis=1) == (pictures[1] @ other.T).argmax(axis=1)
        for name, (one, other) in texts.items()
    }
    shares = {name: float(unchanged.mean()) for name, unchanged in same.items()}
    return shares | {"all": float(np.concatenate(list(same.values())).mean())} if same else {}


def _texts(catalogue: Catalogue, words: Prompts, attribute: str) -> list[str]:
    return [words.plain(attribute, value) for value in sorted(catalogue.counts(attribute))]


def _draw(catalogue: Catalogue, count: int, seed: int) -> Catalogue:
    order = generator(seed, "int8").permutation(len(catalogue))[:count]
    return catalogue.subset(np.sort(order))


def _captions(catalogue: Catalogue, words: Prompts, values: Mapping[str, list[str]]) -> list[str]:
    """Captions of the drawn items, where the prompts can speak of them, and the values' texts."""
    found: list[str] = []
    for row in range(len(catalogue)):
        try:
            found += words.captions(catalogue.row(row))[:2]
        except PromptError:  # an item that these words cannot describe has no caption to calibrate with
            continue
    found += [text for texts in values.values() for text in texts]
    once = list(dict.fromkeys(found))
    return [once[place] for place in np.sort(generator(0, "captions").permutation(len(once))[:CAPTIONS])]
