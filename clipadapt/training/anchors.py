"""What training must not lose: texts that nothing is taught about, and the base's answers to them.

    anchors = Anchors.of(catalogue, prompts, trained, wordings, encoder, pictures, seed=0)
    chosen = anchors.chosen(step=7)          # rows of anchors.texts, of which the first ones are the values of a group

Everyday things that name no value in training, random words of titles, and every value of the attributes whose texts
are not trained, in the file's texts and in drawn wordings: a value that is held in one template alone is lost in
others. A text's vector is kept close to the base's; and for a group (all values of an attribute in one wording each)
the base's answers are kept, too: how it ranks the values for each picture and the pictures for each value. The words
are ours, chosen for breadth, and know nothing of any test set. Nothing here computes a loss.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Self

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from clipadapt.data.catalogue import Catalogue
from clipadapt.keyed import generator
from clipadapt.prompts import Prompts
from clipadapt.prompts.overlap import contains_any, shape_of
from clipadapt.prompts.wordings import Wordings
from clipadapt.prompts.words import pluralise
from clipadapt.towers.encoder import TorchEncoder

PER_STEP = 64
"""Texts of no group that one step keeps where the base has them."""
GROUP = 256
"""Most values of a group that one step keeps the answers to."""
EVERYDAY = (
    "dog", "cat", "bird", "horse", "fish", "tree", "flower", "leaf", "mountain", "river", "beach", "sky", "cloud",
    "street", "building", "bridge", "garden", "kitchen", "bedroom", "office", "table", "chair", "sofa", "lamp", "bed",
    "window", "door", "mirror", "clock", "book", "letter", "pen", "phone", "laptop", "camera", "television", "guitar",
    "piano", "ball", "bicycle", "car", "bus", "train", "boat", "airplane", "bread", "cake", "fruit", "salad", "coffee",
    "bottle", "cup", "plate", "knife", "spoon", "box", "basket", "bag", "key", "coin", "toy", "doll", "candle", "paper",
    "man", "woman", "child", "baby", "face", "hand", "foot", "person in a room", "person outdoors", "group of people",
    "piece of clothing", "pile of clothes", "piece of cloth", "accessory", "tool", "machine", "sign", "painting",
    "drawing", "pattern", "shadow", "light", "wall", "floor", "wood", "metal", "glass", "stone", "plastic", "leather",
)  # fmt: skip
FILLERS = 512
"""Texts of random words."""
ANCHOR_WORDINGS = 8
"""Wordings of each value that is kept, besides the file's own."""
FRAMES = ("a photo of a {}", "{}")
"""What an everyday thing is put into."""


class Chosen(NamedTuple):
    """The anchors of one step."""

    texts: list[str]
    vectors: Float[Tensor, "a d"]
    """The base's, of those texts."""
    group: int
    """How many of them, from the first, are the values of one attribute; 0: none."""


class Anchors(NamedTuple):
    """Texts that are to stay, and what the base says of them."""

    texts: list[str]
    vectors: Float[Tensor, "n d"]
    groups: list[Integer[Tensor, " v"]]
    """Rows of `texts`: the values of an attribute, each in one wording."""
    pictures: Float[Tensor, "m d"] | None
    """The base's vectors of all training items; None: its answers are not kept."""
    seed: int

    @classmethod
    def of(
        cls,
        catalogue: Catalogue,
        prompts: Prompts,
        trained: Sequence[str],
        wordings: Wordings,
        encoder: TorchEncoder,
        pictures: Float[Tensor, "m d"] | None = None,
        *,
        fillers: int = FILLERS,
        seed: int,
    ) -> Self:
        """Encodes all of them once.

        Args:
            trained: attributes whose values' texts are taught, and so no anchors.
            encoder: as the base is.
            pictures: unit vectors of the catalogue's items by the base; None: no answers are kept.
            fillers: texts of random words; 0 where these are taught.
        """
        texts, groups = anchor_texts(catalogue, prompts, trained, wordings, fillers=fillers, seed=seed)
        return cls(texts, encoder.encode_texts(texts), groups, pictures, seed)

    def chosen(self, step: int) -> Chosen:
        """Those of one step, keyed by it."""
        draws = generator(self.seed, "anchors", step)
        rows: list[int] = []
        if self.groups and self.pictures is not None:
            group = self.groups[int(draws.integers(len(self.groups)))].tolist()
            rows = group if len(group) <= GROUP else draws.choice(group, GROUP, replace=False).tolist()
        others = draws.permutation(len(self.texts))[:PER_STEP].tolist()
        found = [*rows, *(row for row in others if row not in set(rows))]
        return Chosen([self.texts[row] for row in found], self.vectors[torch.tensor(found)], len(rows))


def anchor_texts(
    catalogue: Catalogue,
    prompts: Prompts,
    trained: Sequence[str],
    wordings: Wordings,
    *,
    fillers: int = FILLERS,
    seed: int = 0,
) -> tuple[list[str], list[Integer[Tensor, " v"]]]:
    """(texts, groups): each text once; a group is the rows of an attribute's values, in one wording each."""
    taught = {name: sorted(catalogue.counts(name)) for name in trained}
    texts = dict.fromkeys(frame.format(thing) for thing in everyday_things(taught, wordings) for frame in FRAMES)
    texts |= dict.fromkeys(wordings.filler((seed, number)) for number in range(fillers))
    place = {text: row for row, text in enumerate(texts)}
    groups = []
    for attribute in catalogue.attributes:
        values = sorted(catalogue.counts(attribute.name))
        if attribute.name in trained:
            continue
        for value in values:
            for text in (prompts.plain(attribute.name, value), *prompts.value_texts(attribute.name, value)):
                place.setdefault(text, len(place))
        for number in range(ANCHOR_WORDINGS):
            worded = [wordings.training(attribute.name, value, (seed, number)) for value in values]
            rows = [place.setdefault(text, len(place)) for text in worded]
            if len(set(rows)) > 1:
                groups.append(torch.tensor(list(dict.fromkeys(rows))))
    return list(place), groups


def everyday_things(taught: Mapping[str, Collection[str]], wordings: Wordings) -> list[str]:
    """The everyday things that name no taught value, be it as several of them: a furniture shop teaches "Chairs".

    `taught`: attribute -> its values.
    """
    names = {
        shape_of(name)
        for attribute in taught
        for value in taught[attribute]
        for name in wordings.names(attribute, value)
    }
    return [
        thing
        for thing in EVERYDAY
        if not any(contains_any(shape_of(text), names) for text in (thing, pluralise(thing)))
    ]
