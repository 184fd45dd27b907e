"""Texts whose meaning an adaptation must not move: everyday things, and attributes that are not trained.

Training moves the text tower as a whole, and what it is not asked about drifts: a shop's "dress" should still be found
after the catalogue's patterns were learned. A few dozen such texts per step, held to the base's vectors, cost little
beside the captions. The words are ours, chosen for breadth, and know nothing of any test set. Nothing here knows of
losses.
"""

from collections.abc import Sequence

from clipadapt.data.catalogue import Catalogue
from clipadapt.prompts import Prompts

PER_STEP = 64
"""Anchors drawn for one step."""

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
FRAMES = ("a photo of a {}", "{}")


def anchor_texts(catalogue: Catalogue, prompts: Prompts, trained: Sequence[str]) -> list[str]:
    """Everyday things, and every value of the catalogue's attributes that are not in `trained`, each once."""
    texts = dict.fromkeys(frame.format(thing) for thing in EVERYDAY for frame in FRAMES)
    for attribute in catalogue.attributes:
        if attribute.name not in trained:
            for value in sorted(catalogue.counts(attribute.name)):
                texts |= dict.fromkeys(
                    (prompts.plain(attribute.name, value), *prompts.value_texts(attribute.name, value))
                )
    return list(texts)
