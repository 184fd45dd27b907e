"""INDEX, as a person names it, -> the backend that keeps it: a folder, or `milvus:URI/COLLECTION`. For all verbs.

    backend = open_backend("indexes/shop");  backend = open_backend("milvus:http://10.0.0.7:19530/shop")
    build_backend(vectors, "milvus:indexes/shop.db/shop", texts=texts)

Knows nothing of models or queries.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from clipadapt.atomic import refuse_unwritable
from clipadapt.config import Data
from clipadapt.search.backend import Backend
from clipadapt.search.embedded import Embedded
from clipadapt.search.meta import Target
from clipadapt.search.milvus.address import SCHEME, Address
from clipadapt.search.milvus.backend import Milvus
from clipadapt.search.milvus.versions import refuse_unusable
from clipadapt.search.vectors import Vectors


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
) -> Backend:
    """A new version at `out`, open; the arguments are those of the backends' own `build`.

    Raises:
        UsageError, CatalogueError: vectors, cells or a factory that cannot be.
        StoreError: it cannot be written; an index that was there stays as it was.
    """
    if in_milvus(out):
        Milvus.build(source, str(out), factory=factory, target=target, texts=texts, shown=shown, seed=seed)
        return Milvus(str(out))
    Embedded.build(source, out, factory=factory, target=target, texts=texts, shown=shown, seed=seed)
    return Embedded(out, verify=False)


def refuse_target(out: str | Path) -> None:
    """Before any work whose result is to become an index at `out`.

    Raises:
        UsageError: no such address.
        StoreError: nothing can be written there, or a server does not answer.
    """
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
