"""What one arm answers with: an open index, the encoder of its model, and the pictures of its items.

    collection = Collection("000003", index, BatchedEncoder(encoder, ...), "onnx-int8", pictures)
    answer = collection.search(body, picture)         hits with warnings, as `Index.search` gives them

It is handed to the app whole, which is also the seam for tests. It is closed when it was replaced and the last request
that uses it is done. Knows nothing of HTTP.
"""

import hashlib
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from clipadapt.deploy.loading import Runtime
from clipadapt.search.backend import Hit, KnownItem
from clipadapt.search.facets import Range, Values
from clipadapt.search.filters import Condition, parse_all
from clipadapt.search.index import Index
from clipadapt.search.query import Item, Query, QueryPart
from clipadapt.search.typed import Known, Typed, same_but, typed
from clipadapt.service.batching import BatchedEncoder, Remembered
from clipadapt.service.pictures import ItemPictures, Thumbnail
from clipadapt.service.problems import Problem
from clipadapt.service.schema import SearchBody
from clipadapt.service.tagger import Tagger
from clipadapt.service.uploads import Uploads
from clipadapt.tagging.tag import TagOfPicture


class Found(NamedTuple):
    """The answer to one search."""

    hits: list[Hit]
    warnings: list[str]
    columns: list[str]
    """That conditions were about."""
    understood: list[dict[str, Any]]
    """What texts were understood as, where that is more than words."""


class Collection:
    """One arm, open."""

    def __init__(
        self,
        name: str,
        index: Index,
        encoder: BatchedEncoder,
        runtime: Runtime,
        pictures: ItemPictures | None = None,
        tagger: Tagger | None = None,
        *,
        known: Known | None = None,
        remembered: int = 4_096,
    ) -> None:
        """The encoder is closed with it, see `BatchedEncoder.share`."""
        self.name = name
        """Of the release, run or index."""
        self.index, self.encoder = index, encoder
        self.runtime: Runtime = runtime
        self.pictures, self.tagger = pictures, tagger
        self._read_by = known
        self._vocabulary = known.vocabulary(index) if known is not None else None
        """What queries are read by; None: they are searched for as they stand."""
        self._uploaded: Remembered[bytes, np.ndarray] = Remembered(remembered)
        self._users, self._retired = 0, False
        self._lock = threading.Lock()

    def over(self, index: Index, pictures: ItemPictures | None) -> "Collection":
        """The same model over another version of the index; which of the two is closed first does not matter."""
        encoder = self.encoder.share()
        try:
            made = Collection(
                self.name, index, encoder, self.runtime, pictures, self.tagger, known=self._read_by, remembered=0
            )
        except BaseException:
            encoder.close()
            raise
        made._uploaded = self._uploaded  # vectors of pictures, which no index changes
        return made

    @property
    def reads(self) -> bool:
        """Whether words are read for values, negations and numbers."""
        return self._vocabulary is not None

    def search(self, body: SearchBody, picture: bytes | None, uploads: Uploads) -> Found:
        """The best items of a search.

        Raises:
            Problem: nothing to look for, or a picture that is refused.
            UsageError: a query or condition at fault.
        """
        asked = self._asked(body, None if picture is None else self.vector_of(picture, uploads))
        conditions = (*parse_all(body.where), *asked.conditions)
        (hits,) = self.index.search(asked.query, body.k, where=conditions, collapse=body.collapse)
        return Found(
            hits,
            [*self.index.unmatched_filters(conditions), *asked.notes],
            sorted({one.column for one in conditions}),
            [one.to_json() for one in asked.readings if not one.plain],
        )

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
        return self.index.count(conditions), self.index.facets(conditions)

    def item(self, item: str) -> KnownItem:
        """Product and attributes of an item.

        Raises:
            Problem: 404, no such item.
        """
        if not self.index.holds(item):
            raise Problem(404, "unknown_item", f"no item {item!r} in this index; search, and use an id of a hit")
        return self.index.item(item)

    def thumbnail(self, item: str, size: int) -> Thumbnail:
        """An item's picture, at most `size` pixels on the longer side.

        Raises:
            Problem: 404, no pictures are served, or none of that item.
        """
        if self.pictures is None:
            raise Problem(404, "no_pictures", "this index is served without its pictures; start it with --source")
        made = self.pictures.thumbnail(item, size) if self.index.holds(item) else None
        if made is None:
            raise Problem(404, "unknown_item", f"no picture of an item {item!r}")
        return made

    def texts(self, texts: list[str]) -> list[list[float]]:
        """A vector per text.

        Raises:
            Problem: the model has no text tower.
        """
        if self.encoder.context_length is None:
            raise Problem(400, "no_words", f"{self.encoder.name} has no text tower; send a picture")
        return self.encoder.encode_texts(texts).tolist()

    def tags(self, item: str | None, picture: bytes | None, uploads: Uploads) -> list[TagOfPicture]:
        """What an item of the index, or a picture, is.

        Raises:
            Problem: 404 where nothing is known of tags, or of that item.
        """
        if self.tagger is None:
            raise Problem(
                404, "no_tags", "no thresholds are served; serve a release that has them, or name --thresholds"
            )
        if picture is not None:
            return self.tagger(self.vector_of(picture, uploads))
        known, meta = self._known(item or ""), self.index.meta
        if meta.whole is not None:
            what = f"the index keeps {meta.dim} of {meta.whole} dimensions, and tags need all of them"
            raise Problem(400, "short_vectors", f"{what}; send the picture")
        return self.tagger(self.index.vector(known.id))

    def acquire(self) -> None:
        """It stays open until `release`."""
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """A request is done with it."""
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

    def _asked(self, body: SearchBody, picture: np.ndarray | None) -> Typed:
        changed = next((part for part in body.parts if part.but is not None), None)
        if changed is None:
            query = self._query(body, picture)
            return Typed(query) if body.plain or self._vocabulary is None else typed(query, self._vocabulary)
        if len(body.parts) > 1 or body.text is not None or body.item is not None or picture is not None:
            raise Problem(400, "bad_query", "a part with `but` stands alone; leave out all else")
        if self._vocabulary is None or body.plain:
            raise Problem(400, "bad_query", "`but` needs words to be read; leave out `plain`")
        return same_but(self._known(changed.item or ""), changed.but or "", self.index, self._vocabulary)

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
        if not self.index.holds(item):
            raise Problem(404, "unknown_item", f"no item {item!r} in this index; use an id of a hit")
        return Item(item)
