"""INDEX, as a person names it, -> the backend that keeps it: a folder, or `milvus:URI/COLLECTION`. For all verbs.

    backend = open_backend("indexes/shop");  backend = open_backend("milvus:http://10.0.0.7:19530/shop")
    build_backend(vectors, "milvus:indexes/shop.db/shop", texts=texts)
    is_index("runs/shop/index");  meta_of("releases/versions/000002/index")

A folder may stand for an index in Milvus (addresses.py), and a folder of releases for the index of the one that is
current, which makes three forms of one thing: `located` tells them apart, once. Knows nothing of models or queries.
"""

import logging
from pathlib import Path

import numpy as np
from jaxtyping import Float

from clipadapt.atomic import refuse_unwritable
from clipadapt.config import Data
from clipadapt.errors import StoreError, UsageError
from clipadapt.search.addresses import address_in
from clipadapt.search.backend import Backend
from clipadapt.search.embedded import Embedded
from clipadapt.search.meta import Meta, Target
from clipadapt.search.milvus.address import SCHEME, Address
from clipadapt.search.milvus.backend import Milvus
from clipadapt.search.milvus.server import AbsentError, Server
from clipadapt.search.milvus.versions import Versions, refuse_unusable
from clipadapt.search.shards import folders
from clipadapt.search.twins import index_folder
from clipadapt.search.vectors import Vectors
from clipadapt.store import Store

log = logging.getLogger(__name__)

_USUAL = 1
"""Shards of an index for which nobody names a number."""


def in_milvus(index: str | Path) -> bool:
    """Whether a person named an index of Milvus."""
    return isinstance(index, str) and index.startswith(SCHEME)


def located(index: str | Path) -> Address | Path:
    """Where an index lies: an address, or the folder that holds it.

    Raises:
        UsageError: no such address.
        StoreError: a folder that stands for an index, and cannot be read.
    """
    if in_milvus(index):
        return Address.parse(str(index))
    folder = index_folder(index)
    reference = address_in(folder)
    return folder if reference is None else reference.address


def is_index(index: str | Path) -> bool:
    """Whether an index lies there; of one in Milvus, whether the server knows it.

    Raises:
        UsageError, StoreError: as `located`; a server does not answer.
    """
    place = located(index)
    if isinstance(place, Path):
        return Store(place).exists()
    if not in_milvus(index):
        return True
    if place.lite and not place.folder.exists():
        return False
    return Versions(Server.connect(place)).pointed() is not None


def meta_of(index: str | Path) -> Meta:
    """What an index says of itself, without opening its vectors.

    Raises:
        UsageError, StoreError: as `open_backend`.
    """
    place = located(index)
    if isinstance(place, Path):
        return Meta.read(Store(place).current() / "index.json")
    return open_backend(index).meta


def open_backend(index: str | Path, *, mapped: bool = True, verify: bool = True, twin: bool = False) -> Backend:
    """The current version of an index.

    Args:
        mapped, verify: of a folder, see Embedded.
        twin: it may be changed even while changes go to another one (twins.py).

    Raises:
        UsageError: no such address, or pymilvus is not installed.
        StoreError: nothing there, it cannot be read, or a server does not answer.
    """
    place = located(index)
    if isinstance(place, Path):
        return Embedded(place, mapped=mapped, verify=verify, twin=twin)
    if in_milvus(index):
        return Milvus(str(place), twin=twin)
    folder = index_folder(index)
    try:
        return Milvus(str(place), folder=folder, twin=twin)
    except AbsentError as error:
        raise StoreError(
            f"{folder}: stands for {place}, where no index lies: it was dropped, or a file was not moved along; put it "
            f"back, or build it there with the release's model: clipadapt index build --out {place}"
        ) from error


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
    place = located(out)
    if isinstance(place, Address):
        Milvus.build(source, str(place), factory=factory, target=target, texts=texts, shown=shown, seed=seed)
        return open_backend(out)
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
    place = located(out)
    if shards is not None:
        folders(shards)
        if isinstance(place, Address):
            raise UsageError(f"{out}: Milvus divides its collections by itself; leave out --shards, or name a folder")
    if isinstance(place, Address):
        refuse_unusable(str(place))
    else:
        refuse_unwritable(out)


def folder_of(index: str | Path) -> Path:
    """The folder that an index's remembered paths are from; for a server the root."""
    place = located(index)
    return place.folder if isinstance(place, Address) else place


def beside(index: str | Path) -> Path | None:
    """The folder that files of its run or release lie in; None where a server keeps it."""
    if not in_milvus(index):
        return index_folder(index).parent
    address = Address.parse(str(index))
    return address.folder.parent if address.lite else None
