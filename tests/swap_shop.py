"""A shop whose releases are swapped while it changes: runs of two models and of text towers, writers, and killers."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from data_factory import write_catalogue
from runs_factory import write_gate, write_run
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.deploy.bundle import gather
from clipadapt.deploy.creation import create
from clipadapt.deploy.releases import Releases
from clipadapt.deploy.swap.conduct import Swap
from clipadapt.deploy.swap.pair import Pair
from clipadapt.deploy.swap.pictures import PicturesById
from clipadapt.errors import SpaceError, StoreError
from clipadapt.evaluation.gate import Gate
from clipadapt.inputs import resolve
from clipadapt.search.addresses import address_in
from clipadapt.search.embed import embed_pictures
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.milvus.address import Address
from clipadapt.search.milvus.server import Server
from clipadapt.search.vectors import Vectors
from clipadapt.towers.load import load

REFUSED = ("changes go to the index of", "keeps it from being changed", "is not counted as done")
"""What a writer is told who comes while the live index becomes another."""


class Made:
    """A shop whose train split is indexed, and runs: two of both towers, two of the text tower alone."""

    def __init__(self, root: Path) -> None:
        self.root = root
        base = write_open_clip(root / "base", OPEN_CLIP["clip"])
        self.shop = str(write_catalogue(root / "shop", items=60))
        presets = {"old": "both", "next": "both", "words": "text", "words2": "text"}
        self.runs = {
            name: write_run(root / name, base, seed, preset=preset, source=self.shop)
            for seed, (name, preset) in enumerate(presets.items(), 1)
        }
        self.gate = write_gate(root)
        self.data = resolve(source=self.shop).data
        self.encoders = {name: load(f"run:{run.path}") for name, run in self.runs.items()}
        self.pictures = {name: PicturesById(self.data, lambda name=name: self.encoders[name]) for name in self.runs}
        catalogue = resolve(source=self.shop).items("train")
        self.indexed: dict[str, Vectors] = {}
        for name in ("old", "words"):
            run = self.runs[name]
            shutil.rmtree(run.path / "index")
            self.indexed[name] = embed_pictures(self.encoders[name], catalogue)
            Index.build(self.indexed[name], run.path / "index", encoder=self.encoders[name], shown=self.data)
            releases = Releases(root / f"releases of {name}")
            create(releases, gather(run, Gate.load(self.gate)))
            releases.promote("1")
        row = {"row": "headline", "metric": "average_precision", "bound": "delta_low"}
        for name, above in (("lax", -1.0), ("strict", 0.9)):
            (root / f"{name}.yaml").write_text(json.dumps({"name": name, "conditions": [row | {"above": above}]}))

    def releases(self, folder: Path, name: str = "old", address: str | None = None) -> Releases:
        """Releases of which the first is live; its index lies in it, or at an address of Milvus."""
        if address is None:
            return Releases(shutil.copytree(self.root / f"releases of {name}", folder / "releases"))
        Index.build(self.indexed[name], address, encoder=self.encoders[name], shown=self.data)
        releases = Releases(folder / "releases")
        create(releases, gather(self.runs[name], Gate.load(self.gate), index=address))
        releases.promote("1")
        return releases

    def vectors(self, ids: Sequence[str], space: str, **cells: Any) -> Vectors:
        """Of items of the shop, by whichever model is of that space."""
        name = next(name for name, encoder in self.encoders.items() if encoder.image_space == space)
        found = self.pictures[name].vectors(ids)
        table = pa.table({"id": found.ids, **{key: [value] * len(ids) for key, value in cells.items()}})
        return Vectors(found.vectors, Items.of(table), space, None)

    def swap(self, releases: Releases, run: str = "next", **more: Any) -> Swap:
        return Swap(releases, self.runs[run], Gate.load(self.gate), more.pop("data", self.data), **more)

    def live(self, releases: Releases, run: str = "next", **more: Any) -> Pair:
        """After a swap from beginning to end."""
        swap = self.swap(releases, run, **more)
        made = swap.prepare(swap.plan(sample=40))
        swap.go_live(made, 7)
        return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("swapped"))


def encoded_while(patch: pytest.MonkeyPatch, work: Callable[[], Any]) -> set[str]:
    """Items whose pictures were encoded for it."""
    encoded: set[str] = set()
    real = PicturesById.vectors
    with patch.context() as inner:
        inner.setattr(PicturesById, "vectors", lambda self, ids, *more: encoded.update(ids) or real(self, ids, *more))
        work()
    return encoded


def address_of(releases: Releases, version: str) -> str:
    kept = address_in(releases.folder(version) / "index")
    assert kept is not None
    return str(kept.address)


def collections_at(address: str) -> list[str]:
    """Of the index of that name and of those that were made beside it."""
    server = Server.connect(Address.parse(address))
    found = (one for one in server.call("list_collections") if not one.endswith("_queries"))
    return sorted(one for one in found if one.startswith(server.address.name))


def change(made: Made, releases: Releases, edit: Callable[[Index], Any]) -> None:
    """As a writer does who names the releases: where the releases were swapped meanwhile, it begins again."""
    while True:
        try:
            edit(Index.open(releases.root, verify=False))
        except StoreError as error:
            if not any(said in str(error) for said in REFUSED):
                raise
            continue
        except SpaceError:  # encoded for the index that was live a moment ago
            continue
        return


def put(made: Made, releases: Releases, ids: Sequence[str], **cells: Any) -> None:
    change(made, releases, lambda index: index.update(made.vectors(ids, index.meta.image_space, **cells)))


def take(made: Made, releases: Releases, ids: Sequence[str]) -> None:
    """Where a removal was refused after it was made, as Milvus may, it is gone by the next attempt."""

    def remove(index: Index) -> None:
        if there := [item for item in ids if index.holds(item)]:
            index.remove(there)

    assert all(Index.open(releases.root, verify=False).holds(item) for item in ids)
    change(made, releases, remove)


def content(made: Made, releases: Releases, version: str) -> dict[str, dict]:
    """Item -> attributes, after its vector was compared with what the release's own model gives."""
    index = Index.open(releases.folder(version) / "index")
    ids = sorted(index.ids())
    name = next(name for name, one in made.encoders.items() if one.image_space == index.meta.image_space)
    expected = made.pictures[name].vectors(ids)
    assert np.allclose(index.backend.vectors(expected.ids), expected.vectors, atol=1e-5)
    return {item: index.item(item).attributes for item in ids}


def kill(patch: pytest.MonkeyPatch, owner: Any, name: str, number: int) -> None:
    """The n-th call never returns, for the process is gone."""
    real, calls = getattr(owner, name), iter(range(1, 100))

    def call(*given: Any, **named: Any) -> Any:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given, **named)

    patch.setattr(owner, name, staticmethod(call) if name == "build" else call)
