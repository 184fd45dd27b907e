"""JSON keeps what stands in it, whatever stands beside it; what labelling tools write is a catalogue."""

import json

import pytest
from data_factory import paint

from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.data.folders import recognise
from clipadapt.data.records import table_of
from clipadapt.data.tables import read_table
from clipadapt.errors import CatalogueError


def read(folder, name, content):
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_table(file)[0].to_pydict()


def test_values_stay_as_they_are_written(tmp_path):
    lines = (
        '{"shot": "2024-01-15", "size": 38, "price": 19.99, "new": true, "rate": 5e-05}\n'
        '{"shot": "2024-01-15T10:30:00+02:00", "size": "M", "price": 20.0, "new": null, "rate": 1e21, "late": "x"}\n'
    )
    assert read(tmp_path, "a.jsonl", lines) == {
        "shot": ["2024-01-15", "2024-01-15T10:30:00+02:00"],
        "size": ["38", "M"],
        "price": ["19.99", "20"],
        "new": ["true", None],
        "rate": ["0.00005", "1e+21"],
        "late": [None, "x"],
    }
    array = "[" + ",".join(lines.strip().split("\n")) + "]"
    assert read(tmp_path, "a.json", array)["size"] == read(tmp_path, "b.json", lines)["size"] == ["38", "M"]
    assert read(tmp_path, "c.json", {"version": 1, "data": [{"size": 38}, {"size": "M"}]}) == {"size": ["38", "M"]}


def test_lists_and_objects_within():
    table = table_of(
        [
            {"tags": ["a", 1], "json": {"name": "x", "deep": {"eu": 38}}, "name": "one", "boxes": [[1, 2]]},
            {"tags": "b", "objects": [{"kind": "bag"}, {"kind": "hat"}], "name": "two"},
        ]
    )
    assert table.drop_columns(["boxes"]).to_pydict() == {
        "tags": [["a", "1"], ["b"]],
        "json.name": ["x", None],
        "eu": ["38", None],
        "name": ["one", "two"],
        "kind": [None, ["bag", "hat"]],
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"a": 1}\n\n{"a": 1,}\n', "line 3: no JSON"),
        ("a.jsonl", '{"a": 1}\n[1]\n', r"line 2: '\[1\]' is no object"),
        (
            "a.jsonl",
            '{"a": 1}\n{"a": "Red", "b": {"c": 1}, "a": "Blue"}',
            "line 2: the key 'a' stands twice.*'Red', 'Blue'",
        ),
        ("a.json", '[{"a": {"c": 1, "c": 2}}]', "a.json: the key 'c' stands twice"),
        ("a.json", "[1, 2]", "is none of them"),
        ("a.json", '{"a": \n', "line 2: no JSON"),
    ],
)
def test_json_that_is_no_table(tmp_path, name, content, message):
    with pytest.raises(CatalogueError, match=message):
        read(tmp_path, name, content)


def coco():
    return {
        "images": [{"id": 1, "file_name": "1.png", "license": 3}, {"id": 2, "file_name": "2.png"}],
        "categories": [{"id": 7, "name": "bag"}, {"id": 9, "name": "hat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 9, "bbox": [0, 0, 1, 1], "attributes": {"Colour": "Red"}},
            {"id": 2, "image_id": 1, "category_id": 7, "bbox": [0, 0, 1, 1]},
            {"id": 3, "image_id": 1, "category_id": 9, "bbox": [1, 1, 1, 1]},
        ],
    }


def test_coco_gives_a_picture_the_categories_of_its_boxes(tmp_path):
    for name in ("1.png", "2.png"):
        paint("Red", "", 16, 0).save(tmp_path / name)
    (tmp_path / "annotations.json").write_text(json.dumps(coco()))
    for source in (tmp_path, tmp_path / "annotations.json"):
        catalogue = Catalogue.load(source, attributes=["category"])
        assert catalogue.value_sets("category") == [{"hat", "bag"}, frozenset()]
        assert catalogue.row(0) == {"license": "3", "category": "hat|bag", "Colour": "Red"}


@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_coco_that_names_what_it_does_not_have(tmp_path, key):
    document = coco()
    document["annotations"][1][key] = 99
    with pytest.raises(CatalogueError, match=r"annotation 2 .*99, which is not among"):
        read(tmp_path, "a.json", document)


def test_label_studio_in_both_json_forms(tmp_path):
    whole = [
        {
            "id": 1,
            "data": {"image": "/data/upload/3/abc-1.png", "brand": "A"},
            "annotations": [
                {"was_cancelled": True, "result": []},
                {"result": [{"from_name": "Colour", "type": "choices", "value": {"choices": ["Red", "Blue"]}},
                            {"from_name": "box", "type": "rectanglelabels",
                             "value": {"x": 1, "y": 2, "rectanglelabels": ["bag"]}}]},
            ],
        },
        {"id": 2, "data": {"image": "/data/local-files/?d=shop/2%20b.png", "brand": "B"}, "annotations": []},
    ]  # fmt: skip
    assert read(tmp_path, "whole.json", whole) == {
        "file_name": ["abc-1.png", "shop/2 b.png"], "brand": ["A", "B"],
        "Colour": [["Red", "Blue"], None], "box": [["bag"], None],
    }  # fmt: skip
    small = [
        {"image": "/data/upload/3/abc-1.png", "id": 1, "Colour": {"choices": ["Red", "Blue"]}, "annotator": 1,
         "annotation_id": 5},
        {"image": "/data/upload/3/abc-2.png", "id": 2, "Colour": "Red", "annotator": 1, "annotation_id": 6},
    ]  # fmt: skip
    assert read(tmp_path, "small.json", small) == {
        "file_name": ["abc-1.png", "abc-2.png"], "id": ["1", "2"], "Colour": [["Red", "Blue"], ["Red"]],
    }  # fmt: skip


def test_coco_in_the_folders_of_its_splits_and_settings_beside_pictures(tmp_path):
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        for name in ("1.png", "2.png"):
            paint("Red", "", 16, 0).save(tmp_path / split / name)
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(coco(), indent=1))
    catalogue = Catalogue.load(tmp_path, "validation", attributes=["category"])
    assert catalogue.value_sets("category") == [{"hat", "bag"}, frozenset()]
    (tmp_path / "train/_annotations.coco.json").write_text('{"version": 1}')
    assert recognise(tmp_path) is None


def test_label_studio_in_csv(tmp_path):
    for name in ("a-1.png", "a-2.png"):
        paint("Red", "", 16, 0).save(tmp_path / name)
    (tmp_path / "export.csv").write_text(
        'image,id,Colour\n/data/upload/1/a-1.png,1,"{""choices"": [""Red"", ""Blue""]}"\n/data/upload/1/a-2.png,2,Red\n'
    )
    catalogue = Catalogue.load(tmp_path / "export.csv", attributes=[Attribute("Colour", "multi")])
    assert catalogue.value_sets("Colour") == [{"Red", "Blue"}, {"Red"}]
    assert catalogue.picture(1).size == (16, 16)
