"""A mirror ends with exactly the items of its source, whatever was changed, by whom, and wherever it was killed."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clipadapt.errors import StoreError
from clipadapt.search import ledger as ledgers
from clipadapt.search import mirror as module
from clipadapt.search.embedded import Embedded
from clipadapt.search.items import Items
from clipadapt.search.ledger import Ledger, digests
from clipadapt.search.mirror import Encode, Encoded, Lag, Mirror
from clipadapt.search.vectors import Vectors

DIM, OTHER = 8, 6
PROJECTION = np.random.default_rng(9).standard_normal((DIM, OTHER)).astype(np.float32)


class Shop:
    """Pictures by id, as vectors of one model; another model sees them through a projection."""

    def __init__(self) -> None:
        self.pictures: dict[str, np.ndarray] = {}
        self.encoded: list[str] = []
        self.lost: set[str] = set()
        self.read = 0

    def vectors(self, ids: Sequence[str], seed: int, **cells: list) -> Vectors:
        points = np.random.default_rng(seed).standard_normal((len(ids), DIM)).astype(np.float32)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        self.pictures.update(zip(ids, points, strict=True))
        columns = {name: values * len(ids) if len(values) == 1 else values for name, values in cells.items()}
        return Vectors(points, Items.of(pa.table({"id": ids, **columns})), "image-old", None)

    def encode(self, ids: Sequence[str], _: object = None) -> Encoded:
        there = [item for item in ids if item not in self.lost]
        self.encoded += there
        return Encoded(there, self.seen(there), {item: "no picture" for item in ids if item in self.lost})

    def seen(self, ids: Sequence[str]) -> np.ndarray:
        points = np.array([self.pictures[item] for item in ids], np.float32).reshape(-1, DIM) @ PROJECTION
        return points / np.linalg.norm(points, axis=1, keepdims=True)

    def afresh(self) -> None:
        self.read += 1


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def source(shop: Shop, tmp_path: Path) -> Embedded:
    made = shop.vectors([f"i{n}" for n in range(30)], 0, colour=["Red"], price=[7])
    Embedded.build(made, tmp_path / "source", factory="Flat")
    return Embedded(tmp_path / "source")


@pytest.fixture
def start(shop: Shop, source: Embedded, tmp_path: Path) -> Callable[[], Mirror]:
    """A mirror as a process begins with; the target holds one item before the first."""
    rows = source.items.taken(source.items.live_rows(["i0"]))
    Embedded.build(Vectors(shop.seen(["i0"]), rows, "image-new", None), tmp_path / "target", factory="Flat")

    def make() -> Mirror:
        target = Embedded(tmp_path / "target", twin=True)
        encode = Encode(shop.encode, shop.afresh)
        return Mirror(Embedded(tmp_path / "source"), target, encode, Ledger(tmp_path / "pairs"))

    return make


def same(mirror: Mirror, shop: Shop) -> None:
    """That the target has what the source has, and vectors of today's pictures."""
    source, target = mirror.source.newer() or mirror.source, mirror.target
    ids = sorted(source.ids())
    assert sorted(target.ids()) == ids
    assert np.allclose(target.vectors(ids), shop.seen(ids), atol=1e-6)
    for item in ids:
        assert target.item(item) == source.item(item)


def test_changes_of_every_kind_arrive_and_nothing_is_encoded_twice(shop: Shop, source: Embedded, start) -> None:
    mirror = start()
    mirror.run(mirror.look())
    same(mirror, shop)
    assert sorted(shop.encoded) == sorted(source.ids()), "all of them: nobody says for what i0 was made"
    assert mirror.look() == Lag([], [], [])
    shop.encoded.clear()
    source.upsert(shop.vectors(["new"], 1, colour=["Blue"], price=[9]), replace=False)
    source.remove(["i4", "i5"])
    source.upsert(shop.vectors(["i5"], 2, colour=["Green"], price=[5]), replace=False)
    vector = source.vectors(["i6"])
    repriced = Items.of(pa.table({"id": ["i6"], "colour": ["Red"], "price": [3]}))
    source.upsert(Vectors(vector, repriced, "image-old", None), replace=True)
    lag = mirror.look()
    assert (sorted(lag.encode), lag.cells, lag.gone) == (["i5", "new"], ["i6"], ["i4"])
    assert mirror.look() == lag, "what was looked up is not taken for done"
    mirror.run(lag)
    same(mirror, shop)
    assert sorted(shop.encoded) == ["i5", "new"]
    assert shop.read == 1, "pictures are looked up afresh, for they may have changed with the index"
    later = start()
    assert later.look() == Lag([], [], []), "another process knows what this one did"


def test_columns_that_come_later_or_take_a_wider_type_arrive_once(shop: Shop, source: Embedded, start) -> None:
    mirror = start()
    mirror.run(mirror.look())
    source.upsert(shop.vectors(["wide"], 1, colour=["Red"], price=["seven"], size=["XL"]), replace=False)
    mirror.run(mirror.look())
    for again in (mirror, start()):
        lag = again.look()
        again.run(lag)
        assert again.look() == Lag([], [], [])
        same(again, shop)


def test_after_a_rebuild_of_the_source_nothing_is_encoded_again(shop: Shop, source: Embedded, start) -> None:
    mirror = start()
    mirror.run(mirror.look())
    shop.encoded.clear()
    source.remove([f"i{n}" for n in range(20)])
    assert source.compact() == "rebuild"
    assert mirror.look_quickly() is None
    lag = mirror.look()
    assert (lag.encode, lag.cells, len(lag.gone)) == ([], [], 20)
    mirror.run(lag)
    same(mirror, shop)
    assert shop.encoded == []


@pytest.mark.parametrize("moment", range(4))
def test_what_a_killed_process_did_counts(shop: Shop, start, moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 10)
    mirror = start()
    with monkeypatch.context() as patched:
        if moment == 0:  # between the target and the ledger
            patched.setattr(Ledger, "add", failing(Ledger.add, after=1))
        elif moment == 1:
            patched.setattr(Embedded, "upsert", failing(Embedded.upsert, after=2))
        elif moment == 2:
            patched.setattr(shop, "encode", failing(shop.encode, after=2))
            mirror = Mirror(mirror.source, mirror.target, Encode(shop.encode, shop.afresh), mirror._ledger)
        else:
            patched.setattr(ledgers, "atomic_write", failing(ledgers.atomic_write, after=2))
        with pytest.raises(StoreError, match="killed"):
            mirror.run(mirror.look())
    done = len(shop.encoded)
    assert 10 <= done <= 30
    mirror = start()
    lag = mirror.look()
    assert len(lag.encode) <= 20
    mirror.run(lag)
    same(mirror, shop)
    assert len(shop.encoded) <= 40, "a batch at most is encoded twice"


def failing(real: Callable, after: int) -> Callable:
    calls = 0

    def call(*given, **named):
        nonlocal calls
        calls += 1
        if calls > after:
            raise StoreError("killed")
        return real(*given, **named)

    return call


def test_items_without_a_picture_are_named_and_tried_again(shop: Shop, source: Embedded, start) -> None:
    shop.lost = {"i3", "i7"}
    mirror = start()
    mirror.run(mirror.look())
    assert mirror.missing == {"i3": "no picture", "i7": "no picture"}
    assert len(mirror.target) == 28
    source.remove(["i7"])
    shop.lost = set()
    mirror.run(mirror.look())
    assert mirror.missing == {}
    same(mirror, shop)


def test_between_indexes_of_one_space_vectors_are_copied(shop: Shop, source: Embedded, tmp_path: Path) -> None:
    rows = source.items.taken(source.items.live_rows(["i0"]))
    Embedded.build(Vectors(source.vectors(["i0"]), rows, "image-old", None), tmp_path / "copy", factory="Flat")
    mirror = Mirror(source, Embedded(tmp_path / "copy"), None, None)
    mirror.run(mirror.look())
    other = Embedded(tmp_path / "source")
    other.upsert(shop.vectors(["i1", "new"], 1, colour=["Blue"], price=[1]), replace=True)
    other.remove(["i2"])
    lag = mirror.look()
    assert (sorted(lag.encode), lag.cells, lag.gone) == (["i1", "new"], [], ["i2"])
    mirror.run(lag)
    ids = sorted(other.ids())
    assert sorted(mirror.target.ids()) == ids
    assert np.array_equal(mirror.target.vectors(ids), other.vectors(ids))
    with pytest.raises(ValueError, match="copied between indexes of one space"):
        Mirror(source, Embedded(tmp_path / "copy"), None, Ledger(tmp_path / "pairs"))


def test_the_last_pair_of_an_item_counts_also_when_it_is_read_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    first, second = (np.random.default_rng(seed).standard_normal((3, 4)).astype(np.float32) for seed in (1, 2))
    assert not ledger.holds(["a"], "old", digests(first[:1])).any()
    ledger.add(["a", "b", "c"], digests(first), digests(second))
    ledger.add(["b"], digests(second[:1]), digests(first[:1]))
    for found in (ledger, Ledger(tmp_path)):
        assert found.holds(["a", "b", "c", "z"], "old", digests(np.stack([*first, first[0]]))).tolist() == [
            True, False, True, False,
        ]  # fmt: skip
        assert found.holds(["b"], "new", digests(first[:1])).all()
    for number in range(70):
        ledger.add([f"n{number}"], digests(first[:1]), digests(first[:1]))
    assert len(Ledger(tmp_path)) == 73
    assert len(list(tmp_path.iterdir())) == 1, "written together"
    assert len(Ledger(tmp_path)) == 73
    next(tmp_path.iterdir()).write_bytes(b"damaged")
    with pytest.raises(StoreError, match="cannot be read"):
        Ledger(tmp_path)
