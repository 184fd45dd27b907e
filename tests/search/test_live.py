"""An index that changes while it is searched, against a slow and obvious one: a dict of items, every one scored.

Additions, replacements, removals, rollbacks and compactions come in any order, with segments small enough that all
paths are taken; after each the index must hold and answer what the dict does.
"""

import os
import signal
import threading
import time
from datetime import date, timedelta
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest

from clipadapt import manifest
from clipadapt.errors import StoreError
from clipadapt.search import compaction
from clipadapt.search.embedded import Embedded
from clipadapt.search.filters import parse_all
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.mapped import FileRows
from clipadapt.search.query import CompiledQuery
from clipadapt.search.vectors import Vectors
from clipadapt.search.versions import Versions
from clipadapt.store import Store

DIM = 16
WHERE = {
    "price<50": lambda item: item["price"] is not None and item["price"] < 50,
    "Pattern!=Striped": lambda item: item["Pattern"] not in (None, "Striped"),
    "Pattern not in (Striped, Solid)": lambda item: item["Pattern"] not in (None, "Striped", "Solid"),
    "Pattern is unknown": lambda item: item["Pattern"] is None,
    "tags=sale": lambda item: "sale" in item["tags"],
    "added>=2026-01-15": lambda item: item["added"] is not None and item["added"] >= date(2026, 1, 15),
    "Fit=Slim": lambda item: item.get("Fit") == "Slim",
}


class Slow:
    """Items in a dict."""

    def __init__(self) -> None:
        self.items: dict[str, dict] = {}

    def search(self, query: np.ndarray, k: int, where: str | None, collapse: bool) -> list[tuple[str, float]]:
        chosen = [item for item in self.items.values() if where is None or WHERE[where](item)]
        ranked = sorted(((float(item["vector"] @ query), item) for item in chosen), key=lambda one: -one[0])
        kept, seen = [], set()
        for score, item in ranked:
            if not collapse or item["product"] not in seen:
                kept.append((item["id"], score))
                seen.add(item["product"])
        return kept[:k]


def drawn(ids: list[str], rng: np.random.Generator, *, odd: bool) -> list[dict]:
    """Items with some cells unknown; odd ones have prices with cents, and a column that others lack."""
    vectors = rng.standard_normal((len(ids), DIM)) + 1
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = []
    for item, vector in zip(ids, vectors.astype(np.float32), strict=True):
        price = None if rng.random() < 0.2 else int(rng.integers(1, 100)) + (0.5 if odd else 0)
        pattern = None if rng.random() < 0.2 else str(rng.choice(["Solid", "Striped", "Checked"]))
        tags = [str(tag) for tag in rng.permutation(["new", "sale", "eco"])[: rng.integers(0, 3)]]
        added = None if rng.random() < 0.2 else date(2026, 1, 1) + timedelta(days=int(rng.integers(30)))
        row = {"id": item, "product": f"p{int(item) // 3}", "price": price, "Pattern": pattern, "tags": tags,
               "added": added, "vector": vector}  # fmt: skip
        found.append(row | ({"Fit": str(rng.choice(["Slim", "Loose"]))} if odd else {}))
    return found


def given(rows: list[dict]) -> Vectors:
    cells = {name: [row[name] for row in rows] for name in rows[0] if name != "vector"}
    text = {"tags": ["|".join(tags) for tags in cells["tags"]]}
    return Vectors(
        np.stack([row["vector"] for row in rows]), Items.of(pa.table(cells | text), {"tags": "|"}), "s", None
    )


def compare(index: Index, slow: Slow, rng: np.random.Generator) -> None:
    assert len(index) == len(slow.items)
    assert set(index.ids()) == set(slow.items)
    if slow.items:
        item = slow.items[str(rng.choice(sorted(slow.items)))]
        np.testing.assert_allclose(index.vector(item["id"]), item["vector"], atol=1e-6)
        assert index.item(item["id"]).product == item["product"]
        assert index.item(item["id"]).attributes.get("price") == item["price"]
    query = rng.standard_normal(DIM).astype(np.float32)
    compiled = [CompiledQuery(query, "picture", ())]
    for where in [None, *rng.choice(list(WHERE), 3)]:
        if where is not None and where.startswith("Fit") and "Fit" not in index.columns:
            continue
        conditions = parse_all(where)
        assert index.backend.count(conditions) == sum(
            where is None or WHERE[where](item) for item in slow.items.values()
        )
        for collapse in (False, True):
            (hits,) = index.backend.exact(compiled, 7, conditions, collapse)
            right = slow.search(query, 7, where, collapse)
            np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in right], atol=1e-5)
            assert {hit.id for hit in hits} == {item for item, _ in right}


@pytest.mark.parametrize("factory", ["Flat", "IVF4,SQ8,RFlat"])
@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_changes_leaves_what_a_dict_holds(tmp_path, monkeypatch, factory, seed):
    actions = ["add", "add", "update", "remove", "rollback", "compact", "compact", "open"]
    _change_and_compare(tmp_path / "index", monkeypatch, factory, seed, actions, 45)


@pytest.mark.parametrize("factory", ["Flat", "IVF4,SQ8,RFlat"])
def test_any_order_of_changes_leaves_what_a_dict_holds_in_shards(tmp_path, monkeypatch, in_shards, factory):
    actions = ["add", "add", "update", "remove", "rollback", "compact", "compact", "open"]
    _change_and_compare(tmp_path / "index", monkeypatch, factory, 0, actions, 45)


def test_any_order_of_changes_leaves_what_a_dict_holds_in_milvus(in_milvus, monkeypatch):
    """Without rollbacks, which go back to the collection before: changes are made in one."""
    _change_and_compare(in_milvus, monkeypatch, "auto", 1, ["add", "add", "update", "remove", "open"], 24)


def _change_and_compare(place, monkeypatch, factory, seed, actions, steps):
    monkeypatch.setattr(compaction, "EXACT", 40)
    monkeypatch.setattr(compaction, "_JOINED", 60)
    monkeypatch.setattr(compaction, "_small_factory", lambda rows, dim: "IVF2,SQ8,RFlat")
    rng = np.random.default_rng(seed)
    slow, before, last = Slow(), None, 200
    for row in drawn([str(number) for number in range(last)], rng, odd=False):
        slow.items[row["id"]] = row
    index = Index.build(given(list(slow.items.values())), place, factory=factory)
    done = {"add": 0, "update": 0, "remove": 0, "rollback": 0, "seal": 0, "rebuild": 0}
    for _ in range(steps):
        action = str(rng.choice(actions))
        kept = dict(slow.items)
        if action in ("add", "update"):
            size = int(rng.integers(1, 30))
            ids = [str(last + number) for number in range(size)]
            if action == "update":
                there = sorted(slow.items)
                ids = [
                    *ids[: size // 2],
                    *(str(one) for one in rng.choice(there, min(size, len(there)), replace=False)),
                ]
            rows = drawn(ids, rng, odd=bool(rng.random() < 0.3))
            last += size
            change = index.add(given(rows)) if action == "add" else index.update(given(rows))
            assert (change.added, change.removed) == (len(rows), len(kept.keys() & set(ids)))
            slow.items |= {row["id"]: row for row in rows}
        elif action == "remove":
            gone = [str(one) for one in rng.choice(sorted(slow.items), int(rng.integers(1, 15)), replace=False)]
            index.remove(gone)
            slow.items = {item: row for item, row in slow.items.items() if item not in gone}
        elif action == "rollback":
            if before is None:
                continue
            index.rollback()
            slow.items, kept = before, None
        elif action == "compact":
            action = index.compact()
            if action is None:
                continue
        else:
            index = Index.open(place)
            continue
        before = kept if action != "rollback" else None
        done[action] += 1
        compare(index, slow, rng)
    compare(Index.open(place), slow, rng)
    assert all(done[action] for action in ("add", "update", "remove")), done


def test_an_addition_writes_what_is_new_alone(tmp_path):
    rng = np.random.default_rng(0)
    index = Index.build(
        given(drawn([str(n) for n in range(3_000)], rng, odd=False)), tmp_path / "i", factory="IVF8,SQ8,RFlat"
    )
    index.add(given(drawn(["9000", "9001"], rng, odd=False)))
    first, second = sorted((tmp_path / "i" / "versions").iterdir())
    for name in ("index.faiss", "items.parquet", "ids.npy", "text_queries.npy"):
        assert (first / name).stat().st_ino == (second / name).stat().st_ino
    new = sum(file.stat().st_size for file in second.rglob("*") if file.is_file() and file.stat().st_nlink == 1)
    assert new < 20_000


def test_a_reader_follows_a_writer_and_keeps_open_what_is_unchanged(tmp_path):
    rng = np.random.default_rng(0)
    Index.build(given(drawn([str(n) for n in range(300)], rng, odd=False)), tmp_path / "i", factory="IVF8,SQ8,RFlat")
    reader, writer = Embedded(tmp_path / "i"), Index.open(tmp_path / "i")
    assert not reader.refresh()
    writer.add(given(drawn(["900"], rng, odd=False)))
    engine = reader.engine.engines[0]
    assert not reader.holds("900")
    assert reader.refresh()
    assert reader.holds("900")
    assert reader.engine.engines[0] is engine


def test_changes_during_a_compaction_are_carried_over(tmp_path, monkeypatch):
    """The work is done on one version; what two other processes change meanwhile is in the version that it becomes."""
    monkeypatch.setattr(compaction, "EXACT", 20)
    monkeypatch.setattr(compaction, "_small_factory", lambda rows, dim: "IVF2,SQ8,RFlat")
    rng = np.random.default_rng(0)
    rows = {row["id"]: row for row in drawn([str(n) for n in range(400)], rng, odd=False)}
    Index.build(given(list(rows.values())), tmp_path / "i", factory="IVF8,SQ8,RFlat")
    for plan, count in (("seal", 60), ("rebuild", 200)):
        index, other = Index.open(tmp_path / "i"), Index.open(tmp_path / "i")
        first = max(map(int, rows)) + 1
        more = drawn([str(first + n) for n in range(count)], rng, odd=False)
        index.add(given(more))
        rows |= {row["id"]: row for row in more}
        late = drawn([str(first + 1_000 + n) for n in range(5)], rng, odd=True)
        whole = compaction.install

        def meanwhile(work, late=late, other=other, whole=whole, first=first):
            other.add(given(late))
            other.remove(["1", str(first)] if other.holds("1") else ["2", str(first)])
            return whole(work)

        monkeypatch.setattr(compaction, "install", meanwhile)
        assert index.compact() == plan
        monkeypatch.setattr(compaction, "install", whole)
        rows = {item: row for item, row in rows.items() if item not in (str(first), "1" if plan == "seal" else "2")}
        rows |= {row["id"]: row for row in late}
        slow = Slow()
        slow.items = rows
        compare(Index.open(tmp_path / "i"), slow, rng)
        compare(index, slow, rng)


@pytest.mark.parametrize(("plan", "more"), [("seal", 30), ("rebuild", 100)])
def test_a_compaction_comes_to_an_end_where_versions_pass_quicker_than_they_are_verified(
    tmp_path, monkeypatch, plan, more
):
    other, index = _due(tmp_path / "i", monkeypatch, more)
    whole, read = manifest.sha256_file, []

    def slowly(file: Path) -> str:
        """While a file is read, enough changes come to prune the version that it is read for."""
        found = whole(file)
        if file.suffix == ".faiss" and "versions" in file.parts:
            read.append(file)
            assert len(read) < 10, "it is read for every version"
            with monkeypatch.context() as quickly:
                quickly.setattr(manifest, "sha256_file", whole)
                for number in range(3):
                    other.add(given(drawn([str(2000 + 10 * len(read) + number)], np.random.default_rng(0), odd=False)))
        return found

    monkeypatch.setattr(manifest, "sha256_file", slowly)
    assert index.compact() == plan and read
    monkeypatch.setattr(manifest, "sha256_file", whole)
    found = Index.open(tmp_path / "i")
    assert len(found) == 300 + more + 3 * len(read)
    assert [one.factory for one in found.meta.segments][:1] == (["IVF2,SQ8,RFlat"] if plan == "seal" else ["Flat"])


@pytest.mark.parametrize(("plan", "more"), [("seal", 30), ("rebuild", 100)])
def test_a_compaction_gives_nothing_damaged_a_new_checksum(tmp_path, monkeypatch, plan, more):
    _, index = _due(tmp_path / "i", monkeypatch, more)
    before = Store(tmp_path / "i").version()
    folder = tmp_path / "i" / "versions" / before
    damaged = next(folder.glob("segments/*.faiss" if plan == "seal" else "index.faiss"))
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(StoreError, match=rf"was changed after it was written: .*{damaged.name} has another sha256"):
        index.compact()
    assert Store(tmp_path / "i").version() == before


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_exact_vectors_beside_a_large_base_are_read_from_their_file(tmp_path, monkeypatch):
    _, index = _due(tmp_path / "i", monkeypatch, 30)
    assert index.compact() == "seal"
    query = drawn(["3000"], np.random.default_rng(5), odd=False)
    index.add(given(query))
    usual = Index.open(tmp_path / "i")
    monkeypatch.setattr("clipadapt.search.mapped.MOST", 300 * DIM * 4)
    large = Versions(tmp_path / "i").read(mapped=True, verify=False)
    (shard,) = large.shards.values()
    assert [isinstance(one.engine.all_vectors(), FileRows) for one in shard.segments] == [False, True, False]
    found, same = (one.search(query[0]["vector"], 40, collapse=False) for one in (Index.open(tmp_path / "i"), usual))
    assert [hit.id for hit in found[0]] == [hit.id for hit in same[0]] and len(found[0]) == 40


def _due(place, monkeypatch, more):
    """An index of 300 items and `more` that came later, which it is time to compact; open twice."""
    monkeypatch.setattr(compaction, "EXACT", 20)
    monkeypatch.setattr(compaction, "_small_factory", lambda rows, dim: "IVF2,SQ8,RFlat")
    rng = np.random.default_rng(3)
    Index.build(given(drawn([str(n) for n in range(300)], rng, odd=False)), place, factory="IVF4,SQ8,RFlat")
    Index.open(place).add(given(drawn([str(n) for n in range(1000, 1000 + more)], rng, odd=False)))
    return Index.open(place), Index.open(place)


def test_a_compaction_of_what_was_taken_back_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "EXACT", 20)
    monkeypatch.setattr(compaction, "_small_factory", lambda rows, dim: "IVF2,SQ8,RFlat")
    rng = np.random.default_rng(0)
    Index.build(given(drawn([str(n) for n in range(400)], rng, odd=False)), tmp_path / "i", factory="IVF8,SQ8,RFlat")
    index, other = Index.open(tmp_path / "i"), Index.open(tmp_path / "i")
    index.add(given(drawn([str(900 + n) for n in range(50)], rng, odd=False)))
    whole = compaction.install

    def meanwhile(work):
        other.rollback()
        other.add(given(drawn([str(700 + n) for n in range(60)], rng, odd=False)))
        return whole(work)

    monkeypatch.setattr(compaction, "install", meanwhile)
    with pytest.raises(StoreError, match="a change taken back, while it was compacted; compact it again"):
        index.compact()
    assert Index.open(tmp_path / "i").holds("759")
    assert not Index.open(tmp_path / "i").holds("900")


def test_two_writers_wait_for_each_other(tmp_path):
    rng = np.random.default_rng(0)
    Index.build(given(drawn([str(n) for n in range(50)], rng, odd=False)), tmp_path / "i")
    batches = [given(drawn([str(1_000 * who + n)], rng, odd=False)) for who in (1, 2, 3) for n in range(8)]
    errors: list[BaseException] = []

    def work(mine: list[Vectors]) -> None:
        index = Index.open(tmp_path / "i")
        try:
            for batch in mine:
                index.add(batch)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(batches[part : part + 8],)) for part in (0, 8, 16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(Index.open(tmp_path / "i")) == 50 + 24


def test_kill_9_loses_no_change_that_was_acknowledged(tmp_path, monkeypatch):
    """A process adds and compacts until it is killed; what it had said was done is there, and nothing is torn."""
    monkeypatch.setattr(compaction, "EXACT", 15)
    monkeypatch.setattr(compaction, "_small_factory", lambda rows, dim: "IVF2,SQ8,RFlat")
    rng = np.random.default_rng(0)
    place, log = tmp_path / "i", tmp_path / "log"
    Index.build(given(drawn([str(n) for n in range(100)], rng, odd=False)), place, factory="IVF4,SQ8,RFlat")
    for first in range(1_000, 6_000, 1_000):
        log.write_text("")
        child = os.fork()
        if child == 0:
            _change_until_killed(place, log, first)
        while len(log.read_text().split()) < 3 and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.001)
        time.sleep(rng.random() / 10)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        index = Index.open(place)
        there = set(index.ids())
        for number in map(int, log.read_text().split()):
            assert {str(number), str(number + 1)} <= there
        for number in (one for one in map(int, there) if one >= 1_000):
            assert str(number ^ 1) in there  # both of a batch or neither
            row = _pair(number & ~1)[number & 1]
            np.testing.assert_allclose(index.vector(str(number)), row["vector"], atol=1e-6)


def _change_until_killed(place: Path, log: Path, first: int) -> None:
    try:
        faiss.omp_set_num_threads(1)  # threads of the process that was forked are not here
        index = Index.open(place, verify=False)
        with log.open("a", buffering=1) as said:
            for number in range(first, first + 900, 2):
                index.add(given(_pair(number)))
                said.write(f"{number}\n")
                if number % 10 == 8:
                    index.compact()
    finally:
        os._exit(1)


def _pair(number: int) -> list[dict]:
    return drawn([str(number), str(number + 1)], np.random.default_rng(number), odd=False)
