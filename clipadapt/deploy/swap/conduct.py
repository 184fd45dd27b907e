"""A swap from its first picture to the new release going live, to be killed and begun again at any moment.

    swap = Swap(releases, Run.open("runs/next"), gate, data)
    swap.plan(rate=1.2).lines()
    swap.prepare()              the new index, then the release; changes of the old one's index reach it
    swap.go_live()

Embedding goes in batches into an index beside the releases; what a killed process had done is not done again. The live
release is never touched, and serves on whatever happens here.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipadapt.config import Data
from clipadapt.deploy.bundle import INDEX, Bundle, IndexPart, gather, index_part
from clipadapt.deploy.creation import Compatible, create
from clipadapt.deploy.lineage import ReleaseInfo
from clipadapt.deploy.releases import Releases
from clipadapt.deploy.retention_policy import Release
from clipadapt.deploy.swap.making import Making, new_address
from clipadapt.deploy.swap.pair import Pair, load_model
from clipadapt.deploy.swap.pictures import PicturesById
from clipadapt.deploy.swap.plan import SAMPLE, Plan, measure
from clipadapt.deploy.swap.state import State, Workplace
from clipadapt.errors import SpaceError, StoreError, UsageError, listing
from clipadapt.evaluation.gate import Gate
from clipadapt.runs import Run
from clipadapt.search.addresses import Reference, address_in
from clipadapt.search.backend import Backend
from clipadapt.search.ledger import Ledger
from clipadapt.search.milvus.address import Address
from clipadapt.search.opening import is_index, located, open_backend
from clipadapt.store import faults_of

_OVERHEAD = 1.5
"""Bytes of an index over those of its vectors: items, cells and codes."""
_COPIES = 2
"""The new index lies in the working folder and in the release for a while."""


class Swap:
    """The release that is live, and the run that is to replace it.

    Args:
        gate: what the run's report must show.
        data: where the pictures of the live index lie.
        most_missing: items that may be left out; None: as many as when it was begun, or none.
        compatible: measures that new queries fit the live index, where image_space stays.

    Raises:
        UsageError: nothing is live, it has no index, another swap is going on, or the model is the same.
        SpaceError: the index of the live release is not of its own model.
        GateError: the run does not pass.
    """

    def __init__(
        self,
        releases: Releases,
        run: Run,
        gate: Gate,
        data: Data,
        *,
        compatible: Callable[[Bundle], Compatible] | None = None,
        exports: Sequence[Path] | None = None,
        thresholds: Path | None = None,
        most_missing: int | None = None,
        note: str = "",
        device: str = "cpu",
    ) -> None:
        self.releases, self.run, self.data = releases, run, data
        self.work = Workplace(releases)
        self._device, self._note, self._compatible = device, note, compatible
        self.state = self.work.state()
        before = 0 if self.state is None else self.state.most_missing
        self._most_missing = before if most_missing is None else most_missing
        self.old = self._replaced()
        self.source = _index_of(releases, self.old)
        self._bundle = None if self._made else gather(run, gate, exports=exports, thresholds=thresholds, indexed=False)
        self._check_spaces()
        self._pictures = PicturesById(data, self._encoder)

    @property
    def copies(self) -> bool:
        """Whether vectors stay valid, so that nothing is encoded."""
        space = self.state.image_space if self._bundle is None and self.state else self._parts.spaces.image
        return space == self.source.meta.image_space

    def plan(self, *, rate: float | None = None, sample: int = SAMPLE) -> Plan:
        """What is left to do; encodes a sample of pictures.

        Raises:
            CatalogueError: the source is not that of the live index.
        """
        items = len(self.source)
        files = sum(file.bytes for file in self._bundle.files) if self._bundle else 0
        place = located(self.releases.folder(self.old) / INDEX)
        if self.copies or self._bundle is None:
            copied = self._bundle is not None and isinstance(place, Path)
            room = _room(self.releases.root, place, files, _bytes(self.source.meta.dim, items) if copied else 0)
            money = None if rate is None else 0.0
            return Plan(
                self.old, str(self.run.path), items, 0, 0, None, 0.0, rate, money, *room, score=None,
                made=self._bundle is None,
            )  # fmt: skip
        speed, score = measure(self.source, self._pictures, sample)
        done = len(Ledger(self.work.pairs)) if self.state is not None else 0
        encode = max(items - done, 0)
        hours = encode / speed / 3600
        room = _room(self.releases.root, place, files, _COPIES * _bytes(self._pictures.encoder.dim, items))
        return Plan(
            self.old, str(self.run.path), items, encode, len(self._pictures.absent(self.source.ids())), speed, hours,
            rate, None if rate is None else hours * rate, *room, score=score,
        )  # fmt: skip

    def prepare(self, plan: Plan) -> Pair:
        """Makes the new release, its index the same as the live one's; to be called within the workplace's lock.

        Raises:
            StoreError: too little disk, or it refuses.
            CatalogueError: items that have no picture.
            GateError: new queries do worse on the index that is kept.
        """
        if plan.needed_bytes > plan.free_bytes:
            raise StoreError(
                f"{self.releases.root}: the swap needs {plan.needed_bytes / 2**20:,.0f} MiB for a while and "
                f"{plan.free_bytes / 2**20:,.0f} MiB are free; nothing was begun. Purge old releases, or free some"
            )
        self.remember()
        if self._bundle is not None:
            self._begin()
            keep = self._compatible(self._bundle) if self.copies and self._compatible is not None else None
            made = create(self.releases, self._bundle, keep=keep, index=self._new_index(), note=self._note)
            self._keep(replace(self._kept, new=made.version))
            self.work.tidy()
        pair = Pair(self.releases, self.work, self._kept, device=self._device)
        pair.step()
        return pair

    def go_live(self, pair: Pair, days: float) -> Release:
        """Promotes the new release with every change of the old one's index, which gets those of the new one from then.

        Raises:
            StoreError: a file of the new release is damaged. As Pair.switch.
        """
        new = str(self._kept.new)
        folder = self.releases.folder(new)
        if faults := faults_of(folder, verify=True):
            raise StoreError(f"{folder}: was changed after it was created{listing(faults)}\ngive the swap up")
        until = (self.releases.clock() + timedelta(days=days)).isoformat(timespec="seconds")
        self._keep(replace(self._kept, until=until))
        pair.state = self._kept
        return pair.switch(lambda: self.releases.promote(new, verify=False))

    def remember(self) -> None:
        """Where the pictures lie, and how many items may be left out, from now on; of a swap that has begun."""
        if self.state is not None:
            named = {"most_missing": self._most_missing, "catalogue": self.work.remembered(self.data)}
            if (wanted := replace(self.state, **named)) != self.state:
                self._keep(wanted)

    @property
    def _made(self) -> bool:
        return self.state is not None and self.state.new is not None

    @property
    def _kept(self) -> State:
        assert self.state is not None, "it has begun"
        return self.state

    @property
    def _parts(self) -> Bundle:
        assert self._bundle is not None, "the release is still to be made"
        return self._bundle

    def _keep(self, state: State) -> None:
        self.work.write(state)
        self.state = state

    def _replaced(self) -> str:
        pointer = self.releases.store.pointer()
        if pointer is None:
            raise UsageError(
                f"{self.releases.root}: no release is live, so there is none to swap; promote one: clipadapt release "
                f"create {self.releases.root} {self.run.path} --promote"
            )
        state = self.state
        if state is None:
            return pointer.version
        if state.run != self.work.run_of(self.run.path):
            raise UsageError(
                f"{self.work.root}: a swap to {self.work.path_of(state)} is going on; go on with that run, or end it "
                f"with --finish or --give-up"
            )
        if pointer.version not in (state.old, state.new):
            raise UsageError(
                f"{self.releases.root}: {pointer.version} became live while {state.old} was being swapped; end the "
                "swap with --finish or --give-up, then begin again"
            )
        return state.old

    def _check_spaces(self) -> None:
        old = ReleaseInfo.read(self.releases.folder(self.old))
        if self.source.meta.image_space != old.image_space:
            raise SpaceError(
                f"{self.source.name}: is of {self.source.meta.image_space}, release {self.old} of {old.image_space}; "
                "its vectors say nothing about that model: build its index again before it is swapped"
            )
        if self._bundle is None:
            return
        spaces = self._bundle.spaces
        if spaces == (old.image_space, old.text_space):
            raise UsageError(
                f"{self.run.path}: is the model of release {self.old} already, which is live; there is nothing to swap"
            )
        if old.text_space is not None and spaces.text is None:
            raise SpaceError(f"{self.run.path}: has no text tower, and people search {self.old} by words")
        begun = self.state
        if begun is not None and (begun.image_space, begun.text_space) != spaces:
            raise UsageError(
                f"{self.run.path}: is another model than when the swap was begun; give that up with --give-up, then "
                "begin again"
            )

    def _encoder(self):
        return load_model(self._parts.model, self._device)

    def _begin(self) -> None:
        if self.state is not None:
            return
        self.work.clear()
        spaces, live = self._parts.spaces, address_in(self.releases.folder(self.old) / INDEX)
        reference = (
            None if self.copies or live is None else Reference(new_address(live.address), self.releases.made_here())
        )
        self._keep(
            State(
                self.old, self.work.run_of(self.run.path), spaces.image, spaces.text,
                self.work.remembered(self.data), self._most_missing,
                self.releases.clock().isoformat(timespec="seconds"),
                index=None if reference is None else reference.to_json(self.work.root),
            )
        )  # fmt: skip

    def _new_index(self) -> IndexPart:
        """Of the new release; where Milvus keeps the live one's and vectors stay valid, both name that."""
        live = self.releases.folder(self.old) / INDEX
        making = Making(self.work, self.source, self._pictures, self._most_missing)
        if not self.copies:
            return making.embed(self.work.reference(self._kept), f"run:{self.run.path}")
        return making.snapshot(live) if address_in(live) is None else index_part(live)


def _index_of(releases: Releases, version: str) -> Backend:
    folder = releases.folder(version) / INDEX
    if not is_index(folder):
        raise UsageError(
            f"{releases.folder(version)}: a release without an index has none to swap; create one from a run that has "
            "an index"
        )
    return open_backend(folder, verify=False)


class _Room(NamedTuple):
    """What a swap takes for a while."""

    needed: int
    """On a disk here."""
    free: int
    elsewhere: int
    """On a Milvus server."""


def _room(root: Path, place: Path | Address, files: int, index: int) -> _Room:
    free = shutil.disk_usage(root).free
    if isinstance(place, Path):
        return _Room(files + index, free, 0)
    if not place.lite:
        return _Room(files, free, index)
    return _Room(files + index, min(free, shutil.disk_usage(place.folder.parent).free), 0)


def _bytes(dim: int, items: int) -> int:
    return int(_OVERHEAD * np.dtype(np.float32).itemsize * dim * items)
