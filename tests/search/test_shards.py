"""An index in shards answers as one in a single folder does, whatever changes came, and is published as one."""

import itertools
import os
import shutil
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import faiss
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipadapt.errors import CatalogueError, SpaceError, StoreError, UsageError
from clipadapt.search import compaction, contents, weighed
from clipadapt.search import shards as form
from clipadapt.search.backend import Hit
from clipadapt.search.embedded import Embedded
from clipadapt.search.filters import parse_all
from clipadapt.search.index import Index, Target
from clipadapt.search.items import Items
from clipadapt.search.opening import refuse_target
from clipadapt.search.query import CompiledQuery
from clipadapt.search.shards import CAME, shards_of
from clipadapt.search.understanding.vocabulary import Value
from clipadapt.search.vector_parts import Joined, PartFile
from clipadapt.search.vectors import Vectors
from clipadapt.search.wishes import Wishes

DIM = 6


def made(ids: list[int], seed: int, prices: str = "whole") -> Vectors:
    """Vectors of which many are equal, so that scores are; products of four items; a price that some lack."""
    rng = np.random.default_rng(seed)
    vectors = np.eye(DIM, dtype=np.float32)[rng.integers(0, DIM, len(ids))]
    cells = {"whole": "{}", "cents": "{}.5", "words": "from {}"}[prices]
    table = pa.table(
        {
            "id": [str(one) for one in ids],
            "product": [f"p{one // 4}" for one in ids],
            "price": ["" if rng.random() < 0.2 else cells.format(rng.integers(1, 60)) for _ in ids],
            "tags": ["|".join(rng.permutation(["new", "sale"])[: rng.integers(0, 3)]) for _ in ids],
        }
    )
    return Vectors(vectors, Items.of(table, {"tags": "|"}), "space", None)


def agree(one: Index, many: Index) -> None:
    """Whether two indexes say the same of everything, ties included."""
    assert len(one) == len(many) and set(one.ids()) == set(many.ids())
    assert one.columns == many.columns and one.backend.separators == many.backend.separators
    assert one.facets() == many.facets()
    assert dict(zip(one.ids(), one.values("price"), strict=True)) == dict(
        zip(many.ids(), many.values("price"), strict=True)
    )
    query = np.arange(1, DIM + 1, dtype=np.float32) / 10
    plain = CompiledQuery(query, "picture", ())
    wished = CompiledQuery(query, "picture", (), Wishes(wanted=((Value("tags", "sale"),),)))
    for where, collapse in itertools.product((None, "tags=new"), (True, False)):
        assert one.count(where) == many.count(where)
        for ask, asked, k in (("exact", plain, 9), ("search", plain, 9), ("search", plain, 999), ("exact", wished, 9)):
            mine, theirs = (
                getattr(each.backend, ask)([asked], k, parse_all(where), collapse)[0] for each in (one, many)
            )
            np.testing.assert_allclose([hit.score for hit in mine], [hit.score for hit in theirs], atol=1e-6)
            # Of the vectors that share the last place FAISS gives some, in one folder as in shards.
            cut = mine[-1].score if len(mine) == k and asked is plain else -np.inf
            assert [known(hit) for hit in mine if hit.score > cut] == [known(hit) for hit in theirs if hit.score > cut]
    for each in one.ids()[:3]:
        np.testing.assert_array_equal(one.vector(each), many.vector(each))
    np.testing.assert_array_equal(np.sort(one.backend.sample(20), axis=0), np.sort(many.backend.sample(20), axis=0))


def known(hit: Hit) -> tuple:
    return hit.id, hit.product, hit.attributes


changes = st.lists(st.sampled_from(["add", "cents", "words", "update", "remove", "rollback", "tune"]), max_size=5)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(2, 7), st.integers(0, 70), changes, st.integers(0, 2**20))
def test_any_number_of_shards_answers_as_one_folder(tmp_path_factory, count, size, actions, seed):
    with mock.patch.object(weighed, "WHOLE", weighed.WHOLE * (seed % 2)):
        answers_as_one(tmp_path_factory.mktemp("shards"), count, size, actions, seed)


def answers_as_one(folder: Path, count: int, size: int, actions: list[str], seed: int) -> None:
    rng, source = np.random.default_rng(seed), made(list(range(size)), seed)
    both = [Index.build(source, folder / str(shards), factory="Flat", shards=shards) for shards in (1, count)]
    agree(*both)
    for step, action in enumerate(actions):
        there = sorted(both[0].ids(), key=int)
        some = [str(one) for one in rng.choice(there, min(7, len(there)), replace=False)] if there else []
        new = list(range(1000 * (step + 1), 1000 * (step + 1) + int(rng.integers(1, 12))))
        kind = action if action in ("cents", "words") else "whole"
        for index in both:
            if action == "remove":
                index.remove(some)
            elif action == "update":
                index.update(made([*map(int, some), *new], seed + step))
            elif action == "tune":
                index.tune(Target(recall=0.9), ["Flat"])
            elif action == "rollback" and len(index.backend.versions()) > 1 and actions[step - 1] != "rollback":
                index.rollback()
            elif action != "rollback":
                index.add(made(new, seed + step, kind))
        agree(*both)
    agree(Index.open(folder / "1"), Index.open(folder / str(count)))


def test_cells_find_in_every_shard_what_they_find_in_one(tmp_path, vectors_of, cloud):
    source, queries = vectors_of(3_000), cloud(40, seed=5)
    many = Index.build(source, tmp_path / "many", factory="IVF16,SQ8,RFlat", shards=3)
    assert many.meta.shards is not None
    assert [len(one.measured) for one in many.meta.shards.parts] == [1, 1, 1]
    assert many.meta.measured["picture"].recall == min(one.measured["picture"].recall for one in many.meta.shards.parts)
    found = many.search(queries, 10, collapse=False)
    exact = many.backend.exact([CompiledQuery(query, "picture", ()) for query in queries], 10, collapse=False)
    shares = [len({hit.id for hit in a} & {hit.id for hit in b}) / 10 for a, b in zip(found, exact, strict=True)]
    assert np.mean(shares) > 0.97


def test_an_item_is_where_its_hash_says(tmp_path):
    many = Index.build(made(list(range(50)), 0), tmp_path / "i", shards=4)
    many.add(made(list(range(50, 70)), 1))
    version = tmp_path / "i" / "versions" / "000002"
    held = [ids_of(version / f"shards/{number}") for number in range(4)]
    assert sorted(itertools.chain(*held), key=int) == [str(one) for one in range(70)]
    assert all((shards_of(some, 4) == number).all() for number, some in enumerate(held))
    assert shards_of(["a", "\u00e9", "1163"], 4).tolist() == [0, 3, 1], "indexes on disk stand on this hash"


def ids_of(folder: Path) -> list[str]:
    return contents.read(folder, mapped=False).items.ids()


def test_vectors_in_parts_are_taken_shard_by_shard(tmp_path):
    source = made(list(range(50)), 0)
    for name, part in (("a", source.vectors[:20]), ("b", source.vectors[20:])):
        np.save(tmp_path / f"{name}.npy", part)
    parts = Joined([PartFile(tmp_path / "a.npy", 20), PartFile(tmp_path / "b.npy", 30)], DIM)
    many = Index.build(source._replace(vectors=parts), tmp_path / "many", factory="Flat", shards=3)
    agree(Index.build(source, tmp_path / "one", factory="Flat", shards=1), many)


def test_a_change_writes_the_shards_that_it_touches_alone(tmp_path):
    many = Index.build(made(list(range(300)), 0), tmp_path / "i", shards=4)
    many.remove(["5"])
    first, second = (tmp_path / "i" / "versions" / name for name in ("000001", "000002"))
    for number in range(4):
        for name in ("index.faiss", "items.parquet", "ids.npy", "text_queries.npy"):
            inside = f"shards/{number}/{name}"
            assert (first / inside).stat().st_ino == (second / inside).stat().st_ino
    (touched,) = shards_of(["5"], 4)
    gone = [len(np.load(second / f"shards/{number}/tombstones.npy")) for number in range(4)]
    assert gone == [int(number == touched) for number in range(4)]


@pytest.mark.parametrize("stop", range(3))
def test_a_kill_between_the_writes_of_two_shards_leaves_the_old_version(tmp_path, monkeypatch, stop):
    Index.build(made(list(range(200)), 0), tmp_path / "i", shards=3)
    before = Index.open(tmp_path / "i")
    child = os.fork()
    if child == 0:
        try:
            faiss.omp_set_num_threads(1)  # threads of the process that was forked are not here
            _killed_while_writing(tmp_path / "i", stop)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert before.newer() is None
    agree(before, Index.open(tmp_path / "i"))
    index = Index.open(tmp_path / "i")
    index.add(made(list(range(1000, 1040)), 3))
    assert len(Index.open(tmp_path / "i")) == 240 and index.backend.versions() == ["000001", "000002"]


def _killed_while_writing(place: Path, stop: int) -> None:
    write, done = contents.write, itertools.count()

    def killed(*given, **named):
        write(*given, **named)
        if next(done) == stop:
            os.kill(os.getpid(), signal.SIGKILL)

    contents.write = killed
    Index.open(place, verify=False).update(made(list(range(150, 260)), 7))


def test_readers_see_a_change_in_all_shards_or_in_none(tmp_path):
    ids = list(range(12))
    Index.build(made(ids, 0), tmp_path / "i", shards=4)
    assert len(set(shards_of([str(one) for one in ids], 4).tolist())) == 4
    over, errors = threading.Event(), []

    def change() -> None:
        try:
            writer = Index.open(tmp_path / "i")
            for price in range(12):
                table = made(ids, 0).items.table
                cells = pa.array([str(price)] * len(ids))
                items = Items.of(table.set_column(table.column_names.index("price"), "price", cells))
                writer.update(made(ids, price)._replace(items=items))
        except BaseException as error:
            errors.append(error)
        finally:
            over.set()

    thread, seen = threading.Thread(target=change), set()
    reader = Index.open(tmp_path / "i")
    thread.start()
    while not over.is_set():
        newer = reader.newer()
        if newer is not None:
            reader = newer
            assert len(set(reader.values("price"))) == 1
            seen.add(reader.values("price")[0])
    thread.join()
    assert not errors and seen


def test_two_writers_wait_for_each_other(tmp_path):
    Index.build(made(list(range(20)), 0), tmp_path / "i", shards=3)
    errors = []

    def work(first: int) -> None:
        try:
            index = Index.open(tmp_path / "i")
            for step in range(4):
                index.add(made([first + 3 * step, first + 3 * step + 1], first))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in (100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(Index.open(tmp_path / "i")) == 20 + 16


def test_a_shard_that_is_missing_or_changed_is_named(tmp_path):
    built = Index.build(made(list(range(60)), 0), tmp_path / "i", shards=3)
    version = tmp_path / "i" / "versions" / "000001"
    shutil.copytree(version, tmp_path / "whole")
    file = version / "shards/1/index.faiss"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"shards/1/index\.faiss has another sha256"):
        Index.open(tmp_path / "i")
    shutil.rmtree(version / "shards/1")
    with pytest.raises(StoreError, match=r"shards/1/index.faiss cannot be read \(No such file"):
        Index.open(tmp_path / "i", verify=False)
    with pytest.raises(StoreError, match="shards/1"):
        built.remove(["3"])
    for name in ("0", "1"):
        shutil.rmtree(version / "shards" / name, ignore_errors=True)
        shutil.copytree(tmp_path / "whole" / "shards" / str(1 - int(name)), version / "shards" / name)
    with pytest.raises(StoreError, match=r"shards/0/.* has"):
        Index.open(tmp_path / "i")
    with pytest.raises(StoreError, match=r"shards/0: holds items that belong in another shard than number 0 of 3"):
        form.read(version, mapped=False)


def test_a_shard_of_another_index_is_refused(tmp_path):
    Index.build(made(list(range(60)), 0), tmp_path / "i", shards=3)
    version = form.read(tmp_path / "i" / "versions" / "000001", mapped=False)
    other = version.shards["shards/2/"].stated(image_space="other")
    (tmp_path / "mixed").mkdir()
    form.write(tmp_path / "mixed", version.replaced({**version.shards, "shards/2/": other}))
    with pytest.raises(StoreError, match=r"shards/2: holds 6 dimensions of other, and the index 6 of space; put the"):
        form.read(tmp_path / "mixed", mapped=False)
    plain = Index.build(made(list(range(60)), 0), tmp_path / "plain")
    shutil.rmtree(tmp_path / "mixed/shards/2")
    shutil.copytree(Path(plain.backend.name) / "versions/000001", tmp_path / "mixed/shards/2")
    with pytest.raises(StoreError, match=f"shards/2: has no column {CAME!r}, so it is no shard"):
        form.read(tmp_path / "mixed", mapped=False)


def test_what_does_not_fit_is_refused(tmp_path, vectors_of):
    index = Index.build(vectors_of(90), tmp_path / "i", shards=3)
    with pytest.raises(SpaceError, match="16 dimensions for an index of 32"):
        index.add(vectors_of(3, first=700, dim=16))
    with pytest.raises(CatalogueError, match=r"2 item\(s\) are in the index already"):
        index.add(vectors_of(2))
    with pytest.raises(UsageError, match=r"'i1' was removed"):
        index.remove(["i1"])
        index.remove(["i1"])
    with pytest.raises(UsageError, match=r"shard 0 of 3: factory 'IVF64,Flat': \d+ vectors cannot fill 64 cells"):
        Index.build(vectors_of(90), tmp_path / "j", factory="IVF64,Flat", shards=3)
    assert not Path(tmp_path / "j" / "current").exists()
    for count in (0, 257):
        with pytest.raises(UsageError, match=f"{count} shards: an index has 1 to 256"):
            Index.build(vectors_of(90), tmp_path / "j", shards=count)
    with pytest.raises(UsageError, match="Milvus divides its collections by itself; leave out --shards"):
        refuse_target("milvus:http://localhost:1/shop", 2)
    taken, columns = vectors_of(9), vectors_of(9).items.table.column_names
    named = taken.items.table.rename_columns([CAME if name == "price" else name for name in columns])
    with pytest.raises(UsageError, match=f"a column {CAME!r}.*another name"):
        Index.build(taken._replace(items=Items.of(named)), tmp_path / "j", shards=2)


def test_an_index_that_is_built_anew_keeps_its_number_of_shards(tmp_path, caplog):
    Index.build(made(list(range(60)), 0), tmp_path / "i", shards=3)
    reader = Index.open(tmp_path / "i")
    again = Index.build(made(list(range(30)), 0), tmp_path / "i")
    assert again.meta.shards is not None and len(again.meta.shards.parts) == 3
    one = Index.build(made(list(range(40)), 0), tmp_path / "i", shards=1)
    assert one.meta.shards is None
    assert reader.refresh() and len(reader) == 40 and reader.meta.shards is None
    assert one.rollback() == "000002" and len(Index.open(tmp_path / "i")) == 30
    assert reader.refresh() and reader.meta.shards is not None
    (tmp_path / "i" / "versions" / "000002" / "index.json").write_text("{")
    Index.build(made(list(range(20)), 0), tmp_path / "i")
    assert "built in 1 shard(s), name another number with --shards" in caplog.text


def test_what_changed_is_known_across_shards(tmp_path):
    writer = Index.build(made(list(range(400)), 0), tmp_path / "i", shards=3)
    before = Embedded(tmp_path / "i")
    writer.add(made([1000, 1001, 1002], 1))
    writer.update(made([7], 5))
    writer.remove(["8", "9", "1001"])
    after = before.newer()
    assert after is not None
    found = after.changed_since(before)
    assert found is not None
    assert (sorted(found.there), found.gone) == (["1000", "1002", "7"], ["8", "9"])
    Index.build(made(list(range(400)), 0), tmp_path / "i", shards=2)
    rebuilt = before.newer()
    assert rebuilt is not None and rebuilt.changed_since(before) is None


def test_shards_are_compacted_one_after_the_other(tmp_path, vectors_of, monkeypatch):
    monkeypatch.setattr(compaction, "EXACT", 100)
    monkeypatch.setattr(compaction, "_small_factory", lambda rows, dim: "IVF4,SQ8,RFlat")
    index = Index.build(vectors_of(1_800), tmp_path / "i", factory="IVF8,SQ8,RFlat", shards=3)
    index.add(vectors_of(380, first=5_000))
    assert index.backend.compaction_due()
    probe = vectors_of(380, first=5_000).vectors[77]
    assert index.compact() == "seal"
    assert not index.backend.compaction_due() and index.compact() is None
    assert index.search(probe, 1, collapse=False)[0][0].id == "i5077"
    index.remove([f"i{row}" for row in range(700)])
    assert index.compact() == "rebuild"
    assert len(Index.open(tmp_path / "i")) == len(index) == index.items.rows == 1_480
    assert index.search(probe, 1, collapse=False)[0][0].id == "i5077"


def test_all_shards_are_compacted_after_a_rollback(tmp_path, vectors_of, monkeypatch):
    monkeypatch.setattr(compaction, "EXACT", 50)
    monkeypatch.setattr(compaction, "_small_factory", lambda rows, dim: "IVF4,SQ8,RFlat")
    index = Index.build(vectors_of(600), tmp_path / "i", factory="IVF8,SQ8,RFlat", shards=2)
    index.add(vectors_of(140, first=5_000))
    index.add(vectors_of(3, first=9_000))
    index.rollback()  # the first change from here gives vector ids a second time, in every shard
    assert index.compact() == "seal"
    assert not index.backend.compaction_due() and len(Index.open(tmp_path / "i")) == 740


@pytest.mark.parametrize("again", [1, 2, 3])
def test_a_compaction_is_dropped_where_the_index_was_built_anew_meanwhile(tmp_path, vectors_of, monkeypatch, again):
    monkeypatch.setattr(compaction, "EXACT", 50)
    monkeypatch.setattr(compaction, "_small_factory", lambda rows, dim: "IVF4,SQ8,RFlat")
    index = Index.build(vectors_of(600), tmp_path / "i", factory="IVF8,SQ8,RFlat", shards=2)
    index.add(vectors_of(140, first=5_000))
    whole = compaction.install

    def meanwhile(work):
        monkeypatch.setattr(compaction, "install", whole)
        Index.build(vectors_of(2_000, first=8_000), tmp_path / "i", shards=again)
        return whole(work)

    monkeypatch.setattr(compaction, "install", meanwhile)
    with pytest.raises(StoreError, match=r"was rebuilt|was built anew"):
        index.compact()
    there = Index.open(tmp_path / "i")
    assert (len(there), there.items.rows, there.meta.shard_count) == (2_000, 2_000, again)


def test_tuning_gives_every_shard_one_factory(tmp_path, vectors_of, monkeypatch):
    index = Index.build(vectors_of(900), tmp_path / "i", factory="Flat", shards=3)
    index.remove([f"i{row}" for row in range(100)])
    index.tune(Target(recall=0.9, memory_mb=100), ["IVF4,Flat"])
    assert index.meta.shards is not None
    assert [one.factory for one in index.meta.shards.parts] == ["IVF4,Flat"] * 3
    assert (len(index), index.items.rows, index.meta.target.memory_mb) == (800, 800, 100)
    with pytest.raises(UsageError, match=r"shard \d of 3: no factory reaches the target"):
        index.tune(Target(memory_mb=0.001), ["Flat"])
    slow = itertools.count()
    monkeypatch.setattr("clipadapt.search.building.time", SimpleNamespace(perf_counter=lambda: next(slow)))
    with pytest.raises(UsageError, match=r"3 shards together take 1000.00 ms over 500.0; ask for less, or build"):
        index.tune(Target(recall=0.9, latency_ms=500), ["Flat"])
    assert {one.factory for one in index.meta.shards.parts} == {"IVF4,Flat"}
    index.rebuild_due()


def test_a_shard_without_items_is_tuned_with_the_others(tmp_path):
    index = Index.build(made(list(range(3)), 0), tmp_path / "i", shards=8)
    index.tune(Target(recall=0.5, memory_mb=1), ["Flat"])
    assert len(index) == 3 and index.meta.shard_count == 8
    with pytest.raises(UsageError, match=r"shard \d of 8: no factory reaches the target:\n.*MB in memory over"):
        index.tune(Target(recall=0.5, memory_mb=1e-6), ["Flat"])


def test_a_due_rebuild_names_the_shard(tmp_path, vectors_of):
    index = Index.build(vectors_of(300), tmp_path / "i", shards=2)
    gone = [item for item in index.ids() if shards_of([item], 2)[0] == 1][:100]
    index.remove(gone)
    assert [reason.partition(":")[0] for reason in index.rebuild_due()] == ["shards/1"]
