"""A gallery for a publisher: valid HTML, schema.org's words, licences, and no position that nobody asked for."""

import csv
import json
import re
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from data_factory import write_catalogue
from justhtml import JustHTML
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from squares import ATTRIBUTES, SquareEncoder

from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.data.metadata import Metadata
from clipadapt.data.policy import Policy
from clipadapt.deploy.gallery.address import Pattern, file_stem
from clipadapt.deploy.gallery.fragment import fragment, page
from clipadapt.deploy.gallery.structured import Card, licence_address, structured
from clipadapt.deploy.gallery.write import BROKEN, UNSURE, Written, write
from clipadapt.errors import CatalogueError, UsageError
from clipadapt.prompts import Prompts
from clipadapt.recognition.vectors import VectorCache
from clipadapt.tagging.tag import Tagged, tag
from clipadapt.tagging.thresholds import Thresholds, fit
from clipadapt.towers.encoder import Encoder

WORDS = """
captions: ["{a Pattern} shirt[ in {baseColour}]", "{a baseColour} shirt"]
attributes:
  Pattern: {templates: ["{value} shirt"]}
  baseColour: {templates: ["{value} shirt"]}
"""
NASTY = "</script><script>alert(1)</script>\"'&<!--"
CARD = Card(
    "7", "p1", "", "a red shirt", "A red shirt", {"baseColour": "Red"}, Metadata(), "https://cdn.example/7.jpg", (8, 6)
)


def documents(html: str) -> list[dict[str, Any]]:
    """JSON-LD as a consumer reads it: the text of the script elements of a parsed page."""
    found = JustHTML(html, sanitize=False).query('script[type="application/ld+json"]')
    return [json.loads(one.to_text(strip=False)) for one in found]


def whole(fragments: list[str]) -> str:
    return page(fragments, language="en", items=len(fragments), source="shop, validation")


def errors(html: str) -> list[Any]:
    return JustHTML(html, collect_errors=True, sanitize=False).errors


def test_a_fragment_is_valid_html_with_json_ld():
    html = fragment(CARD, language="en")
    assert errors(whole([html])) == []
    assert errors(whole([html.replace("</figcaption>", "</figure>")])), "the checker sees what is wrong"
    figure = JustHTML(html, sanitize=False).query("figure")[0]
    assert [child.name for child in figure.children or () if child.name.isalpha()] == ["img", "figcaption"]
    (found,) = documents(html)
    image, product = found["@graph"]
    assert found["@context"] == "https://schema.org"
    assert (image["@type"], product["@type"]) == ("ImageObject", "Product")
    assert image["contentUrl"] == CARD.address and product["image"]["@id"] == image["@id"]
    assert "license" not in image and "contentLocation" not in image
    assert product["additionalProperty"] == [{"@type": "PropertyValue", "name": "baseColour", "value": "Red"}]


def test_cells_cannot_leave_their_place():
    about = Metadata(licence=NASTY, credit=NASTY, licensor=NASTY)
    card = Card("7", NASTY, NASTY, NASTY, NASTY, {NASTY: NASTY}, about, "pictures/7.jpg", None)
    html = fragment(card, language="en")
    assert errors(whole([html])) == []
    parsed = JustHTML(whole([html]), sanitize=False)
    assert len(parsed.query("script")) == 1 and parsed.query("img")[0].attrs == {
        "src": "pictures/7.jpg",
        "alt": NASTY,
        "loading": "lazy",
    }
    (found,) = documents(html)
    assert found["@graph"][1]["name"] == NASTY and found["@graph"][0]["license"]["name"] == NASTY


@pytest.mark.parametrize(
    ("licence", "address"),
    [
        ("CC0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
        ("cc-by-NC-sa-4.0", "https://creativecommons.org/licenses/by-nc-sa/4.0/"),
        ("CC-BY-4.0", "https://creativecommons.org/licenses/by/4.0/"),
        ("https://shop.example/rights", "https://shop.example/rights"),
        ("javascript:alert(1)", ""),
        ("CC-BY", ""),
        ("In-house", ""),
    ],
)
def test_licences_are_addresses_where_they_have_one(licence, address):
    assert licence_address(licence) == address
    card = Card("7", "p", "", "c", "a", {}, Metadata(licence=licence), "7.jpg", None)
    said = structured(card)["@graph"][0]["license"]
    assert said == (address or {"@type": "CreativeWork", "name": licence})
    assert ('href="' in fragment(card, language="en")) == bool(address)


def test_everything_known_is_said_in_schema_org_words():
    about = Metadata("CC0-1.0", "Shop Ltd", "Ann & Bo", "2026-03-31", "Graz", "47.07", "15.44")
    image = structured(Card("7", "p", "Name", "c", "a", {}, about, "7.jpg", None))["@graph"][0]
    assert image["name"] == "Name" and image["creditText"] == "Ann & Bo" and image["dateCreated"] == "2026-03-31"
    assert image["provider"] == {"@type": "Organization", "name": "Shop Ltd"}
    geo = {"@type": "GeoCoordinates", "latitude": 47.07, "longitude": 15.44}
    assert image["contentLocation"] == {"@type": "Place", "name": "Graz", "geo": geo}


def test_addresses_and_names_of_files():
    columns = ["id", "product", "file"]
    assert Pattern.parse("https://x.example/{product}/{id}.jpg", columns).of({"id": "a b?", "product": "ü"}) == (
        "https://x.example/%C3%BC/a%20b%3F.jpg"
    )
    assert Pattern.parse("/media/{file}", columns).of({"file": "train/1.jpg"}) == "/media/train/1.jpg"
    for text, said in (
        ("https://x.example/{idd}", "no column 'idd'; did you mean 'id'"),
        ("https://x.example/1.jpg", "names no column"),
        ("javascript:{id}", "over http or https"),
    ):
        with pytest.raises(UsageError, match=said):
            Pattern.parse(text, columns)
    odd = ["a", "A/b", "../c", ".", "x" * 300, "ü" * 100, "a%2Fb", "A b"]
    stems = [file_stem(item) for item in odd]
    assert len(set(stems)) == len(odd)
    assert all("/" not in stem and not stem.startswith(".") and len(stem) <= 200 for stem in stems)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Products in turn free and secret, all with a title, half with columns of metadata; pictures carry a position."""
    folder = write_catalogue(tmp_path_factory.mktemp("gallery") / "shop", items=360)
    for table in folder.glob("*/metadata.csv"):
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            secret = int(row["id"]) // 2 % 3 == 2
            row["licence"], row["credit"] = ("Secret", "hidden") if secret else ("cc0-1.0", "Ann")
            row["id"] = f"secret{row['id']}" if secret else f"free/{row['id']}"
            row["latitude"], row["longitude"], row["place"] = "47.070714", "15.439504", "Graz"
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    for picture in folder.glob("validation/*.png"):
        exif = Image.Exif()
        exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = "2025:06:01 10:00:00"
        exif.get_ifd(IFD.GPSInfo).update({GPS.GPSLatitude: (48.0, 12.0, 30.0), GPS.GPSLatitudeRef: "N",
                                          GPS.GPSLongitude: (16.0, 22.0, 0.0), GPS.GPSLongitudeRef: "E"})  # fmt: skip
        Image.open(picture).save(picture, exif=exif.tobytes())
    return folder


class Material(NamedTuple):
    found: Tagged
    thresholds: Thresholds
    prompts: Prompts


def written(material: Material, out: Path, **options: Any) -> Written:
    return write(material.found, material.thresholds, material.prompts, out, **options)


@pytest.fixture(scope="module")
def tagged(shop: Path) -> Material:
    prompts, encoder = Prompts.parse(WORDS, "words.yaml"), cast("Encoder", SquareEncoder("good"))
    policy = Policy.model_validate({"column": "licence", "licences": {"CC0-1.0": ["train", "index", "show"]}})
    train = Catalogue.load(shop, "train", attributes=ATTRIBUTES)
    items = Catalogue.load(shop, "validation", attributes=ATTRIBUTES).with_policy(policy)
    names = [Attribute(name) for name in ATTRIBUTES]
    thresholds = fit(encoder, train, prompts, names, VectorCache(), split="train", precision=0.8, progress=False)
    found = tag(encoder, items, prompts, thresholds, VectorCache(), progress=False)
    found.faults[0] = "planted: cannot be decoded"
    return Material(found, thresholds, prompts)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]


def test_a_gallery_says_what_is_sure_and_leaves_out_the_rest(tagged, tmp_path):
    found = tagged.found
    done = written(tagged, tmp_path / "gallery", title="name")
    assert done.left_out[BROKEN] == 1 and done.items > 20 and done.faults == []
    assert done.items + sum(done.left_out.values()) == len(found.catalogue)
    rows = {row["id"]: row for row in lines(tmp_path / "gallery")}
    assert len(rows) == done.items
    for row, item in enumerate(found.catalogue.ids):
        if item not in rows:
            assert row == 0 or not found.alt_texts[row]
            continue
        said = rows[item]
        assert said["alt_text"] == found.alt_texts[row] != "" and len(said["alt_text"]) <= 125
        sure = {name: c.values[row] for name, c in found.columns.items() if c.states[row] == "sure"}
        assert said["states"].items() <= sure.items()
        for value in said["states"].values():
            assert value.lower() in said["caption"]
        html = (tmp_path / "gallery" / said["fragment"]).read_text()
        image, product = documents(html)[0]["@graph"]
        assert {one["name"]: one["value"] for one in product["additionalProperty"]} == sure
        assert product["name"] == found.catalogue.texts("name")[row] and product["productID"] == said["product"]
        assert image["creditText"] == "Ann" and image["license"].endswith("/zero/1.0/")
        with Image.open(tmp_path / "gallery" / "pictures" / f"{file_stem(item)}.jpg") as picture:
            assert picture.size == (image["width"], image["height"]) and not picture.getexif()
    with (tmp_path / "gallery" / "sample.csv").open(newline="") as file:
        sample = list(csv.DictReader(file))
    assert len(sample) == min(done.items, 100) and {one["right"] for one in sample} == {""}
    assert all(one["alt_text"] == rows[one["id"]]["alt_text"] for one in sample)
    overview = (tmp_path / "gallery" / "index.html").read_text()
    assert errors(overview) == [] and overview.count("<figure") == done.items
    record = json.loads((tmp_path / "gallery" / "gallery.json").read_text())
    assert record["source"] == "shop" and str(tmp_path.parent.parent) not in overview + json.dumps(record)
    assert (record["items"], record["precision"], record["policy"]) == (done.items, 0.8, True)
    assert UNSURE in done.left_out or done.items + 1 == len(found.catalogue)


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_neither_licences_outside_the_policy_nor_positions_reach_any_file(tagged, tmp_path):
    written(tagged, tmp_path / "plain", embedded=True)
    kept = content(tmp_path / "plain")
    assert b"free/" in kept and not re.search(rb"secret|hidden", kept)
    assert b"(Secret 40)" in kept, "counted by licence"
    assert b"2025-06-01" in kept, "the pictures were looked into"
    for position in (b"47.07", b"15.43", b"Graz", b"48.2", b"16.3", b"Geo", b"GPS", b"latitude"):
        assert position not in kept, position
    assert not any("secret" in path.name for path in (tmp_path / "plain").rglob("*"))

    written(tagged, tmp_path / "asked", location=True)
    asked = lines(tmp_path / "asked")[0]
    assert (asked["place"], asked["latitude"], asked["longitude"]) == ("Graz", "47.070714", "15.439504")


def test_pictures_that_stand_elsewhere_are_not_written(tagged, tmp_path):
    catalogue = tagged.found.catalogue
    pattern = Pattern.parse("https://cdn.example/{id}.png", ["id", *catalogue.columns])
    written(tagged, tmp_path / "gallery", pattern=pattern)
    assert not (tmp_path / "gallery" / "pictures").exists()
    first = lines(tmp_path / "gallery")[0]
    assert first["picture"] == f"https://cdn.example/{first['id']}.png"
    html = (tmp_path / "gallery" / first["fragment"]).read_text()
    assert "width" not in html and documents(html)[0]["@graph"][0]["contentUrl"] == first["picture"]


def test_a_failed_gallery_leaves_the_old_one(tagged, tmp_path, monkeypatch):
    written(tagged, tmp_path / "gallery")
    before = content(tmp_path / "gallery")
    with pytest.raises(CatalogueError, match="no column 'photografer'"):
        written(tagged, tmp_path / "gallery", columns={"credit": "photografer"})
    monkeypatch.setattr("clipadapt.deploy.gallery.write.fragment", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        written(tagged, tmp_path / "gallery")
    assert content(tmp_path / "gallery") == before
