"""Looks at an unfamiliar source and says what its columns seem to be: attributes, product, id, caption, price.

Names count first (clipadapt.data.role_names), and cells may contradict them; then cells alone: how many are filled, how
many differ, whether they repeat within what would be a product. A guess is only a proposal, with its reason, for a
person to confirm; a column that gives no sign stays out rather than in. Cells are read once, a few pictures are opened.
Nothing here writes files or knows of prompts.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.data.cells import JOINT
from clipadapt.data.folders import is_picture_name
from clipadapt.data.members import list_in_text, members
from clipadapt.data.role_names import NameOf, named
from clipadapt.data.sources import Source, open_source
from clipadapt.errors import CatalogueError

Part = Literal["attribute", "product", "id", "caption", "price", "number", "text", "same", "empty"]

UNKNOWN_MARKS = ("NA", "N/A", "n/a", "nan", "NaN", "NULL", "null", "unknown", "Unknown", "UNKNOWN", "-", "?")
"""Cells that usually mean that nobody knows; None is not among them, for it may mean "no pattern"."""
ABSENT_MARKS = ("Not Applicable", "not applicable", "Not applicable")
"""Cells that mean that there is no such thing."""
MOST_VALUES = 200
"""A column with more values than this is no attribute: hardly any would have items enough to measure."""
LOOKED_AT = 20
"""Pictures opened to see whether they can be."""

_FEW_PRODUCTS = 20
"""A column such as `style` or `model` with no more values than this is an attribute."""

_SEPARATORS = ("|", ";", ",")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|&[a-z]+;|&#\d+;")
_NUMBER = re.compile(r"[-+]?[£$€¥₹]?\s?\d{1,3}([.,' ]?\d{3})*([.,]\d+)?([eE][-+]?\d+)?\s?([£$€¥₹%]|[A-Z]{3})?")
_NOT_SEEN = re.compile(
    r"brand|vendor|supplier|season|year|date|time|country|currency|language|status|stock|split|source|url|link|licen[cs]e"
    r"|author|photographer|copyright|price|rating|owner|user|warehouse",
    re.IGNORECASE,
)
"""Names of columns that repeat as attributes do but cannot be seen in a picture."""
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
        columns = self.of(part)
        return columns[0].name if columns else None

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
    separators = catalogue.separators
    columns = _one_of_each(
        [_column(name, known, len(catalogue), separators.get(name, "")) for name, known in cells.items()], cells
    )
    sizes, broken = _pictures(catalogue)
    return Inspection(
        source, chosen, tuple(splits), len(catalogue), tuple(columns), image, unknown, absent, sizes, broken
    )


def _load(source: Source, split: str, image: str | None) -> tuple[Catalogue, str]:
    """The catalogue, and the column of its pictures: the one given, one named so, or one whose cells name pictures."""
    candidates = [image] if image is not None else _picture_columns(source.first_cells(split))
    first: CatalogueError | None = None
    for candidate in (*candidates, "image"):
        try:
            return Catalogue.of(source, split, product=None, image=candidate, unknown=("",)), candidate
        except CatalogueError as error:
            first = first or error
    assert first is not None, "at least one candidate was tried"
    raise first


def _picture_columns(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Columns that may hold pictures, the likeliest first: by name, whose cells name files; by name; by cells."""
    if {"image", "file_name"} & columns.keys():
        return ["image"]

    def files(name: str) -> bool:
        return all(is_picture_name(cell) for cell in columns[name])  # no cells: pictures themselves

    likely = [name for name in columns if named(name) == "image"]
    ranked = sorted(likely, key=lambda name: (not files(name), len(name)))
    return [*ranked, *(name for name in columns if files(name) and name not in likely)]


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


def _column(name: str, cells: Sequence[str], items: int, separator: str) -> Column:
    """What a column seems to be by itself; which of several candidates is the product is decided after.

    `separator` is that of a column whose cells are lists in the source.
    """
    known = [cell for cell in cells if cell]
    counts = Counter(known)
    values = tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))

    def taken(part: Part, why: str, proposed: bool = True) -> Column:
        return Column(name, part, why, len(known), values, proposed=proposed)

    if not known:
        return taken("empty", "no cell is filled")
    if len(counts) == 1:
        return taken("same", f"always {values[0][0]!r}")
    numeric = sum(map(is_number, counts)) / len(counts)
    by_name = _by_name(named(name), counts, len(known), items, numeric)
    if by_name is not None:
        part, why = by_name
        return taken(part, why, proposed=part != "number")
    if numeric > 0.9:
        return taken("number", f"its cells are numbers, {len(counts)} different ones", proposed=False)
    if sum(map(holds_html, counts)) > 0.1 * len(counts):
        return taken("text", "its cells hold HTML: strip the tags to use them", proposed=False)
    if (lists := _lists(name, known, counts, items, separator)) is not None:
        return lists
    repeats = len(known) / len(counts)
    words = sum(len(cell.split()) * count for cell, count in counts.items()) / len(known)
    if _repeats_enough(counts, items) and words < 4:
        if _NOT_SEEN.search(name):
            return taken("attribute", f"{len(counts)} values, but a picture hardly shows it", proposed=False)
        return taken("attribute", f"{len(counts)} values, {len(known) / items:.0%} filled")
    if (words >= 2 and repeats < 5) or named(name) in ("title", "text") or _rank(name) == 0:
        return taken("caption", f"its cells are texts of {words:.1f} words")
    return taken("text", f"{len(counts)} different cells, {repeats:.1f} items each", proposed=False)


def _by_name(
    name: NameOf | None, counts: Counter[str], known: int, items: int, numeric: float
) -> tuple[Part, str] | None:
    """The part that a name says, where the cells do not contradict it, and the reason."""
    repeats, unique = known / len(counts), len(counts) == known == items
    each = f"{len(counts)} values, {repeats:.1f} items each"
    if name == "price":
        return ("price", "named so, and its cells are numbers") if numeric > 0.9 else None
    if name == "number" and numeric > 0.9:
        return "number", f"named so; {len(counts)} different ones"
    if name in ("id", "code", "product") and unique:
        return "id", "named so, and every item has another one"
    filled = known > 0.5 * items
    if name in ("group", "product", "code") and filled:
        return "product", f"named so; {each}"
    if name == "maybe product" and filled and (len(counts) > MOST_VALUES or repeats < 5):
        return "product", f"named so; {each}"
    return None


def _lists(name: str, known: Sequence[str], counts: Counter[str], items: int, separator: str) -> Column | None:
    """The column as a multi-valued attribute, where its cells are lists whose members repeat."""
    if separator:
        why = "lists in the source"
    elif sum(list_in_text(cell) is not None for cell in counts) > 0.5 * len(counts):
        separator, why = JOINT, f"lists written as text, such as {known[0][:30]}"
    elif mark := list_separator(counts):
        separator, why = mark, f"lists separated by {mark!r}"
    else:
        return None
    parts = Counter(part for cell in known for part in members(cell, separator))
    ordered = tuple(sorted(parts.items(), key=lambda pair: (-pair[1], pair[0])))
    if not parts or not _repeats_enough(parts, items):
        if why.startswith("lists separated"):
            return None
        return Column(
            name, "text", f"{why}; {len(parts)} values that hardly repeat", len(known), ordered, proposed=False
        )
    seen = not _NOT_SEEN.search(name)
    return Column(name, "attribute", f"{why}; {len(parts)} values", len(known), ordered, separator, seen)


def is_number(cell: str) -> bool:
    """Whether a person reads a cell as a number: 1299.50, 1.299,50, 1,299.50 EUR."""
    return _NUMBER.fullmatch(cell.strip()) is not None


def holds_html(cell: str) -> bool:
    """Whether a cell has tags or entities in it."""
    return _TAG.search(cell) is not None


def _repeats_enough(counts: Counter[str], items: int) -> bool:
    """Whether a column's values have items enough to be learnt: two of them at least five each (two when few items)."""
    enough = 5 if items >= 50 else 2
    frequent = [value for value, count in counts.items() if count >= enough]
    covered = sum(counts[value] for value in frequent) / sum(counts.values())
    return len(frequent) >= 2 and len(counts) <= MOST_VALUES and covered > 0.7


def list_separator(counts: Collection[str]) -> str:
    """What separates the members of lists, when a tenth of the different cells are lists of repeating short members."""
    for separator in _SEPARATORS:
        lists = [cell for cell in counts if separator in cell]
        parts = {part for cell in counts for part in members(cell, separator)}
        short = all(len(part.split()) <= 4 for part in parts)
        if len(lists) >= max(0.1 * len(counts), 2) and len(parts) <= len(counts) and short:
            return separator
    return ""


def _one_of_each(columns: list[Column], cells: dict[str, list[str]]) -> list[Column]:
    """Keeps one product, one id, one caption and one price; a product that no column is named for is looked for."""
    products = [column for column in columns if column.part == "product"]
    product = min(products, key=_product_rank, default=None)
    if product is None:
        attributes = [column.name for column in columns if column.part == "attribute"]
        candidates = [column for column in columns if column.part in ("text", "attribute") and _may_be_product(column)]
        agreeing = [column for column in candidates if _holds_together(column, cells, attributes)]
        product = min(agreeing, key=_product_rank, default=None)
        if product is not None:
            product = replace(product, why="by its cells: items that share one agree in their attributes")
    captions = [column for column in columns if column.part == "caption"]
    caption = min(captions, key=lambda column: (_rank(column.name), -len(column.values)), default=None)
    identities = [column for column in columns if column.part == "id"]
    identity = min(identities, key=lambda column: (column.name.lower() != "id", len(column.name)), default=None)
    chosen = {column.name for column in (product, caption, identity) if column is not None}
    kept: list[Column] = []
    for column in columns:
        if product is not None and column.name == product.name:
            kept.append(replace(product, part="product", separator="", proposed=True))
        elif column.part in ("product", "caption", "id") and column.name not in chosen:
            kept.append(replace(column, part="text", why=f"{column.why}; another column serves", proposed=False))
        else:
            kept.append(column)
    return kept


def _product_rank(column: Column) -> tuple[bool, int, int]:
    """The best candidate for the product first: one that groups items, by what its name says, the shorter name."""
    order: tuple[NameOf | None, ...] = ("group", "product", "maybe product", "code")
    name = named(column.name)
    rank = -1 if column.name.strip().lower() == "product" else order.index(name) if name in order else len(order)
    return len(column.values) == column.filled, rank, len(column.name)


def _may_be_product(column: Column) -> bool:
    """Whether cells are worth a look: ids of something, or a product by name with more values than an attribute has."""
    name = named(column.name)
    return name == "id" or (name == "maybe product" and len(column.values) > _FEW_PRODUCTS)


def _holds_together(column: Column, cells: dict[str, list[str]], attributes: Sequence[str]) -> bool:
    """Whether items that share a cell agree in their attributes nearly always, as photos of one product do."""
    attributes = [name for name in attributes if name != column.name]
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
