"""Faults of cells: unknown values, values that training never sees, values with few items.

Nothing here opens a picture.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from clipadapt import config
from clipadapt.data.bins import FEW, bin_of
from clipadapt.data.catalogue import Catalogue, Place
from clipadapt.data.faults import Fault
from clipadapt.data.inspect import UNKNOWN_MARKS

_SHOWN = 8


def check_values(catalogues: Mapping[str, Catalogue], data: config.Data, faults: list[Fault]) -> None:
    """Appends what is odd about attribute cells, split by split and across splits."""
    for split, catalogue in catalogues.items():
        _unlabelled(split, catalogue, faults)
        for attribute in catalogue.attributes:
            _unknown_words(catalogue, attribute.name, data, faults)
    names = dict.fromkeys(attribute.name for catalogue in catalogues.values() for attribute in catalogue.attributes)
    train = catalogues.get(data.splits.train)
    for name in names:
        holding = [c for c in catalogues.values() if name in {attribute.name for attribute in c.attributes}]
        if train is not None and train in holding:
            _unseen(name, train, [other for other in holding if other is not train], faults)
            _few(name, train, faults)


def summary(catalogue: Catalogue) -> dict[str, Any]:
    """Items, products, and per attribute the share of items whose value is known and the items of each value."""
    attributes = {}
    for attribute in catalogue.attributes:
        known = sum(bool(values) for values in catalogue.value_sets(attribute.name))
        counts = catalogue.counts(attribute.name)
        attributes[attribute.name] = {
            "known": round(known / len(catalogue), 4),
            "values": len(counts),
            "counts": counts,
        }
    return {
        "items": len(catalogue),
        "products": len(set(catalogue.products.tolist())),
        "unlabelled": int((~catalogue.labelled()).sum()) if catalogue.attributes else None,
        "attributes": attributes,
    }


def _unlabelled(split: str, catalogue: Catalogue, faults: list[Fault]) -> None:
    if not catalogue.attributes:
        return
    without = np.flatnonzero(~catalogue.labelled())
    place = catalogue.place(int(without[0])) if without.size else None
    if place is None:
        return
    if without.size == len(catalogue):
        what = f"split {split!r}: not one item has a known value of any attribute"
        faults.append(Fault("error", place.file, None, what, "fill in cells, or check data.unknown"))
    else:
        what = f"{without.size} of {len(catalogue)} items have no known attribute, this is the first"
        faults.append(Fault("warning", place.file, place.row, what, "they are kept; fill in cells to use them"))


def _unknown_words(catalogue: Catalogue, name: str, data: config.Data, faults: list[Fault]) -> None:
    """Cells that look as if nobody knew, and count as values."""
    counts = catalogue.counts(name)
    words = {mark.casefold() for mark in (*UNKNOWN_MARKS, "None")} - {mark.casefold() for mark in data.unknown}
    for value, count in counts.items():
        if value.strip().casefold() in words:
            place = first_place(catalogue, name, value)
            what = f"{name}: {value!r} counts as a value ({count} item(s))"
            faults.append(Fault("warning", place.file, place.row, what, "add it to data.unknown if it means unknown"))


def _unseen(name: str, train: Catalogue, others: list[Catalogue], faults: list[Fault]) -> None:
    trained = train.counts(name)
    for other in others:
        unseen = {value: count for value, count in other.counts(name).items() if value not in trained}
        for value, count in unseen.items():
            place = first_place(other, name, value)
            what = f"{name}: {value!r} ({count} item(s)) is in {other.split!r} and not in {train.split!r}"
            faults.append(Fault("warning", place.file, place.row, what, "it cannot be learnt"))


def _few(name: str, train: Catalogue, faults: list[Fault]) -> None:
    few = {value: count for value, count in train.counts(name).items() if bin_of(count) == "few"}
    if few:
        shown = ", ".join(f"{value!r} ({count})" for value, count in list(few.items())[:_SHOWN])
        more = f" and {len(few) - _SHOWN} more" if len(few) > _SHOWN else ""
        what = f"{name}: {len(few)} value(s) with {FEW} training items or less: {shown}{more}"
        faults.append(Fault("info", train.place(0).file, None, what, ""))


def first_place(catalogue: Catalogue, name: str, value: str) -> Place:
    index = next(index for index, values in enumerate(catalogue.value_sets(name)) if value in values)
    return catalogue.place(index)
