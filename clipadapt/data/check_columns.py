"""Columns that are read otherwise than their cells suggest: lists and HTML in text, and columns that are left out."""

from collections.abc import Sequence

from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.data.columns import option
from clipadapt.data.faults import Fault
from clipadapt.data.inspect import holds_html, list_separator
from clipadapt.data.members import list_in_text

_LOOKED_AT = 200
"""Different cells of a column that are looked at."""


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
    else:
        return []
    place = catalogue.place(catalogue.texts(name).index(listed[0]))
    return [Fault(level, place.file, place.row, what, remedy)]
