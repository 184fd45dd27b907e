"""Columns that are read otherwise than their cells suggest (lists, HTML, numbers and dates in text), or left out."""

import re
from collections.abc import Callable, Sequence

from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.data.columns import option
from clipadapt.data.faults import Fault
from clipadapt.data.inspect import holds_html, is_number, list_separator
from clipadapt.data.members import list_in_text

_LOOKED_AT = 200
"""Different cells of a column that are looked at."""
_MOST = 0.9
"""Share of the cells that says what a column is meant to hold."""
_PLAIN = re.compile(r"\s*-?\d+(\.\d+)?([eE][+-]\d+)?\s*")
_DAY = re.compile(r"\s*(\d{1,2}[./-]\d{1,2}[./-](\d{2}|\d{4})|\d{4}[./]\d{1,2}[./]\d{1,2})\s*")
"""A day in another order or with other signs than 2026-01-31."""


def check_columns(catalogue: Catalogue, faults: list[Fault]) -> None:
    """Appends what is odd about whole columns of one split."""
    file = catalogue.place(0).file
    for name, why in catalogue.unread_columns.items():
        faults.append(Fault("info", file, None, f"column {name!r} is left out: {why}", ""))
    attributes = {attribute.name: attribute for attribute in catalogue.attributes}
    for name in catalogue.columns:
        if name not in catalogue.separators:
            cells = list(dict.fromkeys(cell for cell in catalogue.texts(name) if cell))[:_LOOKED_AT]
            faults += _of_column(catalogue, name, attributes.get(name), cells)


def _of_column(catalogue: Catalogue, name: str, attribute: Attribute | None, cells: Sequence[str]) -> list[Fault]:
    """What a column of single values holds instead; a warning where it is an attribute."""
    level = "info" if attribute is None else "warning"
    if listed := [cell for cell in cells if list_in_text(cell) is not None]:
        what = f"column {name!r} holds lists written as text, such as {listed[0][:60]}"
        remedy = f"to use their members as values: {name}: {{kind: multi}} in {option('attributes')}"
    elif marked := [cell for cell in cells if holds_html(cell)]:
        listed = marked
        what = f"column {name!r} holds HTML, such as {marked[0][:60]!r}"
        remedy = "strip the tags in the source: they would be learnt and shown as text"
    elif attribute is not None and (separator := list_separator(cells)):
        listed = [cell for cell in cells if separator in cell]
        what = f"attribute {name!r} has cells that look like lists, such as {listed[0][:60]!r}"
        remedy = f'if they are: {name}: {{kind: multi, separator: "{separator}"}} in {option("attributes")}'
    elif odd := _odd_numbers(cells):
        listed, what = [odd], f"column {name!r} counts as texts, for cells such as {odd!r} are no plain numbers"
        remedy = "to filter it with < and >, write each as 1299.50, without currency, and leave unknown ones empty"
        level = "info"
    elif days := [cell for cell in cells if _DAY.fullmatch(cell)][: len(cells) if _most(_DAY.fullmatch, cells) else 0]:
        listed, what = days, f"column {name!r} counts as texts, for dates such as {days[0]!r} have no certain order"
        remedy = "to filter it with < and >, write each as 2026-01-31"
        level = "info"
    else:
        return []
    place = catalogue.place(catalogue.texts(name).index(listed[0]))
    return [Fault(level, place.file, place.row, what, remedy)]


def _odd_numbers(cells: Sequence[str]) -> str | None:
    """Of a column that holds numbers nearly everywhere, the first cell that keeps it from being read as such."""
    if not _most(is_number, cells):
        return None
    return next((cell for cell in cells if not _PLAIN.fullmatch(cell)), None)


def _most(test: Callable[[str], object], cells: Sequence[str]) -> bool:
    return bool(cells) and sum(bool(test(cell)) for cell in cells) >= _MOST * len(cells)
