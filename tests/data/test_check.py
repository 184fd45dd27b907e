import csv
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from data_factory import write_table
from PIL import Image

from clipadapt import config
from clipadapt.data.check import check
from clipadapt.data.scan import refuse_other_sizes
from clipadapt.errors import CatalogueError

ATTRIBUTES = ("baseColour", "Pattern", "Sleeve Length")


def run(source, size=None, given=True, **options):
    data = config.Data.model_validate({"source": str(source), "attributes": ATTRIBUTES, **options})
    return check(data, attributes_given=given, size=size)


def found(report, level, *parts):
    """The findings of a level that hold all the parts; at least one."""
    lines = [fault for fault in report.faults if fault.level == level and all(part in str(fault) for part in parts)]
    assert lines, "\n".join(map(str, report.faults))
    return lines


def test_a_sound_catalogue_has_no_errors(shop):
    report = run(shop)
    assert not report.failed
    assert report.splits["train"]["items"] == 16 and report.splits["validation"]["products"] == 4
    assert report.splits["train"]["modes"] == {"RGB": 16}
    assert report.splits["train"]["sizes"]["most_common"] == [[32, 32, 16]]
    sleeves = report.splits["train"]["attributes"]["Sleeve Length"]
    assert sleeves == {"known": 0.375, "values": 1, "counts": {"Long Sleeves": 6}}
    assert report.counts()["error"] == 0


def test_a_policy_is_looked_at_before_anything_is_trained(shop, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("column: basecolour\nlicences: {Blue: [train, show]}\n")
    report = run(shop, policy=str(policy))
    found(report, "error", "train/metadata.csv", "'basecolour' of licences", "did you mean 'baseColour'", str(policy))
    policy.write_text("column: baseColour\nlicences: {BLUE: [train, show]}\nunknown: [train]\n")
    report = run(shop, policy=str(policy))
    assert not report.failed
    (line,) = found(report, "info", "split 'train'", "does not allow 'index'")
    assert "16 of 16 items kept out" in str(line)


def spoiled(shop):
    """Everything wrong at once."""
    train = shop / "train"
    lines = (train / "metadata.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines]  # file_name,id,name,baseColour,Pattern,Sleeve Length,product
    cells[3][1] = cells[2][1]  # one id twice, rows 3 and 4
    cells[5][4] = "striped"
    cells[6][4] = "Striped"
    cells[7][4] = "None"
    cells[8][3] = cells[8][4] = cells[8][5] = ""
    (train / "metadata.csv").write_text("\n".join(",".join(row) for row in cells) + "\n")
    table = shop / "validation/metadata.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    rows[1][6] = cells[1][6]  # a product in both splits
    rows[2][4] = "Paisley"
    table.write_text("\n".join(",".join(row) for row in rows) + "\n")
    (train / "0008.png").write_bytes((train / "0008.png").read_bytes()[:200])
    (train / "0009.png").unlink()
    shutil.copy(train / "0010.png", shop / "validation/0020.png")
    shutil.copy(train / "0011.png", train / "0014.png")
    grey = Image.fromarray((np.arange(32 * 32).reshape(32, 32) * 60).astype(np.uint16))
    grey.save(train / "0012.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), "red").save(train / "0013.png", exif=exif)


def test_everything_wrong_in_one_pass_with_file_and_row(shop):
    spoiled(shop)
    report = run(shop, attributes=[*ATTRIBUTES, "Fabrics"])
    assert report.failed
    (twice,) = found(report, "error", "stands in rows 3, 4", "data.id")
    assert twice.file.endswith("train/metadata.csv") and twice.row == 3
    assert len(found(report, "error", "attribute 'Fabrics': no such column")) == 2  # in either split
    (product,) = found(report, "error", "product 'p000' is in 'train' and 'validation'")
    assert product.row == 2
    (truncated,) = found(report, "error", "0008.png", "broken or truncated")
    assert truncated.row == 10
    (missing,) = found(report, "error", "0009.png", "No such file")
    assert missing.row == 11
    (spelled,) = found(report, "warning", "Pattern: written in 2 ways", "'striped' (1)")
    assert spelled.row == 6
    found(report, "warning", "Pattern: 'None' counts as a value", "data.unknown")
    (unlabelled,) = found(report, "warning", "have no known attribute")
    assert unlabelled.row == 9
    found(report, "warning", "'Paisley' (1 item(s)) is in 'validation' and not in 'train'")
    found(report, "warning", "is also in 'validation' row", "trained on and measured on")
    found(report, "warning", "is also in 'train' row", "different products")
    found(report, "info", "picture(s) are I;16")
    found(report, "info", "1 picture(s) are turned by EXIF")
    found(report, "info", "training items or less")
    levels = [fault.level for fault in report.faults]
    assert levels == sorted(levels, key=["error", "warning", "info"].index)


def test_copies_within_a_product_are_no_matter(shop):
    shutil.copy(shop / "train/0010.png", shop / "train/0011.png")
    (line,) = [fault for fault in run(shop).faults if "is also in" in fault.what]
    assert line.level == "info"


def test_pictures_that_no_row_names(shop):
    shutil.copy(shop / "train/0010.png", shop / "train/stray.png")
    (line,) = found(run(shop), "warning", "1 picture(s) in its folder are in no row")
    assert "stray.png" in line.what and line.file.endswith("train/metadata.csv")


def test_pictures_beside_those_of_a_table_of_any_name(tmp_path):
    folder = plain(tmp_path, ["a", "b", "c"])
    (folder / "metadata.csv").rename(folder / "train.csv")
    assert not in_no_row(run(folder, attributes=["Pattern"]))
    (folder / "elsewhere").mkdir()
    shutil.copy(folder / "0.png", folder / "elsewhere/1.png")
    assert not in_no_row(run(folder, attributes=["Pattern"]))
    lines = (folder / "train.csv").read_text().splitlines()
    (folder / "train.csv").write_text("\n".join(lines[:2]))
    (folder / "test.csv").write_text("\n".join([lines[0], lines[3]]))
    (line,) = in_no_row(run(folder, attributes=["Pattern"]))
    assert "1 picture(s) in its folder are in no row" in line.what and "1.png" in line.what


def in_no_row(report):
    return [fault for fault in report.faults if "are in no row" in fault.what]


def test_broken_pictures_that_are_counted_are_warnings(shop):
    (shop / "train/0001.png").write_bytes(b"")
    assert run(shop).failed and not run(shop, broken="count").failed


def test_sizes_that_the_config_refuses(shop):
    assert not run(shop, size=32, mixed_sizes="refuse").failed
    found(run(shop, size=64, mixed_sizes="refuse"), "error", "16 picture(s) are not 64x64", "mixed_sizes")
    found(run(shop, size=64), "info", "smaller than the 64 pixels")


def test_splits_and_products_that_are_not_there(tmp_path):
    rows = [{"file_name": f"{i}.png", "Pattern": "Solid"} for i in range(3)]
    write_table(tmp_path / "validation", rows)
    report = run(tmp_path, attributes=["Pattern"])
    assert not report.failed
    found(report, "warning", "no split 'train'; there are 'validation'")
    found(report, "info", "no column 'product'")
    found(run(tmp_path, attributes=["Pattern"], product="prodct"), "error", "product 'prodct': no such column")


def test_a_split_nobody_labelled_and_an_empty_one(tmp_path):
    write_table(tmp_path / "train", [{"file_name": "1.png", "Pattern": "NA"}])
    (tmp_path / "validation").mkdir()
    (tmp_path / "validation/metadata.csv").write_text("file_name,Pattern\n")
    report = run(tmp_path, attributes=["Pattern"])
    found(report, "error", "not one item has a known value")
    found(report, "error", "split 'validation' is empty")


def test_a_table_that_cannot_be_read_does_not_stop_the_others(shop):
    (shop / "validation/metadata.csv").write_text("file_name,a\n1.png\n")
    report = run(shop)
    found(report, "error", "split 'validation'", "line 2: 1 cells where the header names 2 columns")
    assert report.splits["train"]["items"] == 16


def test_attributes_are_proposed_when_none_are_given(shop):
    assert "baseColour" in run(shop, given=False).splits["train"]["attributes"]


def test_a_source_too_faulty_to_propose_attributes_is_checked_all_the_same(shop):
    table = shop / "train/metadata.csv"
    table.write_text(table.read_text().replace("\n0001.png,0001,", "\n0001.png,0000,"))
    found(run(shop, given=False), "error", "'0000' stands in rows 2, 3")


def test_a_source_that_is_not_there_is_a_wrong_request(tmp_path):
    with pytest.raises(CatalogueError, match="no such folder"):
        run(tmp_path / "nowhere/at/all")


def test_other_sizes_are_refused_with_the_first_few(shop, tiny_catalogue):
    refuse_other_sizes(tiny_catalogue, 32)
    with pytest.raises(CatalogueError, match=r"16 picture\(s\) are not 224x224 .*(\n  - item.*){5}\n  - and 11 more"):
        refuse_other_sizes(tiny_catalogue, 224)


def test_real_photos_have_no_errors(photos):
    report = check(config.Data(source=str(photos / "clothing10"), attributes=("articleType",)), size=224)
    assert not report.failed
    assert report.splits["validation"]["items"] == 341


def plain(folder: Path, cells: list[str], column: str = "Pattern", **columns: list[str]) -> Path:
    """A catalogue with these cells, a product each."""
    rows = [
        {"file_name": f"{item}.png", column: cell} | {name: values[item] for name, values in columns.items()}
        for item, cell in enumerate(cells)
    ]
    return write_table(folder, rows)


CAFE = unicodedata.normalize("NFD", "Café")


@pytest.mark.parametrize(
    ("cells", "level", "kind", "parts"),
    [
        ((CAFE, "Café"), "unicode", "info", (r"'Cafe\\u0301'", r"'Caf\\xe9'", "count as one value")),
        (("Solid ", "Solid"), "unicode", "warning", ("different values", "data.normalise: spaces")),
        (("Solid ", "Solid"), "spaces", "info", ("'Solid '", "count as one value (data.normalise: spaces)")),
        (("So\xadlid", "Solid", "Off\xa0White", "Off White"), "spaces", "info", (r"'So\\xadlid'", "one value")),
        (("SOLID", "solid", "Solid"), "spaces", "warning", ("3 ways", "set data.normalise: case")),
        (("SOLID", "solid", "Solid"), "case", "info", ("3 ways", "count as one value")),
        (("T-Shirt", "T Shirt"), "case", "warning", ("2 ways", "write one")),
    ],
)
def test_spellings_are_grouped_with_what_joins_them(tmp_path, cells, level, kind, parts):
    report = run(plain(tmp_path, cells), attributes=["Pattern"], normalise=level)
    parts = [part.replace("\\\\", "\\") for part in parts]
    found(report, kind, "Pattern: written in", *parts)
    others = [fault for fault in report.faults if "written in" in fault.what and fault.level != kind]
    assert not others


def test_members_of_lists_are_grouped_too(tmp_path):
    folder = plain(tmp_path, ["Red|NA", "red |Blue"])
    report = run(folder, attributes={"Pattern": {"kind": "multi"}})
    found(report, "warning", "Pattern: written in 2 ways: 'Red' (1), 'red' (1)")
    assert report.splits["train"]["attributes"]["Pattern"]["counts"] == {"Blue": 1, "Red": 1, "red": 1}


def test_lists_and_html_in_text_are_said_with_the_cure(tmp_path):
    lists = ['["a", "b"]', "['a']", '["b"]']
    folder = plain(
        tmp_path, lists, sizes=["S|M", "M|S", "S"], notes=["<p>x</p>", "", "a &amp; b"], tags=["['x', 'y']", "", ""]
    )
    report = run(folder, attributes=["Pattern", "sizes"])
    (fault,) = found(
        report, "warning", "'Pattern' holds lists written as text", "Pattern: {kind: multi} in data.attributes"
    )
    assert fault.row == 2
    found(report, "warning", "'sizes' has cells that look like lists, such as 'S|M'", 'separator: "|"')
    found(report, "info", "'notes' holds HTML")
    found(report, "info", "'tags' holds lists written as text")
    quiet = run(folder, attributes={"Pattern": {"kind": "multi"}, "sizes": {"kind": "multi"}})
    assert not [fault for fault in quiet.faults if "Pattern' holds" in fault.what or "sizes' has" in fault.what]


def test_numbers_and_dates_that_are_written_otherwise_are_said_with_the_cure(tmp_path):
    """A table of a German spreadsheet; numbers, codes and sizes as they are say nothing."""
    folder = plain(
        tmp_path, ["a", "b", "c"], preis=["19,99", "1.299,00", "5"], shot=["31.12.2024", "01.02.24", ""],
        price=["19.99", "", "-1e-05"], code=["00123", "00124", "7"], size=["38", "39", "M"],
        usd=["1,299.00", "$5", "7"],
    )  # fmt: skip
    report = run(folder, attributes=["Pattern"])
    found(report, "info", "'preis' counts as texts, for cells such as '19,99' are no plain numbers", "1299.50")
    found(report, "info", "'usd' counts as texts, for cells such as '1,299.00' are no plain numbers")
    found(report, "info", "'shot' counts as texts, for dates such as '31.12.2024'", "2026-01-31")
    assert sum("counts as texts" in fault.what for fault in report.faults) == 3


def test_what_no_split_reads_and_columns_left_out_are_named(shop, tmp_path):
    (shop / "extra").mkdir()
    shutil.copy(shop / "train/0000.png", shop / "extra/1.png")
    found(run(shop), "warning", "'extra' is not read (1 pictures)")
    lines = ['{"file_name": "0000.png", "Pattern": "Solid", "boxes": [[1, 2]]}']
    (shop / "train/metadata.csv").unlink()
    (shop / "train/metadata.jsonl").write_text("\n".join(lines))
    found(run(shop, attributes=["Pattern"]), "info", "column 'boxes' is left out: lists within lists")


def test_products_that_differ_by_case_only_in_two_splits(shop):
    table = shop / "validation/metadata.csv"
    with table.open(newline="") as lines:
        rows = list(csv.reader(lines))
    rows[1][6] = "P000"
    with table.open("w", newline="") as lines:
        csv.writer(lines).writerows(rows)
    found(run(shop), "warning", "product 'P000' is called 'p000' in 'train'")


def test_many_columns_are_listed_once(tmp_path, monkeypatch):
    """12 rows and 3,000 columns took two minutes: all names were listed anew for every column that was read."""
    from clipadapt.data.values import Cells

    listed = []
    columns = Cells.columns.fget
    assert columns is not None
    monkeypatch.setattr(Cells, "columns", property(lambda self: listed.append(1) or columns(self)))
    names = [f"c{number}" for number in range(300)]
    folder = plain(tmp_path, ["a", "b"] * 6, column="Pattern", **{name: ["x", "y"] * 6 for name in names})
    report = run(folder, attributes=names)
    assert len(report.splits["train"]["attributes"]) == 300
    assert len(listed) < 20
