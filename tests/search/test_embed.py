import errno
import json
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from failing_disk import FailingDisk

from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.errors import CatalogueError, ModelError, StoreError, UsageError
from clipadapt.search import embed_output, vector_shards
from clipadapt.search.embed import Part, embed, embed_part, embed_pictures
from clipadapt.search.index import Index
from clipadapt.search.vector_parts import Form
from clipadapt.search.vectors import Vectors

FORMS = [Form("npy"), Form("parquet"), Form("npy", "float16"), Form("parquet", "float16"), Form("whole", "float16")]
HALF = 2**-11
"""How far float16 takes a unit vector at most: the relative error of rounding to 11 bits."""


@pytest.fixture
def catalogue(shop):
    return Catalogue.load(shop, "train")


def test_vectors_are_those_of_the_encoder_row_by_row(painter, catalogue):
    made = embed_pictures(painter(), catalogue)
    expected = painter().encode_images([catalogue.picture(row) for row in range(len(catalogue))]).numpy()
    np.testing.assert_allclose(made.vectors, expected, atol=1e-6)
    assert made.vectors.dtype == np.float32
    assert made.items.table.column("id").to_pylist() == catalogue.ids
    assert made.items.table.column("price").to_pylist() == [10 * row for row in range(12)]
    assert (made.image_space, made.model, made.broken) == ("colours", "painter", ())


def test_a_torch_model_on_the_cpu_gives_what_it_gives_alone(catalogue, tmp_path):
    from tiny_models import OPEN_CLIP, write_open_clip

    from clipadapt.towers.load import load

    encoder = load(str(write_open_clip(tmp_path / "model", OPEN_CLIP["clip"])))
    threads = torch.get_num_threads()
    made = embed_pictures(encoder, catalogue, workers=3)
    expected = encoder.encode_images([catalogue.picture(row) for row in range(len(catalogue))]).numpy()
    np.testing.assert_allclose(made.vectors, expected, atol=2e-6)
    assert torch.get_num_threads() == threads


def test_a_folder_of_vectors_reads_without_clipadapt(painter, catalogue, tmp_path):
    embed(painter(), catalogue, tmp_path / "out", shard=5)
    vectors = np.load(tmp_path / "out" / "vectors.npy", allow_pickle=False)
    table = pq.read_table(tmp_path / "out" / "items.parquet")
    facts = json.loads((tmp_path / "out" / "embed.json").read_text())
    assert vectors.shape == (12, 6)
    assert table.column("id").to_pylist() == catalogue.ids
    assert facts["image_space"] == "colours"
    assert facts["vectors"] == facts["embedded_now"] == 12
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["out", "shop"]


def test_a_stopped_job_goes_on_where_it_was(painter, catalogue, tmp_path, monkeypatch):
    class Stopping(painter):
        def encode_images(self, pictures):
            if sum(self.encoded) >= 10:
                raise KeyboardInterrupt
            return super().encode_images(pictures)

    with pytest.raises(KeyboardInterrupt):
        embed(Stopping(), catalogue, tmp_path / "out", shard=5)
    assert not (tmp_path / "out").exists()
    again = painter()
    resumed = embed(again, catalogue, tmp_path / "out", shard=5)
    assert sum(again.encoded) == 2
    assert json.loads((tmp_path / "out" / "embed.json").read_text())["embedded_now"] == 2
    np.testing.assert_array_equal(resumed.vectors, embed_pictures(painter(), catalogue).vectors)
    assert not (tmp_path / "out.partial").exists()
    finished = painter()
    embed(finished, catalogue, tmp_path / "out", shard=5)
    assert finished.encoded == []


def test_another_job_is_not_mixed_in(painter, catalogue, tmp_path):
    embed(painter(), catalogue, tmp_path / "out", shard=5)
    with pytest.raises(UsageError, match=r"image_space 'colours', not 'others'.*another --out"):
        embed(painter("others"), catalogue, tmp_path / "out", shard=5)
    with pytest.raises(UsageError, match="pictures 12, not 3"):
        embed(painter(), catalogue.subset([0, 1, 2]), tmp_path / "out", shard=5)


def test_broken_pictures_are_counted_with_file_row_and_reason(painter, shop, tmp_path, caplog):
    (shop / "train" / "4.png").write_bytes(b"no picture")
    (shop / "train" / "9.png").write_bytes((shop / "train" / "9.png").read_bytes()[:40])
    made = embed(painter(), Catalogue.load(shop, "train"), tmp_path / "out", shard=5)
    assert [(one.id, one.row) for one in made.broken] == [("i4", 6), ("i9", 11)]
    assert all("metadata.csv" in one.file and one.reason for one in made.broken)
    assert made.vectors.shape == (10, 6)
    assert "i4" not in made.items.table.column("id").to_pylist()
    assert made.items.table.column("vector").to_pylist() == list(range(10))
    assert "2 of 12 pictures are broken" in caplog.text
    assert Vectors.open(tmp_path / "out").broken == made.broken
    np.testing.assert_allclose(
        made.vectors, embed_pictures(painter(), Catalogue.load(shop, "train")).vectors, atol=1e-6
    )


def test_not_one_picture_is_an_error(painter, shop):
    for file in (shop / "train").glob("*.png"):
        file.write_bytes(b"no picture")
    with pytest.raises(CatalogueError, match="not one of 12 pictures can be embedded"):
        embed_pictures(painter(), Catalogue.load(shop, "train"))


def test_a_model_that_gives_no_numbers_is_named(painter, catalogue):
    class Lost(painter):
        def encode_images(self, pictures):
            return super().encode_images(pictures) * float("nan")

    with pytest.raises(ModelError, match=r"painter: the picture vector of item 'i0' is not finite"):
        embed_pictures(Lost(), catalogue)


def test_multi_attributes_become_lists(painter, shop):
    metadata = shop / "train" / "metadata.csv"
    metadata.write_text(metadata.read_text().replace(",red,", ",red+white,"))
    items = embed_pictures(
        painter(), Catalogue.load(shop, "train", attributes=[Attribute("colour", "multi", "+")])
    ).items
    assert items.attributes(np.array([0]))[0]["colour"] == ["red", "white"]


@pytest.mark.parametrize("damage", ["vectors.npy", "items.parquet", "embed.json"])
def test_what_cannot_be_read_is_told(painter, catalogue, tmp_path, damage):
    embed(painter(), catalogue, tmp_path / "out")
    (tmp_path / "out" / damage).write_bytes(b"{}")
    with pytest.raises(
        StoreError, match=rf"cannot be read|was changed after it was written:\n  - {damage} has 2 bytes"
    ):
        Vectors.open(tmp_path / "out")
    (tmp_path / "out" / damage).unlink()
    with pytest.raises(StoreError, match="run clipadapt embed"):
        Vectors.open(tmp_path / "out")


@pytest.mark.slow
def test_two_processes_share_the_shards(shop, tmp_path):
    from tiny_models import OPEN_CLIP, write_open_clip

    from clipadapt.towers.load import load

    model = write_open_clip(tmp_path / "model", OPEN_CLIP["clip"])
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    verb = [
        "-m",
        "clipadapt.cli",
        "embed",
        "--model",
        model,
        "--source",
        shop,
        "--out",
        tmp_path / "out",
        "--shard",
        "3",
    ]
    done = subprocess.run([str(part) for part in launch + verb], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("12 vectors of") == 1
    alone = embed_pictures(load(str(model)), Catalogue.load(shop, "train"))
    np.testing.assert_allclose(Vectors.open(tmp_path / "out").vectors, alone.vectors, atol=2e-6)


def test_parts_that_know_nothing_of_each_other_make_what_one_job_makes(painter, catalogue, tmp_path):
    left = [embed_part(painter(), catalogue, tmp_path / "out", Part(at, 3), shard=2) for at in (2, 3)]
    assert left == [4, 2] and not (tmp_path / "out").exists()
    encoder = painter()
    assert embed_part(encoder, catalogue, tmp_path / "out", Part(1, 3), shard=2) == 0
    assert sum(encoder.encoded) == 4
    whole = embed(painter(), catalogue, tmp_path / "whole", shard=2)
    np.testing.assert_array_equal(Vectors.open(tmp_path / "out").vectors, whole.vectors)
    assert Vectors.open(tmp_path / "out").items.table.equals(whole.items.table)
    assert not (tmp_path / "out.partial").exists()
    assert embed_part(encoder, catalogue, tmp_path / "out", Part(2, 3), shard=2) == 0
    assert sum(encoder.encoded) == 4, "what is there is not made again"


def test_a_part_that_was_lost_is_made_by_any_job(painter, catalogue, tmp_path):
    for at in (1, 3):
        embed_part(painter(), catalogue, tmp_path / "out", Part(at, 3), shard=2)
    (tmp_path / "out.partial" / "000000.npy").unlink()
    encoder = painter()
    assert embed_part(encoder, catalogue, tmp_path / "out", Part(1, 1), shard=2) == 0
    assert sum(encoder.encoded) == 6, "the part that never ran, and the file that was lost"
    np.testing.assert_array_equal(Vectors.open(tmp_path / "out").vectors, embed_pictures(painter(), catalogue).vectors)


def test_a_shard_that_was_changed_is_named_and_made_again(painter, catalogue, tmp_path):
    embed_part(painter(), catalogue, tmp_path / "out", Part(1, 2), shard=2)
    shard = tmp_path / "out.partial" / "000002.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(StoreError, match=r"000002\.npy: another sha256.*\n.*run the same command again"):
        embed(painter(), catalogue, tmp_path / "out", shard=2)
    assert not (tmp_path / "out").exists()
    encoder = painter()
    made = embed(encoder, catalogue, tmp_path / "out", shard=2)
    assert sum(encoder.encoded) == 2
    np.testing.assert_array_equal(made.vectors, embed_pictures(painter(), catalogue).vectors)


def test_all_shards_that_cannot_be_used_are_named_and_made_again_by_one_call(painter, catalogue, tmp_path):
    """Such as those of a job that an older clipadapt began: what it kept of them lacks their sizes."""
    embed_part(painter(), catalogue, tmp_path / "out", Part(1, 2), shard=2)
    notes = sorted((tmp_path / "out.partial").glob("0*.json"))
    for note in notes:
        kept = json.loads(note.read_text())
        note.write_text(json.dumps({key: kept[key] for key in ("sha256", "broken")}))
    with pytest.raises(StoreError, match=r"3 shard.s. are missing or cannot be used:\n.*0\.npy: .*of another version"):
        embed(painter(), catalogue, tmp_path / "out", shard=2)
    encoder = painter()
    made = embed(encoder, catalogue, tmp_path / "out", shard=2)
    assert sum(encoder.encoded) == 6
    np.testing.assert_array_equal(made.vectors, embed_pictures(painter(), catalogue).vectors)


def test_parts_of_another_job_are_refused(painter, catalogue, tmp_path):
    embed_part(painter(), catalogue, tmp_path / "out", Part(1, 2), shard=2)
    with pytest.raises(UsageError, match=r"out\.partial: holds vectors of another job \(image_space 'colours'"):
        embed_part(painter("others"), catalogue, tmp_path / "out", Part(2, 2), shard=2)


def test_of_two_jobs_that_begin_at_once_in_one_folder_one_is_refused(painter, catalogue, tmp_path, monkeypatch):
    mine, other = (embed_output.shards_of(painter(name), catalogue, tmp_path / "out", 2, Form()) for name in "ab")
    real, said = vector_shards.atomic_write, []

    def begin() -> None:
        try:
            other.begin()
        except UsageError as error:
            said.append(str(error))

    beside = threading.Thread(target=begin)

    def meanwhile(path, data) -> None:
        monkeypatch.setattr(vector_shards, "atomic_write", real)
        beside.start()
        beside.join(0.5)
        real(path, data)

    monkeypatch.setattr(vector_shards, "atomic_write", meanwhile)
    mine.begin()
    beside.join()
    mine.begin()
    assert len(said) == 1 and "holds vectors of another job (image_space 'a', not 'b')" in said[0]


def test_a_part_under_a_launcher_is_refused(painter, catalogue, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="a part is made by one process, and this launch has 2"):
        embed_part(painter(), catalogue, tmp_path / "out", Part(1, 2))


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", ""])
def test_what_is_no_part(text):
    with pytest.raises(UsageError, match="write which part of how many"):
        Part.parse(text)


def test_jobs_that_end_at_once_leave_one_whole_folder(painter, catalogue, tmp_path):
    expected = embed_pictures(painter(), catalogue).vectors
    for attempt in range(3):
        out = tmp_path / f"out{attempt}"
        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(embed_part, painter(), catalogue, out, Part(at, 4), shard=1) for at in (1, 2, 3, 4)]
        assert 0 in [job.result() for job in jobs]
        np.testing.assert_array_equal(Vectors.open(out).vectors, expected)
        assert not out.with_name(out.name + ".partial").exists()


@pytest.mark.parametrize("form", FORMS, ids="-".join)
def test_parts_joined_are_what_one_array_holds(painter, shop, tmp_path, form):
    (shop / "train" / "3.png").write_bytes(b"no picture")
    catalogue = Catalogue.load(shop, "train")
    whole = embed(painter(), catalogue, tmp_path / "whole", shard=5)
    made = embed(painter(), catalogue, tmp_path / "out", shard=5, form=form)
    bound = HALF if form.dtype == "float16" else 0
    assert np.linalg.norm(np.asarray(made.vectors) - whole.vectors, axis=1).max() <= bound
    assert made.items.table.equals(whole.items.table) and made.broken == whole.broken
    assert not (tmp_path / "out.partial").exists()
    facts = json.loads((tmp_path / "out" / "embed.json").read_text())
    files = json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]
    assert {part["file"] for part in facts["parts"]} < set(files) and sum(part["rows"] for part in facts["parts"]) == 11
    assert sorted(part["rows"] for part in facts["parts"]) == ([11] if form.name == "whole" else [2, 4, 5])
    found = Index.build(made, tmp_path / "index").search(whole.vectors[:3], 3)
    expected = Index.build(whole, tmp_path / "expected").search(whole.vectors[:3], 3)
    for hits, others in zip(found, expected, strict=True):
        assert [hit.id for hit in hits] == [hit.id for hit in others]
        assert np.abs(np.subtract([hit.score for hit in hits], [hit.score for hit in others])).max() <= bound + 1e-6


@pytest.mark.parametrize("dims", [None, 3])
@pytest.mark.parametrize("form", [Form("npy"), Form("parquet", "float16")], ids="-".join)
def test_an_index_is_built_of_parts_and_grows_by_them(painter, catalogue, tmp_path, place, form, dims):
    """Where vectors are kept by FAISS, and where Milvus keeps them."""
    whole = embed_pictures(painter(), catalogue)
    embed(painter(), catalogue.subset(range(8)), tmp_path / "first", shard=3, form=form)
    embed(painter(), catalogue.subset(range(8, 12)), tmp_path / "more", shard=3, form=form)
    index = Index.build(Vectors.open(tmp_path / "first"), place, dims=dims)
    assert index.add(Vectors.open(tmp_path / "more")).items == 12
    assert index.meta.whole == (None if dims is None else 6)
    expected = whole.vectors if dims is None else whole.shortened(dims).vectors
    found = np.array([index.vector(item) for item in whole.items.ids()])
    length = 1 if dims is None else np.linalg.norm(np.asarray(whole.vectors)[:, :dims], axis=1).min()
    assert np.linalg.norm(found - expected, axis=1).max() <= 1e-6 + (HALF / length if form.dtype == "float16" else 0)
    assert {hit.id for hit in index.search(index.vector("i10"), 3, collapse=False)[0]} == {"i9", "i10", "i11"}


def test_parts_read_without_clipadapt(painter, catalogue, tmp_path):
    made = embed(painter(), catalogue, tmp_path / "out", shard=5, form=Form("parquet", "float16"))
    tables = [pq.read_table(file) for file in sorted((tmp_path / "out" / "parts").iterdir())]
    assert [len(table) for table in tables] == [5, 5, 2]
    assert [item for table in tables for item in table["id"].to_pylist()] == catalogue.ids
    assert str(tables[0].schema.field("vector").type) == "fixed_size_list<element: halffloat>[6]"
    np.testing.assert_allclose(tables[2]["vector"].to_pylist(), made.vectors[10:], atol=HALF)
    embed(painter(), catalogue, tmp_path / "npy", shard=5, form=Form("npy", "float16"))
    arrays = [np.load(file, allow_pickle=False) for file in sorted((tmp_path / "npy" / "parts").iterdir())]
    assert [part.shape for part in arrays] == [(5, 6), (5, 6), (2, 6)] and arrays[0].dtype == np.float16


@pytest.mark.parametrize("form", [Form("npy"), Form("parquet", "float16")], ids="-".join)
@pytest.mark.parametrize("again", ["embed", "part"])
def test_a_part_that_is_lost_or_changed_is_named_and_made_again_alone(painter, shop, tmp_path, form, again, caplog):
    (shop / "train" / "3.png").write_bytes(b"no picture")
    catalogue = Catalogue.load(shop, "train")
    before = embed(painter(), catalogue, tmp_path / "out", shard=2, form=form)
    parts = tmp_path / "out" / "parts"
    (parts / f"000001{form.suffix}").unlink()
    content = bytearray((parts / f"000003{form.suffix}").read_bytes())
    content[-1] ^= 1
    (parts / f"000003{form.suffix}").write_bytes(content)
    with pytest.raises(StoreError, match=rf"parts/000001\{form.suffix} cannot be read.*\n.*000003.*has another sha256"):
        Index.build(Vectors.open(tmp_path / "out"), tmp_path / "index")
    encoder = painter()
    if again == "embed":
        embed(encoder, catalogue, tmp_path / "out", shard=2, form=form)
    else:
        left = [
            embed_part(encoder, catalogue, tmp_path / "out", Part(at, 2), shard=2, form=form) for at in (1, 2)
        ]  # fmt: skip
        assert left[-1] == 0
    names = [one.id for one in before.broken]
    again_at = [row for row in (2, 3, 6, 7) if catalogue.ids[row] not in names]
    assert sum(encoder.encoded) == len(again_at), "the pictures of two parts, but for the broken one"
    assert "000001" in caplog.text and "made again" in caplog.text
    made = Vectors.open(tmp_path / "out")
    np.testing.assert_array_equal(made.vectors, before.vectors)
    assert made.broken == before.broken and made.items.table.equals(before.items.table)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["out", "shop"]


@pytest.mark.parametrize("before", ["refuse_other", "_has_manifest"])
def test_a_folder_that_another_process_begins_to_mend_meanwhile_is_mended_together(
    painter, catalogue, tmp_path, monkeypatch, before
):
    form = Form("npy")
    expected = np.asarray(embed(painter(), catalogue, tmp_path / "out", shard=2, form=form).vectors)
    (tmp_path / "out" / "parts" / "000001.npy").unlink()
    real = getattr(embed_output, before)

    def meanwhile(*given):
        monkeypatch.setattr(embed_output, before, real)
        (tmp_path / "out" / "embed.json").unlink()
        return real(*given)

    monkeypatch.setattr(embed_output, before, meanwhile)
    made = embed(painter(), catalogue, tmp_path / "out", shard=2, form=form)
    np.testing.assert_array_equal(made.vectors, expected)


def test_one_array_that_was_changed_is_not_silently_replaced(painter, catalogue, tmp_path):
    embed(painter(), catalogue, tmp_path / "out")
    np.save(tmp_path / "out" / "vectors.npy", np.zeros((12, 6), np.float32))
    with pytest.raises(StoreError, match=r"vectors\.npy has another sha256\n.*remove the folder"):
        embed(painter(), catalogue, tmp_path / "out")


def test_a_folder_of_an_earlier_version_is_finished(painter, catalogue, tmp_path):
    made = embed(painter(), catalogue, tmp_path / "out", shard=5)
    (tmp_path / "out" / "manifest.json").unlink()
    facts = json.loads((tmp_path / "out" / "embed.json").read_text())
    for key in ("form", "dtype", "parts", "worker_seconds", "images_per_worker_second"):
        del facts[key]
    (tmp_path / "out" / "embed.json").write_text(json.dumps(facts | {"schema_version": 1}))
    again = painter()
    np.testing.assert_array_equal(embed(again, catalogue, tmp_path / "out", shard=5).vectors, made.vectors)
    assert again.encoded == []


def test_a_folder_of_a_newer_clipadapt_is_refused_with_what_to_do(painter, catalogue, tmp_path):
    embed(painter(), catalogue, tmp_path / "out", shard=5)
    file = tmp_path / "out" / "embed.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": 3}))
    with pytest.raises(StoreError, match=r"embed\.json: has schema_version 3, .* reads 1 to 2; update clipadapt"):
        Vectors.open(tmp_path / "out")


def test_the_same_folder_in_another_form_is_another_job(painter, catalogue, tmp_path):
    embed(painter(), catalogue, tmp_path / "out", shard=5)
    with pytest.raises(UsageError, match=r"form 'whole', not 'npy'; dtype 'float32', not 'float16'"):
        embed(painter(), catalogue, tmp_path / "out", shard=5, form=Form("npy", "float16"))


@pytest.mark.parametrize("form", [Form(), Form("parquet", "float16")], ids="-".join)
def test_whatever_write_a_full_disk_refuses_nothing_half_is_left_and_the_job_goes_on(
    painter, catalogue, tmp_path, form, monkeypatch
):
    expected = np.asarray(embed(painter(), catalogue, tmp_path / "expected", shard=5, form=form).vectors)
    with monkeypatch.context() as patch:
        disk = FailingDisk(patch, errno.ENOSPC)
        embed(painter(), catalogue, tmp_path / "counted", shard=5, form=form)
        calls = len(disk.calls)
        assert calls > 20
        for number in range(1, calls):  # the last one is after the folder took its place
            out = tmp_path / f"out{number}"
            disk.arm(number)
            with pytest.raises(StoreError, match=rf"{tmp_path}.*no space left"):
                embed(painter(), catalogue, out, shard=5, form=form)
            disk.arm(-1)
            assert not out.exists() or len(Vectors.open(out).vectors) == 12
            np.testing.assert_array_equal(embed(painter(), catalogue, out, shard=5, form=form).vectors, expected)
            assert not out.with_name(f"{out.name}.partial").exists()


def test_a_full_disk_while_one_array_is_written_is_named(painter, catalogue, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x")

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="out: no space left to write it"):
        patch.setattr(embed_output, "_join", full)
        embed(painter(), catalogue, tmp_path / "out", shard=5)
    assert not (tmp_path / "out").exists()
    again = painter()
    embed(again, catalogue, tmp_path / "out", shard=5)
    assert again.encoded == [], "the shards are there"


def test_speed_is_that_of_the_call_and_of_all_workers(painter, catalogue, tmp_path):
    class Slow(painter):
        def encode_images(self, pictures):
            time.sleep(0.05)
            return super().encode_images(pictures)

    for at in (1, 2):
        embed_part(Slow(), catalogue, tmp_path / "out", Part(at, 2), shard=2, workers=1)
    facts = json.loads((tmp_path / "out" / "embed.json").read_text())
    assert facts["embedded_now"] == 6 and facts["seconds"] >= 0.15
    assert facts["worker_seconds"] >= 0.3 and facts["images_per_worker_second"] <= 12 / 0.3
    assert facts["images_per_worker_second"] == pytest.approx(12 / facts["worker_seconds"], rel=0.01)


@pytest.mark.parametrize("when", ["before the lock", "after the plan"])
def test_a_job_that_begins_as_another_ends_takes_what_that_one_made(painter, catalogue, tmp_path, monkeypatch, when):
    """The other removes the folder of shards under its hands."""
    out, real, ended = tmp_path / "out", filelock.FileLock, []

    def end() -> None:
        if not ended:
            ended.append(1)
            shutil.rmtree(tmp_path / "out.partial")
            embed(painter(), catalogue, out, shard=2)

    def lock(path: Path) -> filelock.BaseFileLock:
        if when == "before the lock":
            end()
        return real(path)

    def refuse(*arguments: Any) -> None:
        if when == "after the plan":
            end()
        checked(*arguments)

    checked = vector_shards.refuse_other
    monkeypatch.setattr(vector_shards.filelock, "FileLock", lock)
    monkeypatch.setattr(vector_shards, "refuse_other", refuse)
    if when == "after the plan":
        assert embed_part(painter(), catalogue, out, Part(1, 2), shard=2) > 0
    late = painter()
    expected = embed_pictures(painter(), catalogue).vectors
    np.testing.assert_array_equal(embed(late, catalogue, out, shard=2).vectors, expected)
    assert ended and not late.encoded
    assert not (tmp_path / "out.partial").exists()


def test_whatever_ends_a_job_it_is_put_together_once(painter, catalogue, tmp_path, monkeypatch):
    together, real = [], embed_output._assemble

    def slow(*arguments: Any) -> None:
        together.append(1)
        time.sleep(0.3)
        real(*arguments)

    monkeypatch.setattr(embed_output, "_assemble", slow)
    out = tmp_path / "out"
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(embed, painter(), catalogue, out, shard=2) for _ in range(2)]
        part = pool.submit(embed_part, painter(), catalogue, out, Part(1, 1), shard=2)
    assert part.result() == 0 and len(together) == 1
    expected = embed_pictures(painter(), catalogue).vectors
    for made in (jobs[0].result(), jobs[1].result(), Vectors.open(out)):
        np.testing.assert_array_equal(made.vectors, expected)
    assert not (tmp_path / "out.partial").exists()
