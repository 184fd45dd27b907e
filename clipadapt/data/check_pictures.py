"""Faults of pictures: those that do not decode, copies, unusual modes, sizes, files that no row names.

Every file is read and decoded once, in parallel.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clipadapt import config
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.decode import Header
from clipadapt.data.faults import Fault
from clipadapt.data.folders import is_picture_name
from clipadapt.data.scan import Scanned, scan
from clipadapt.data.tables import FILE_ENDINGS
from clipadapt.errors import CatalogueError

_COMMON = ("RGB", "L")
"""Modes that need no mention."""


def check_pictures(
    catalogues: Mapping[str, Catalogue], data: config.Data, size: int | None, faults: list[Fault]
) -> dict[str, dict[str, Any]]:
    """Appends what is wrong with the pictures; returns per split their modes and the spread of their sizes."""
    by_split: dict[str, dict[str, Any]] = {}
    items_by_digest: dict[str, list[tuple[str, int]]] = {}
    for split, catalogue in catalogues.items():
        scanned = list(scan(catalogue, f"pictures of {split}"))
        for picture in scanned:
            if picture.fault:
                place = catalogue.place(picture.item)
                what = f"item {catalogue.ids[picture.item]!r}, {place.picture or 'its picture'}: {picture.fault}"
                level = "error" if data.broken == "error" else "warning"
                faults.append(Fault(level, place.file, place.row, what, ""))
            if picture.digest:
                items_by_digest.setdefault(picture.digest, []).append((split, picture.item))
        by_split[split] = _forms(catalogue, scanned, faults)
        if size is not None:
            _native(catalogue, scanned, size, data, faults)
    _unlisted(catalogues, faults)
    for copies in items_by_digest.values():
        if len(copies) > 1:
            _copies(catalogues, copies, faults)
    return by_split


def _copies(catalogues: Mapping[str, Catalogue], copies: list[tuple[str, int]], faults: list[Fault]) -> None:
    """One picture in several items: a leak between splits, a doubtful label between products, or just spare."""
    split, item = copies[0]
    place = catalogues[split].place(item)
    others = ", ".join(f"{other!r} row {catalogues[other].place(index).row}" for other, index in copies[1:])
    what = f"the picture of item {catalogues[split].ids[item]!r} is also in {others}"
    if len({split for split, _ in copies}) > 1:
        remedy = "the same picture is trained on and measured on: give both one product, in one split"
        faults.append(Fault("warning", place.file, place.row, what, remedy))
    elif len({str(catalogues[name].products[index]) for name, index in copies}) > 1:
        remedy = "they are different products: one of them has a wrong picture"
        faults.append(Fault("warning", place.file, place.row, what, remedy))
    else:
        faults.append(Fault("info", place.file, place.row, what, ""))


def _unlisted(catalogues: Mapping[str, Catalogue], faults: list[Fault]) -> None:
    """Pictures that lie beside those of a table, and that no row names.

    Below a metadata table all pictures are its own; a table of another name may lie in a folder of other things, so
    that only folders are looked into that hold pictures of its rows.
    """
    listed: dict[Path, set[str]] = {}
    for catalogue in catalogues.values():
        table = Path(catalogue.place(0).file)
        if table.is_file() and (table.suffix in FILE_ENDINGS or table.name.startswith("metadata.")):
            names = (os.path.normpath(catalogue.pictures.name(index)) for index in range(len(catalogue)))
            listed.setdefault(table.parent, set()).update(names)
    for catalogue in catalogues.values():
        table = Path(catalogue.place(0).file)
        known = listed.pop(table.parent, None)
        if known is None:
            continue
        beside = sorted(path for path in _pictures_below(table, known) if path not in known)
        if beside:
            what = f"{len(beside)} picture(s) in its folder are in no row, the first: {beside[0]}"
            faults.append(Fault("warning", str(table), None, what, "add rows, or take the files out"))


def _pictures_below(table: Path, known: set[str]) -> Iterator[str]:
    everywhere = table.name.startswith("metadata.")
    for start in [table.parent] if everywhere else sorted({Path(path).parent for path in known}):
        for inside, folders, names in os.walk(start):
            yield from (os.path.normpath(f"{inside}{os.sep}{name}") for name in names if is_picture_name(name))
            if not everywhere:
                folders.clear()


def _forms(catalogue: Catalogue, scanned: list[Scanned], faults: list[Fault]) -> dict[str, Any]:
    headers = [(picture.item, picture.header) for picture in scanned if picture.header is not None]
    modes = Counter(header.mode for _, header in headers)
    for mode, count in modes.items():
        if mode not in _COMMON:
            place = catalogue.place(next(item for item, header in headers if header.mode == mode))
            what = f"{count} picture(s) are {mode}, this is the first"
            faults.append(Fault("info", place.file, place.row, what, "converted to RGB when loaded"))
    turned = [item for item, header in headers if header.orientation != 1]
    if turned:
        place = catalogue.place(turned[0])
        what = f"{len(turned)} picture(s) are turned by EXIF, this is the first"
        faults.append(Fault("info", place.file, place.row, what, "turned upright when loaded"))
    _colours(catalogue, headers, faults)
    sizes = Counter((header.width, header.height) for _, header in headers)
    return {
        "modes": dict(modes.most_common()),
        "sizes": {
            "different": len(sizes),
            "most_common": [[*size, count] for size, count in sizes.most_common(3)],
            "smallest": list(min(sizes, key=lambda side: side[0] * side[1])) if sizes else None,
            "largest": list(max(sizes, key=lambda side: side[0] * side[1])) if sizes else None,
        },
    }


def _colours(catalogue: Catalogue, headers: list[tuple[int, Header]], faults: list[Fault]) -> None:
    """Pictures of more than 8 bits or of other bands than RGB, and those with a colour profile."""
    deep = [item for item, header in headers if header.deep]
    if deep:
        place, how = catalogue.place(deep[0]), catalogue.decoding
        low, high = how.limits or (0.0, 0.0)
        scale = f"{low:g} is black and {high:g} white" if how.limits else "all that their type holds is used"
        bands = f"; bands {', '.join(map(str, how.bands))} are red, green and blue" if how.bands else ""
        mean = _mean(catalogue, deep[0])
        what = (
            f"{len(deep)} picture(s) have more than 8 bits or other bands than RGB: {scale}{bands}; this is the first, "
            f"and comes out at {mean}"
        )
        faults.append(Fault("info", place.file, place.row, what, "to see them otherwise: data.range, data.bands"))
    profiles = Counter(header.profile for _, header in headers if header.profile)
    for profile, count in profiles.items():
        place = catalogue.place(next(item for item, header in headers if header.profile == profile))
        what = f"{count} picture(s) carry {profile}, this is the first"
        if "does not fit" in profile or "cannot be read" in profile:
            faults.append(
                Fault("warning", place.file, place.row, what, "their colours are taken as sRGB; save them anew")
            )
        else:
            faults.append(Fault("info", place.file, place.row, what, "converted to sRGB when loaded"))


def _mean(catalogue: Catalogue, item: int) -> str:
    try:
        return f"a mean of {np.asarray(catalogue.picture(item)).mean():.0f} of 255"
    except CatalogueError:  # reported by itself
        return "nothing, for it cannot be decoded"


def _native(catalogue: Catalogue, scanned: list[Scanned], size: int, data: config.Data, faults: list[Fault]) -> None:
    """Pictures that are not at the model's size, and those that must be enlarged."""
    headers = [(picture.item, picture.header) for picture in scanned if picture.header is not None]
    other = [item for item, header in headers if (header.width, header.height) != (size, size)]
    small = [item for item, header in headers if min(header.width, header.height) < size]
    if other and data.mixed_sizes == "refuse":
        place = catalogue.place(other[0])
        what = f"{len(other)} picture(s) are not {size}x{size}, this is the first, and data.mixed_sizes refuses them"
        faults.append(Fault("error", place.file, place.row, what, "resize them, or set data.mixed_sizes: resample"))
    elif small:
        place = catalogue.place(small[0])
        what = f"{len(small)} picture(s) are smaller than the {size} pixels the model wants, this is the first"
        faults.append(Fault("info", place.file, place.row, what, "they are enlarged"))
