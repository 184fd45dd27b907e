"""What is for sale: products, the values of each, how many pictures, and which split they are in.

Every value gets its share of the products of each split, dealt out rather than drawn, so that a rare value is in both
splits and figures of small catalogues are worth something. Attributes are dealt independently: combinations have a
longer tail than values. Knows nothing of pixels.
"""

from collections.abc import Mapping
from typing import NamedTuple

from clipadapt import keyed
from clipadapt.data.garments.vocabulary import ATTRIBUTES

VALIDATION_SHARE = 1 / 2
_PICTURES = (2, 3, 4)
_PRICES = {"t-shirt": 15, "tank top": 12, "shorts": 25, "shirt": 35, "skirt": 35, "hoodie": 40, "sweater": 45}
_OTHER_PRICE = 60


class Product(NamedTuple):
    """One thing sold."""

    name: str
    split: str
    pictures: int
    values: dict[str, str]
    """What it is."""
    cells: dict[str, str]
    """What the catalogue says it is: the same, or nothing."""
    price: int


def deal(items: int, seed: int) -> list[Product]:
    """Products with `items` pictures in all.

    Raises:
        ValueError: fewer than 12 items, which leaves a split without products.
    """
    if items < 12:
        raise ValueError(f"{items} items are too few for two splits; draw 12 or more")
    counts: list[int] = []
    while (left := items - sum(counts)) > 0:
        counts.append(min(left, _PICTURES[keyed.integer(seed, "pictures", len(counts)) % len(_PICTURES)]))
    order = sorted(range(len(counts)), key=lambda product: keyed.integer(seed, "split", product))
    validation = round(len(counts) * VALIDATION_SHARE)
    products = []
    for split, members in (("validation", sorted(order[:validation])), ("train", sorted(order[validation:]))):
        dealt = {
            name: _dealt(attribute.shares, len(members), (seed, split, name)) for name, attribute in ATTRIBUTES.items()
        }
        for place, member in enumerate(members):
            values = {name: dealt[name][place] for name in ATTRIBUTES}
            products.append(_product(member, split, counts[member], values, seed))
    return sorted(products, key=lambda product: product.name)


def apportion(shares: Mapping[str, float], count: int) -> dict[str, int]:
    """`count` split by shares: whole parts first, then the largest remainders."""
    total = sum(shares.values())
    exact = {value: count * share / total for value, share in shares.items()}
    parts = {value: int(amount) for value, amount in exact.items()}
    for value in sorted(exact, key=lambda value: parts[value] - exact[value])[: count - sum(parts.values())]:
        parts[value] += 1
    return parts


def _dealt(shares: Mapping[str, float], count: int, key: tuple[int, str, str]) -> list[str]:
    deck = [value for value, copies in apportion(shares, count).items() for _ in range(copies)]
    keyed.generator(*key).shuffle(deck)
    return deck


def _product(member: int, split: str, pictures: int, values: dict[str, str], seed: int) -> Product:
    draw = keyed.generator(seed, "product", member)
    cells = {name: "" if draw.random() < ATTRIBUTES[name].unknown else value for name, value in values.items()}
    price = _PRICES.get(values["category"], _OTHER_PRICE) * draw.uniform(0.8, 1.6)
    return Product(f"P{member:05d}", split, pictures, values, cells, round(price))
