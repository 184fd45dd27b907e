"""Shards as they are written: whole, resumable, by one job at a time."""

import errno
import hashlib
import io
import json
import os
import shutil
import tarfile
import threading

import datasets
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from failing_disk import FailingDisk
from PIL import Image

from clipadapt.data import sharding
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.images import Preprocess
from clipadapt.data.preparing import prepare
from clipadapt.data.sharding import write_shards
from clipadapt.data.sources import open_source
from clipadapt.errors import CatalogueError, StoreError, UsageError


@pytest.fixture(autouse=True)
def _machine(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPADAPT_CACHE", str(tmp_path / "machine"))
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(params=["local", "remote"])
def out(request, tmp_path):
    return tmp_path / "shards" if request.param == "local" else "memory://bucket/shop"


def write(source, out, splits=None, **options):
    opened = open_source(source)
    catalogues = {split: Catalogue.of(opened, split) for split in splits or opened.splits()}
    return write_shards(opened, catalogues, out, **{"rows": 5, **options})


def files(out):
    """Name -> content, of everything there."""
    system, root = fsspec.url_to_fs(str(out))
    return {name.removeprefix(root).lstrip("/"): system.cat_file(name) for name in system.find(root)}


def test_a_source_in_shards_is_the_source(shop, out):
    done = write(shop, out)
    assert (done.items, done.shards, done.broken, done.written) == (24, 4 + 2, 0, 6)
    for split in ("train", "validation"):
        whole, read = Catalogue.load(shop, split), Catalogue.load(out, split, attributes=["Pattern"])
        assert read.ids == whole.ids and read.columns == whole.columns
        assert read.table().equals(whole.table()) and read.fingerprint == whole.fingerprint
        assert [read.picture_bytes(i) for i in range(len(read))] == [whole.picture_bytes(i) for i in range(len(whole))]
        part = read.subset([7, 0, 7])
        assert [part.picture_bytes(i) for i in range(3)] == [whole.picture_bytes(i) for i in (7, 0, 7)]
        assert part.pictures.sizes().tolist() == whole.pictures.sizes()[[7, 0, 7]].tolist()


def test_others_read_the_files(shop, tmp_path):
    write(shop, tmp_path / "shards")
    loaded = datasets.load_dataset(str(tmp_path / "shards"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 16, "validation": 8}
    assert loaded["train"][3]["image"].size == (32, 32)
    plain = pq.read_table(tmp_path / "shards/data/train-00001-of-00004.parquet").to_pylist()
    assert plain[0]["id"] == "0005" and plain[0]["image"]["bytes"] == (shop / "train/0005.png").read_bytes()
    index = json.loads((tmp_path / "shards/shards.json").read_text())
    for split in index["splits"].values():
        for shard in [split["rows"], *split["shards"]]:
            content = (tmp_path / "shards" / shard["name"]).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (shard["bytes"], shard["sha256"])
    assert not list((tmp_path / "shards").rglob(".*")) and not (tmp_path / "shards/writing.json").exists()


def test_types_lists_and_pictures_without_names_go_in_and_out(tmp_path):
    pictures = [{"bytes": _png(i), "path": None} for i in range(7)]
    columns = {
        "sizes": [[36, 38], [], None, [40], [1], [2], [3]],
        "price": [1.5, None, 3.0, 4.25, 5.0, 6.0, 7.0],
        "kind": pa.array(["a", "b", "a", None, "b", "a", "a"]).dictionary_encode(),
        "photo": pictures,
    }
    (tmp_path / "plain").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "plain/train-0.parquet")
    write(tmp_path / "plain", tmp_path / "shards", rows=3)
    whole, read = Catalogue.load(tmp_path / "plain"), Catalogue.load(tmp_path / "shards")
    assert read.ids == whole.ids == [f"train-{row}" for row in range(7)]
    assert read.table().equals(whole.table()) and read.value_sets("sizes") == whole.value_sets("sizes")
    assert read.picture_bytes(4) == _png(4)


def test_webdataset_goes_in_through_prepare(tmp_path):
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars/shard-000.tar", "w") as shard:
        for number in range(4):
            for ending, data in (("png", _png(number)), ("json", json.dumps({"Pattern": f"p{number}"}).encode())):
                member = tarfile.TarInfo(f"{number:03d}.{ending}")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))
    write(tmp_path / "tars", tmp_path / "shards", rows=3)
    read = Catalogue.load(tmp_path / "shards", attributes=["Pattern"])
    assert read.values("Pattern") == ["p0", "p1", "p2", "p3"] and read.picture_bytes(3) == _png(3)


def test_only_pictures_no_columns(tmp_path):
    (tmp_path / "plain").mkdir()
    pq.write_table(pa.table({"image": [{"bytes": _png(i), "path": f"{i}.png"} for i in range(4)]}),
                   tmp_path / "plain/train.parquet")  # fmt: skip
    write(tmp_path / "plain", tmp_path / "shards", rows=3)
    read = Catalogue.load(tmp_path / "shards")
    assert read.ids == ["0.png", "1.png", "2.png", "3.png"] and read.picture_bytes(3) == _png(3)


def test_rows_in_a_random_order(shop, tmp_path):
    write(shop, tmp_path / "shards", shuffle=3)
    whole, read = Catalogue.load(shop), Catalogue.load(tmp_path / "shards")
    assert read.ids != whole.ids and sorted(read.ids) == sorted(whole.ids)
    at = [whole.ids.index(item) for item in read.ids]
    assert read.subset(np.argsort(at)).table().equals(whole.table())
    assert [read.picture_bytes(i) for i in range(16)] == [whole.picture_bytes(i) for i in at]
    write(shop, tmp_path / "again", shuffle=3)
    assert Catalogue.load(tmp_path / "again").ids == read.ids


def test_resized_pictures_are_what_evaluation_sees_and_serve_no_other_model(shop, tmp_path):
    small = Preprocess(16)
    write(shop, tmp_path / "shards", preprocess=small)
    whole, read = Catalogue.load(shop), Catalogue.load(tmp_path / "shards")
    for index in range(len(whole)):
        assert np.array_equal(small.pixels(read.picture(index)), small.pixels(whole.picture(index)))
    read.require(small)
    with pytest.raises(CatalogueError, match="size: cache 16, model 24"):
        read.subset([1, 2]).require(Preprocess(24))
    with pytest.raises(CatalogueError, match="prepare the source for this model"):
        Preprocess(24)(read.picture(0))
    with pytest.raises(CatalogueError, match="size: cache 16, model 24"):
        prepare({"train": read}, Preprocess(24), tmp_path / "cache")
    with pytest.raises(CatalogueError, match="size: cache 16, model 24"):
        write(tmp_path / "shards", tmp_path / "other", preprocess=Preprocess(24))
    write(tmp_path / "shards", tmp_path / "copy")
    with pytest.raises(CatalogueError, match="size: cache 16, model 24"):
        Catalogue.load(tmp_path / "copy").require(Preprocess(24))


def test_again_writes_nothing_and_a_changed_source_is_refused(shop, out):
    write(shop, out)
    before = files(out)
    assert write(shop, out).written == 0 and files(out) == before
    with pytest.raises(UsageError, match=r"rows 5, not 7"):
        write(shop, out, rows=7)
    Image.new("RGB", (8, 8)).save(shop / "train/0006.png")
    with pytest.raises(UsageError, match=r"train-00001-of-00004.parquet: its rows or files in the source have changed"):
        write(shop, out)
    assert files(out) == before
    system, root = fsspec.url_to_fs(str(out))
    system.rm_file(f"{root}/shards.json")
    assert write(shop, out).written == 6  # nothing says any more what is there
    assert Catalogue.load(out).picture_bytes(6) == (shop / "train/0006.png").read_bytes()


class Killed(BaseException):
    """As if the process ended here."""


@pytest.mark.parametrize("at", range(8))
def test_an_interrupted_job_goes_on_and_ends_with_the_same_files(shop, out, tmp_path, monkeypatch, at):
    write(shop, tmp_path / "whole")
    real, calls = sharding._Job._save, []

    def save(job):
        if len(calls) == at + 1:
            raise Killed
        calls.append(1)
        real(job)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(sharding._Job, "_save", save)
        write(shop, out)
    with pytest.raises(CatalogueError, match="not all written; run the same"):
        Catalogue.load(out)
    done = write(shop, out)
    assert done.written == max(6 - at + (at > 4), 0)  # the fifth save is of the first row index
    assert files(out) == files(tmp_path / "whole")


def test_a_shard_that_changed_in_the_source_meanwhile_is_written_again(shop, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(sharding, "row_index", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            write(shop, tmp_path / "shards", ["train"])
    Image.new("RGB", (8, 8)).save(shop / "train/0006.png")
    (tmp_path / "shards/data/train-00003-of-00004.parquet").unlink()
    assert write(shop, tmp_path / "shards", ["train"]).written == 2
    read = Catalogue.load(tmp_path / "shards")
    assert read.picture_bytes(6) == (shop / "train/0006.png").read_bytes()


def test_broken_pictures_are_all_named_or_left_out(shop, out):
    for name in ("0002", "0007"):
        (shop / f"train/{name}.png").write_bytes(b"nothing")
    (shop / "train/0011.png").unlink()
    with pytest.raises(CatalogueError) as caught:
        write(shop, out)
    for part in ("3 picture(s)", "'0002'", "row 4", "'0007'", "'0011'", "--broken count", "are written and kept"):
        assert part in str(caught.value)
    with pytest.raises(CatalogueError, match="not all written"):
        Catalogue.load(out)
    with pytest.raises(UsageError, match="broken 'error', not 'count'"):
        write(shop, out, broken="count")
    system, root = fsspec.url_to_fs(str(out))
    system.rm(root, recursive=True)
    assert (done := write(shop, out, broken="count")).broken == 3 and done.items == 21
    assert write(shop, out, broken="count").broken == 3
    read, whole = Catalogue.load(out), Catalogue.load(shop)
    assert read.ids == [item for item in whole.ids if item not in ("0002", "0007", "0011")]
    assert [read.picture_bytes(i) for i in range(13)] == [
        (shop / f"train/{item}.png").read_bytes() for item in read.ids
    ]
    assert "'0007'" in json.dumps(json.loads(files(out)["shards.json"])["splits"]["train"])


def test_a_shard_without_any_picture_left(shop, tmp_path):
    for number in range(5, 10):
        (shop / f"train/{number:04d}.png").write_bytes(b"nothing")
    write(shop, tmp_path / "shards", broken="count")
    read = Catalogue.load(tmp_path / "shards")
    assert len(read) == 11 and read.picture_bytes(5) == (shop / "train/0010.png").read_bytes()
    shutil.rmtree(tmp_path / "shards")
    for number in range(16):
        (shop / f"train/{number:04d}.png").write_bytes(b"nothing")
    with pytest.raises(CatalogueError, match="not one picture can be prepared"):
        write(shop, tmp_path / "shards", ["train"], broken="count")


def test_a_column_called_as_the_pictures(shop, tmp_path):
    table = shop / "train/metadata.csv"
    table.write_text(table.read_text().replace(",name,", ",image,", 1))
    with pytest.raises(CatalogueError, match=r"metadata.csv: a column is called 'image'"):
        write(shop, tmp_path / "shards", ["train"])


def test_the_later_of_two_jobs_goes_on_and_the_earlier_stops(shop, out, tmp_path, monkeypatch):
    """The second begins while the first writes its third shard."""
    write(shop, tmp_path / "whole")
    real, begun, ended = sharding._write_shard, threading.Event(), threading.Event()
    results = {}

    def slowly(job, part, name, made_from, label):
        if threading.current_thread() is first and name.startswith("data/train-00002"):
            begun.set()
            assert ended.wait(60)
        return real(job, part, name, made_from, label)

    def run():
        try:
            write(shop, out)
        except StoreError as error:
            results["first"] = str(error)

    monkeypatch.setattr(sharding, "_write_shard", slowly)
    first = threading.Thread(target=run)
    first.start()
    assert begun.wait(60)
    results["second"] = write(shop, out)
    ended.set()
    first.join()
    assert "another job has begun to write here, so this one stops" in results["first"]
    assert results["second"].written == 4
    assert files(out) == files(tmp_path / "whole")


def test_a_job_with_another_plan_is_refused_while_one_writes(shop, out, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(sharding, "row_index", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            write(shop, out)
    with pytest.raises(UsageError, match="rows 5, not 4"):
        write(shop, out, rows=4)
    write(shop, out)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_any_call_leaves_what_can_be_gone_on_from(shop, tmp_path, monkeypatch, code):
    write(shop, tmp_path / "whole", ["validation"])
    with monkeypatch.context() as patched:
        disk = FailingDisk(patched, code)
        write(shop, tmp_path / "counted", ["validation"])
        calls = len(disk.calls)
    for number in range(1, calls + 1, 3):
        target = tmp_path / f"shards{number}"
        with monkeypatch.context() as patched:
            disk = FailingDisk(patched, code)
            disk.arm(number)
            with pytest.raises(StoreError, match="no space left" if code == errno.ENOSPC else "could not be written"):
                write(shop, target, ["validation"])
        if (target / "shards.json").exists():  # only the claim was left to be removed
            assert len(Catalogue.load(target, "validation")) == 8
        write(shop, target, ["validation"])
        assert files(target).keys() - {"writing.json"} == files(tmp_path / "whole").keys()


def test_a_full_disk_while_a_shard_is_written(shop, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("clipadapt.data.sharded.table.pq.ParquetWriter.write_table", full)
    with pytest.raises(StoreError, match="no space left to write it"):
        write(shop, tmp_path / "shards")
    assert not list((tmp_path / "shards").rglob("*.partial"))


def test_a_store_that_refuses_is_named(shop, monkeypatch):
    system = fsspec.filesystem("memory")

    def refuse(*_, **__):
        raise PermissionError("AccessDenied")

    monkeypatch.setattr(type(system), "put_file", refuse)
    with pytest.raises(StoreError, match=r"memory://bucket/x/data/train-00000.*could not be written: AccessDenied"):
        write(shop, "memory://bucket/x")


def _png(number):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(file, "PNG")
    return file.getvalue()
