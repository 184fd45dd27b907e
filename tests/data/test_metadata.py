"""Licence, credit, capture date and place, from cells and from pictures."""

import datetime
from pathlib import Path
from typing import Any

import pytest
from data_factory import write_table
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.metadata import Metadata, date_of, embedded, metadata
from clipadapt.errors import CatalogueError, UsageError

XMP = """<?xpacket begin="" id="x"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/" xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmpRights:WebStatement="https://shop.example/rights"
 photoshop:City="Graz"><photoshop:Credit>Ann &amp; Bo</photoshop:Credit><plus:Licensor><rdf:Seq><rdf:li
 rdf:parseType="Resource"><plus:LicensorName>Shop Ltd</plus:LicensorName></rdf:li></rdf:Seq></plus:Licensor>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def write_picture(
    path: Path, taken: str | None = None, position: tuple[float, float] | None = None, xmp: str | None = None
) -> None:
    """A JPEG with those in it; a position in degrees."""
    exif = Image.Exif()
    if taken is not None:
        exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = taken
    if position is not None:
        gps = exif.get_ifd(IFD.GPSInfo)
        for value, side, names, degrees in (
            (GPS.GPSLatitude, GPS.GPSLatitudeRef, "NS", position[0]),
            (GPS.GPSLongitude, GPS.GPSLongitudeRef, "EW", position[1]),
        ):
            whole = abs(degrees)
            gps[value] = (int(whole), int(whole % 1 * 60), round(whole * 60 % 1 * 60, 3))
            gps[side] = names[degrees < 0]
    path.parent.mkdir(parents=True, exist_ok=True)
    carried: dict[str, Any] = {"xmp": xmp.encode()} if xmp is not None else {}
    Image.new("RGB", (8, 8)).save(path, exif=exif, **carried)


def shop(folder: Path, rows: list[dict[str, str]]) -> Catalogue:
    write_table(folder / "train", [{"file_name": f"{n}.jpg", "id": f"i{n}", **row} for n, row in enumerate(rows)])
    return Catalogue.load(folder, "train")


@pytest.mark.parametrize(
    "text",
    ["2026-03-31", "2026:03:31 10:00:00", "2026/03/31", "20260331", "31.03.2026", "31.3.2026 08:15", "31 March 2026",
     "31-Mar-2026", "31/03/2026", "03/31/2026", "2026-03-31T10:00:00+02:00"],
)  # fmt: skip
def test_dates_of_many_forms_are_one_day(text):
    assert date_of(text, datetime.date(2026, 11, 1)) == datetime.date(2026, 3, 31)


@pytest.mark.parametrize(
    ("text", "why"),
    [("03/04/2026", "two days"), ("2026-02-30", "no day of the calendar"), ("31.04.2026", "calendar"),
     ("spring", "form"), ("2030-01-01", "after"),
     ("1700-01-01", "before"), ("12026-01-01", "form"), ("5 Foo 2026", "form")],
)  # fmt: skip
def test_dates_that_are_none_say_why(text, why):
    assert why in str(date_of(text, datetime.date(2026, 11, 1)))
    assert isinstance(date_of(text, datetime.date(2026, 11, 1)), str)


def test_a_picture_tells_what_it_carries_and_its_place_only_when_asked(tmp_path):
    write_picture(tmp_path / "a.jpg", "2026:03:31 10:11:12", (-33.8568, 151.2153), XMP)
    data = (tmp_path / "a.jpg").read_bytes()
    plain = embedded(data)
    assert plain == {
        "captured": "2026:03:31 10:11:12",
        "licence": "https://shop.example/rights",
        "credit": "Ann & Bo",
        "licensor": "Shop Ltd",
    }
    found = embedded(data, location=True)
    assert found["place"] == "Graz"
    assert float(found["latitude"]) == pytest.approx(-33.8568, abs=1e-4)
    assert float(found["longitude"]) == pytest.approx(151.2153, abs=1e-4)
    with pytest.raises(CatalogueError, match="not a picture"):
        embedded(b"nothing")


@pytest.mark.parametrize(
    "xmp", ["<x:xmpmeta><broken", XMP.replace("<?xpacket", '<!DOCTYPE a [<!ENTITY b "c">]><?xpacket'), ""]
)
def test_xmp_that_is_broken_or_declares_entities_is_not_read(tmp_path, xmp):
    write_picture(tmp_path / "a.jpg", "2026:03:31 10:11:12", xmp=xmp)
    assert embedded((tmp_path / "a.jpg").read_bytes()) == {"captured": "2026:03:31 10:11:12"}


def test_cells_win_and_pictures_fill_what_is_empty(tmp_path):
    for n in range(3):
        write_picture(tmp_path / f"shop/train/{n}.jpg", "2025:01:02 00:00:00", (47.07, 15.44), XMP)
    catalogue = shop(tmp_path / "shop", [
        {"rights": "CC0-1.0", "shot": "5.6.2024", "lat": "10", "lon": "20"},
        {"rights": "", "shot": "", "lat": "", "lon": ""},
        {"rights": "", "shot": "03/04/2024", "lat": "95", "lon": "20"},
    ])  # fmt: skip
    columns = {"licence": "rights", "captured": "shot"}
    rows, faults = metadata(catalogue, columns)
    assert rows[0] == Metadata("CC0-1.0", "Shop Ltd", "Ann & Bo", "2024-06-05")
    assert rows[1] == Metadata("https://shop.example/rights", "Shop Ltd", "Ann & Bo", "2025-01-02")
    assert rows[2].captured == "2025-01-02"
    assert len(faults) == 1 and "could be two days" in faults[0].what and faults[0].row == 4
    rows, faults = metadata(catalogue, columns | {"latitude": "lat", "longitude": "lon"}, location=True)
    assert (rows[0].latitude, rows[0].longitude) == ("10", "20")
    assert float(rows[1].latitude) == pytest.approx(47.07) and float(rows[2].longitude) == pytest.approx(15.44)
    assert any("'95'" in fault.what for fault in faults)
    alone, _ = metadata(catalogue, columns, pictures=False)
    assert alone[1] == Metadata()


def test_lies_of_cameras_are_faults(tmp_path):
    write_picture(tmp_path / "shop/train/0.jpg", "2099:01:01 00:00:00", (0.0, 0.0))
    write_picture(tmp_path / "shop/train/1.jpg", "0000:00:00 00:00:00", (47.0, 200.0))
    write_picture(tmp_path / "shop/train/2.jpg", "garbage")
    (tmp_path / "shop/train/3.jpg").write_bytes(b"broken")
    catalogue = shop(tmp_path / "shop", [{"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}])
    rows, faults = metadata(catalogue, {}, location=True)
    assert rows == [Metadata()] * 4
    said = " ".join(fault.what for fault in faults)
    for words in ("2099", "without a fix", "200.000000", "garbage", "not a picture"):
        assert words in said


def test_bad_requests_are_named(tmp_path):
    write_picture(tmp_path / "shop/train/0.jpg")
    catalogue = shop(tmp_path / "shop", [{"rights": "CC0"}])
    with pytest.raises(UsageError, match="no field 'licens'"):
        metadata(catalogue, {"licens": "rights"})
    with pytest.raises(UsageError, match="add --location"):
        metadata(catalogue, {"latitude": "rights"})
    with pytest.raises(CatalogueError, match=r"no column 'right'.*did you mean 'rights'"):
        metadata(catalogue, {"licence": "right"})
