"""What one arm answers with: an open index, the encoder of its model, and the pictures of its items.

    collection = Collection("000003", index, BatchedEncoder(encoder, ...), "onnx-int8", pictures)
    answer = collection.search(body, picture)         hits with warnings, as `Index.search` gives them

It is handed to the app whole, which is also the seam for tests. It is closed when it was replaced and the last request
that uses it is done. Knows nothing of HTTP.
"""

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from clipadapt.search.facets import Range, Values, facets
from clipadapt.search.filters import Condition, parse_all
from clipadapt.search.index import Index
from clipadapt.search.items import Value
from clipadapt.search.query import Item, Query, QueryPart
from clipadapt.search.searcher import Hit
from clipadapt.service.batching import BatchedEncoder, Remembered
from clipadapt.service.pictures import ItemPictures
from clipadapt.service.problems import Problem
from clipadapt.service.schema import SearchBody
from clipadapt.service.uploads import Uploads

Runtime = Literal["onnx-int8", "onnx-fp32", "torch"]


class Found(NamedTuple):
    """The answer to one search."""

    hits: list[Hit]
    warnings: list[str]


class Collection:
    """One arm, open."""

    def __init__(
        self,
        release: str,
        index: Index,
        encoder: BatchedEncoder,
        runtime: Runtime,
        pictures: ItemPictures | None = None,
        *,
        remembered: int = 4_096,
    ) -> None:
        self.release, self.index, self.encoder, self.runtime, self.pictures = release, index, encoder, runtime, pictures
        self._uploaded: Remembered[bytes, np.ndarray] = Remembered(remembered)
        self._users, self._retired = 0, False
        self._lock = threading.Lock()

    def search(self, body: SearchBody, picture: bytes | None, uploads: Uploads) -> Found:
        """The best items of a search.

        Raises:
            Problem: nothing to look for, or a picture that is refused.
            UsageError: a query or condition at fault.
        """
        conditions = parse_all(body.where)
        query = self._query(body, None if picture is None else self.vector_of(picture, uploads))
        (hits,) = self.index.search(query, body.k, where=conditions, collapse=body.collapse)
        return Found(hits, self.index.unmatched_filters(conditions))

    def vector_of(self, picture: bytes, uploads: Uploads) -> np.ndarray:
        """The vector [dim] of an encoded picture; remembered by its content."""
        digest = hashlib.blake2b(picture, digest_size=16).digest()
        known = self._uploaded.get(digest)
        if known is None:
            known = self.encoder.encode_images([uploads.picture(picture)])[0].numpy()
            self._uploaded.put(digest, known)
        return known

    def facets(self, conditions: Sequence[Condition]) -> tuple[int, list[Values | Range]]:
        """How many items meet the conditions, and what they hold."""
        return self.index.count(conditions), facets(self.index.items, conditions)

    def item(self, item: str) -> tuple[str, dict[str, Value]]:
        """Product and attributes of an item.

        Raises:
            Problem: 404, no such item.
        """
        items = self.index.items
        if not items.holds(item):
            raise Problem(404, "unknown_item", f"no item {item!r} in this index; search, and use an id of a hit")
        row = int(items.live_rows([item])[0])
        return items.product(row), items.attributes(np.array([row]))[0]

    def picture_of(self, item: str) -> Image.Image | None:
        """The whole picture of an item; None where there is none."""
        return self.pictures.picture(item) if self.pictures is not None and item in self.pictures else None

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """While a request uses it, it stays open."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                last = self._retired and not self._users
            if last:
                self.encoder.close()

    def retire(self) -> None:
        """Closes it now, or when the last request that uses it is done."""
        with self._lock:
            last, self._retired = not self._users and not self._retired, True
        if last:
            self.encoder.close()

    def _query(self, body: SearchBody, picture: np.ndarray | None) -> Query:
        parts: list[tuple[QueryPart, float]] = []
        if body.text is not None:
            parts.append((body.text, 1.0))
        if body.item is not None:
            parts.append((self._known(body.item), 1.0))
        parts += [
            (part.text if part.text is not None else self._known(part.item or ""), part.weight) for part in body.parts
        ]
        if picture is not None:
            parts.append((picture, 1.0))
        if not parts:
            raise Problem(400, "bad_query", "nothing to look for; give text, item, parts, or a file `image`")
        weights = tuple(weight for _, weight in parts) if body.parts else ()
        return Query(tuple(part for part, _ in parts), text_weight=body.text_weight, weights=weights)

    def _known(self, item: str) -> Item:
        if not self.index.items.holds(item):
            raise Problem(404, "unknown_item", f"no item {item!r} in this index; use an id of a hit")
        return Item(item)
