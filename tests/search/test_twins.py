"""Two indexes of which one takes changes, and what an index says of its own changes."""

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clipadapt.errors import StoreError, UsageError
from clipadapt.search.embedded import Embedded
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.twins import index_folder, pair
from clipadapt.search.vectors import Vectors
from clipadapt.store import Store


def vectors(ids: list[str], seed: int = 0, colour: str = "Red") -> Vectors:
    points = np.random.default_rng(seed).standard_normal((len(ids), 8)).astype(np.float32)
    table = pa.table({"id": ids, "colour": [colour] * len(ids)})
    return Vectors(points / np.linalg.norm(points, axis=1, keepdims=True), Items.of(table), "image-a", None)


@pytest.fixture
def releases(tmp_path: Path) -> Store:
    """Two versions of a store with an index each, the first of them current."""
    store = Store(tmp_path / "releases")
    for _ in range(2):
        store.add(lambda folder: Embedded.build(vectors([f"i{n}" for n in range(20)]), folder / "index"))
    store.swap("000001", None)
    for version in ("000001", "000002"):
        pair(store.root / "versions" / version / "index", store.root, version)
    return store


def index_of(store: Store, version: str) -> Path:
    return store.root / "versions" / version / "index"


def test_the_pointer_says_which_index_takes_changes(releases: Store) -> None:
    first, second = (Index.open(index_of(releases, version)) for version in ("000001", "000002"))
    first.add(vectors(["new"]))
    for change in (lambda: second.add(vectors(["new"])), lambda: second.remove(["i1"])):
        with pytest.raises(StoreError, match="changes go to the index of 000001"):
            change()
    assert len(Index.open(index_of(releases, "000002"))) == 20
    Embedded(index_of(releases, "000002"), twin=True).upsert(vectors(["new"]), replace=True)
    releases.swap("000002", releases.pointer())
    with pytest.raises(StoreError, match=r"changes go to the index of 000002.*Name .*releases as the INDEX"):
        first.add(vectors(["late"]))
    second.refresh()
    second.add(vectors(["late"]))
    assert (len(first), len(second)) == (21, 22)


def test_a_folder_of_releases_stands_for_the_index_of_the_current_one(releases: Store) -> None:
    assert index_folder(releases.root) == index_of(releases, "000001")
    assert Index.open(releases.root).remove(["i1"]).items == 19
    releases.swap("000002", releases.pointer())
    assert Index.open(releases.root).remove(["i2", "i3"]).items == 18
    assert index_folder(index_of(releases, "000001")) == index_of(releases, "000001")


def test_an_index_that_was_copied_away_alone_takes_changes(releases: Store, tmp_path: Path) -> None:
    moved = index_of(releases, "000002").rename(tmp_path / "alone")
    assert Index.open(moved).remove(["i1"]).items == 19


def test_vectors_of_items_in_the_order_of_their_ids(releases: Store) -> None:
    backend = Embedded(index_of(releases, "000001"))
    backend.upsert(vectors(["new"], 5), replace=False)
    found = backend.vectors(["new", "i3", "i0"])
    assert np.array_equal(found, np.stack([backend.vector(item) for item in ("new", "i3", "i0")]))
    with pytest.raises(UsageError, match="'i77' was never added"):
        backend.vectors(["i3", "i77"])


@pytest.mark.parametrize("count", [20, 400], ids=["into the base", "in segments"])
def test_what_changed_between_two_versions(tmp_path: Path, count: int) -> None:
    Embedded.build(vectors([f"i{n}" for n in range(count)]), tmp_path / "index", factory="Flat")
    before, writer = Embedded(tmp_path / "index"), Embedded(tmp_path / "index")
    assert before.newer() is None
    writer.upsert(vectors(["new", "gone again", "back"], 1), replace=False)
    writer.upsert(vectors(["i3"], 2), replace=True)
    writer.remove(["i4", "i5", "gone again", "back"])
    writer.upsert(vectors(["i5", "back"], 3), replace=False)
    after = before.newer()
    assert after is not None
    found = after.changed_since(before)
    assert found is not None
    assert (sorted(found.there), found.gone) == (["back", "i3", "i5", "new"], ["i4"])
    nothing = after.changed_since(after)
    assert nothing == ([], [])
    writer.compact()
    writer.remove([f"i{n}" for n in range(10, count)])
    assert writer.compact() == "rebuild"
    later = before.newer()
    assert later is not None
    assert later.changed_since(before) is None, "vector ids were given anew"


def test_an_index_that_was_built_anew_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    ids = [f"i{n}" for n in range(20)]
    Embedded.build(vectors(ids), tmp_path / "index", factory="Flat")
    before = Embedded(tmp_path / "index")
    for again in (vectors(ids, 1), vectors(ids, 0, "Blue"), vectors(ids[::-1])):
        Embedded.build(again, tmp_path / "index", factory="Flat")
        after = before.newer()
        assert after is not None and after.changed_since(before) is None


def test_changes_wait_while_an_index_is_frozen(tmp_path: Path) -> None:
    Embedded.build(vectors(["a", "b"]), tmp_path / "index")
    backend = Embedded(tmp_path / "index")
    writer = threading.Thread(target=lambda: Embedded(tmp_path / "index").upsert(vectors(["c"]), replace=False))
    with backend.frozen():
        writer.start()
        writer.join(0.3)
        assert writer.is_alive() and backend.newer() is None
    writer.join(20)
    after = backend.newer()
    assert after is not None and after.changed_since(backend) == (["c"], [])
