"""Which of two releases' indexes takes changes, whatever keeps them: set for a pair, and whenever the pointer moves.

    pair(releases, "000001"); pair(releases, "000002")     from now on each takes changes while its release is current
    with handing_over(releases, "000001", "000002"):       around a move of the pointer, whoever moves it
        store.swap("000002", ...)

An index in a folder looks at the pointer itself (twins.py). One in Milvus may be changed from machines that do not see
the pointer, so it bears a mark that says where changes go. The one that is left is marked before the pointer moves, the
other one is freed afterwards: killed between, both refuse changes until `pair` is called again, and none goes to the
wrong one. Two releases that name one index are no pair. Nothing here knows of models or pictures.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from clipadapt.errors import ClipadaptError, SpaceError, StoreError
from clipadapt.search import twins
from clipadapt.search.addresses import address_in
from clipadapt.search.milvus.address import Address
from clipadapt.search.twins import INDEX
from clipadapt.store import Store

if TYPE_CHECKING:
    from clipadapt.search.milvus.versions import Versions

log = logging.getLogger(__name__)


def pair(releases: Path, version: str) -> None:
    """The index of a release takes changes only while the release is current; mends what a killed process left.

    Raises:
        StoreError: the disk or the server refuses.
    """
    index = _index(releases, version)
    collections = _collections(index)
    if collections is None:
        twins.pair(index, releases, version)
        return
    current = Store(releases).version()
    collections.mark("" if current == version else current)
    collections.thaw()


@contextlib.contextmanager
def handing_over(releases: Path, before: str | None, version: str) -> Iterator[None]:
    """Marks the indexes of the release that was current and of the one that becomes so, where Milvus keeps them.

    A server that does not answer, or a damaged release, stops nobody from going back: it is logged, and until the
    pointer moves again those who name an index by its address are refused where they need not be, or not refused.
    """
    try:
        shared = before is not None and same_index(releases, before, version)
    except StoreError:  # said when it is marked
        shared = False
    if before is None or shared:
        yield
        return
    marked = _mark(_index(releases, before), version)
    try:
        yield
    except BaseException:
        if marked:
            _mark(_index(releases, before), "")
        raise
    _mark(_index(releases, version), "")


def same_index(releases: Path, one: str, other: str) -> bool:
    """Whether two releases name one index.

    Raises:
        StoreError: it cannot be read which.
    """
    first, second = (address_in(_index(releases, version)) for version in (one, other))
    return first is not None and second is not None and first.address == second.address


def refuse_other_space(index: Path, image_space: str) -> None:
    """Before a release goes live whose index lies in Milvus, where others may have dropped it or built another there.

    Raises:
        StoreError: it cannot be opened.
        SpaceError: what lies there is of another model.
    """
    if address_in(index) is None:
        return
    from clipadapt.search.opening import meta_of

    found = meta_of(index).image_space
    if found != image_space:
        raise SpaceError(
            f"{index}: what lies in Milvus is of {found} now, the release of {image_space}; build it again with the "
            "release's model, or promote another release"
        )


def drop_index(address: Address) -> bool:
    """An index in Milvus that nobody needs; False: it is the one of two that takes changes, and stays.

    Raises:
        StoreError: the server refuses.
    """
    from clipadapt.search.milvus.server import AbsentError, Server
    from clipadapt.search.milvus.versions import Versions

    try:
        return Versions(Server.connect(address)).drop_all()
    except AbsentError:  # no such file of milvus-lite
        return True


def _index(releases: Path, version: str) -> Path:
    return releases / "versions" / version / INDEX


def _collections(index: Path) -> "Versions | None":
    """Those of an index in Milvus."""
    reference = address_in(index)
    if reference is None:
        return None
    from clipadapt.search.milvus.server import Server  # pymilvus and faiss, which a folder does not need
    from clipadapt.search.milvus.versions import Versions

    return Versions(Server.connect(reference.address))


def _mark(index: Path, twin: str) -> bool:
    """Says where the changes of an index go that is one of two; whether it was another place before."""
    try:
        collections = _collections(index)
        if collections is None:
            return False
        now = collections.current().twin
        if now is None or now == twin:
            return False
        collections.mark(twin)
    except ClipadaptError as error:
        log.warning("%s: was not marked, so it may take or refuse changes wrongly: %s", index, error)
        return False
    return True
