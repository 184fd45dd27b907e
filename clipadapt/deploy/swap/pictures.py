"""Items of an index -> vectors by another model: their pictures looked up by id in all splits of a source.

    pictures = PicturesById(data, lambda: load("release:releases/versions/000002"))
    pictures.vectors(["1163", "1164"])        vectors, and why an item has none

An index keeps no pictures, so they are read again from where they lie. The source is opened anew after `afresh`, for a
catalogue that changes every minute has other items and other pictures by then.
"""

import functools
import logging
from collections.abc import Callable, Sequence

import numpy as np

from clipadapt.config import Data
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import CatalogueError
from clipadapt.inputs import inputs_of
from clipadapt.progress import Bar
from clipadapt.search.mirror import Encoded
from clipadapt.towers.encoder import Encoder

log = logging.getLogger(__name__)


class PicturesById:
    """The pictures of a source, and the model that encodes them; both are opened when they are first needed."""

    def __init__(self, data: Data, encoder: Callable[[], Encoder], workers: int | None = None) -> None:
        self.data, self._workers = data, workers
        self._load = encoder
        self._catalogues: list[tuple[Catalogue, dict[str, int]]] | None = None

    @functools.cached_property
    def encoder(self) -> Encoder:
        return self._load()

    def afresh(self) -> None:
        """The source is opened again when it is next needed."""
        self._catalogues = None

    def absent(self, ids: Sequence[str]) -> list[str]:
        """Items that no split has.

        Raises:
            CatalogueError: the source cannot be read.
        """
        opened = self._opened()
        return [item for item in ids if not any(item in rows for _, rows in opened)]

    def vectors(self, ids: Sequence[str], shown: Bar | None = None) -> Encoded:
        """Of those that have a picture; of an id in several splits the first split's.

        Raises:
            CatalogueError: the source cannot be read.
            ModelError: a vector that is not finite.
        """
        from clipadapt.search.embed import embed_pictures  # torch, which looking up needs not

        missing = dict.fromkeys(self.absent(ids), f"not in {self.data.source}")
        found: list[str] = []
        parts: list[np.ndarray] = []
        waiting = [item for item in ids if item not in missing]
        for catalogue, rows in self._opened():
            here = [item for item in waiting if item in rows]
            waiting = [item for item in waiting if item not in rows]
            if not here:
                continue
            try:
                made = embed_pictures(
                    self.encoder, catalogue.subset([rows[item] for item in here]), workers=self._workers, shown=shown
                )
            except CatalogueError as error:  # not one of them
                missing.update(dict.fromkeys(here, str(error)))
                continue
            found += made.items.ids()
            parts.append(np.asarray(made.vectors))
            missing.update({one.id: one.reason for one in made.broken})
            others = set(here).difference(found, missing)
            missing.update(dict.fromkeys(others, "its licence does not allow an index"))
        vectors = np.concatenate(parts) if parts else np.empty((0, self.encoder.dim), np.float32)
        return Encoded(found, vectors, missing)

    def _opened(self) -> list[tuple[Catalogue, dict[str, int]]]:
        if self._catalogues is None:
            inputs = inputs_of(self.data)
            catalogues = [inputs.items(split) for split in inputs.opened.splits()]
            self._catalogues = [(one, {item: row for row, item in enumerate(one.ids)}) for one in catalogues]
        return self._catalogues
