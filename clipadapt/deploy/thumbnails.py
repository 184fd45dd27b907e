"""Small pictures of a catalogue's items, embedded in a page that stays one file.

Pictures that cannot be read, or whose licence does not allow them to be shown, are left out. Nothing here lays out.
"""

import base64
import io
from collections.abc import Collection, Mapping

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import CatalogueError

SIDE = 128


def thumbnails(catalogue: Catalogue, wanted: Collection[str]) -> Mapping[str, str]:
    """Item -> a small JPEG in base64."""
    shown = catalogue.permitted("show")
    found = {}
    for row, item in enumerate(shown.ids):
        if item in wanted:
            try:
                small = shown.picture(row).copy()
            except CatalogueError:
                continue
            small.thumbnail((SIDE, SIDE))
            file = io.BytesIO()
            small.save(file, "JPEG", quality=72)
            found[item] = base64.b64encode(file.getvalue()).decode("ascii")
    return found
