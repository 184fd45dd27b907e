"""What is Milvus's alone: versions behind an alias, what others made, requests that fail in the middle."""

import contextlib
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipadapt import cli
from clipadapt.errors import CatalogueError, SpaceError, StoreError, UsageError
from clipadapt.search.backend import Backend
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.ledger import Ledger
from clipadapt.search.meta import Target
from clipadapt.search.milvus import writing
from clipadapt.search.milvus.address import Address
from clipadapt.search.milvus.backend import Milvus
from clipadapt.search.milvus.kinds import Kind, Measured
from clipadapt.search.milvus.server import Server
from clipadapt.search.milvus.versions import Versions
from clipadapt.search.mirror import Encode, Encoded, Mirror
from clipadapt.search.opening import in_milvus as is_milvus
from clipadapt.search.topk import topk
from clipadapt.search.tune import measured_params
from clipadapt.search.vector_parts import Joined, PartFile
from clipadapt.search.vectors import Vectors


@pytest.fixture
def built(vectors_of, in_milvus):
    return Index.build(vectors_of(60), in_milvus)


def client_of(index: Index) -> Any:  # pymilvus types its methods as coroutines, too
    assert isinstance(index.backend, Milvus)
    return Server.connect(Address.parse(index.backend.name)).client


def test_milvus_is_a_backend(built):
    assert isinstance(built.backend, Backend)
    assert is_milvus(built.backend.name)
    assert built.meta.factory == "FLAT" and built.meta.measured["picture"].recall == 1.0


@pytest.mark.parametrize(
    ("address", "uri", "name"),
    [
        ("milvus:shop.db/shop", "shop.db", "shop"),
        ("milvus:/data/a b/shop.db/shop_2", "/data/a b/shop.db", "shop_2"),
        ("milvus:http://10.0.0.7:19530/shop", "http://10.0.0.7:19530", "shop"),
        ("milvus:https://host:443/retail/shop", "https://host:443/retail", "shop"),
    ],
)
def test_addresses(address, uri, name):
    assert Address.parse(address) == (uri, name)
    assert str(Address.parse(address)) == address


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("milvus:shop", "names no collection"), ("milvus:shop.db/", "no name of a collection"),
        ("milvus:shop.db/2shop", "no digit first"), ("milvus:shop/shop", "neither a URL nor a file"),
        ("milvus:http://root:secret@host/shop", "password in it"), ("milvus:ftp://host/shop", "no server's URL"),
        ("milvus:http:///shop", "no server's URL"),
    ],
)  # fmt: skip
def test_what_is_no_address(address, said):
    with pytest.raises(UsageError, match=said) as refused:
        Index.open(address)
    assert "secret" not in str(refused.value)


def test_nothing_there_and_nobody_there(in_milvus, built, tmp_path, monkeypatch):
    with pytest.raises(StoreError, match="nothing was written here yet; build one"):
        Index.open(f"milvus:{tmp_path}/none.db/shop")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(StoreError, match="nothing was written here yet; build one"):
        Index.open(in_milvus + "_other")
    monkeypatch.setenv("CLIPADAPT_MILVUS_TIMEOUT", "2")
    with pytest.raises(StoreError, match=r"milvus:http://127.0.0.1:9/shop: no answer within 2 s .*check the address"):
        Index.open("milvus:http://127.0.0.1:9/shop")
    monkeypatch.setenv("CLIPADAPT_MILVUS_TIMEOUT", "soon")
    with pytest.raises(UsageError, match="CLIPADAPT_MILVUS_TIMEOUT=soon: seconds"):
        Index.open(in_milvus)


def test_a_version_is_a_collection_and_a_rollback_points_back(built, vectors_of, in_milvus):
    assert built.backend.versions() == ["000001"]
    with pytest.raises(StoreError, match="no version before 000001 is kept"):
        built.rollback()
    reader = Index.open(in_milvus)
    again = Index.build(vectors_of(40), in_milvus)
    assert (len(again), again.backend.versions(), len(reader)) == (40, ["000001", "000002"], 60)
    newer = reader.newer()
    assert newer is not None and (len(newer), len(reader), newer.newer()) == (40, 60, None)
    assert again.rollback() == "000001"
    assert len(again) == len(Index.open(in_milvus)) == 60
    again.tune(Target(recall=0.9))
    assert (len(again), again.backend.versions()) == (60, ["000001", "000002", "000003"])
    with pytest.raises(StoreError, match="no version 000009"):
        again.backend.publish("000009")
    again.backend.publish("000002")
    assert len(Index.open(in_milvus)) == 40


def test_a_reader_of_a_dropped_version_goes_on_with_the_current_one(built, vectors_of, in_milvus):
    reader = Index.open(in_milvus)
    for count in (10, 20, 30):
        Index.build(vectors_of(count), in_milvus)
    assert len(reader.search(np.ones(32, np.float32), 100, collapse=False)[0]) == 30


def test_what_is_searched_is_not_dropped(built):
    assert isinstance(built.backend, Milvus)
    with pytest.raises(StoreError, match="is what is searched"):
        built.backend._versions.drop(built.backend._reader.now.collection)
    assert len(built) == 60


@pytest.mark.slow
def test_what_another_process_wrote_is_opened_searched_changed_and_tuned(tmp_path, cloud, vectors_of):
    """milvus-lite lets one process at a time open a file, and releases its collections when that ends."""
    place = f"milvus:{tmp_path}/shop.db/shop"
    code = (
        "import sys, numpy as np, pyarrow as pa\n"
        "from clipadapt.search.index import Index\n"
        "from clipadapt.search.items import Items\n"
        "from clipadapt.search.vectors import Vectors\n"
        "points = np.eye(32, dtype=np.float32)\n"
        "items = Items.of(pa.table({'id': [f'e{row}' for row in range(32)]}))\n"
        "Index.build(Vectors(points, items, 'synthetic', None), sys.argv[1], texts=points[:3])\n"
    )
    subprocess.run([sys.executable, "-c", code, place], check=True, env=os.environ)
    index = Index.open(place)
    assert index.search(np.eye(32, dtype=np.float32)[5], 1)[0][0].id == "e5"
    assert len(index.ids()) == 32
    index.tune(Target(recall=0.9))
    assert set(index.meta.measured) == {"picture", "text"}
    said = subprocess.run(
        [sys.executable, "-m", "clipadapt.cli", "index", "info", place], capture_output=True, text=True, check=False
    )
    assert said.returncode == 1 and "another process has it open" in said.stderr and "Traceback" not in said.stderr


def test_nobody_changes_what_is_frozen(built, vectors_of, in_milvus):
    other = Index.open(in_milvus)
    with built.backend.frozen():
        for change in (lambda: other.remove(["i1"]), lambda: built.add(vectors_of(1, first=90)), other.rollback):
            with pytest.raises(StoreError, match="another process keeps it from being changed"):
                change()
        assert len(other.search(np.ones(32, np.float32), 3)[0]) == 3
    other.remove(["i1"])
    np.testing.assert_array_equal(built.backend.vectors(["i3", "i0"]), vectors_of(60).vectors[[3, 0]])
    with pytest.raises(UsageError, match="'i77' was never added"):
        built.backend.vectors(["i3", "i77"])


@pytest.mark.parametrize("what", ["freeze", "mark", "build"])
def test_a_change_that_was_overtaken_is_not_counted_as_done(built, vectors_of, in_milvus, monkeypatch, what):
    """Milvus has no locks: a writer that looked before, and wrote after, is told so."""
    others = Versions(Server.connect(Address.parse(in_milvus)))
    others.mark("")
    with contextlib.ExitStack() as held:
        overtake = {
            "freeze": lambda: held.enter_context(others.frozen()),
            "mark": lambda: others.mark("000002"),
            "build": lambda: others.publish(others.collection("000002")),
        }
        for name, change in (
            ("upsert", lambda: built.add(vectors_of(1, first=90))),
            ("remove", lambda: built.remove(["i1"])),
        ):
            if what == "build":
                Index.build(vectors_of(60), in_milvus)
                others.publish(others.collection(others.names()[0]))
                overtake["build"] = lambda: others.publish(others.collection(others.names()[-1]))
            real = getattr(writing, name)
            with monkeypatch.context() as patch:
                patch.setattr(writing, name, lambda *given, real=real: (overtake[what](), real(*given)))
                with pytest.raises(StoreError, match="is not counted as done; do it again"):
                    change()
            held.close()
            others.mark("")
            others.thaw()
    with pytest.raises(StoreError, match="takes changes itself now"):
        Milvus(in_milvus, twin=True).remove(["i2"])
    others.mark("000002")
    Milvus(in_milvus, twin=True).remove(["i2"])


def test_a_copy_into_what_takes_changes_by_then_stops(built, vectors_of, in_milvus, monkeypatch):
    others, twin = Versions(Server.connect(Address.parse(in_milvus))), Milvus(in_milvus, twin=True)
    others.mark("000002")
    real = writing.upsert
    with monkeypatch.context() as patch:
        patch.setattr(writing, "upsert", lambda *given: (others.mark(""), real(*given)))
        with pytest.raises(StoreError, match="takes changes itself now"):
            twin.upsert(vectors_of(1, first=90), replace=True)


def test_a_freeze_whose_answer_does_not_come_is_ended(built, in_milvus, monkeypatch):
    real, late = Server.call, iter(["alter_collection_properties"])

    def call(server, method, *given, **named):
        found = real(server, method, *given, **named)
        if method == next(late, None):
            raise StoreError("no answer")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Server, "call", lambda *given, **named: call(*given, **named) if "alter" in given[1]
                      else real(*given, **named))  # fmt: skip
        with pytest.raises(StoreError, match="no answer"), built.backend.frozen():
            pytest.fail("it is not known to be held still")
    Index.open(in_milvus).remove(["i1"])


@pytest.mark.parametrize("verb", ["build", "tune"])
@pytest.mark.parametrize("fails", ["drop_collection", "alter_alias"])
def test_a_switch_that_fails_says_why_and_what_was_switched_to_stays(
    built, vectors_of, in_milvus, monkeypatch, verb, fails
):
    """Answers may be lost when the work is done."""
    for _ in range(2):
        Index.build(vectors_of(60), in_milvus)
    whole = Server.call

    def call(server, method, *given, **named):
        if method == fails == "drop_collection":
            raise StoreError("no answer")
        found = whole(server, method, *given, **named)
        if method == fails:
            raise StoreError("no answer")
        return found

    with monkeypatch.context() as patch, contextlib.ExitStack() as expected:
        patch.setattr(Server, "call", call)
        if fails == "alter_alias":
            expected.enter_context(pytest.raises(StoreError, match=r"^no answer"))
        if verb == "build":
            Index.build(vectors_of(30), in_milvus)
        else:
            Index.open(in_milvus).tune(Target(recall=0.9))
    assert len(Index.open(in_milvus)) == (30 if verb == "build" else 60)
    assert "000004" in Index.open(in_milvus).backend.versions()
    Versions(Server.connect(Address.parse(in_milvus)))._say(f"{Address.parse(in_milvus).name}_v000004",
                                                            {"clipadapt.frozen": ""})  # fmt: skip
    Index.build(vectors_of(20), in_milvus)
    assert Index.open(in_milvus).backend.versions() == ["000004", "000005"], "what could not be dropped before is gone"


@pytest.mark.parametrize("what", ["change", "freeze", "mark"])
def test_what_was_changed_while_it_was_built_again_stays(built, vectors_of, in_milvus, what):
    others, writer = Versions(Server.connect(Address.parse(in_milvus))), Index.open(in_milvus)
    others.mark("")
    whole, done = built.backend._server.client, []
    with contextlib.ExitStack() as held:
        meanwhile = {
            "change": lambda: writer.remove(["i1"]),
            "freeze": lambda: held.enter_context(others.frozen()),
            "mark": lambda: others.mark("000002"),
        }

        class Client:
            """Something happens at the very last moment, when everything was compared."""

            def __getattr__(self, name):
                if name == "alter_alias" and not done:
                    done.append(meanwhile[what]())
                return getattr(whole, name)

        built.backend._server.client = Client()
        with pytest.raises(StoreError, match="was changed while it was built again; the change stays"):
            built.tune(Target(recall=0.9))
    others.mark("")
    again = Index.open(in_milvus)
    assert len(again) == (59 if what == "change" else 60)
    assert again.backend.versions() == ["000001"], "what was built is dropped"
    again.remove(["i3"])


def test_marks_and_freezes_outlive_a_build(built, vectors_of, in_milvus):
    twin = Milvus(in_milvus, twin=True)
    Versions(Server.connect(Address.parse(in_milvus))).mark("000002")
    for change in (lambda: built.remove(["i1"]), lambda: Index.build(vectors_of(5), in_milvus), built.rollback):
        with pytest.raises(StoreError, match="changes go to the index of 000002; nothing was changed"):
            change()
    twin.tune(Target(recall=0.9))
    with pytest.raises(StoreError, match="changes go to the index of 000002"):
        Index.open(in_milvus).remove(["i1"])
    with twin.frozen(), twin.frozen():  # as one that was killed left it
        twin.remove(["i1"])
    assert not Index.open(in_milvus).holds("i1")


def test_a_change_is_seen_by_others_at_once(built, vectors_of, in_milvus):
    reader = Index.open(in_milvus)
    assert reader.newer() is None and not reader.refresh()
    assert reader.ids() == built.ids()
    built.add(vectors_of(5, first=100))
    assert reader.holds("i104")
    assert reader.refresh() and "i104" in reader.ids()


def test_a_column_that_comes_later_makes_a_new_collection(built, vectors_of):
    more = vectors_of(3, first=900)
    table = more.items.table.append_column("Fit", [["Slim", "Slim", "Loose"]])
    built.add(more._replace(items=Items.of(table.drop_columns(["vector"]))))
    assert (built.count("Fit=Slim"), built.count("Fit is unknown"), len(built)) == (2, 60, 63)
    assert built.backend.versions() == ["000001", "000002"]
    built.rollback()
    assert (len(built), "Fit" in built.columns) == (60, False)


def test_collections_of_others_are_refused(in_milvus, built, vectors_of):
    from pymilvus import DataType

    client, address = client_of(built), Address.parse(in_milvus)
    name = f"{address.name}_foreign"
    client.create_collection(name, dimension=32)
    theirs = f"milvus:{address.uri}/{name}"
    for attempt in (lambda: Index.open(theirs), lambda: Index.build(vectors_of(3), theirs)):
        with pytest.raises(StoreError, match="was not made by clipadapt index build"):
            attempt()
    client.create_alias(name, f"{name}_alias")
    with pytest.raises(StoreError, match=rf"collection {name} was made by others: it does not say which image space"):
        Index.open(f"{theirs}_alias")
    numbers = client.create_schema(auto_id=False)
    numbers.add_field("id", DataType.INT64, is_primary=True)
    numbers.add_field("vector", DataType.FLOAT_VECTOR, dim=32)
    assert isinstance(built.backend, Milvus)
    now = client.describe_collection(built.backend._reader.now.collection)["properties"]
    client.create_collection(f"{name}_numbers", schema=numbers, properties=now)
    client.create_alias(f"{name}_numbers", f"{name}_copy")
    with pytest.raises(StoreError, match=r"lacks the fields .*product"):
        Index.open(f"{theirs}_copy")
    for alias in (f"{name}_alias", f"{name}_copy"):
        client.drop_alias(alias)


def test_vectors_and_cells_that_do_not_fit(built, vectors_of, in_milvus):
    with pytest.raises(SpaceError, match="vectors of 16 dimensions for an index of 32"):
        built.add(vectors_of(3, first=500, dim=16))
    with pytest.raises(SpaceError, match="these vectors: other, but index milvus:"):
        built.add(vectors_of(3, first=500, space="other"))
    with pytest.raises(UsageError, match="k is 20,000; Milvus gives 16,384"):
        built.search(np.ones(32, np.float32), 20_000)
    made = vectors_of(2, first=700)
    table = made.items.table.drop_columns(["vector"])
    long = table.set_column(table.column_names.index("Pattern"), "Pattern", [["x" * 70_000, "y"]])
    with pytest.raises(CatalogueError, match=r"row 0, 'Pattern': 70,000 bytes, 65,535 are the most"):
        built.add(made._replace(items=Items.of(long, {"tags": "|"})))
    assert len(built) == 60


def test_quotes_and_signs_in_values_find_only_themselves(vectors_of, in_milvus):
    odd = ['a"b', "a\\b", "a\\u0001", "\x01", "\b\f", "a\nb", 'x"] or id != "', "é😀", "c'd", "\\b", "%", "\u2028"]
    made = vectors_of(len(odd))
    table = made.items.table.drop_columns(["vector"])
    table = table.set_column(table.column_names.index("Pattern"), "Pattern", [odd])
    index = Index.build(made._replace(items=Items.of(table, {"tags": "|"})), in_milvus)
    for row, text in enumerate(odd):
        (hits,) = index.search(made.vectors[0], 20, where={"Pattern": text}, collapse=False)
        assert [hit.id for hit in hits] == [f"i{row}"], repr(text)


def test_places_are_compared_by_their_coordinates_alone(vectors_of, in_milvus):
    made = vectors_of(2)
    table = made.items.table.drop_columns(["vector"]).append_column("latitude", [[52.5, 53.5]])
    table = table.append_column("longitude", [[13.4, 10.0]])
    index = Index.build(made._replace(items=Items.of(table, {"tags": "|"})), in_milvus)
    with pytest.raises(UsageError, match="Milvus compares no distances; give a box"):
        index.count("within 5 km of 52.5, 13.4")
    assert index.count(["latitude>=52.4", "latitude<=52.6"]) == 1


def test_what_is_not_a_number_is_unknown(vectors_of, in_milvus):
    made = vectors_of(3)
    weights = pa.chunked_array([pa.array([1.5, float("nan"), None])])
    table = made.items.table.drop_columns(["vector"]).append_column("weight", weights)
    index = Index.build(made._replace(items=Items.of(table, {"tags": "|"})), in_milvus)
    assert [index.count(f"weight {what}") for what in ("<2", "!=1.5", "is unknown")] == [1, 0, 2]
    assert index.values("weight") == [1.5, None, None]


class Dies:
    """A client whose server stops to answer at a request, and answers again later."""

    def __init__(self, client, method: str, after: int, gone_for: int) -> None:
        self.client, self.method, self.left, self.gone_for = client, method, after, gone_for

    def __getattr__(self, name):
        from pymilvus.exceptions import MilvusException

        def call(*args, **options):
            if name == self.method or self.left < 0:
                self.left -= 1
                if self.left < 0 and self.gone_for > 0:
                    self.gone_for -= 1
                    raise MilvusException(message="server unavailable")
            return getattr(self.client, name)(*args, **options)

        return call


@pytest.mark.parametrize("action", ["add", "update", "remove"])
def test_a_server_that_dies_in_a_batch_leaves_what_was_there(built, vectors_of, monkeypatch, action):
    monkeypatch.setattr(writing, "PAGE", 10)
    backend = built.backend
    assert isinstance(backend, Milvus)
    before, vector = built.ids(), built.vector("i25")
    whole = backend._server.client
    backend._server.client = Dies(whole, "delete" if action == "remove" else "upsert", 2, 1)
    with pytest.raises(StoreError, match="server unavailable"):
        if action == "remove":
            built.remove([f"i{number}" for number in range(5, 45)])
        elif action == "add":
            built.add(vectors_of(40, first=100))
        else:
            built.update(vectors_of(40, first=20, seed=7))
    backend._server.client = whole
    again = Index.open(backend.name)
    assert again.ids() == before
    np.testing.assert_array_equal(again.vector("i25"), vector)


def test_what_cannot_be_taken_back_is_said(built, vectors_of, monkeypatch, caplog):
    monkeypatch.setattr(writing, "PAGE", 10)
    backend = built.backend
    assert isinstance(backend, Milvus)
    whole = backend._server.client
    backend._server.client = Dies(whole, "upsert", 2, 99)
    with pytest.raises(StoreError, match=r"(?s)server unavailable.*could not be taken back.*some of the 30 items may"):
        built.add(vectors_of(40, first=100))
    backend._server.client = whole
    again = Index.open(backend.name)
    assert "was cut off and may be there in part" in caplog.text
    again.update(vectors_of(40, first=100))
    assert len(again) == 100
    caplog.clear()
    Index.open(backend.name)
    assert not caplog.text


def test_a_build_that_fails_leaves_nothing(built, vectors_of, in_milvus, monkeypatch):
    monkeypatch.setattr("clipadapt.search.milvus.building.measured_params", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Index.build(vectors_of(5), in_milvus)
    assert built.backend.versions() == ["000001"]
    name = Address.parse(in_milvus).name
    assert [one for one in client_of(built).list_collections() if one.startswith(name)] == [f"{name}_v000001"]


@pytest.mark.parametrize("factory", ["HNSW32", "IVF1024,SQ8", "PQ8", "IVF0", "HNSW1"])
def test_what_milvus_does_not_make(factory):
    with pytest.raises(UsageError):
        Kind.named(factory, 10, lite=True)


def test_effort_is_chosen_by_measured_recall_for_pictures_and_texts_apart(cloud):
    """A search that looks at the first cells alone: pictures are found in two of them, texts in eight."""
    vectors, texts = cloud(500), cloud(40, seed=3)
    kind = Kind.named("IVF16", 500, lite=False)
    rows = {str(row): row for row in range(500)}

    def search(queries, k, params):
        enough = 2 if any((queries[0] == vectors).all(axis=1)) else 8
        part = vectors[: 500 * min(params.probe, enough) // enough]
        found = topk(queries, part, k)
        return [
            [(str(row), float(score)) for row, score in zip(some, scores, strict=True)]
            for some, scores in zip(found.indices.tolist(), found.scores, strict=True)
        ]

    chosen = measured_params(Measured(kind, vectors, rows, search), kind.name, Target(recall=0.95), texts)
    assert {name: params.probe for name, params in chosen.search_params.items()} == {"picture": 2, "text": 8}
    assert chosen.measured["picture"].recall == chosen.measured["text"].recall == 1.0
    assert kind.search_params(chosen.search_params["text"], 10)["params"] == {"nprobe": 8}


def test_half_precision_in_parts_or_in_one_array_is_single_precision_in_milvus(vectors_of, in_milvus, tmp_path):
    """Milvus keeps float32 here. Of parts it gets unit vectors, of an array what that holds: apart by the rounding."""
    made, more = vectors_of(40), vectors_of(6, first=100)
    half = made._replace(vectors=np.asarray(made.vectors).astype(np.float16))
    for number, part in enumerate((half.vectors[:25], half.vectors[:0], half.vectors[25:], np.float16(more.vectors))):
        np.save(tmp_path / f"{number}.npy", part)
    files = [PartFile(tmp_path / f"{number}.npy", rows) for number, rows in enumerate((25, 0, 15, 6))]
    found = []
    for source in (half, half._replace(vectors=Joined(files[:3], 32, halves=True))):
        index = Index.build(source, in_milvus)
        index.add(more._replace(vectors=Joined(files[3:], 32, halves=True)))
        vectors = index.backend.vectors([*made.items.ids(), *more.items.ids()])
        whole = np.concatenate([np.asarray(made.vectors), np.asarray(more.vectors)])
        assert vectors.dtype == np.float32 and np.linalg.norm(vectors - whole, axis=1).max() <= 2**-11
        found.append(index.search(whole[[3, 43]], 5, collapse=False))
    for hits, others in zip(*found, strict=True):
        assert [hit.id for hit in hits] == [hit.id for hit in others]
        np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in others], atol=2**-11)


def test_two_models_indexes_are_kept_the_same_and_the_way_back_misses_nothing(vectors_of, in_milvus, tmp_path):
    """What a swap of models does, between two addresses: the new index follows the old one, then the other way."""
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal((32, 32)))[0].astype(np.float32)
    pictures = {}

    def take(count, first):
        made = vectors_of(count, first=first)
        pictures.update(zip(made.items.ids(), np.asarray(made.vectors), strict=True))
        return made

    def encode(matrix):
        return lambda ids, _: Encoded(list(ids), np.array([pictures[item] for item in ids]) @ matrix, {})

    def same(one, other):
        ids = sorted(one.ids())
        assert sorted(other.ids()) == ids
        np.testing.assert_allclose(one.vectors(ids) @ turned, other.vectors(ids), atol=1e-5)
        assert [one.item(item) for item in ids] == [other.item(item) for item in ids]

    made = take(30, 0)
    first = Vectors(np.asarray(made.vectors)[:1] @ turned, made.items.taken(np.array([0])), "turned", None)
    old, new = Index.build(made, in_milvus), Index.build(first, in_milvus + "_next")
    ledger = Ledger(tmp_path / "pairs")
    forth = Mirror(old.backend, new.backend, Encode(encode(turned), lambda: None), ledger)
    forth.run(forth.look())
    same(old.backend, new.backend)
    writer = Index.open(in_milvus)  # another process than the one that keeps both the same
    writer.remove(["i3", "i4"])
    writer.add(take(5, 100))
    writer.update(take(2, 6))
    lag = forth.look()
    assert (sorted(lag.gone), len(lag.encode)) == (["i3", "i4"], 5 + len(set(lag.encode) & {"i6", "i7"}))
    with forth.source.frozen():
        forth.run(lag)
    assert forth.look().total == 0
    same(forth.source, forth.target)
    back = Mirror(forth.target, forth.source, Encode(encode(np.eye(32, dtype=np.float32)), lambda: None), ledger, "new")
    live = Index.open(in_milvus + "_next")
    added = take(3, 200)
    live.add(added._replace(vectors=np.asarray(added.vectors) @ turned, image_space="turned"))
    live.remove(["i100"])
    back.run(back.look())
    assert back.look().total == 0
    same(back.target, back.source)


def test_an_item_that_goes_while_it_is_copied_is_left_out(vectors_of, in_milvus, tmp_path, monkeypatch):
    """Milvus shows a source as it is now, so what was looked up may be gone, or another, by the time it is read."""
    monkeypatch.setattr("clipadapt.search.mirror.BATCH", 10)
    made = vectors_of(30)
    pictures = dict(zip(made.items.ids(), np.asarray(made.vectors), strict=True))
    source = Index.build(made, in_milvus)
    first = Vectors(np.asarray(made.vectors)[:1], made.items.taken(np.array([0])), "turned", None)
    target = Index.build(first, in_milvus + "_next")
    new, writer = vectors_of(1, first=7, seed=5), Index.open(in_milvus)
    later = iter([lambda: writer.remove(["i25", "i26"]), lambda: None, lambda: writer.update(new)])

    def encode(ids, _):
        found = Encoded(list(ids), np.array([pictures[item] for item in ids]), {})
        next(later, lambda: None)()  # while pictures are encoded; i25 and i26 are of the second batch, i7 of the third
        return found

    mirror = Mirror(source.backend, target.backend, Encode(encode, lambda: None), Ledger(tmp_path / "pairs"))
    assert not mirror.run(mirror.look()), "so it has to look again"
    assert sorted(mirror.target.ids()) == sorted(set(pictures) - {"i25", "i26"})
    pictures["i7"] = np.asarray(new.vectors)[0]
    lag = mirror.look()
    assert (lag.encode, lag.gone) == (["i7"], []), "its picture was encoded before it was replaced"
    assert mirror.run(lag) and mirror.look().total == 0
    np.testing.assert_allclose(mirror.target.vector("i7"), pictures["i7"], atol=1e-6)


def test_every_verb_takes_an_address(vectors_of, tmp_path, milvus_file, capsys, in_milvus):
    folder = tmp_path / "vectors"
    folder.mkdir()
    made = vectors_of(40)
    np.save(folder / "vectors.npy", made.vectors)
    pq.write_table(made.items.table, folder / "items.parquet")
    (folder / "embed.json").write_text(json.dumps({"broken": [], "model": "run:somewhere", "image_space": "image-x"}))
    Index.build(Vectors.open(folder), in_milvus)
    given = {"add": ["--vectors", str(folder), "--replace"], "remove": ["i1"], "info": [], "compact": [], "tune": []}
    for verb, more in given.items():
        assert cli.main(["index", verb, in_milvus, *more]) == 0, capsys.readouterr().err
        assert "Traceback" not in capsys.readouterr().err
    assert cli.main(["index", "search", in_milvus, "--like", "i0", "--where", "price<60", "--json", "-k", "3"]) == 0
    hits = json.loads(capsys.readouterr().out)
    assert len(hits) == 3 and all(hit["attributes"]["price"] < 60 for hit in hits)
    assert cli.main(["index", "info", in_milvus, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["items"], said["factory"], said["image_space"]) == (39, "FLAT", "image-x")
    assert cli.main(["index", "info", "milvus:shop"]) == 2
    assert "names no collection of Milvus; write milvus:http://HOST:19530/COLLECTION" in capsys.readouterr().err
    assert cli.main(["index", "remove", in_milvus, "i999"]) == 2
    assert "'i999' was never added" in capsys.readouterr().err
