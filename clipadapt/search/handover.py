"""Which of two releases' indexes takes changes, whatever keeps them: set for a pair, and whenever the pointer moves.

    pair(releases, "000001"); pair(releases, "000002")     from now on each takes changes while its release is current
    with handing_over(releases, "000001", "000002"):       around a move of the pointer, whoever moves it
        store.swap("000002", ...)

An index in a folder looks at the pointer itself (twins.py). One in Milvus may be changed from machines that do not see
the pointer, so it bears a mark that says where changes go. The one that is left is marked before the pointer moves, the
other one is freed afterwards: killed between, both refuse changes until somebody calls `pair` or `settle`, and none
goes to the wrong one. Several may do all this at once, so that what is marked in the end is what the pointer says by
then. Two releases that name one index are no pair. Nothing here knows of models or pictures.
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
    _follow(collections, releases, version)
    collections.thaw()


def mend(releases: Path, *versions: str) -> None:
    """As `pair`, as far as disks and servers answer; what does not is logged."""
    for version in versions:
        with _logged(_index(releases, version)):
            pair(releases, version)


def settle(releases: Path, *versions: str) -> None:
    """What the marks of some releases' indexes say is what the pointer says, where they bear any; as far as servers
    answer, which is logged.
    """
    for version in versions:
        with _logged(_index(releases, version)):
            collections = _collections(_index(releases, version))
            if collections is not None and collections.current().twin is not None:
                _follow(collections, releases, version)


@contextlib.contextmanager
def handing_over(releases: Path, before: str | None, version: str) -> Iterator[None]:
    """Marks the indexes of the release that was current and of the one that becomes so, where Milvus keeps them.

    A server that does not answer, or a damaged release, stops nobody from going back: it is logged, and until the
    pointer moves again those who name an index by its address are refused where they need not be, or not refused.
    """
    answered: list[str] = []
    if before is not None:
        with _logged(_index(releases, before)):
            if not _shared(releases, before, version):
                _mark(_index(releases, before), version)
            answered = [before]
    try:
        yield
    finally:  # another process may have moved the pointer, or the marks, at the same time
        settle(releases, *answered, version)


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


def _shared(releases: Path, one: str, other: str) -> bool:
    """As `same_index`; of an address that cannot be read, no."""
    try:
        return same_index(releases, one, other)
    except StoreError:
        return False


def _mark(index: Path, twin: str) -> None:
    """Says where the changes of an index go, if it is one of two."""
    collections = _collections(index)
    if collections is not None and collections.current().twin is not None:
        collections.mark(twin)


def _follow(collections: "Versions", releases: Path, version: str) -> None:
    """Marks the index of a release as the pointer says, wherever that moves meanwhile."""
    marked = None
    while (current := Store(releases).version()) != marked:
        collections.mark("" if current == version or _shared(releases, current, version) else current)
        marked = current


@contextlib.contextmanager
def _logged(index: Path) -> Iterator[None]:
    try:
        yield
    except ClipadaptError as error:
        log.warning("%s: was not marked, so it may take or refuse changes wrongly: %s", index, error)
