"""Looks at an unfamiliar source and says what its columns seem to be: attributes, product, id, caption, price.

Judged by names and by cells: how many are filled, how many differ, whether they repeat within what would be a product.
A guess is only a proposal, with its reason, for a person to confirm; a column that cannot be told stays out rather
than in. Cells are read once, a few pictures are opened. Nothing here writes files or knows of prompts.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.data.sources import Source, open_source
from clipadapt.errors import CatalogueError

Part = Literal["attribute", "product", "id", "caption", "price", "number", "text", "same", "empty"]

UNKNOWN_MARKS = ("NA", "N/A", "n/a", "nan", "NaN", "NULL", "null", "unknown", "Unknown", "UNKNOWN", "-", "?")
"""Cells that usually mean that nobody knows; None is not among them, for it may mean "no pattern"."""
ABSENT_MARKS = ("Not Applicable", "not applicable", "Not applicable")
"""Cells that mean that there is no such thing."""
PICTURE_COLUMNS = (
    "image",
    "filename",
    "file",
    "path",
    "image_path",
    "picture",
    "photo",
    "img",
    "filepath",
    "image_file",
)
"""Tried in turn as the column that holds pictures or their paths; file_name is understood by "image"."""
MOST_VALUES = 200
"""A column with more values than this is no attribute: hardly any would have items enough to measure."""
LOOKED_AT = 20
"""Pictures opened to see whether they can be."""

_SEPARATORS = ("|", ";", ",")
_NUMBER = re.compile(r"[-+]?[£$€¥₹]?\s?\d{1,3}([, ]?\d{3})*([.,]\d+)?\s?([£$€¥₹%]|[A-Z]{3})?")
_NOT_SEEN = re.compile(
    r"brand|vendor|supplier|season|year|date|time|country|currency|language|status|stock|split|source|url|link|licen[cs]e"
    r"|author|photographer|copyright|price|rating|owner|user|warehouse",
    re.IGNORECASE,
)
"""Names of columns that repeat as attributes do but cannot be seen in a picture."""
_PRODUCT = re.compile(
    r"^(product|item|style|model|group|parent|article|asset|scene)([ _-]?(id|no|nr|number|code|key|group))?$"
)
_ID = re.compile(r"^(id|uid|uuid|sku|asin|ean|gtin|key|image[ _-]?id|item[ _-]?id|.*[ _-]id)$")
_CAPTIONS = ("caption", "title", "name", "headline", "alt", "description", "text", "summary")


@dataclass(frozen=True)
class Column:
    """One column, what it was taken for, and why."""

    name: str
    part: Part
    why: str
    filled: int
    """Items with a known cell."""
    values: tuple[tuple[str, int], ...]
    """Distinct values with their items, most frequent first; the members of lists where `separator` is set."""
    separator: str = ""
    proposed: bool = True
    """Whether the proposal uses it as this part: False for attributes that a picture does not show."""


class Inspection(NamedTuple):
    """What was found in one split, and what the source offers besides."""

    source: str
    split: str
    splits: tuple[str, ...]
    items: int
    columns: tuple[Column, ...]
    image: str
    unknown: tuple[str, ...]
    """Marks found in the cells that mean unknown, after the empty one."""
    absent: tuple[str, ...]
    """Marks found that mean "not applicable"."""
    sizes: tuple[tuple[int, int], ...]
    """Width and height of the pictures that were opened."""
    broken: tuple[str, ...]
    """What was wrong with those that could not be."""

    def of(self, part: Part) -> list[Column]:
        """The columns proposed for a part, the best first."""
        return [column for column in self.columns if column.part == part and column.proposed]

    def named(self, part: Part) -> str | None:
        """The one column proposed for a part, if any."""
        found = self.of(part)
        return found[0].name if found else None

    @property
    def attributes(self) -> list[Attribute]:
        """Proposed attributes in the order of the columns."""
        return [
            Attribute(column.name, "multi", column.separator) if column.separator else Attribute(column.name)
            for column in self.of("attribute")
        ]


def inspect(source: str, split: str | None = None, image: str | None = None, revision: str | None = None) -> Inspection:
    """Looks at `split`, or at train, or at the first split there is.

    Raises:
        CatalogueError: the source or split is not there, is empty, or has no pictures that can be found.
    """
    opened = open_source(source, revision)
    splits = opened.splits()
    chosen = split or ("train" if "train" in splits else splits[0])
    catalogue, image = _load(opened, chosen, image)
    marks = Counter(cell for name in catalogue.columns for cell in catalogue.texts(name) if cell)
    unknown = tuple(mark for mark in UNKNOWN_MARKS if mark in marks)
    absent = tuple(mark for mark in ABSENT_MARKS if mark in marks)
    cells = {
        name: ["" if cell.strip() in unknown else cell.strip() for cell in catalogue.texts(name)]
        for name in catalogue.columns
    }
    columns = _one_of_each([_column(name, known, len(catalogue)) for name, known in cells.items()], cells)
    sizes, broken = _pictures(catalogue)
    return Inspection(
        source, chosen, tuple(splits), len(catalogue), tuple(columns), image, unknown, absent, sizes, broken
    )


def _load(source: Source, split: str, image: str | None) -> tuple[Catalogue, str]:
    first: CatalogueError | None = None
    for candidate in (image,) if image is not None else PICTURE_COLUMNS:
        try:
            return Catalogue.of(source, split, product=None, image=candidate, unknown=("",)), candidate
        except CatalogueError as error:
            first = first or error
    assert first is not None, "at least one candidate was tried"
    raise first


def _pictures(catalogue: Catalogue) -> tuple[tuple[tuple[int, int], ...], tuple[str, ...]]:
    """Sizes of pictures spread over the catalogue, and what is wrong with those that do not open."""
    step = max(len(catalogue) // LOOKED_AT, 1)
    sizes: list[tuple[int, int]] = []
    broken: list[str] = []
    for index in range(0, len(catalogue), step)[:LOOKED_AT]:
        try:
            sizes.append(catalogue.picture(index).size)
        except CatalogueError as error:
            broken.append(str(error))
    return tuple(sizes), tuple(broken)


def _column(name: str, cells: Sequence[str], items: int) -> Column:
    """What a column seems to be by itself; which of several candidates is the product is decided after."""
    known = [cell for cell in cells if cell]
    counts = Counter(known)
    values = tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
    plain = name.strip().lower()

    def taken(part: Part, why: str, proposed: bool = True) -> Column:
        return Column(name, part, why, len(known), values, proposed=proposed)

    if not known:
        return taken("empty", "no cell is filled")
    if len(counts) == 1:
        return taken("same", f"always {values[0][0]!r}")
    numeric = sum(bool(_NUMBER.fullmatch(cell)) for cell in counts) / len(counts)
    if "price" in plain or plain in ("cost", "msrp", "rrp", "amount"):
        return taken("price" if numeric > 0.9 else "text", "named so, and its cells are numbers")
    repeats = len(known) / len(counts)
    if _PRODUCT.match(plain) and (len(counts) > MOST_VALUES or repeats < 5) and len(known) > 0.5 * items:
        return taken("product", f"named so; {len(counts)} values, {repeats:.1f} items each")
    if len(counts) == len(known) == items and (_ID.match(plain) or numeric > 0.9 or plain == "id"):
        return taken("id", "every item has another one")
    if numeric > 0.9:
        return taken("number", f"numbers, {len(counts)} different ones", proposed=False)
    separator = _separator(counts)
    if separator:
        members = Counter(part for cell in known for part in _parts(cell, separator))
        if _repeats_enough(members, items):
            ordered = tuple(sorted(members.items(), key=lambda pair: (-pair[1], pair[0])))
            why = f"lists separated by {separator!r}; {len(members)} values"
            return Column(name, "attribute", why, len(known), ordered, separator, not _NOT_SEEN.search(plain))
    words = sum(len(cell.split()) * count for cell, count in counts.items()) / len(known)
    if _repeats_enough(counts, items) and words < 4:
        if _NOT_SEEN.search(plain):
            return taken("attribute", f"{len(counts)} values, but a picture hardly shows it", proposed=False)
        return taken("attribute", f"{len(counts)} values, {len(known) / items:.0%} filled")
    if (words >= 2 and repeats < 5) or plain in _CAPTIONS:
        return taken("caption", f"texts of {words:.1f} words")
    return taken("text", f"{len(counts)} different cells, {repeats:.1f} items each", proposed=False)


def _repeats_enough(counts: Counter[str], items: int) -> bool:
    """Whether a column's values have items enough to be learnt: two of them at least five each (two when few items)."""
    enough = 5 if items >= 50 else 2
    frequent = [value for value, count in counts.items() if count >= enough]
    covered = sum(counts[value] for value in frequent) / sum(counts.values())
    return len(frequent) >= 2 and len(counts) <= MOST_VALUES and covered > 0.7


def _separator(counts: Counter[str]) -> str:
    """What separates the members of lists, when a tenth of the different cells are lists of repeating short members."""
    for separator in _SEPARATORS:
        lists = [cell for cell in counts if separator in cell]
        parts = {part for cell in counts for part in _parts(cell, separator)}
        short = all(len(part.split()) <= 4 for part in parts)
        if len(lists) >= max(0.1 * len(counts), 2) and len(parts) <= len(counts) and short:
            return separator
    return ""


def _parts(cell: str, separator: str) -> list[str]:
    return [part.strip() for part in cell.split(separator) if part.strip()]


def _one_of_each(columns: list[Column], cells: dict[str, list[str]]) -> list[Column]:
    """Keeps one product, one id, one caption and one price; a product that no column is named for is looked for."""
    products = [column for column in columns if column.part == "product"]
    if not products:
        candidates = [column for column in columns if column.part == "text" and _ID.match(column.name.strip().lower())]
        attributes = [column.name for column in columns if column.part == "attribute"]
        products = [column for column in candidates if _holds_together(column, cells, attributes)]
    product = min(products, key=lambda column: (column.name.lower() != "product", len(column.name)), default=None)
    captions = [column for column in columns if column.part == "caption"]
    caption = min(captions, key=lambda column: (_rank(column.name), -len(column.values)), default=None)
    identities = [column for column in columns if column.part == "id"]
    identity = min(identities, key=lambda column: (column.name.lower() != "id", len(column.name)), default=None)
    best = {column.name for column in (product, caption, identity) if column is not None}
    kept: list[Column] = []
    for column in columns:
        if product is not None and column.name == product.name:
            kept.append(replace(column, part="product", proposed=True))
        elif column.part in ("product", "caption", "id") and column.name not in best:
            kept.append(replace(column, part="text", why=f"{column.why}; another column serves", proposed=False))
        else:
            kept.append(column)
    return kept


def _holds_together(column: Column, cells: dict[str, list[str]], attributes: Sequence[str]) -> bool:
    """Whether items that share a cell agree in their attributes nearly always, as photos of one product do."""
    if not attributes or len(column.values) < 2:
        return False
    groups: dict[str, list[int]] = {}
    for item, cell in enumerate(cells[column.name]):
        if cell:
            groups.setdefault(cell, []).append(item)
    shared = [items for items in groups.values() if len(items) > 1]
    pairs = [(items[0], other, name) for items in shared for other in items[1:] for name in attributes]
    known = [(cells[name][one], cells[name][other]) for one, other, name in pairs]
    compared = [one == other for one, other in known if one and other]
    return bool(compared) and sum(compared) / len(compared) > 0.95


def _rank(name: str) -> int:
    plain = name.strip().lower()
    return next((place for place, word in enumerate(_CAPTIONS) if word in plain), len(_CAPTIONS))
