import json
import sys
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import CatalogueError, SpaceError, StoreError, UsageError
from clipadapt.search import compaction
from clipadapt.search.embed import embed_pictures
from clipadapt.search.embedded import Embedded
from clipadapt.search.index import Index, Item, Query, Target
from clipadapt.search.items import Items
from clipadapt.search.topk import topk
from clipadapt.search.vectors import Vectors


@pytest.fixture(params=["whole", "segments", "shards", "milvus"])
def colours(request, painter, shop, tmp_path, monkeypatch):
    """The index of twelve coloured pictures: i0 to i2 red, then green, blue and white; two items to a product."""
    catalogue = Catalogue.load(shop, "train")
    if request.param == "milvus":
        return Index.build(catalogue, request.getfixturevalue("in_milvus"), encoder=painter())
    if request.param in ("whole", "shards"):
        return Index.build(
            catalogue, tmp_path / "index", encoder=painter(), shards={"whole": 1, "shards": 4}[request.param]
        )
    monkeypatch.setattr(compaction, "_absorbs", lambda segment, rows: False)
    index = Index.build(catalogue.subset(range(5)), tmp_path / "index", encoder=painter())
    for some in (range(5, 7), range(7, 12)):
        index.add(embed_pictures(painter(), catalogue.subset(some)))
    assert len(index.meta.segments) == 2
    return index


@pytest.fixture
def built(vectors_of, tmp_path):
    return Index.build(vectors_of(2_500), tmp_path / "index", factory="IVF32,SQ8,RFlat")


@pytest.fixture(params=["whole", "segments", "shards"])
def grown(request, vectors_of, tmp_path, monkeypatch):
    """As `built`, also with its items in a base, a sealed segment and two exact ones, and in three shards."""
    whole = vectors_of(2_500)
    if request.param in ("whole", "shards"):
        shards = 1 if request.param == "whole" else 3
        return Index.build(whole, tmp_path / "index", factory="IVF32,SQ8,RFlat", shards=shards)

    def part(start: int, end: int) -> Vectors:
        items = Items(whole.items.table.slice(start, end - start), np.zeros(end - start, bool))
        return whole._replace(vectors=whole.vectors[start:end], items=items)

    monkeypatch.setattr(compaction, "EXACT", 400)
    index = Index.build(part(0, 2_000), tmp_path / "index", factory="IVF32,SQ8,RFlat")
    index.add(part(2_000, 2_410))
    assert index.compact() == "seal"
    index.add(part(2_410, 2_480))
    index.add(part(2_480, 2_500))
    assert [segment.rows for segment in index.meta.segments] == [410, 70, 20]
    return index


def ids(hits):
    return [hit.id for hit in hits]


def inside(index):
    """The engine that runs in the process, which tests look into."""
    assert isinstance(index.backend, Embedded)
    return index.backend


def found(index):
    return set(index.ids())


def test_words_and_pictures_find_their_colour(colours):
    blue = Image.new("RGB", (8, 8), "blue")
    by_word, by_picture = colours.search(["blue", blue], 3, collapse=False)
    assert set(ids(by_word)) == set(ids(by_picture)) == {"i6", "i7", "i8"}
    assert by_picture[0].id == "i6"
    assert by_picture[0].score == pytest.approx(1.0)
    assert by_picture[0].product == "p3"
    assert by_picture[0].attributes == {"colour": "blue", "price": 60}


def test_one_result_per_product(colours):
    (hits,) = colours.search("blue", 12)
    assert len(hits) == 6
    assert len({hit.product for hit in hits}) == 6
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    (all_of_them,) = colours.search("blue", 12, collapse=False)
    best = {hit.product: hit.score for hit in reversed(all_of_them)}
    assert {hit.product: hit.score for hit in hits} == best


def test_more_like_an_item_leaves_out_its_product(colours):
    (hits,) = colours.search(Item("i0"), 3, collapse=False)
    assert ids(hits)[0] == "i2"
    assert not {"i0", "i1"} & set(ids(hits))


def test_more_like_this_but(colours):
    (hits,) = colours.search(Query((Item("i6"), "red"), text_weight=0.9), 3)
    assert hits[0].attributes["colour"] == "red"
    (hits,) = colours.search(Query((Item("i6"), "red"), text_weight=0.0), 1)
    assert hits[0].attributes["colour"] == "blue"


def test_negatives(colours):
    plain, without = colours.search(["red blue", Query(("red blue",), ("red",), negative_weight=1.0)], 4)
    assert {hit.attributes["colour"] for hit in without} >= {"blue"}
    assert "red" in {hit.attributes["colour"] for hit in plain}
    assert "red" not in {hit.attributes["colour"] for hit in without[:2]}


def test_conditions_hold_for_every_result(colours):
    (hits,) = colours.search("red", 5, where=["price>=30", "colour in (green, white)"], collapse=False)
    assert set(ids(hits)) == {"i3", "i4", "i5", "i9", "i10"} or len(hits) == 5
    assert all(hit.attributes["colour"] in ("green", "white") for hit in hits)
    assert colours.search("red", 5, where="colour=mauve") == [[]]
    for clause in ("colour=gren", "colour!=gren", "colour in (red, gren)", "colour not in (gren)"):
        assert colours.unmatched_filters(clause) == ["no item has colour = 'gren' (did you mean 'green'?)"]
    assert colours.unmatched_filters("colour!=green") == []
    assert (colours.count("price<50"), colours.count(None)) == (5, 12)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"k": 0}, "k is 0"), ({"queries": " "}, "is empty"), ({"queries": "x" * 10_000}, "10,000 characters"),
        ({"where": "shade=3"}, "no column 'shade'"), ({"where": "price~3"}, "no operator"),
        ({"where": "colour<red"}, "no order"), ({"queries": Item("i99")}, "'i99' was never added"),
    ],
)  # fmt: skip
def test_requests_that_cannot_be(colours, arguments, said):
    with pytest.raises(UsageError, match=said):
        colours.search(**({"queries": "red"} | arguments))


@pytest.mark.parametrize("k", [12, 13, 1000])
def test_k_larger_than_the_index_gives_everything(colours, k):
    assert len(colours.search("red", k, collapse=False)[0]) == 12


def test_what_is_on_disk_reads_without_clipadapt(built, vectors_of, tmp_path):
    (version,) = (tmp_path / "index" / "versions").iterdir()
    stock = faiss.read_index(str(version / "index.faiss"))
    table = pq.read_table(version / "items.parquet")
    meta = json.loads((version / "index.json").read_text())
    assert stock.ntotal == len(table) == 2_500
    assert table.column_names[:3] == ["vector", "id", "product"]
    assert len(np.load(version / "tombstones.npy")) == 0
    assert meta["image_space"] == "synthetic"
    assert meta["factory"] == "IVF32,SQ8,RFlat"
    assert meta["measured"]["picture"]["recall"] >= 0.99
    assert {point["kind"] for point in meta["curve"]} == {"picture"}
    vectors = vectors_of(2_500).vectors
    assert (stock.search(vectors[:20], 1)[1][:, 0] == np.arange(20)).all()


def test_results_are_those_of_exact_search(grown, vectors_of, cloud):
    vectors, queries = vectors_of(2_500).vectors, cloud(60, seed=11)
    hits = grown.search(queries, 10, collapse=False)
    truth = topk(queries, vectors, 10).indices
    right = [len(set(ids(some)) & {f"i{row}" for row in rows}) for some, rows in zip(hits, truth, strict=True)]
    assert np.mean(right) / 10 > 0.985


def test_lengths_do_not_matter_and_directions_must_be_there(vectors_of, place, tmp_path):
    made = vectors_of(50)
    long = Index.build(made._replace(vectors=7 * made.vectors), place)
    assert long.search(made.vectors[3], 1)[0][0].score == pytest.approx(1.0, abs=1e-5)
    spoiled = made.vectors.copy()
    spoiled[4], spoiled[9, 2], spoiled[11, 0] = 0, np.nan, np.inf
    with pytest.raises(UsageError, match=r"(?s)3 vector.*row 4, item 'i4': zero length.*'i9': not finite.*'i11'"):
        Index.build(made._replace(vectors=spoiled), tmp_path / "spoiled")
    assert not (tmp_path / "spoiled").exists()
    with pytest.raises(UsageError, match="one row per item"):
        Index.build(made._replace(vectors=made.vectors[:9]), tmp_path / "spoiled")


def test_removing_adding_and_updating(grown, vectors_of):
    _remove_add_and_update(grown, vectors_of)


def test_removing_adding_and_updating_in_milvus(in_milvus, vectors_of):
    _remove_add_and_update(Index.build(vectors_of(2_500), in_milvus), vectors_of)


def _remove_add_and_update(grown, vectors_of):
    probe = vectors_of(2_500).vectors[7]
    assert grown.search(probe, 1, collapse=False)[0][0].id == "i7"
    assert grown.remove(["i7", "i8"])._replace(due=()) == (0, 2, 2_498, ())
    assert grown.search(probe, 1, collapse=False)[0][0].id != "i7"
    for request in (lambda: grown.remove(["i7"]), lambda: grown.search(Item("i7")), lambda: grown.vector("i7")):
        with pytest.raises(UsageError, match=r"'i7' was (removed|never added, or was removed)"):
            request()
    with pytest.raises(UsageError, match="named twice"):
        grown.remove(["i1", "i1"])
    with pytest.raises(UsageError, match="'i77777' was never added"):
        grown.remove(["i1", "i77777"])
    assert len(grown) == 2_498

    change = grown.add(vectors_of(30, first=3_000))
    assert (change.added, change.items) == (30, 2_528)
    new = vectors_of(30, first=3_000).vectors
    assert ids(grown.search(new[5], 1, collapse=False)[0]) == ["i3005"]
    with pytest.raises(CatalogueError, match=r"30 item\(s\) are in the index already"):
        grown.add(vectors_of(30, first=3_000))

    moved = vectors_of(10, first=3_000)._replace(vectors=new[9::-1].copy())  # i3009 gets what i3000 had
    assert grown.update(moved)._replace(due=()) == (10, 10, 2_528, ())
    assert ids(grown.search(new[0], 1, collapse=False)[0]) == ["i3009"]
    assert found(Index.open(grown.backend.name)) == found(grown)
    assert len(found(grown)) == 2_528


def test_an_update_adds_what_is_new(colours, painter, shop):
    more = embed_pictures(painter(), Catalogue.load(shop, "train").subset([0, 1]))
    colours.remove(["i0"])
    assert colours.update(more)._replace(due=()) == (2, 1, 12, ())


def test_an_index_can_be_emptied_and_filled(colours, painter, shop):
    colours.remove([f"i{item}" for item in range(12)])
    assert len(colours) == 0
    assert colours.search("red") == [[]]
    assert colours.rebuild_due() or not isinstance(colours.backend, Embedded)
    more = embed_pictures(painter(), Catalogue.load(shop, "train").subset([4]))
    colours.add(more)
    assert ids(colours.search("red")[0]) == ["i4"]
    colours.tune(Target(recall=0.9))
    assert (len(colours), colours.items.rows, colours.rebuild_due()) == (1, 1, [])


def test_an_index_of_nothing(vectors_of, place):
    nothing = vectors_of(0)
    index = Index.build(nothing, place)
    assert index.search(np.ones(32, np.float32)) == [[]]
    index.add(vectors_of(3))
    assert len(index.search(np.ones(32, np.float32), collapse=False)[0]) == 3


def test_another_space_is_refused_by_both_names(colours, painter, vectors_of):
    other = painter("shapes", name="sculptor")
    message = r"sculptor: shapes, but index .*index: colours; vectors of two image spaces cannot be compared"
    with pytest.raises(SpaceError, match=message):
        colours.search("red", encoder=other)
    with pytest.raises(SpaceError, match=message):
        Index.open(colours.backend.name, encoder=other)
    with pytest.raises(SpaceError, match=r"these vectors: synthetic, but .*: colours"):
        colours.add(vectors_of(3))
    with pytest.raises(SpaceError, match=r"shape \(5,\)"):
        colours.search(np.ones(5, np.float32))


def test_building_with_another_encoder_or_none_is_refused(painter, shop, vectors_of, tmp_path):
    with pytest.raises(SpaceError, match="painter: colours, but these vectors: synthetic"):
        Index.build(vectors_of(30), tmp_path / "index", encoder=painter())
    with pytest.raises(UsageError, match="needs an encoder"):
        Index.build(Catalogue.load(shop, "train"), tmp_path / "index")


def test_a_text_only_adaptation_leaves_an_index_valid(colours, painter):
    class Reader(painter):
        text_space = "other words"

    assert colours.search("red", 1, encoder=Reader())[0]


def test_an_index_without_a_model_says_so(built):
    with pytest.raises(UsageError, match="does not know its model; name it with --model, or give an encoder"):
        built.search("red")


@pytest.mark.parametrize(
    "file", ["index.faiss", "items.parquet", "ids.npy", "tombstones.npy", "index.json", "text_queries.npy"]
)
def test_a_changed_file_is_told(built, tmp_path, file):
    path = tmp_path / "index" / "versions" / "000001" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=f"{file} has another sha256"):
        Index.open(tmp_path / "index")
    path.write_bytes(content[:-1])
    with pytest.raises(StoreError, match=f"{file} has .* bytes instead of"):
        Index.open(tmp_path / "index", verify=False)
    path.write_bytes(content)
    built.remove(["i1"])
    if file in ("tombstones.npy", "index.json"):  # written anew, from what was opened whole
        assert not Index.open(tmp_path / "index").holds("i1")
    else:  # carried over with the checksum it had
        with pytest.raises(StoreError, match=f"{file} has another sha256"):
            Index.open(tmp_path / "index")


def test_nothing_there(tmp_path):
    with pytest.raises(StoreError, match="nothing was written here yet"):
        Index.open(tmp_path / "nowhere")


def test_a_failed_change_leaves_the_index_as_it_was(grown, vectors_of, tmp_path):
    before = found(grown)
    spoiled = vectors_of(30, first=9_000)
    spoiled = spoiled._replace(vectors=np.full_like(spoiled.vectors, np.nan))
    with pytest.raises(UsageError):
        grown.add(spoiled)
    with pytest.raises(UsageError, match="no factory reaches"):
        grown.tune(Target(memory_mb=0.001), ["Flat"])
    assert found(grown) == found(Index.open(tmp_path / "index")) == before


def test_readers_keep_what_they_opened(grown, tmp_path):
    reader = Index.open(tmp_path / "index")
    for item in range(3):
        grown.remove([f"i{item}"])
    assert "i0" in found(reader)
    assert len(reader.search(np.ones(32, np.float32), 2_500, collapse=False)[0]) == 2_500
    assert len(list((tmp_path / "index" / "versions").iterdir())) == 2


def test_a_removal_shares_the_files_of_the_version_before(built, tmp_path):
    built.remove(["i1"])
    first, second = sorted((tmp_path / "index" / "versions").iterdir())
    assert (first / "index.faiss").stat().st_ino == (second / "index.faiss").stat().st_ino
    assert np.load(second / "tombstones.npy").tolist() == [1]


def test_growth_is_measured_and_a_rebuild_asked_for(built, vectors_of, caplog):
    grown = built.add(vectors_of(2_600, first=10_000))
    assert [segment.rows for segment in built.meta.segments] == [2_600]
    assert any("5,100 vectors and was trained on 2,500" in reason for reason in grown.due)
    assert "a rebuild is due" in caplog.text
    built.tune(Target(recall=0.95), ["IVF64,SQ8,RFlat"])
    assert built.rebuild_due() == []
    assert built.meta.trained_on == 5_100


def test_tuning_leaves_out_what_was_removed_and_keeps_the_curve(grown, cloud):
    grown.remove([f"i{item}" for item in range(0, 2_500, 2)])
    query = cloud(1, seed=4)[0]
    before = ids(grown.search(query, 5, collapse=False)[0])
    grown.tune(Target(recall=0.95), ["Flat", "IVF16,Flat"])
    assert inside(grown).items.rows == len(grown) == 1_250
    assert ids(grown.search(query, 5, collapse=False)[0]) == before
    assert {point.factory for point in grown.meta.curve} == {"Flat", "IVF16,Flat"}


def test_large_products_do_not_crowd_others_out(vectors_of, place, tmp_path):
    made = vectors_of(600)
    vectors = made.vectors.copy()
    vectors[:500] = vectors[0] + 1e-3 * np.random.default_rng(0).standard_normal((500, 32))
    table = made.items.table
    products = ["same"] * 500 + [f"p{row}" for row in range(500, 600)]
    items = type(made.items)(table.set_column(2, "product", pa.array(products)), np.zeros(600, bool))
    factory = "IVF16,SQ8,RFlat" if place == tmp_path / "index" else "auto"
    index = Index.build(Vectors(vectors, items, "synthetic", None), place, factory=factory)
    (hits,) = index.search(vectors[0], 5)
    assert [hit.product for hit in hits].count("same") == 1
    assert len(hits) == 5


def test_texts_are_measured_when_there_are_any(colours):
    assert set(colours.meta.measured) == {"picture", "text"}
    assert colours.meta.model == "painter"


def test_threads_that_share_an_index_find_what_one_finds(colours: Index, monkeypatch):
    """One filter is remembered, so that each thread throws out what another has just put in."""
    monkeypatch.setattr("clipadapt.search.searcher._SELECTIONS", 1)
    wanted = [f"price<{price}" for price in range(1, 121, 3)]
    expected = {where: colours.count(where) for where in wanted}
    repeats = 50 if isinstance(colours.backend, Embedded) else 2
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(16) as pool:
            counts = list(pool.map(lambda where: (where, colours.count(where)), wanted * repeats))
    finally:
        sys.setswitchinterval(before)
    assert all(count == expected[where] for where, count in counts)
