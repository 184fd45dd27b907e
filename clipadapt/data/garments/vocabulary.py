"""Attributes of drawn garments, their values and how often each is drawn: a few common ones, a long tail of rare ones.

Shares are chosen so that a catalogue of 9,000 pictures has values in all three bins of training items: many, medium (21
to 100) and few (20 or less), the rare ones with validation items enough to be measured. Knows nothing of how they look.
"""

from typing import NamedTuple


class Attribute(NamedTuple):
    """One column of the catalogue."""

    shares: dict[str, float]
    """Value -> relative frequency over products."""
    unknown: float
    """Share of products whose cell is empty, as in a shop where not everybody fills in everything."""


ATTRIBUTES = {
    "category": Attribute(
        {
            "t-shirt": 17,
            "shirt": 14,
            "trousers": 13,
            "dress": 12,
            "sweater": 10,
            "skirt": 9,
            "jacket": 8,
            "shorts": 6,
            "hoodie": 4,
            "coat": 3,
            "tank top": 2.5,
            "jumpsuit": 1.5,
        },
        unknown=0.0,
    ),
    "colour": Attribute(
        {
            "blue": 14,
            "black": 12,
            "white": 12,
            "grey": 10,
            "red": 10,
            "green": 9,
            "navy": 8,
            "beige": 6,
            "pink": 5,
            "yellow": 4,
            "brown": 3.5,
            "purple": 2.5,
            "orange": 2,
            "turquoise": 1,
            "maroon": 1,
        },
        unknown=0.03,
    ),
    "pattern": Attribute(
        {
            "solid": 38,
            "striped": 17,
            "checked": 11,
            "dotted": 8,
            "floral": 6,
            "zigzag": 4.5,
            "camouflage": 3,
            "leopard print": 3,
            "pleated": 3,
            "argyle": 2,
            "tie-dye": 1.2,
            "colour-blocked": 1.1,
            "starry": 0.4,
        },
        unknown=0.15,
    ),
    "fabric": Attribute(
        {
            "cotton": 34,
            "denim": 16,
            "knitwear": 13,
            "linen": 10,
            "satin": 8,
            "corduroy": 5,
            "wool": 5,
            "leather": 3,
            "lace": 2,
            "quilted fabric": 1.2,
            "sequins": 0.4,
        },
        unknown=0.25,
    ),
    "cut": Attribute(
        {
            "straight": 42,
            "slim": 18,
            "loose": 12,
            "cropped": 10,
            "flared": 8,
            "longline": 3,
            "asymmetric": 2,
            "scalloped": 1.2,
            "tiered": 0.4,
        },
        unknown=0.25,
    ),
}

COLOURS = {
    "blue": (58, 110, 200),
    "black": (38, 38, 42),
    "white": (240, 240, 238),
    "grey": (140, 142, 146),
    "red": (200, 42, 48),
    "green": (52, 138, 74),
    "navy": (30, 42, 92),
    "beige": (214, 196, 162),
    "pink": (238, 146, 178),
    "yellow": (236, 204, 62),
    "brown": (112, 72, 44),
    "purple": (122, 66, 160),
    "orange": (234, 126, 40),
    "turquoise": (54, 190, 190),
    "maroon": (110, 24, 46),
}
"""Value -> red, green, blue in [0, 255]."""
