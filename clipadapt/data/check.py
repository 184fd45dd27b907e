"""Everything that is wrong with a source, in one pass, with file and row.

Where loading for a run stops at the first fault, this goes on: a missing column is reported and left out, clashing ids
are reported and replaced, so that a person corrects a catalogue once, not fault by fault. Every picture is decoded.
Nothing here changes a file.
"""

from collections.abc import Mapping
from typing import get_args

from clipadapt import config
from clipadapt.data.catalogue import Attribute, Catalogue, decoding_of
from clipadapt.data.cells import text_table
from clipadapt.data.check_columns import check_columns
from clipadapt.data.check_pictures import check_pictures
from clipadapt.data.check_spellings import Written, as_written, check_spellings
from clipadapt.data.check_values import check_values, summary
from clipadapt.data.columns import Roles, near, nearest, option
from clipadapt.data.faults import Fault, Report
from clipadapt.data.inspect import inspect
from clipadapt.data.items import clashing, ids_of
from clipadapt.data.policy import Policy, Use
from clipadapt.data.sources import Source, open_source, passed_over
from clipadapt.data.spelling import folded
from clipadapt.data.splits import declared_attributes, shared_products
from clipadapt.errors import CatalogueError

_ORDER = {"error": 0, "warning": 1, "info": 2}


def check(data: config.Data, *, attributes_given: bool = True, size: int | None = None) -> Report:
    """Looks at every split of `data.source`.

    Without `attributes_given` the attributes are those that `inspect` proposes. `size` is the side of the pictures a
    model wants: others are faults where `data.mixed_sizes` refuses them.

    Raises:
        CatalogueError: there is no such source, or nothing in it that can be loaded.
    """
    faults: list[Fault] = []
    source = open_source(data.source, data.revision)
    attributes = declared_attributes(data) if attributes_given else _proposed(data)
    faults += [Fault("warning", source.name, None, line, "") for line in passed_over(data.source)]
    catalogues: dict[str, Catalogue] = {}
    written: dict[str, Written] = {}
    for split in source.splits():
        loaded = _load(source, split, data, attributes, faults)
        if loaded is not None:
            catalogues[split], written[split] = loaded
    _check_splits(source.name, catalogues, data, faults)
    for catalogue in catalogues.values():
        check_columns(catalogue, faults)
    if data.policy is not None:
        _check_policy(catalogues, Policy.load(data.policy), data.policy, faults)
    check_values(catalogues, data, faults)
    check_spellings(catalogues, written, data, faults)
    seen = check_pictures(catalogues, data, size, faults)
    faults.sort(key=lambda fault: _ORDER[fault.level])
    return Report(tuple(faults), {split: summary(catalogue) | seen[split] for split, catalogue in catalogues.items()})


def _proposed(data: config.Data) -> list[Attribute]:
    """What looks like attributes; none where the source is too faulty to tell, which the check goes on to say."""
    try:
        return inspect(data.source, None, data.image, data.revision).attributes
    except CatalogueError:
        return []


def _load(
    source: Source, split: str, data: config.Data, attributes: list[Attribute], faults: list[Fault]
) -> tuple[Catalogue, Written] | None:
    """The split with what can be used of it, and its values as they are written; the rest is reported."""
    try:
        rows = source.read(split, data.image)
        texts = text_table(rows.table, {attribute.name: attribute.separator for attribute in attributes})
    except CatalogueError as error:
        faults.append(Fault("error", source.name, None, f"split {split!r}: {error}", ""))
        return None
    if not len(rows.pictures):
        faults.append(Fault("error", rows.file, None, f"split {split!r} is empty", "add rows or delete the split"))
        return None
    available = texts.table.column_names
    present = [attribute for attribute in attributes if attribute.name in available]
    for attribute in attributes:
        if attribute.name not in available:
            what = f"attribute {attribute.name!r}: no such column{near(attribute.name, available)}"
            faults.append(Fault("error", rows.file, None, what, f"rename one, or correct {option('attributes')}"))
    product = _column(data.product, "product", rows.file, available, faults)
    item = _column(data.id, "id", rows.file, available, faults) or ("id" if "id" in available else None)
    ids = ids_of(rows, texts.table, item)
    clashes = clashing(ids, rows)
    for name, at in clashes.items():
        kind = f"column {item!r}" if item is not None else "picture"
        what = f"{name!r} stands in rows {', '.join(map(str, at))}" if name else f"{len(at)} empty cell(s)"
        remedy = f"an id names one item: correct it, or choose a column with {option('id')}"
        faults.append(Fault("error", rows.file, at[0], f"{kind}: {what}", remedy))
    if clashes:
        rows, item = rows._replace(names=[]), None
    roles = Roles(product, item)
    catalogue = Catalogue(
        rows, texts, roles, source=source.name, split=split, attributes=present, unknown=data.unknown,
        normalise=data.normalise, decoding=decoding_of(source, data.image, data.range, data.bands),
    )  # fmt: skip
    return catalogue, as_written(texts.table, catalogue, data.unknown)


def _column(name: str | None, part: str, file: str, available: list[str], faults: list[Fault]) -> str | None:
    if name is None or name in available:
        return name
    if part == "product" and name == "product" and nearest(name, available) is None:
        what = "no column 'product': every item counts as a product of its own"
        faults.append(Fault("info", file, None, what, f"name the column with {option('product')} if there is one"))
    else:
        what = f"{part} {name!r}: no such column{near(name, available)}"
        faults.append(Fault("error", file, None, what, f"correct {option(part)}; leave it out where there is none"))
    return None


def _check_splits(source: str, catalogues: Mapping[str, Catalogue], data: config.Data, faults: list[Fault]) -> None:
    """Splits that are missing, and products in two of them."""
    names = data.splits
    if catalogues and names.train not in catalogues:
        what = f"no split {names.train!r}; there are {', '.join(map(repr, catalogues))}"
        faults.append(Fault("warning", source, None, what, "to train, name a split with data.splits.train"))
    elif catalogues and names.validation not in catalogues:
        what = f"no split {names.validation!r}: {names.validation_share:.0%} of the products will be carved from train"
        faults.append(Fault("info", source, None, what, ""))
    for product, splits in shared_products(catalogues).items():
        first = catalogues[splits[0]]
        place = first.place(first.products.tolist().index(product))
        what = f"product {product!r} is in {' and '.join(map(repr, splits))}"
        faults.append(Fault("error", place.file, place.row, what, "move all its items to one split"))
    _check_near_products(catalogues, faults)


def _check_policy(catalogues: Mapping[str, Catalogue], policy: Policy, file: str, faults: list[Fault]) -> None:
    """The column of licences that is not there, and what the policy keeps out."""
    for split, catalogue in catalogues.items():
        table = catalogue.place(0).file
        if policy.column not in catalogue.columns:
            what = f"column {policy.column!r} of licences: no such column{near(policy.column, catalogue.columns)}"
            faults.append(Fault("error", table, None, what, f"correct `column` in {file}"))
            continue
        licences = catalogue.texts(policy.column)
        lines = [line for use in get_args(Use) if (line := policy.kept_out(licences, use))]
        faults += [Fault("info", table, None, f"split {split!r}: {line}", f"see {file}") for line in lines]


def _check_near_products(catalogues: Mapping[str, Catalogue], faults: list[Fault]) -> None:
    """Products of two splits whose names differ by case or spaces only: one product, most likely, in both."""
    first: dict[str, tuple[str, str]] = {}
    for split, catalogue in catalogues.items():
        if catalogue.product_column is None:
            continue
        for index, product in enumerate(catalogue.products.tolist()):
            name, other = first.setdefault(folded(product, "case"), (product, split))
            if name != product and other != split:
                place = catalogue.place(index)
                what = f"product {product!r} is called {name!r} in {other!r}"
                faults.append(Fault("warning", place.file, place.row, what, "if they are one product, write one name"))
