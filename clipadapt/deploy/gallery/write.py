"""A tagged catalogue -> a folder for a publisher: fragments, captions.jsonl, bare pictures, a page to look at.

    written = write(tagged, thresholds, prompts, "gallery", title="name", columns={"credit": "photographer"})
    written.items, written.left_out          # 940, {"no value is sure enough for an alt text": 60}

captions.jsonl has a line per item: id, product, caption, alt_text, states (attribute -> value, of what the texts say),
picture, fragment, and what is known of licence, credit and date. gallery.json says what all of it was made with, and
sample.csv is for a person to say of some texts whether they are right.
Pictures are written anew, upright and in sRGB, so that no position and no camera's number goes with them; where they
stand elsewhere already, an address is given and none is written. Place and position are only read and written where
they are asked for. What a policy does not allow to be shown was left out by `tag`. Nothing here recognises anything.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from clipadapt import keyed, places
from clipadapt.atomic import atomic_folder
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.decode import decode
from clipadapt.data.faults import Fault
from clipadapt.data.metadata import FIELDS, LOCATION, Metadata, fields, metadata
from clipadapt.deploy.gallery.address import Pattern, file_stem
from clipadapt.deploy.gallery.fragment import fragment, page
from clipadapt.deploy.gallery.structured import Card
from clipadapt.progress import track
from clipadapt.prompts import Prompts
from clipadapt.tagging.tag import Tagged
from clipadapt.tagging.thresholds import Thresholds

SCHEMA_VERSION = 1
RECORD, TEXTS, SAMPLE = "gallery.json", "captions.jsonl", "sample.csv"
SAMPLED = 100
"""Texts for a person to mark: all right shows 97% precision, and takes a quarter of an hour."""
SHOWN = 200
"""Items on the page to look at; browsers slow down over thousands of pictures."""
UNSURE = "no value is sure enough for an alt text"
BROKEN = "the picture cannot be decoded"
_QUALITY = 90
"""Of JPEGs."""


class Written(NamedTuple):
    """What came of it."""

    items: int
    """With a fragment."""
    left_out: dict[str, int]
    """Reason -> items."""
    faults: list[Fault]
    """Cells and embedded fields that could not be believed."""


def write(
    tagged: Tagged,
    thresholds: Thresholds,
    prompts: Prompts,
    out: str | Path,
    *,
    title: str | None = None,
    columns: Mapping[str, str] | None = None,
    embedded: bool = False,
    location: bool = False,
    pattern: Pattern | None = None,
) -> Written:
    """Writes the folder, whole or not at all.

    Args:
        title: column of product names; null: products go by what is seen of them.
        columns: metadata field -> column; columns that are called like a field are that field without being named.
        embedded: look into the pictures (EXIF, XMP, IPTC) for what cells leave empty.
        location: place, latitude and longitude, too.
        pattern: where pictures stand; null: they are written.

    Raises:
        UsageError, CatalogueError: a field or column that there is not.
        StoreError: the folder cannot be written.
    """
    catalogue, language = tagged.catalogue, prompts.library.rules.language
    about, faults = metadata(
        catalogue, _columns(catalogue, columns or {}, location), pictures=embedded, location=location
    )
    left_out: Counter[str] = Counter()
    rows = []
    for row in range(len(catalogue)):
        reason = BROKEN if row in tagged.faults else "" if tagged.alt_texts[row] else UNSURE
        if reason:
            left_out[reason] += 1
        else:
            rows.append(row)
    with atomic_folder(out) as folder:
        (folder / "items").mkdir()
        shown, lines = [], []
        cards = _cards(tagged, rows, about, title, pattern, folder)
        for row, card in zip(track(rows, label="captions"), cards, strict=True):
            html = fragment(card, language=language)
            path = f"items/{file_stem(card.item)}.html"
            (folder / path).write_text(html, encoding="utf-8")
            lines.append(json.dumps(_line(card, tagged.states[row], path, location), ensure_ascii=False) + "\n")
            if len(shown) < SHOWN:
                shown.append(html)
        (folder / TEXTS).write_text("".join(lines), encoding="utf-8")
        (folder / SAMPLE).write_text(_sample(lines), encoding="utf-8")
        named = places.public({"source": catalogue.source})["source"]
        overview = page(shown, language=language, items=len(rows), source=f"{named}, {catalogue.split}")
        (folder / "index.html").write_text(overview, encoding="utf-8")
        record = _record(tagged, thresholds, prompts, len(rows), left_out, location)
        (folder / RECORD).write_text(record, encoding="utf-8")
    return Written(len(rows), dict(left_out), faults)


def _columns(catalogue: Catalogue, named: Mapping[str, str], location: bool) -> dict[str, str]:
    """Field -> column: as named, the policy's licences, and columns that are called like a field."""
    own = {field: field for field in FIELDS if field in catalogue.columns and (location or field not in LOCATION)}
    policy = {"licence": catalogue.policy.column} if catalogue.policy is not None else {}
    return own | policy | dict(named)


def _cards(
    tagged: Tagged,
    rows: list[int],
    about: list[Metadata],
    title: str | None,
    pattern: Pattern | None,
    folder: Path,
) -> Iterator[Card]:
    catalogue = tagged.catalogue
    titles = catalogue.texts(title) if title is not None and title in catalogue.columns else [""] * len(catalogue)
    cells = {name: catalogue.texts(name) for name in catalogue.columns} if pattern is not None else {}
    for row in rows:
        item, product = catalogue.ids[row], str(catalogue.products[row])
        if pattern is None:
            name = f"pictures/{file_stem(item)}.jpg"
            size = _write_picture(catalogue, row, folder / name)
            address = quote(name)
        else:
            size, address = None, pattern.of({n: c[row] for n, c in cells.items()} | {"id": item, "product": product})
        values = {
            name: str(column.values[row]) for name, column in tagged.columns.items() if column.states[row] == "sure"
        }
        said = (tagged.captions[row], tagged.alt_texts[row], values)
        yield Card(item, product, titles[row].strip(), *said, about[row], address, size)


def _write_picture(catalogue: Catalogue, row: int, path: Path) -> tuple[int, int]:
    """Pixels alone, as a JPEG; its width and height."""
    path.parent.mkdir(exist_ok=True)
    picture, file = decode(catalogue.picture_bytes(row), catalogue.decoding), io.BytesIO()
    picture.info.clear()
    picture.save(file, "JPEG", quality=_QUALITY)
    path.write_bytes(file.getvalue())
    return picture.size


def _line(card: Card, states: Sequence[str], path: str, location: bool) -> dict[str, Any]:
    said = {name: card.values[name] for name in states if name in card.values}
    known = {name: text for name in fields(location=location) if (text := getattr(card.metadata, name))}
    return {
        "id": card.item, "product": card.product, "caption": card.caption, "alt_text": card.alt_text, "states": said,
        "picture": card.address, "fragment": path, **known,
    }  # fmt: skip


def _sample(lines: Sequence[str]) -> str:
    """A random sample of texts as a table, the same for equal ids, with an empty column for a person's yes or no."""
    texts = sorted((json.loads(line) for line in lines), key=lambda one: keyed.integer("captions", one["id"]))
    file, columns = io.StringIO(), ("id", "product", "caption", "alt_text")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow((*columns, "right"))
    writer.writerows((*(one[name] for name in columns), "") for one in texts[:SAMPLED])
    return file.getvalue()


def _record(
    tagged: Tagged, thresholds: Thresholds, prompts: Prompts, items: int, left_out: Mapping[str, int], location: bool
) -> str:
    catalogue = tagged.catalogue
    document = {
        "schema_version": SCHEMA_VERSION,
        "model": thresholds.model,
        "precision": thresholds.precision,
        "confidence": thresholds.confidence,
        "prompts": {"path": prompts.path, "digest": prompts.digest},
        "source": catalogue.source,
        "split": catalogue.split,
        "fingerprint": catalogue.fingerprint,
        "items": items,
        "left_out": dict(left_out),
        "kept_out": list(catalogue.kept_out),
        "policy": catalogue.policy is not None,
        "location": location,
    }
    return json.dumps(places.public(document), indent=1, ensure_ascii=False) + "\n"
