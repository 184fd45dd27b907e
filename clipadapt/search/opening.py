"""INDEX, as a person names it, -> the backend that keeps it: a folder, or `milvus:URI/COLLECTION`. For all verbs.

    backend = open_backend("indexes/shop");  backend = open_backend("milvus:http://10.0.0.7:19530/shop")
    build_backend(vectors, "milvus:indexes/shop.db/shop", texts=texts)

Knows nothing of models or queries.
"""

import logging
from pathlib import Path

import numpy as np
from jaxtyping import Float

from clipadapt.atomic import refuse_unwritable
from clipadapt.config import Data
from clipadapt.errors import StoreError, UsageError
from clipadapt.search.backend import Backend
from clipadapt.search.embedded import Embedded
from clipadapt.search.meta import Meta, Target
from clipadapt.search.milvus.address import SCHEME, Address
from clipadapt.search.milvus.backend import Milvus
from clipadapt.search.milvus.versions import refuse_unusable
from clipadapt.search.shards import folders
from clipadapt.search.twins import index_folder
from clipadapt.search.vectors import Vectors
from clipadapt.store import Store

log = logging.getLogger(__name__)

_USUAL = 1
"""Shards of an index for which nobody names a number."""


def in_milvus(index: str | Path) -> bool:
    """Whether an index is one of Milvus."""
    return isinstance(index, str) and index.startswith(SCHEME)


def open_backend(index: str | Path, *, mapped: bool = True, verify: bool = True) -> Backend:
    """The current version of an index.

    Args:
        mapped, verify: of a folder, see Embedded.

    Raises:
        UsageError: no such address, or pymilvus is not installed.
        StoreError: nothing there, it cannot be read, or a server does not answer.
    """
    return Milvus(str(index)) if in_milvus(index) else Embedded(index, mapped=mapped, verify=verify)


def build_backend(
    source: Vectors,
    out: str | Path,
    *,
    factory: str = "auto",
    target: Target | None = None,
    texts: Float[np.ndarray, "texts dim"] | None = None,
    shown: Data | None = None,
    seed: int = 0,
    shards: int | None = None,
) -> Backend:
    """A new version at `out`, open; the arguments are those of the backends' own `build`.

    Args:
        shards: None: as many as the index has that is there, else one.

    Raises:
        UsageError, CatalogueError: vectors, cells, a factory or a number of shards that cannot be.
        StoreError: it cannot be written; an index that was there stays as it was.
    """
    if in_milvus(out):
        Milvus.build(source, str(out), factory=factory, target=target, texts=texts, shown=shown, seed=seed)
        return Milvus(str(out))
    count = shards if shards is not None else _shards_there(out)
    Embedded.build(source, out, factory=factory, target=target, texts=texts, shown=shown, seed=seed, shards=count)
    return Embedded(out, verify=False)


def _shards_there(out: str | Path) -> int:
    """Of an index that is about to be built anew."""
    store = Store(index_folder(out))
    if not store.exists():
        return _USUAL
    try:
        return Meta.read(store.root / "versions" / store.version() / "index.json").shard_count
    except StoreError as error:  # what is damaged may be built anew
        log.warning("%s; it is built in %d shard(s), name another number with --shards", error, _USUAL)
        return _USUAL


def refuse_target(out: str | Path, shards: int | None = None) -> None:
    """Before any work whose result is to become an index at `out`.

    Raises:
        UsageError: no such address, or a number of shards that cannot be.
        StoreError: nothing can be written there, or a server does not answer.
    """
    if shards is not None:
        folders(shards)
        if in_milvus(out):
            raise UsageError(f"{out}: Milvus divides its collections by itself; leave out --shards, or name a folder")
    if in_milvus(out):
        refuse_unusable(str(out))
    else:
        refuse_unwritable(out)


def folder_of(index: str | Path) -> Path:
    """The folder that an index's remembered paths are from; for a server the root."""
    return Address.parse(str(index)).folder if in_milvus(index) else Path(index)


def beside(index: str | Path) -> Path | None:
    """The folder that files of its run or release lie in; None where a server keeps it."""
    if in_milvus(index) and not Address.parse(str(index)).lite:
        return None
    return folder_of(index).parent
