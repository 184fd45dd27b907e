"""What is read of shards, and what is said of shards that are not what they were."""

import io
import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_factory import write_catalogue
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.check import check
from clipadapt.data.pictures import InShards, Pictures
from clipadapt.data.sharded import pictures as shard_pictures
from clipadapt.data.sharded.pictures import ShardPictures
from clipadapt.data.sharded.source import Sharded
from clipadapt.data.sharding import write_shards
from clipadapt.data.sources import open_source, passed_over
from clipadapt.errors import CatalogueError
from clipadapt.inputs import resolve

SECOND = "data/train-00001-of-00006.parquet"


@pytest.fixture
def damage(shards):
    """damage(name, change): what a file holds from now on; None takes it away."""
    system, root = fsspec.url_to_fs(shards)

    def apply(name, change):
        content = system.cat_file(f"{root}/{name}")
        changed = change(content)
        if changed is None:
            system.rm_file(f"{root}/{name}")
        else:
            system.pipe_file(f"{root}/{name}", changed)

    return apply


def test_pictures_know_their_shards(shards):
    pictures = Catalogue.load(shards).pictures
    assert isinstance(pictures, Pictures) and isinstance(pictures, InShards)
    assert pictures.shards().tolist() == np.repeat(np.arange(6), 4).tolist()
    assert pictures.take(np.array([23, 0, 5])).shards().tolist() == [5, 0, 1]
    assert pictures.name(5) == "0005.png"


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """Pictures of four shards."""
    folder = tmp_path_factory.mktemp("numbered")
    source = open_source(write_catalogue(folder / "shop", items=10, validation=0))
    write_shards(source, {"train": Catalogue.of(source)}, folder / "shards", rows=3)
    pictures = Catalogue.load(folder / "shards").pictures
    assert isinstance(pictures, ShardPictures)
    return pictures


@given(data=st.data())
@settings(deadline=None, max_examples=20)
def test_subsets_of_subsets_read_the_same(numbered, data):
    whole = numbered
    chosen = np.arange(10)
    part = whole
    for _ in range(2):
        at = np.array(data.draw(st.lists(st.integers(0, len(chosen) - 1), min_size=1)))
        part, chosen = part.take(at), chosen[at]
    assert [part.read(i) for i in range(len(part))] == [whole.read(i) for i in chosen.tolist()]
    assert part.sizes().tolist() == whole.sizes()[chosen].tolist()
    assert part.stamps() == [whole.stamps()[i] for i in chosen]


def test_threads_and_other_processes_read_the_same(shards, shop, monkeypatch):
    monkeypatch.setattr(shard_pictures, "_KNOWN", 2)
    catalogue, whole = Catalogue.load(shards), Catalogue.load(shop)
    want = [whole.picture_bytes(i) for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: catalogue.picture_bytes(i % 24), range(240)))
    assert found == want * 10
    again = pickle.loads(pickle.dumps(catalogue))
    assert [again.picture_bytes(i) for i in range(24)] == want


def test_row_groups_are_small_and_a_picture_reads_one(tmp_path, shop, monkeypatch):
    monkeypatch.setattr("clipadapt.data.sharded.table.GROUP_BYTES", 5_000)
    source = open_source(shop)
    write_shards(source, {"train": Catalogue.of(source)}, tmp_path / "s", rows=24)
    about = pq.read_metadata(tmp_path / "s/data/train-00000-of-00001.parquet")
    assert about.num_row_groups > 4
    catalogue, whole = Catalogue.load(tmp_path / "s"), Catalogue.load(shop)
    assert [catalogue.picture_bytes(i) for i in range(24)] == [whole.picture_bytes(i) for i in range(24)]
    assert about.row_group(0).column(about.num_columns - 2).compression == "UNCOMPRESSED"


def test_a_missing_shard_is_named_with_the_item(shards, damage):
    damage(SECOND, lambda _: None)
    catalogue = Catalogue.load(shards)
    assert catalogue.picture_bytes(0)
    with pytest.raises(CatalogueError, match=rf"item '0004', .*row 5 .*{SECOND}: missing; restore it, or write"):
        catalogue.picture(4)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: b"",
        lambda data: data[:-12] + bytes([data[-12] ^ 1]) + data[-11:],
        lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
    ],
)
def test_a_changed_shard_is_named(shards, damage, change):
    damage(SECOND, change)
    catalogue = Catalogue.load(shards)
    with pytest.raises(CatalogueError, match=rf"item '000\d', .*{SECOND}: was changed since"):
        for item in range(24):
            catalogue.picture_bytes(item)


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=60)
def test_no_flipped_bit_gives_another_picture(numbered, place, bit):
    """Wherever in a shard: an error that names it, or what nobody reads was hit."""
    pictures = numbered
    want = [pictures.read(i) for i in range(10)]
    file = pictures._folder.local / pictures._shards[1].name
    before = file.read_bytes()
    at = int(place * len(before))
    file.write_bytes(before[:at] + bytes([before[at] ^ (1 << bit)]) + before[at + 1 :])
    try:
        fresh = pickle.loads(pickle.dumps(pictures))
        assert [fresh.read(i) for i in range(10)] == want
    except CatalogueError as error:
        assert pictures._shards[1].name in str(error)
    finally:
        file.write_bytes(before)


def test_a_shard_in_the_place_of_another(shards, damage):
    system, root = fsspec.url_to_fs(shards)
    other = system.cat_file(f"{root}/data/train-00002-of-00006.parquet")
    damage(SECOND, lambda _: other)
    with pytest.raises(CatalogueError, match=f"{SECOND}: was changed"):
        Catalogue.load(shards).picture_bytes(4)


def test_a_shard_of_the_same_size_in_the_place_of_another(tmp_path):
    """Pictures without compression: sizes, pages and checksums of every shard are in order."""
    pictures = []
    for number in range(4):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (number, 0, 0)).save(file, "BMP")
        pictures.append({"bytes": file.getvalue(), "path": None})
    (tmp_path / "plain").mkdir()
    pq.write_table(pa.table({"image": pictures}), tmp_path / "plain/train.parquet")
    source = open_source(tmp_path / "plain")
    write_shards(source, {"train": Catalogue.of(source)}, tmp_path / "s", rows=2)
    one, other = (tmp_path / f"s/data/train-0000{number}-of-00002.parquet" for number in range(2))
    assert one.stat().st_size == other.stat().st_size
    shutil.copy(one, other)
    catalogue = Catalogue.load(tmp_path / "s")
    assert catalogue.picture_bytes(1) == pictures[1]["bytes"]
    with pytest.raises(CatalogueError, match=r"00001-of-00002\.parquet: was changed since"):
        catalogue.picture_bytes(2)


@pytest.mark.parametrize("change", [lambda data: data[:-1] + b"x", lambda data: None])
def test_a_row_index_that_was_changed_or_lost(shards, damage, change):
    damage("rows/train.parquet", change)
    with pytest.raises(CatalogueError, match=r"rows/train.parquet: (was changed|missing)"):
        Catalogue.load(shards)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"{", "cannot be read"),
        (lambda data: data.replace(b'"schema_version": 1', b'"schema_version": 9'), "of form 9, this version reads 1"),
        (lambda data: data.replace(b'"sha256"', b'"sha1"'), "cannot be read"),
        (lambda data: json.dumps([1]).encode(), "cannot be read"),
        (lambda data: None, "no such folder|no shards.json there|datasets|no split"),
    ],
)
def test_an_index_that_cannot_be_used(shards, damage, change, message):
    damage("shards.json", change)
    with pytest.raises(CatalogueError, match=message):
        Sharded(shards)


def test_splits_columns_and_urls_that_are_not_there(shards):
    with pytest.raises(CatalogueError, match="no split 'validation'; it has 'train'"):
        Catalogue.load(shards, "validation")
    with pytest.raises(CatalogueError, match="no picture column 'photo'; its shards hold 'image'"):
        Catalogue.load(shards, image="photo")
    with pytest.raises(CatalogueError, match=r"memory://nowhere: no shards.json there, so no shards; write them with"):
        open_source("memory://nowhere")
    with pytest.raises(CatalogueError, match=r"fsspec cannot open it: .*nothing-known"):
        open_source("nothing-known://bucket/shop")


def test_as_a_source_everywhere(shards):
    source = open_source(shards)
    assert source.splits() == ["train"] and passed_over(shards) == []
    cells = source.first_cells("train")
    assert cells["image"] == [] and cells["id"][:2] == ["0000", "0001"]
    inputs = resolve(source=shards, attributes=["Pattern"])
    assert len(inputs.splits.train) + len(inputs.splits.tune) + len(inputs.splits.validation) == 24
    report = check(inputs.data, attributes_given=True)
    assert not report.failed and report.splits["train"]["items"] == 24
