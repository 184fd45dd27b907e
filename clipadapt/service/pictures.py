"""The pictures of a catalogue's items as thumbnails, found by item id.

    pictures = ItemPictures.of(resolve(source="shop"), index.ids())
    pictures.thumbnail("1163", 256)         JPEG bytes and their ETag; None where the catalogue has no such item

Only items of the index, and only pictures whose licence allows showing. Thumbnails are remembered, up to a number of
bytes. Nothing here knows of HTTP.
"""

import hashlib
import logging
import threading
from collections.abc import Sequence
from typing import NamedTuple, Self

from PIL import Image

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.thumbnails import thumbnail
from clipadapt.errors import CatalogueError
from clipadapt.inputs import Inputs
from clipadapt.service.batching import Remembered

log = logging.getLogger(__name__)

_QUALITY = 85


class Thumbnail(NamedTuple):
    """A small JPEG."""

    data: bytes
    etag: str


class ItemPictures:
    """Item id -> thumbnail."""

    def __init__(
        self, places: dict[str, tuple[Catalogue, int]], without: set[str], *, remembered: int, decoding: int
    ) -> None:
        self._places, self._without = places, without
        self._remembered = remembered
        self._made: Remembered[tuple[str, int], Thumbnail] = Remembered(remembered, lambda one: len(one.data))
        self._decoding = threading.BoundedSemaphore(decoding)

    @classmethod
    def of(
        cls,
        inputs: Inputs,
        ids: Sequence[str],
        split: str | None = None,
        *,
        remembered: int = 64_000_000,
        decoding: int = 2,
    ) -> Self:
        """From the catalogue that flags, a config or a run name.

        Args:
            ids: items of the index.
            split: null: every split that has items of the index, the one with most of them first.

        Raises:
            CatalogueError: no such source or split, or not one item of the index is in it.
        """
        wanted = set(ids)
        catalogues = [inputs.items(name).permitted("show") for name in ([split] if split else inputs.opened.splits())]
        catalogues.sort(key=lambda one: -len(wanted.intersection(one.ids)))
        places: dict[str, tuple[Catalogue, int]] = {}
        for catalogue in catalogues:
            for row, item in enumerate(catalogue.ids):
                if item in wanted:
                    places.setdefault(item, (catalogue, row))
        if not places:
            raise CatalogueError(
                f"{inputs.data.source}: not one of the index's {len(wanted):,} items is in it; name the source that "
                "the index was built from, and its --id column if it has one"
            )
        if len(places) < len(wanted):
            missing = len(wanted) - len(places)
            log.warning("%s: %d of %d items have no picture there", inputs.data.source, missing, len(wanted))
        return cls(places, wanted.difference(places), remembered=remembered, decoding=decoding)

    def looked_for(self, ids: Sequence[str]) -> bool:
        """Whether all of some items were among those that the catalogue was read for."""
        return all(item in self._places or item in self._without for item in ids)

    def afresh(self) -> "ItemPictures":
        """The same pictures, of which no thumbnail is remembered."""
        made = ItemPictures(self._places, self._without, remembered=self._remembered, decoding=1)
        made._decoding = self._decoding
        return made

    def __contains__(self, item: str) -> bool:
        return item in self._places

    def picture(self, item: str) -> Image.Image:
        """The whole picture, upright and RGB.

        Raises:
            KeyError: no picture of that item.
            CatalogueError: its file is missing or broken.
        """
        catalogue, row = self._places[item]
        with self._decoding:
            return catalogue.picture(row)

    def thumbnail(self, item: str, size: int) -> Thumbnail | None:
        """At most `size` pixels on the longer side; None: no picture of that item.

        Raises:
            CatalogueError: its file is missing or broken.
        """
        if item not in self._places:
            return None
        known = self._made.get((item, size))
        if known is not None:
            return known
        data = thumbnail(self.picture(item), size, quality=_QUALITY)
        made = Thumbnail(data, f'"{hashlib.blake2b(data, digest_size=16).hexdigest()}"')
        self._made.put((item, size), made)
        return made
