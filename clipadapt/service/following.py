"""Keeps an arm on the promoted release of a folder of releases, or on an index as it changes.

    follower = Follower(serving, "releases", open_release)
    follower.load()        now: the promoted one, else the last good one before it
    follower.start()       from now on: looks at the pointer, loads another release beside the one that answers, swaps

    IndexFollower(serving, renew).start()      what others add, remove and compact is seen by the next requests

Requests that are being answered keep the release they began with; it is closed after the last of them. A release that
cannot be served is refused: the one before keeps answering, and /info and /metrics say so until another is promoted.
The same goes for a version of an index, which shares with the one before what did not change.
"""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from clipadapt.errors import ClipadaptError, StoreError
from clipadapt.memory import give_back
from clipadapt.search.milvus.address import ADDRESSED
from clipadapt.search.opening import in_milvus
from clipadapt.service.collection import Collection
from clipadapt.service.schema import Arm
from clipadapt.service.serving import Serving
from clipadapt.store import Pointer, Store

log = logging.getLogger(__name__)


class _Following(ABC):
    """One thread that looks again and again."""

    def __init__(self, serving: Serving, arm: Arm) -> None:
        self._serving = serving
        self._arm: Arm = arm
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follow {arm}", daemon=True)

    def start(self) -> None:
        """Begins to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; what is being loaded is given up when it is done."""
        self._stopped.set()

    @abstractmethod
    def look(self) -> bool:
        """Looks once; whether something else answers from now on."""

    @property
    def _now(self) -> Collection | None:
        return self._serving.current if self._arm == "current" else self._serving.candidate

    def _run(self) -> None:
        while not self._stopped.wait(self._serving.settings.poll_seconds):
            self.look()


class IndexFollower(_Following):
    """Follows the changes of one index.

    Args:
        renew: the collection with what its index became since; None where it did not change.
    """

    def __init__(
        self, serving: Serving, renew: Callable[[Collection], Collection | None], arm: Arm = "current"
    ) -> None:
        super().__init__(serving, arm)
        self._renew = renew
        self._refused: str | None = None

    def look(self) -> bool:
        """Looks at the index once; whether another version of it answers from now on."""
        now = self._now
        if now is None:
            return False
        try:
            renewed = self._renew(now)
        except Exception as error:  # whatever is wrong with a version, the one before keeps answering
            self._refuse(error, now.index.backend.name)
            return False
        self._refused = None
        self._say(None)
        if renewed is None:
            return False
        if self._stopped.is_set():
            renewed.retire()
            return False
        self._serving.replace(renewed, self._arm)
        log.info("%s: %d items answer from now on", self._arm, len(renewed.index))
        return True

    def _refuse(self, error: Exception, root: str) -> None:
        """Said and counted once, for what is refused is tried again with every look."""
        fault = str(error)
        if fault == self._refused:
            return
        self._refused = fault
        if not isinstance(error, ClipadaptError):
            log.exception("a version of the index failed")
        self._serving.metrics.refused(self._arm)
        log.warning("a version of the index was refused: %s", fault)
        self._say(f"the index as it is now was refused, the version before answers on: {_without_root(fault, root)}")

    def _say(self, fault: str | None) -> None:
        self._serving.set_fault(f"index of {self._arm}", fault)


class Follower(_Following):
    """Follows one folder of releases, and the changes of the index of the one that answers.

    Args:
        renew: as IndexFollower takes it; None: the index of a release is served as it was opened.
    """

    def __init__(
        self,
        serving: Serving,
        root: str | Path,
        open_release: Callable[[Path], Collection],
        arm: Arm = "current",
        *,
        renew: Callable[[Collection], Collection | None] | None = None,
    ) -> None:
        super().__init__(serving, arm)
        self._store, self._open = Store(root), open_release
        self._index = IndexFollower(serving, renew, arm) if renew is not None else None
        self._seen: tuple[str, str] | None = None
        """Version and manifest of the promoted release that was last loaded or refused."""
        self._replaced = False
        """Whether the look before put another release in the place of one."""

    def load(self) -> Collection:
        """Serves and gives the promoted release, or the last one before it that can be served.

        Raises:
            StoreError: nothing was promoted.
            ClipadaptError: none of them can be served; of the promoted one.
        """
        pointer = self._store.pointer()
        if pointer is None:
            raise StoreError(f"{self._store.root}: nothing was promoted; run clipadapt release promote")
        first: ClipadaptError | None = None
        for version in dict.fromkeys([pointer.version, *_before(pointer)]):
            try:
                collection = self._open(self._folder(version))
            except ClipadaptError as error:
                if first is None:
                    self._refuse(version, error)
                    first = error
                continue
            self._seen = (pointer.version, pointer.manifest)
            self._serving.replace(collection, self._arm)
            return collection
        assert first is not None, "there is at least one version"
        raise first

    def look(self) -> bool:
        """Looks at the pointer and the index once; whether something else answers from now on.

        Memory of a release that was replaced is given back by the look after, when its last requests are done.
        """
        if self._replaced:
            self._replaced = False
            give_back()
        return self._look_at_pointer() or (self._index is not None and self._index.look())

    def _look_at_pointer(self) -> bool:
        try:
            pointer = self._store.pointer()
        except StoreError as error:
            self._say(f"the pointer of {self._store.root.name} cannot be read: {error}")
            return False
        if pointer is None or (pointer.version, pointer.manifest) == self._seen:
            return False
        self._seen = (pointer.version, pointer.manifest)
        before = self._now
        if before is not None and before.name == pointer.version:  # back to what answers, after one that was refused
            self._say(None)
            return False
        try:
            collection = self._open(self._folder(pointer.version))
        except Exception as error:  # whatever is wrong with a release, the one before keeps answering
            self._refuse(pointer.version, error)
            return False
        if self._stopped.is_set():
            collection.retire()
            return False
        self._serving.replace(collection, self._arm)
        self._say(None)
        log.info("%s: release %s answers from now on", self._arm, pointer.version)
        self._replaced = before is not None
        return True

    def _folder(self, version: str) -> Path:
        return self._store.root / "versions" / version

    def _refuse(self, version: str, error: Exception) -> None:
        if not isinstance(error, ClipadaptError):
            log.exception("release %s failed", version)
        self._serving.metrics.refused(self._arm)
        log.warning("release %s was refused: %s", version, str(error))
        self._say(f"release {version} was refused: {_without_root(str(error), self._store.root)}")

    def _say(self, fault: str | None) -> None:
        self._serving.set_fault(f"release of {self._arm}", fault)


def _without_root(text: str, root: str | Path) -> str:
    """A message for clients, who need not know where the files or a server lie."""
    text = ADDRESSED.sub(r"\1", text)
    if in_milvus(root):
        return text
    root = Path(root)
    for path in (root.resolve(), root):
        text = text.replace(f"{path}/", "").replace(str(path), path.name)
    return text


def _before(pointer: Pointer) -> list[str]:
    """Releases that were promoted before, latest first."""
    return [entry["version"] for entry in pointer.note.get("history", ())]
