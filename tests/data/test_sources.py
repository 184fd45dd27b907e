"""Every layout gives the rows that datasets.load_dataset gives, or says why not."""

import gc
import io
import json
import tarfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import datasets
import datasets.config
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_factory import paint, write_table

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.folders import recognise
from clipadapt.data.sources import open_source
from clipadapt.errors import CatalogueError


def encoded(colour="Red"):
    buffer = io.BytesIO()
    paint(colour, "", 16, 0).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def theirs_rows() -> Iterator[Callable[..., Any]]:
    """Rows as datasets reads them. It leaves metadata.csv open in a cycle, which no later test is to be told of."""

    def rows(source, split) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            loaded = datasets.load_dataset(str(source), split=split)
            gc.collect()
        assert isinstance(loaded, datasets.Dataset)
        return loaded.cast_column("image", datasets.Image(decode=False))

    yield rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # once more: what the rows of the test still held


@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")  # datasets' own
def test_metadata_folders_give_datasets_own_rows(shop, theirs_rows):
    ours = Catalogue.load(shop, "validation")
    theirs = theirs_rows(shop, "validation")
    assert len(ours) == len(theirs) == 8
    for index, row in enumerate(theirs):
        assert ours.place(index).picture == row["image"]["path"]
        assert ours.row(index)["name"] == row["name"]
        assert ours.row(index)["Pattern"] == (row["Pattern"] or "")


def test_class_folders_give_datasets_own_rows(tmp_path, theirs_rows):
    for split, label, name in [("train", "dress", "b.png"), ("train", "dress", "a.png"), ("train", "hat", "a.png"),
                               ("val", "dress", "c.png"), ("val", "hat", "d.png")]:  # fmt: skip
        target = tmp_path / split / label / name
        target.parent.mkdir(parents=True, exist_ok=True)
        paint("Red", "", 16, 0).save(target)
    ours = Catalogue.load(tmp_path, "train", attributes=["label"])
    theirs = theirs_rows(tmp_path, "train")
    names = theirs.features["label"].int2str
    assert {(ours.place(i).picture, ours.values("label")[i]) for i in range(len(ours))} == {
        (row["image"]["path"], names(row["label"])) for row in theirs
    }
    assert ours.ids == ["dress/a.png", "dress/b.png", "hat/a.png"]
    assert open_source(tmp_path).splits() == ["train", "validation"]


def test_cells_are_the_text_that_stands_in_the_file(tmp_path):
    write_table(tmp_path, [{"file_name": "1.png", "id": "007", "Collar": "None", "year": "2011", "Empty": ""},
                           {"file_name": "2.png", "id": "008", "Collar": "NA", "year": "", "Empty": ""}])  # fmt: skip
    catalogue = Catalogue.load(tmp_path)
    assert catalogue.ids == ["007", "008"]
    assert catalogue.values("Collar") == ["None", None]
    assert catalogue.row(0)["year"] == "2011"
    assert catalogue.values("Empty") == [None, None]


def test_parquet_with_pictures_inside(tmp_path):
    rows = [{"image": {"bytes": encoded(), "path": None}, "Pattern": "Striped", "year": 2011.0, "tags": ["a", "b"]},
            {"image": {"bytes": encoded("Blue"), "path": None}, "Pattern": None, "year": None, "tags": []}]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train-00000-of-00001.parquet")
    catalogue = Catalogue.load(tmp_path, attributes=["Pattern"])
    assert catalogue.ids == ["train-0", "train-1"]
    assert catalogue.row(0) == {"Pattern": "Striped", "year": "2011", "tags": "a|b"}
    assert catalogue.row(1) == {"Pattern": "", "year": "", "tags": ""}
    red, _, blue = np.asarray(catalogue.picture(1))[3, 3]
    assert blue > red


def test_webdataset_keeps_keys_that_only_late_samples_have(tmp_path):
    with tarfile.open(tmp_path / "shard-000.tar", "w") as shard:
        for index in range(9):
            record = {"Pattern": "Solid"} | ({"Neck": "V-Neck"} if index == 8 else {})
            for ending, data in (("png", encoded()), ("json", json.dumps(record).encode())):
                member = tarfile.TarInfo(f"{index:03d}.{ending}")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))
    for source in (tmp_path, tmp_path / "shard-000.tar", tmp_path / "*.tar"):
        catalogue = Catalogue.load(source, attributes=["Pattern", "Neck"])
        assert catalogue.values("Neck") == [None] * 8 + ["V-Neck"]
        assert catalogue.ids[8] == "008.png"
        assert catalogue.picture(8).size == (16, 16)


def test_webdataset_json_reads_as_it_stands_there_from_wherever_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "shop/train").mkdir(parents=True)
    records = [
        {"size": 38, "price": 20.0, "new": True, "shot": "2024-01-15", "tags": ["a", 1], "deep": {"eu": 38.0}},
        {"size": "M", "price": 19.99, "rate": 1e21},
    ]
    with tarfile.open(tmp_path / "shop/train/shard-000.tar", "w") as shard:
        for index, record in enumerate(records):
            for ending, data in (("png", encoded()), ("json", json.dumps(record).encode())):
                member = tarfile.TarInfo(f"sub.folder/{index:03d}.{ending}")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))
    (tmp_path / "link").symlink_to("shop")
    monkeypatch.chdir(tmp_path)
    for source in ("shop", "link", "shop/train/shard-000.tar", "./shop/../shop/train/*.tar", tmp_path / "shop"):
        catalogue = Catalogue.load(source)
        assert catalogue.row(0) == {
            "size": "38", "price": "20", "new": "true", "shot": "2024-01-15", "tags": "a|1", "eu": "38", "rate": "",
        }  # fmt: skip
        assert (catalogue.row(1)["size"], catalogue.row(1)["rate"]) == ("M", "1e+21")
        assert catalogue.value_sets("tags") == [{"a", "1"}, frozenset()]


def test_a_csv_beside_its_pictures(tmp_path):
    folder = write_table(tmp_path / "pictures", [{"file_name": "1.png"}, {"file_name": "2.png"}])
    (folder / "metadata.csv").unlink()
    (tmp_path / "goods.csv").write_text("image,Pattern\npictures/1.png,Solid\npictures/2.png,Striped\n")
    for source in (tmp_path, tmp_path / "goods.csv"):
        catalogue = Catalogue.load(source, attributes=["Pattern"])
        assert catalogue.values("Pattern") == ["Solid", "Striped"]
        assert catalogue.picture(1).mode == "RGB"


def test_jsonl_metadata_with_lists(tmp_path):
    folder = write_table(tmp_path, [{"file_name": "1.png"}])
    (folder / "metadata.csv").unlink()
    (folder / "metadata.jsonl").write_text('{"file_name": "1.png", "Occasion": ["Party", "Formal"]}\n')
    assert Catalogue.load(folder).row(0) == {"Occasion": "Party|Formal"}


def test_a_zip_of_an_imagefolder(tmp_path):
    import shutil

    write_table(tmp_path / "inside", [{"file_name": "1.png", "Pattern": "Solid"}, {"file_name": "2.png"}])
    shutil.make_archive(str(tmp_path / "goods"), "zip", tmp_path / "inside")
    catalogue = Catalogue.load(tmp_path / "goods.zip")
    assert catalogue.picture(1).size == (32, 32)
    assert (catalogue.pictures.sizes() > 0).all()


def test_layouts_left_to_datasets(tmp_path):
    paint("Red", "", 16, 0).save(tmp_path / "1.png")
    assert recognise(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [("./nowhere", "no such folder or file"), ("a/b/c", "no such folder or file"), ("photo.docx", "no such|hub")],
)
def test_a_source_that_is_not_there(name, message, monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("no network")))
    with pytest.raises(CatalogueError, match=message):
        open_source(name)


def test_a_hub_source_without_network_says_what_was_wanted(monkeypatch):
    def offline(*_, **__):
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(CatalogueError, match=r"'shop/goods' at revision abc123.*local-dir"):
        open_source("shop/goods", revision="abc123")


def test_a_file_of_an_unknown_kind(tmp_path):
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(CatalogueError, match=r"ending in \.docx"):
        open_source(tmp_path / "a.docx")


def test_an_empty_folder(tmp_path):
    with pytest.raises(CatalogueError, match="datasets cannot load it"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("../outside.png", "holds paths that lead out of the table's folder"),
        ("/etc/hostname", "holds absolute paths"),
        ("C:/pictures/1.png", "holds absolute paths"),
        ("file:///etc/hostname", "holds addresses"),
        ("https://shop.example/1.png", r"holds addresses, which are not fetched[^.]+row 2[\s\S]+download the pictures"),
    ],
)
def test_a_table_cannot_reach_out_of_its_folder(tmp_path, name, what):
    (tmp_path / "metadata.csv").write_text(f"file_name,Pattern\n{name},Solid\n")
    with pytest.raises(CatalogueError, match=what):
        Catalogue.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"file_name,a,a\n1.png,x,y\n", "twice in the header: 'a'"),
        (b"file_name,a\n1.png\n", "line 2: 1 cells where the header names 2 columns"),
        ("file_name,a\n1.png,é\n".encode("latin-1"), "UTF"),
        (b"picture,a\n1.png,x\n", "looked for image and file_name, found picture, a"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path, content, message):
    (tmp_path / "metadata.csv").write_bytes(content)
    with pytest.raises(CatalogueError, match=message):
        Catalogue.load(tmp_path)


def test_a_byte_order_mark_and_quoted_newlines_are_no_trouble(tmp_path):
    write_table(tmp_path, [{"file_name": "1.png"}])
    (tmp_path / "metadata.csv").write_bytes(b'\xef\xbb\xbffile_name,name\n1.png,"two\nlines"\n')
    assert Catalogue.load(tmp_path).row(0) == {"name": "two\nlines"}


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch, caplog):
    from huggingface_hub import HfApi, constants

    asked = []

    def silent(self, name, **_):
        asked.append(name)
        raise ConnectionError("no route")

    def from_cache(*_, **__):
        asked.append((constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE))
        raise FileNotFoundError("not in the cache")

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    monkeypatch.setattr(HfApi, "dataset_info", silent)
    monkeypatch.setattr(datasets, "load_dataset", from_cache)
    with caplog.at_level("INFO"), pytest.raises(CatalogueError, match="no such folder here"):
        open_source("some/thing")
    assert asked == ["some/thing", (True, True)]
    assert before == (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE)
    assert "looking for a data set of that name on the hub" in caplog.text


def test_a_data_set_that_the_hub_does_not_have_is_not_looked_for_twice(monkeypatch):
    from types import SimpleNamespace

    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    class Missing(HfHubHTTPError):
        def __init__(self):
            Exception.__init__(self, "404: no such repository")
            self.response = SimpleNamespace(status_code=404)

    def info(self, name, **_):
        raise Missing

    monkeypatch.setattr(HfApi, "dataset_info", info)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("it was looked for again"))
    with pytest.raises(CatalogueError, match="404: no such repository"):
        open_source("some/thing")
