"""What an unfamiliar source seems to hold: sources laid out in four ways, columns with and without telling names."""

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from clipadapt.data.inspect import Inspection, inspect
from clipadapt.errors import CatalogueError

KINDS = ("dress", "shirt", "bag")
COLOURS = ("red", "blue")


def rows(items: int = 60) -> list[dict[str, str]]:
    return [
        {
            "sku": f"{1000 + item}",
            "group_id": f"g{item // 2}",
            "title": f"A nice {COLOURS[item // 2 % 2]} thing of number {item // 2}",
            "kind": KINDS[item // 2 % 3],
            "Main Colour": COLOURS[item // 2 % 2] if item % 5 else "NA",
            "tags": "|".join(("cotton", "warm", "soft")[: item // 2 % 3 + 1]),
            "brand": f"maker {item // 2 % 4}",
            "price": f"{item}.99 €",
            "stock": f"{item % 7}",
            "currency": "EUR",
            "notes": "",
            "lining": "Not Applicable" if item // 2 % 3 == 0 else ("silk", "none")[item // 2 % 2],
        }
        for item in range(items)
    ]


def pictures(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20 + place // 20, 24)).save(folder / name)


def table(file: Path, found: list[dict[str, str]]) -> None:
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(found[0]))
        writer.writeheader()
        writer.writerows(found)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    source = tmp_path_factory.mktemp("beside")
    found = [{"photo": f"{item}.png"} | row for item, row in enumerate(rows())]
    pictures(source, [row["photo"] for row in found])
    table(source / "items.csv", found)
    return inspect(str(source))


def test_columns_are_taken_for_what_they_are(seen):
    parts = {column.name: (column.part, column.proposed) for column in seen.columns}
    assert parts == {
        "sku": ("id", True),
        "group_id": ("product", True),
        "title": ("caption", True),
        "kind": ("attribute", True),
        "Main Colour": ("attribute", True),
        "tags": ("attribute", True),
        "brand": ("attribute", False),
        "price": ("price", True),
        "stock": ("number", False),
        "currency": ("same", True),
        "notes": ("empty", True),
        "lining": ("attribute", True),
    }
    assert seen.image == "photo" and seen.items == 60 and seen.splits == ("train",)
    assert seen.unknown == ("NA",) and seen.absent == ("Not Applicable",)
    assert set(seen.sizes) == {(20, 24), (21, 24), (22, 24)} and seen.broken == ()


def test_attributes_carry_their_kind_and_known_values(seen):
    assert [(a.name, a.kind, a.separator) for a in seen.attributes] == [
        ("kind", "exclusive", "|"),
        ("Main Colour", "exclusive", "|"),
        ("tags", "multi", "|"),
        ("lining", "exclusive", "|"),
    ]
    columns = {column.name: column for column in seen.columns}
    assert columns["Main Colour"].filled == 48 and dict(columns["Main Colour"].values).keys() == {"red", "blue"}
    assert dict(columns["tags"].values) == {"cotton": 60, "warm": 40, "soft": 20}
    assert seen.named("product") == "group_id" and seen.named("caption") == "title"


def test_a_product_without_a_telling_name_is_found_by_its_items_agreeing(tmp_path):
    found = [{"file_name": f"{item}.png", "batch_id": row["group_id"]} | row for item, row in enumerate(rows())]
    for row in found:
        del row["group_id"]
    pictures(tmp_path, [row["file_name"] for row in found])
    table(tmp_path / "metadata.csv", found)
    assert inspect(str(tmp_path)).named("product") == "batch_id"
    for place, row in enumerate(found):
        row["batch_id"] = f"x{place % 30}"
    table(tmp_path / "metadata.csv", found)
    assert inspect(str(tmp_path)).named("product") is None


def test_class_folders_and_broken_pictures(tmp_path):
    pictures(tmp_path / "train", [f"{kind}/{item}.png" for kind in KINDS for item in range(4)])
    (tmp_path / "train" / "bag" / "0.png").write_bytes(b"no picture")
    seen = inspect(str(tmp_path))
    assert [column.name for column in seen.columns if column.part == "attribute"] == ["label"]
    assert seen.items == 12 and len(seen.sizes) == 11
    assert len(seen.broken) == 1 and "0.png" in seen.broken[0]


def test_a_source_without_pictures_keeps_the_first_complaint(tmp_path):
    table(tmp_path / "train.csv", [{"where": "shelf", "kind": "bag"}])
    with pytest.raises(CatalogueError, match="no column of picture paths"):
        inspect(str(tmp_path))


def test_a_column_whose_cells_name_pictures_holds_them_whatever_it_is_called(tmp_path):
    found = [{"where": f"{item}.png", "site": "https://shop.example/1.png"} | row for item, row in enumerate(rows(20))]
    pictures(tmp_path, [row["where"] for row in found])
    table(tmp_path / "items.csv", found)
    assert inspect(str(tmp_path)).image == "where"


@pytest.mark.parametrize("photo", ["Photo", "Bild", "image_path", "Main Image", "picture"])
def test_pictures_are_taken_from_the_column_that_can_be_read(tmp_path, photo):
    found = [
        {"image_url": "https://shop.example/1.png", photo: f"{item}.png"} | row for item, row in enumerate(rows(20))
    ]
    pictures(tmp_path, [row[photo] for row in found])
    table(tmp_path / "items.csv", found)
    assert inspect(str(tmp_path)).image == photo


@pytest.mark.parametrize("photo", ["photo", "foo"])
@pytest.mark.parametrize("bare", [True, False])
def test_parquet_with_bytes_that_nobody_declared_as_pictures(tmp_path, photo, bare):
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    cell = data.getvalue() if bare else {"bytes": data.getvalue(), "path": None}
    columns = {photo: [cell] * 20, **{name: [row[name] for row in rows(20)] for name in rows()[0]}}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "train.parquet")
    found = inspect(str(tmp_path / "train.parquet"))
    assert found.sizes and not found.broken and found.image in (photo, "image")


@pytest.mark.parametrize(
    "name",
    ["product", "sku", "SKU", "parent_sku", "handle", "item_group_id", "Artikelnummer", "ProductRef", "product-id",
     "Produkt-Nr.", "référence", "codigo_producto", "styleCode", "parent_asin", "masterId"],
)  # fmt: skip
@pytest.mark.parametrize("cell", ["AB-{0:04d}", "{0}", "Shirt number {0}"])
def test_a_product_is_known_by_its_name_in_several_languages(tmp_path, name, cell):
    found = [{"file_name": f"{item}.png"} | row for item, row in enumerate(rows())]
    for item, row in enumerate(found):
        del row["group_id"], row["sku"]
        row[name] = cell.format(item // 3)
    pictures(tmp_path, [row["file_name"] for row in found])
    table(tmp_path / "metadata.csv", found)
    seen = inspect(str(tmp_path))
    assert seen.named("product") == name
    assert "named so" in next(column.why for column in seen.columns if column.name == name)


def test_a_product_with_many_photos_each_is_no_attribute(tmp_path):
    found = [{"file_name": f"{item}.png", "product_id": f"P{item // 12}", "model": ("A", "B")[item % 2]} | row
             for item, row in enumerate(rows())]  # fmt: skip
    for row in found:
        del row["group_id"]
    pictures(tmp_path, [row["file_name"] for row in found])
    table(tmp_path / "metadata.csv", found)
    seen = inspect(str(tmp_path))
    assert seen.named("product") == "product_id"
    assert {"model", "kind"} <= {attribute.name for attribute in seen.attributes}


def test_coordinates_and_measures_are_no_ids(tmp_path):
    found = [{"file_name": f"{item}.png", "latitude": f"{47 + item / 7:.5f}", "Längengrad": f"{8 + item / 3:.4f}",
              "views": str(1000 + item * item), "uid": f"u{item}"} for item in range(30)]  # fmt: skip
    pictures(tmp_path, [row["file_name"] for row in found])
    table(tmp_path / "metadata.csv", found)
    parts = {column.name: column.part for column in inspect(str(tmp_path)).columns}
    assert parts == {"latitude": "number", "Längengrad": "number", "views": "number", "uid": "id"}


def test_lists_in_text_are_multi_valued_and_html_is_no_attribute(tmp_path):
    colours = (["red"], ["red", "blue"], ["blue", "black"])
    found = [
        {
            "file_name": f"{item}.png",
            "json": json.dumps(colours[item % 3]),
            "python": str(colours[item % 3]),
            "choices": json.dumps({"choices": colours[item % 3]}),
            "html": f"<p>{colours[item % 3][0]}</p>",
        }
        for item in range(30)
    ]
    pictures(tmp_path, [row["file_name"] for row in found])
    table(tmp_path / "metadata.csv", found)
    seen = inspect(str(tmp_path))
    assert [(a.name, a.kind, a.separator) for a in seen.attributes] == [
        ("json", "multi", "|"), ("python", "multi", "|"), ("choices", "multi", "|"),
    ]  # fmt: skip
    assert all(set(dict(column.values)) == {"red", "blue", "black"} for column in seen.columns[:3])
    assert (seen.columns[3].part, seen.columns[3].proposed) == ("text", False) and "HTML" in seen.columns[3].why


def test_lists_of_the_source_are_multi_valued_without_a_word(tmp_path):
    pictures(tmp_path, [f"{item}.png" for item in range(30)])
    lines = [json.dumps({"file_name": f"{item}.png", "sizes": [36 + item % 3, 39]}) for item in range(30)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    (column,) = inspect(str(tmp_path)).columns
    assert (column.part, column.separator, column.why) == ("attribute", "|", "lists in the source; 4 values")
