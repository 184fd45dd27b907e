"""Small pictures of a catalogue's items, embedded in a page that stays one file.

Pictures that cannot be read, or whose licence does not allow them to be shown, are left out. Nothing here lays out.
"""

from collections.abc import Collection, Mapping

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.thumbnails import embedded
from clipadapt.errors import CatalogueError

SIDE = 128


def thumbnails(catalogue: Catalogue, wanted: Collection[str]) -> Mapping[str, str]:
    """Item -> a small JPEG in base64."""
    shown = catalogue.permitted("show")
    found = {}
    for row, item in enumerate(shown.ids):
        if item in wanted:
            try:
                found[item] = embedded(shown.picture(row), SIDE)
            except CatalogueError:
                continue
    return found
