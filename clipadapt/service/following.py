"""Keeps an arm on the promoted release of a folder of releases.

    follower = Follower(serving, "releases", open_release)
    follower.load()        now: the promoted one, else the last good one before it
    follower.start()       from now on: looks at the pointer, loads another release beside the one that answers, swaps

Requests that are being answered keep the release they began with; it is closed after the last of them. A release that
cannot be served is refused: the one before keeps answering, and /info and /metrics say so until another is promoted.
"""

import gc
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from clipadapt.errors import ClipadaptError, StoreError
from clipadapt.service.collection import Collection
from clipadapt.service.schema import Arm
from clipadapt.service.serving import Serving
from clipadapt.store import Pointer, Store

log = logging.getLogger(__name__)


class Follower:
    """One thread that follows one folder of releases."""

    def __init__(
        self, serving: Serving, root: str | Path, open_release: Callable[[Path], Collection], arm: Arm = "current"
    ):
        self._serving, self._store, self._open = serving, Store(root), open_release
        self._arm: Arm = arm
        self._seen: tuple[str, str] | None = None
        """Version and manifest of the promoted release that was last loaded or refused."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follow {arm}", daemon=True)

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

    def start(self) -> None:
        """Begins to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; a release that is being loaded is given up when it is done."""
        self._stopped.set()

    def look(self) -> bool:
        """Looks at the pointer once; whether another release answers from now on."""
        try:
            pointer = self._store.pointer()
        except StoreError as error:
            self._say(f"the pointer of {self._store.root.name} cannot be read: {error}")
            return False
        if pointer is None or (pointer.version, pointer.manifest) == self._seen:
            return False
        self._seen = (pointer.version, pointer.manifest)
        before = self._serving.current if self._arm == "current" else self._serving.candidate
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
        del before
        gc.collect()  # what is left of the old one lies in cycles
        return True

    def _run(self) -> None:
        while not self._stopped.wait(self._serving.settings.poll_seconds):
            self.look()

    def _folder(self, version: str) -> Path:
        return self._store.root / "versions" / version

    def _refuse(self, version: str, error: Exception) -> None:
        if not isinstance(error, ClipadaptError):
            log.exception("release %s failed", version)
        self._serving.metrics.refused(self._arm)
        log.warning("release %s was refused: %s", version, str(error))
        self._say(f"release {version} was refused: {self._without_root(str(error))}")

    def _without_root(self, text: str) -> str:
        """A message for clients, who need not know where the files lie."""
        for root in (self._store.root.resolve(), self._store.root):
            text = text.replace(f"{root}/", "")
        return text

    def _say(self, fault: str | None) -> None:
        self._serving.set_fault(f"release of {self._arm}", fault)


def _before(pointer: Pointer) -> list[str]:
    """Releases that were promoted before, latest first."""
    return [entry["version"] for entry in pointer.note.get("history", ())]
