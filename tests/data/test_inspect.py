"""What an unfamiliar source seems to hold: sources laid out in four ways, columns with and without telling names."""

import csv
from pathlib import Path

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
    found = [{"file_name": f"{item}.png", "family_id": row["group_id"]} | row for item, row in enumerate(rows())]
    for row in found:
        del row["group_id"]
    pictures(tmp_path, [row["file_name"] for row in found])
    table(tmp_path / "metadata.csv", found)
    assert inspect(str(tmp_path)).named("product") == "family_id"
    for place, row in enumerate(found):
        row["family_id"] = f"x{place % 30}"
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
    table(tmp_path / "train.csv", [{"where": "a.png", "kind": "bag"}])
    with pytest.raises(CatalogueError, match="no column of picture paths"):
        inspect(str(tmp_path))
