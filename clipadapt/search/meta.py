"""index.json: what an index is bound to, how it was made, and what was measured of it.

    {"schema_version": 3, "image_space": "...", "model": "run:..", "dim": 512, "faiss": "1.15.1",
     "factory": "IVF4096,PQ256x4fsr,RFlat", "search_params": {"picture": {...}, "text": {...}}, "measured": {...},
     "curve": [...], "segments": [{"name": "000001", "rows": 1000, "factory": "Flat", ...}],
     "shards": {"hash": "blake2b-64(id) mod count", "parts": [{"folder": "shards/0", "items": 1000, ...}, ...]}}

Written and read here alone. A file that does not fit is refused with the key that is wrong.
"""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clipadapt.errors import StoreError, listing
from clipadapt.search.engine import SearchParams
from clipadapt.search.factory import keeps_halves, walks_to_cells
from clipadapt.search.recall import AT, Kind, Point
from clipadapt.search.vectors import Vectors
from clipadapt.sections import describe

_NEWEST = 4
"""The schema_version that is read here and not by a clipadapt from before."""
_GROWTH = 2.0
"""Vectors over those trained on, from which cells no longer fit what is in them."""
_REMOVED = 0.25
SHORTFALL = 0.01
"""Recall under what is wanted, or was measured, from which something must be done."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(_Part):
    """What an index is to reach."""

    recall: float = Field(default=0.99, gt=0, le=1)
    """Recall@10 against exact search, for pictures and for texts."""
    memory_mb: float | None = Field(default=None, gt=0)
    """Most that may be in memory when the file is mapped: all of it but exact vectors behind a quantiser."""
    latency_ms: float | None = Field(default=None, gt=0)
    """Longest median of a single picture query."""


class Measured(_Part):
    """Recall of one kind of query, as last measured."""

    recall: float
    low: float
    queries: int
    vectors: int
    """How many vectors the index held then."""


class Segment(_Part):
    """Some rows of an index that lie in files of their own, after those of index.faiss."""

    name: str
    rows: int
    factory: str
    trained_on: int
    faiss: str | None = None
    """As Meta.faiss."""
    search_params: dict[Kind, SearchParams]
    measured: dict[Kind, Measured]
    memory_bytes: int


class Shard(_Part):
    """Items of an index that lie in a folder of their own, which has an index.json like this one, and what it says."""

    folder: str
    """From the version's."""
    items: int
    """That can be found."""
    vectors: int
    factory: str
    search_params: dict[Kind, SearchParams]
    measured: dict[Kind, Measured]
    memory_bytes: int
    later: int = 0
    """Vectors that came after it was built, which are measured apart."""


class Shards(_Part):
    """How an index is divided."""

    hash: Literal["blake2b-64(id) mod count"] = "blake2b-64(id) mod count"
    """An item is in the shard whose number is this: 64 bits of BLAKE2b of the id's UTF-8, read as little-endian, modulo
    the number of shards."""
    parts: list[Shard]


class Meta(_Part):
    """The content of index.json."""

    schema_version: Literal[3, 4] = 3
    """4 where a clipadapt that knows 3 alone cannot search what is here, or not as it was measured: shards, half
    precision, cells that are found in a graph. Decided when it is written."""
    image_space: str
    model: str | None = None
    """MODEL string that made the vectors, paths from the index's folder (models.py); it encodes queries unless another
    is named."""
    factory: str
    dim: int
    whole: int | None = None
    """Dimensions of the model's vectors, of which the index keeps the first `dim`; null: all of them."""
    metric: Literal["inner_product"] = "inner_product"
    faiss: str | None = None
    """Version of faiss that the recall was measured with; null: not known."""
    trained_on: int
    """Vectors that were there when the factory was trained."""
    target: Target = Target()
    search_params: dict[Kind, SearchParams]
    measured: dict[Kind, Measured]
    """A kind that is missing was not measured: there were no queries of it."""
    curve: list[Point]
    memory_bytes: int
    """What must be in memory when the file is mapped."""
    catalogue: dict[str, Any] | None = None
    """Shows the items (shown.py): a data section, paths from the index's folder; null: not known."""
    segments: list[Segment] = []
    """What came after index.faiss was written, in the order of vector ids."""
    generation: str = ""
    """Drawn anew when vector ids are: two versions of one generation agree on the vectors that both have."""
    follows: str | None = None
    """Version that this one was made from, which a rollback goes to; null: none, or not known."""
    left_out: int = 0
    """Pictures of the source that could not be embedded."""
    shards: Shards | None = None
    """What `factory` to `memory_bytes` sum up: recall as in the shard that has least of it, search parameters as in the
    one that needs most, the curve of the largest; null: everything lies in this folder."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a file.

        Raises:
            StoreError: missing, not JSON, or a key that does not fit.
        """
        try:
            raw = json.loads(path.read_bytes())
            _refuse_newer(raw, path)
            return cls.model_validate(_upgraded(raw) if isinstance(raw, dict) else raw)
        except ValueError as error:  # of JSON
            if not isinstance(error, ValidationError):
                raise StoreError(f"{path}: is no JSON ({error}); build the index again") from error
            faults = listing(describe(error, cls))
            raise StoreError(f"{path}: not an index of this version:{faults}\nbuild the index again") from error
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error}; build the index again") from error

    def fitting(self, more: Vectors) -> Vectors:
        """Vectors of the model, cut as those of the index are; others as they come."""
        return more.shortened(self.dim) if more.vectors.shape[1] == self.whole else more

    @property
    def shard_count(self) -> int:
        """Folders that the items are divided among."""
        return 1 if self.shards is None else len(self.shards.parts)

    @property
    def memory(self) -> int:
        """Bytes that must be in memory when all files are mapped."""
        return self.memory_bytes + sum(one.memory_bytes for one in self.segments)

    def to_json(self) -> str:
        """The file's text; search parameters and points by name, not by place."""
        content = self.model_dump(mode="json")
        content["schema_version"] = self._form()
        if self.shards is None:
            del content["shards"]  # which a clipadapt from before does not know
        parts = self.shards.parts if self.shards is not None else []
        inside = [*content["segments"], *(content["shards"]["parts"] if parts else [])]
        for one, written in ((self, content), *zip((*self.segments, *parts), inside, strict=True)):
            written["search_params"] = {kind: params._asdict() for kind, params in one.search_params.items()}
        content["curve"] = [point._asdict() for point in self.curve]
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    def _form(self) -> int:
        """The schema_version of what it says."""
        return 4 if self.shards is not None or keeps_halves(self.factory) or walks_to_cells(self.factory) else 3

    def rebuild_due(self, vectors: int, removed: int) -> list[str]:
        """Why the index should be rebuilt; empty when it need not be."""
        reasons = [
            f"recall@{AT} of {kind} queries is {found.recall:.3f}, the target is {self.target.recall:.2f}"
            for one in (self, *self.segments)
            for kind, found in one.measured.items()
            if found.recall < self.target.recall - SHORTFALL
        ]
        if self.factory != "Flat" and vectors > _GROWTH * self.trained_on:
            reasons.append(f"it holds {vectors:,} vectors and was trained on {self.trained_on:,}")
        if vectors and removed > _REMOVED * vectors:
            reasons.append(f"{removed:,} of its {vectors:,} vectors are of removed items")
        return reasons


def _refuse_newer(raw: Any, path: Path) -> None:
    form = raw.get("schema_version") if isinstance(raw, dict) else None
    if isinstance(form, int) and form > _NEWEST:
        raise StoreError(
            f"{path}: has schema_version {form}, and this clipadapt reads 1 to {_NEWEST}; update clipadapt, or build "
            "the index again"
        )


def _upgraded(raw: dict[str, Any]) -> dict[str, Any]:
    """Version 1 called search parameters efforts, and did not say which faiss had measured them; 2 had no segments."""
    if raw.get("schema_version") == 1:
        raw = {("search_params" if key == "efforts" else key): value for key, value in raw.items()}
    return raw | {"schema_version": 3} if raw.get("schema_version") in (1, 2) else raw
