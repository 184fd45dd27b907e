"""Dates and moments have an order in every format of catalogue, and a condition means all of the time that it names."""

import datetime
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import UsageError
from clipadapt.search.columns import span
from clipadapt.search.filters import matching, parse
from clipadapt.search.items import Items

DATES = ("2024-01-02", "2024-01-03", "2024-02-01", "")
MOMENTS = ("2024-01-02 23:59:59", "2024-01-03", "2024-01-03 10:30:00", "")


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def source(folder, form, cells):
    """The same cells as CSV, JSON Lines, or Parquet with a timestamp, date or string column."""
    if form in ("csv", "jsonl"):
        for row in range(len(cells)):
            (folder / f"{row}.png").write_bytes(png())
        rows = [{"file_name": f"{row}.png", "shot": cell} for row, cell in enumerate(cells)]
        text = "\n".join(map(json.dumps, rows)) if form == "jsonl" else "\n".join(
            ["file_name,shot", *(f"{row['file_name']},{row['shot']}" for row in rows)]
        )  # fmt: skip
        (folder / f"metadata.{form}").write_text(text + "\n")
        return folder
    values = [datetime.datetime.fromisoformat(cell) if cell else None for cell in cells]
    kinds = {"timestamp": pa.timestamp("ns"), "date": pa.date32(), "string": pa.string()}
    shot = pa.array(list(cells), pa.string()) if form == "string" else pa.array(values).cast(kinds[form])
    image = pa.array([{"bytes": png(), "path": None}] * len(cells))
    pq.write_table(pa.table({"image": image, "shot": shot}), folder / "train.parquet")
    return folder / "train.parquet"


@pytest.fixture
def rows(rows_that_meet):
    return rows_that_meet


@pytest.mark.parametrize("form", ["csv", "jsonl", "timestamp", "date", "string"])
def test_dates_are_ordered_in_every_format(tmp_path, rows, form):
    items = Items.of(Catalogue.load(source(tmp_path, form, DATES)).table())
    assert rows(items, "shot>=2024-01-03") == [1, 2]
    assert rows(items, "shot<2024-01-03") == [0]
    assert rows(items, "shot=2024-01-03") == [1]
    assert rows(items, "shot=2024-01") == [0, 1]
    assert rows(items, "shot>2024-01") == [2]
    assert rows(items, "shot!=2024-01-03") == [0, 2]
    assert rows(items, "shot is unknown") == [3]


@pytest.mark.parametrize("form", ["csv", "jsonl", "timestamp", "string"])
def test_a_day_holds_all_its_moments(tmp_path, rows, form):
    items = Items.of(Catalogue.load(source(tmp_path, form, MOMENTS)).table())
    assert rows(items, "shot=2024-01-03") == [1, 2]
    assert rows(items, "shot<=2024-01-03") == [0, 1, 2]
    assert rows(items, "shot>2024-01-03") == []
    assert rows(items, "shot<=2024-01-02") == [0]
    assert rows(items, "shot>=2024-01-03T10:30") == [2]
    assert rows(items, "shot in (2024-01-02, 2024-01-04)") == [0]
    assert rows(items, "shot!=2024-01-03") == [0]
    assert items.attributes(np.array([1, 2]))[1]["shot"] == MOMENTS[2]


def test_zones_count_where_the_condition_names_one(rows):
    shot = ["2024-01-03T00:30:00+02:00", "2024-01-03T23:30:00-05:00", "2024-01-03T12:00:00Z"]
    items = Items.of(pa.table({"id": ["a", "b", "c"], "shot": shot}))
    assert rows(items, "shot=2024-01-03") == [0, 1, 2]
    assert rows(items, "shot<2024-01-03T00:00Z") == [0]
    assert rows(items, "shot>=2024-01-04T00:00+00:00") == [1]
    assert items.attributes(np.array([0]))[0]["shot"] == shot[0]


@pytest.mark.parametrize("value", ["soon", "2024-13", "2024-02-31", "24-01-03", "2024-01-03 and price<5"])
def test_what_is_no_date_is_refused(value):
    for cells in (["2024-01-02"], ["2024-01-02T10:00"]):
        items = Items.of(pa.table({"id": ["a"], "shot": cells}))
        with pytest.raises(UsageError, match="holds dates, such as 2026-01-31"):
            matching(items, [parse(f"shot>={value}")])


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("1970", 0, 365),
        ("1970-12", 334, 365),
        ("1970-01-02", 1, 2),
        ("1970-01-02 12:00", 1.5, 1.5 + 1 / 1440),
        ("1970-01-02T12:00:00", 1.5, 1.5 + 1 / 86400),
        ("1970-01-02T13:00+01:00", 1.5, 1.5 + 1 / 1440),
    ],
)
def test_spans(text, start, end):
    found = span(text)
    assert found is not None and (found.start, found.end) == pytest.approx((start, end))


def test_numbers_compare_as_they_are_written(tmp_path, rows):
    image = pa.array([{"bytes": png(), "path": None}] * 3)
    table = {
        "image": image,
        "price": pa.array([19.99, 5e-05, 1e21], pa.float32()),
        "sizes": pa.array([[38, 39], [38], None]),
        "size": pa.array([38.0, 39.5, None]),
        "new": [True, False, None],
    }
    pq.write_table(pa.table(table), tmp_path / "train.parquet")
    catalogue = Catalogue.load(tmp_path / "train.parquet")
    items = Items.of(catalogue.table(), catalogue.separators)
    assert rows(items, "price=19.99") == [0] and rows(items, "price>=19.99") == [0, 2]
    assert rows(items, "price<0.0001") == [1] and rows(items, "price=5e-05") == [1]
    assert rows(items, "sizes=38") == [0, 1] and rows(items, "sizes!=39") == [1]
    assert rows(items, "size=38") == [0] and rows(items, "size>38") == [1]
    assert rows(items, "new=true") == [0]


def test_codes_that_look_like_exponents_stay_texts(rows):
    items = Items.of(pa.table({"id": ["a", "b"], "code": ["1234", "12E5"], "rate": ["5e-05", "0.5"]}))
    assert rows(items, "code=12E5") == [1] and rows(items, "code=1200000") == []
    assert rows(items, "rate<0.001") == [0]
