"""The two releases of a swap, kept the same until both are given up: whichever is live, the other one follows it.

    pair = Pair.of(releases)                  None: no swap, or nothing to keep the same yet
    pair.step()                               what changed in the live index reaches the other one
    pair.switch(releases.rollback)            the last changes, then the pointer, while no change can be made
    pair.stay(until, every=1.0)

The pointer of the releases decides which index takes changes (search/twins.py) and which is served, in one rename. It
is set while the live index is held still and the other one has all of it, so no change that was acknowledged is lost,
whichever way the pointer moves. Models are loaded when a picture has to be encoded, and not before.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from clipadapt.deploy.bundle import INDEX, MODEL
from clipadapt.deploy.releases import Releases
from clipadapt.deploy.retention_policy import Release
from clipadapt.deploy.swap.pictures import PicturesById
from clipadapt.deploy.swap.state import State, Workplace
from clipadapt.errors import CatalogueError, StoreError
from clipadapt.progress import Bar
from clipadapt.search.backend import Backend
from clipadapt.search.handover import pair as pair_index
from clipadapt.search.handover import same_index
from clipadapt.search.items import first_faults
from clipadapt.search.ledger import Ledger, Side
from clipadapt.search.mirror import Encode, Lag, Mirror
from clipadapt.search.opening import open_backend
from clipadapt.towers.encoder import Encoder

_ROUNDS = 20
_SOON, _FEW = 3, 64
"""Rounds in which nothing is encoded while changes wait, and pictures that may be in later ones."""
_CELLS = 4_096
"""Removals and changes of cells that are made while changes wait."""
PATIENCE = 60.0
"""Seconds to wait for another process that works on the swap: it is done when its batch is."""


class Pair:
    """Old and new release of a swap."""

    def __init__(self, releases: Releases, work: Workplace, state: State, *, device: str = "cpu") -> None:
        if state.new is None:
            raise ValueError("the new release is not there yet")
        self.releases, self.work, self.state = releases, work, state
        self._device = device
        self._mirrors: dict[Side, Mirror] = {}

    @classmethod
    def of(cls, releases: Releases, *, device: str = "cpu") -> "Pair | None":
        """The pair of a swap whose new release is made; None: there is none, or neither of the two is live.

        Raises:
            StoreError: what is kept of the swap cannot be read.
        """
        work = Workplace(releases)
        state = work.state()
        if state is None or state.new is None:
            return None
        pair = cls(releases, work, state, device=device)
        return pair if pair.live in (state.old, state.new) else None

    @property
    def live(self) -> str | None:
        """The release that the pointer names."""
        pointer = self.releases.store.pointer()
        return pointer.version if pointer is not None else None

    def step(self, shown: Bar | None = None) -> Lag:
        """Brings the other index to where the live one is now; what there was to do.

        Raises:
            CatalogueError: more items than were allowed have no picture, or the source cannot be read.
            StoreError: the disk refuses, or another release is live.
        """
        if self.shared:
            return Lag([], [], [])
        mirror = self._mirror()
        self.mend()
        lag = mirror.look()
        mirror.run(lag, shown)
        refuse_missing(mirror, self.state.most_missing)
        if mirror.target.compaction_due():
            mirror.target.compact()
        return lag

    def switch(self, flip: Callable[[], Release]) -> Release:
        """Sets the pointer to the other release, which has every change by then; gives what `flip` gives.

        Args:
            flip: called while the live index is held still.

        Raises:
            StoreError: changes come faster than they are encoded, or another process moved the pointer. As step and
                flip; what was live stays so then.
        """
        if self.shared:
            return flip()
        live = self.live
        for number in range(_ROUNDS):
            self.step()
            self._require_live(live)
            mirror = self._mirror()
            with mirror.source.frozen():
                lag = mirror.look_quickly() if number < _SOON else mirror.look()
                if lag is None or len(lag.encode) > (0 if number < _SOON else _FEW) or lag.total > _CELLS:
                    continue
                if not mirror.run(lag) or mirror.source.newer() is not None:
                    continue  # of a writer that had begun before
                refuse_missing(mirror, self.state.most_missing)
                self._require_live(live)
                flipped = flip()
                self.mend()
                return flipped
        raise StoreError(
            f"{self.releases.root}: {self.live} stays live, for its index changes faster than pictures are encoded "
            f"here ({_ROUNDS} rounds); try again at a quieter hour, or on a faster machine"
        )

    def stay(self, until: datetime, every: float, say: Callable[[str], None] = lambda _: None) -> bool:
        """Follows the live index until then; whether that moment came, for it ends also when neither is live.

        Raises:
            StoreError: another process works on the swap for long. As step.
        """
        while self.releases.clock() < until:
            with self.work.lock(PATIENCE):
                if self.work.state() != self.state or self.live not in (self.state.old, self.state.new):
                    return False
                live = self.live
                try:
                    lag = self.step()
                except StoreError:
                    if self.live == live:
                        raise
                    continue  # another process moved the pointer: from now on changes go the other way
                if lag.total:
                    changed = len(lag.encode) + len(lag.cells)
                    say(f"{changed} changed and {len(lag.gone)} removed items reached release {self._other}")
            time.sleep(every)
        return True

    @property
    def shared(self) -> bool:
        """Whether both releases name one index in Milvus, so that there is nothing to keep the same."""
        return same_index(self.releases.root, self.state.old, str(self.state.new))

    def mend(self) -> None:
        """From now on each index takes changes while its release is live, and none is held still by what was killed.

        Raises:
            StoreError: the disk or the server refuses.
        """
        if self.shared:
            return
        for version in (self.state.old, str(self.state.new)):
            pair_index(self.releases.root, version)

    @property
    def _other(self) -> str:
        return self.state.old if self.live == self.state.new else str(self.state.new)

    def _require_live(self, version: str | None) -> None:
        if self.live != version:
            raise StoreError(
                f"{self.releases.root}: {self.live} became live in place of {version} meanwhile; look at what is "
                "current, then decide again"
            )

    def _mirror(self) -> Mirror:
        side: Side = "new" if self.live == self.state.new else "old"
        if self.live not in (self.state.old, self.state.new):
            raise StoreError(
                f"{self.releases.root}: {self.live} is live, which is neither {self.state.old} nor {self.state.new}; "
                f"end the swap with: clipadapt release swap {self.releases.root} --finish"
            )
        if side not in self._mirrors:
            source, target = self._backend(str(self.live)), self._backend(self._other)
            encode, ledger = None, None
            if source.meta.image_space != target.meta.image_space:
                encode, ledger = self._encode(self._other), Ledger(self.work.pairs)
            self._mirrors = {side: Mirror(source, target, encode, ledger, side)}
        return self._mirrors[side]

    def _backend(self, version: str) -> Backend:
        return open_backend(self.releases.folder(version) / INDEX, verify=False, twin=True)

    def _encode(self, version: str) -> Encode:
        model = self.releases.folder(version) / MODEL
        pictures = PicturesById(self.work.data_of(self.state), lambda: load_model(model, self._device))
        return Encode(pictures.vectors, pictures.afresh)


def load_model(folder: Path, device: str = "cpu") -> Encoder:
    """A merged model."""
    from clipadapt.towers.load import load

    return load(str(folder), device=device)


def refuse_missing(mirror: Mirror, most: int) -> None:
    """More items without a picture than were allowed.

    Raises:
        CatalogueError: names the first.
    """
    if len(mirror.missing) > most:
        raise CatalogueError(
            f"{len(mirror.missing)} item(s) of {mirror.source.name} have no picture to encode"
            f"{first_faults([f'{item}: {why}' for item, why in sorted(mirror.missing.items())])}\n"
            "mend the pictures, remove the items from the index, or allow so many to be left out with --most-missing"
        )


@contextlib.contextmanager
def working(releases: Releases, *, device: str = "cpu") -> Iterator[Pair | None]:
    """The pair, if there is one, which no other process works on within the block.

    Raises:
        StoreError: another process works on it for long.
    """
    if Pair.of(releases) is None:
        yield None
        return
    with Workplace(releases).lock(PATIENCE):
        yield Pair.of(releases, device=device)
