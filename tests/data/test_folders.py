"""Nothing in a folder vanishes without a word: folders that could be splits or classes, and files beside them."""

import logging
import unicodedata

import pytest
from data_factory import paint, write_table

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.folders import passed_over
from clipadapt.data.sources import open_source
from clipadapt.errors import CatalogueError


def pictures(folder, count=4):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        paint("Red", "", 16, number).save(folder / f"{number}.png")


@pytest.mark.parametrize("names", [("train", "bus", "car"), ("val", "bus"), ("test", "train", "bus")])
def test_classes_may_be_called_as_splits_are(tmp_path, names):
    for name in names:
        pictures(tmp_path / name)
    assert open_source(tmp_path).splits() == ["train"]
    catalogue = Catalogue.load(tmp_path, attributes=["label"])
    assert catalogue.counts("label") == dict.fromkeys(sorted(names), 4)


def test_folders_of_pictures_alone_that_are_called_as_splits_stay_splits(tmp_path):
    for split in ("train", "val"):
        for label in ("bus", "car"):
            pictures(tmp_path / split / label)
    assert open_source(tmp_path).splits() == ["train", "validation"]
    assert passed_over(tmp_path) == []


def test_what_no_split_reads_is_named(tmp_path, caplog):
    for split in ("train", "val"):
        for label in ("bus", "car"):
            pictures(tmp_path / split / label)
    pictures(tmp_path / "extra" / "deep", 3)
    paint("Red", "", 16, 0).save(tmp_path / "loose.png")
    (tmp_path / "train" / "bus" / "9.heic").write_bytes(b"x")
    lines = passed_over(tmp_path)
    assert len(lines) == 3
    assert "1 file(s) are no pictures by their ending, such as '9.heic'" in lines[0]
    assert "'extra' is not read (3 pictures)" in lines[1]
    assert "1 pictures beside the split folders are not read, such as 'loose.png'" in lines[2]
    with caplog.at_level(logging.WARNING):
        open_source(tmp_path)
    assert all(line in caplog.text for line in lines)


def test_tables_beside_the_tables_of_splits_are_named(tmp_path):
    pictures(tmp_path / "p")
    for name in ("train.csv", "items.csv"):
        (tmp_path / name).write_text("image\np/0.png\n")
    assert passed_over(tmp_path) == ["not read: items.csv, for 'train' have tables or folders of their own"]


@pytest.mark.parametrize("names", [("val", "validation"), ("test", "eval")])
def test_two_folders_for_one_split_hide_neither(tmp_path, names):
    for name in ("train", *names):
        for label in ("bus", "car"):
            pictures(tmp_path / name / label)
    with pytest.raises(CatalogueError, match=r"both mean the split '(validation|test)'; rename one"):
        open_source(tmp_path)


def test_two_tables_for_one_split_hide_neither(tmp_path):
    for name in ("train.csv", "training.csv"):
        (tmp_path / name).write_text("image\n1.png\n")
    with pytest.raises(CatalogueError, match=r"train(ing)?\.csv' and 'train(ing)?\.csv' both mean"):
        open_source(tmp_path)


@pytest.mark.parametrize("table", ["NFC", "NFD"])
def test_accents_in_file_names_are_one_name_however_they_are_written(tmp_path, table):
    disk = "NFD" if table == "NFC" else "NFC"
    stored = unicodedata.normalize(disk, "Ünï/café.png")
    (tmp_path / stored).parent.mkdir()
    paint("Red", "", 16, 0).save(tmp_path / stored)
    write_table(tmp_path, [{"file_name": "plain.png"}])
    written = unicodedata.normalize(table, "Ünï/café.png")
    (tmp_path / "metadata.csv").write_text(f"file_name,a\n{written},x\nplain.png,y\n", encoding="utf-8")
    catalogue = Catalogue.load(tmp_path)
    assert catalogue.picture(0).size == (16, 16)
    assert catalogue.ids == ["Ünï/café.png", "plain.png"]
    assert catalogue.place(0).picture.endswith(stored)


def test_spaces_after_the_commas_of_a_table_are_no_part_of_a_file_name(tmp_path):
    paint("Red", "", 16, 0).save(tmp_path / "0.png")
    paint("Red", "", 16, 0).save(tmp_path / " 1.png")
    (tmp_path / "metadata.csv").write_text("a, file_name\nx, 0.png\ny, 1.png\nz, 2.png\n")
    catalogue = Catalogue.load(tmp_path)
    assert [catalogue.place(index).picture.removeprefix(f"{tmp_path}/") for index in range(3)] == [
        "0.png", " 1.png", " 2.png",
    ]  # fmt: skip


def test_folders_may_be_written_with_backslashes(tmp_path):
    pictures(tmp_path / "shop")
    (tmp_path / "metadata.csv").write_text("file_name\nshop\\0.png\n")
    assert Catalogue.load(tmp_path).picture(0).size == (16, 16)


@pytest.mark.parametrize("name", ["json", "csv", "imagefolder"])
def test_a_missing_source_called_as_a_reader_of_datasets_reads_nothing(tmp_path, monkeypatch, name):
    (tmp_path / "secret.json").write_text('{"a": 1}')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CatalogueError, match="no such folder or file"):
        open_source(name)


@pytest.mark.parametrize("name", ["metadata.csv", "items.csv"])
def test_one_table_over_split_folders_is_read(tmp_path, name):
    """datasets takes such a folder for classes, and leaves the table out without a word."""
    for folder in ("train", "val"):
        pictures(tmp_path / folder, 2)
    (tmp_path / name).write_text(
        "file_name,id,Collar\ntrain/0.png,007,None\n./train/1.png,008,NA\nval/0.png,009,x\nother/1.png,010,y\n"
    )
    train, validation = (Catalogue.load(tmp_path, split) for split in ("train", "validation"))
    assert [train.row(item) for item in range(2)] == [{"id": "007", "Collar": "None"}, {"id": "008", "Collar": ""}]
    assert (validation.ids, validation.place(0).row) == (["009"], 4)
    assert validation.picture(0).size == (16, 16)
    assert passed_over(tmp_path) == [f"{name}: 1 row(s) name pictures in none of 'train', 'val', the first in row 5"]


def test_a_table_for_each_split_beside_their_folders(tmp_path):
    for folder in ("train", "test"):
        pictures(tmp_path / folder, 2)
        (tmp_path / f"{folder}.csv").write_text(f"image,a\n{folder}/1.png,x\n")
    assert open_source(tmp_path).splits() == ["train", "test"]
    assert Catalogue.load(tmp_path, "test").values("a") == ["x"]
    assert passed_over(tmp_path) == []


def test_a_table_beside_split_folders_that_have_their_own_is_named(tmp_path):
    for folder in ("train", "val"):
        write_table(tmp_path / folder, [{"file_name": "1.png"}])
    (tmp_path / "all.csv").write_text("image,a\ntrain/1.png,x\n")
    assert passed_over(tmp_path) == ["not read: all.csv, for 'train', 'validation' have tables or folders of their own"]
