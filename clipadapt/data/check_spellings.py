"""Values of one attribute that are written in several ways: by case, spaces, hyphens, accents' form, soft hyphens.

What `data.normalise` joins is reported as information, what still counts as different values as a warning.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

import pyarrow as pa

from clipadapt import config
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.check_values import first_place
from clipadapt.data.faults import Fault
from clipadapt.data.members import members
from clipadapt.data.spelling import Normalise, alike, folded

Written = Mapping[str, Counter[str]]
"""Attribute -> its values as the source writes them, with the number of items."""
_SHOWN = 8


def as_written(texts: pa.Table, catalogue: Catalogue, unknown: Sequence[str]) -> Written:
    """The values of each attribute before anything is folded."""
    marks = {"", *(mark.strip() for mark in unknown)}
    found: dict[str, Counter[str]] = {}
    for attribute in catalogue.attributes:
        cells = texts.column(attribute.name).to_pylist()
        if attribute.kind == "multi":
            cells = [part for cell in cells for part in members(cell, attribute.separator)]
        found[attribute.name] = Counter(cell for cell in cells if cell.strip() not in marks)
    return found


def check_spellings(
    catalogues: Mapping[str, Catalogue], written: Mapping[str, Written], data: config.Data, faults: list[Fault]
) -> None:
    """Appends what is written in several ways in all splits together."""
    for name in dict.fromkeys(name for values in written.values() for name in values):
        groups: dict[str, Counter[str]] = {}
        for values in written.values():
            for value, count in values.get(name, {}).items():
                groups.setdefault(alike(value), Counter())[value] += count
        holding = [catalogues[split] for split, values in written.items() if name in values]
        faults += [_fault(name, forms, holding, data.normalise) for forms in groups.values() if len(forms) > 1]


def _fault(name: str, forms: Counter[str], holding: Sequence[Catalogue], level: Normalise) -> Fault:
    rarest = min(forms, key=lambda form: (forms[form], form))
    value = folded(rarest, level)
    place = next(first_place(catalogue, name, value) for catalogue in holding if value in catalogue.counts(name))
    # Accents in two forms look the same: only their code points tell them apart.
    invisible = len({folded(form, "spaces") for form in forms}) < len(forms)
    shown = [f"{ascii(form) if invisible else repr(form)} ({count})" for form, count in forms.most_common(_SHOWN)]
    more = f" and {len(forms) - _SHOWN} more" if len(forms) > _SHOWN else ""
    what = f"{name}: written in {len(forms)} ways: {', '.join(shown)}{more}"
    if len({folded(form, level) for form in forms}) == 1:
        return Fault("info", place.file, place.row, what, f"they count as one value (data.normalise: {level})")
    joining = next((one for one in get_args(Normalise) if len({folded(form, one) for form in forms}) == 1), None)
    remedy = "they count as different values: write one" + (f", or set data.normalise: {joining}" if joining else "")
    return Fault("warning", place.file, place.row, f"{what}; here the rarest", remedy)
