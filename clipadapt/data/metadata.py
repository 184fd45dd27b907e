"""Licence, credit, capture date and place of items: what columns say, and what pictures carry where columns are empty.

    found = embedded(data)                    # of one encoded picture: EXIF, XMP, IPTC, in that order
    rows, faults = metadata(catalogue, {"captured": "shot_on"}, location=False)

Cells win over pictures. Dates become 2026-03-31, whichever of the common forms they have; one that could be two days
(03/04/2026) is a fault, not a guess. Coordinates are read only where they are asked for, so that no export tells where
someone lives, and are degrees, north and east positive. What a camera cannot have known is a fault and left empty: a
date before photography or after tomorrow, coordinates out of range or at exactly 0, 0, where unset receivers are.
Nothing here knows what a licence allows (policy.py).
Source: Exif 3.0 (CIPA DC-008); IPTC Photo Metadata Standard 2023.2, for Web Statement of Rights, Licensor and Credit.
"""

import csv
import datetime
import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image, IptcImagePlugin, UnidentifiedImageError
from PIL.ExifTags import GPS, IFD, Base
from PIL.ImageFile import ImageFile

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.columns import near
from clipadapt.data.faults import Fault
from clipadapt.data.unreadable import reason
from clipadapt.errors import CatalogueError, UsageError
from clipadapt.progress import track
from clipadapt.threads import ordered

FIELDS = ("licence", "licensor", "credit", "captured", "place", "latitude", "longitude")
LOCATION = ("place", "latitude", "longitude")
_FIRST = datetime.date(1839, 1, 1)
"""Photography was announced; a scan may carry its original's date."""
_MONTHS = {name: number for number, name in enumerate(
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)}  # fmt: skip
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_XMP = {
    "licence": "{http://ns.adobe.com/xap/1.0/rights/}WebStatement",
    "licensor": "{http://ns.useplus.org/ldf/xmp/1.0/}LicensorName",
    "credit": "{http://ns.adobe.com/photoshop/1.0/}Credit",
    "captured": "{http://ns.adobe.com/photoshop/1.0/}DateCreated",
    "place": "{http://ns.adobe.com/photoshop/1.0/}City",
}
_IPTC = {"credit": (2, 110), "captured": (2, 55), "place": (2, 90)}


class Metadata(NamedTuple):
    """Texts, "" where nothing is known."""

    licence: str = ""
    """A name, or the address of a Web Statement of Rights."""
    licensor: str = ""
    credit: str = ""
    captured: str = ""
    """A date, as 2026-03-31."""
    place: str = ""
    latitude: str = ""
    longitude: str = ""


def metadata(
    catalogue: Catalogue, columns: Mapping[str, str], *, pictures: bool = True, location: bool = False
) -> tuple[list[Metadata], list[Fault]]:
    """One row per item, and what could not be believed.

    Args:
        columns: field -> column that holds it.
        pictures: look into the pictures where a cell is empty.
        location: place, latitude and longitude, too; else they are neither read nor written.

    Raises:
        UsageError: a field that there is not.
        CatalogueError: a column that is not there.
    """
    for field, column in columns.items():
        if field not in FIELDS:
            raise UsageError(f"no field {field!r}; fields are {', '.join(FIELDS)}")
        if field in LOCATION and not location:
            raise UsageError(f"{field} is a location, which is only written where it is asked for: add --location")
        if column not in catalogue.columns:
            raise CatalogueError(
                f"{catalogue.source}: no column {column!r} for {field}{near(column, catalogue.columns)}; "
                f"columns are {', '.join(catalogue.columns)}"
            )
    cells = {field: catalogue.texts(column) for field, column in columns.items()}

    def row(index: int) -> tuple[Metadata, list[Fault]]:
        known, faults = believed({field: texts[index] for field, texts in cells.items()}, catalogue, index, "column")
        wanted = set(FIELDS) - (set() if location else set(LOCATION))
        if pictures and any(not getattr(known, field) for field in wanted):
            try:
                raw = embedded(catalogue.picture_bytes(index), location=location)
            except CatalogueError as error:
                place = catalogue.place(index)
                return known, [*faults, Fault("warning", place.file, place.row, str(error), "")]
            carried, more = believed(raw, catalogue, index, "picture")
            # Half of a position from a cell and half from a picture would be a place where nobody was.
            held = bool(known.latitude or known.longitude)
            for field in wanted - ({"latitude", "longitude"} if held else set()):
                known = known._replace(**{field: getattr(known, field) or getattr(carried, field)})
            faults += more
        return known, faults

    rows: list[Metadata] = []
    faults: list[Fault] = []
    found = ordered(row, range(len(catalogue)))
    for one, own in track(found, total=len(catalogue), label="metadata", unit="items"):
        rows.append(one)
        faults += own
    return rows, faults


def believed(raw: Mapping[str, str], catalogue: Catalogue, index: int, whose: str) -> tuple[Metadata, list[Fault]]:
    """Typed texts of what can be true; the rest as faults."""
    place, faults = catalogue.place(index), []
    found: dict[str, str] = dict.fromkeys(FIELDS, "")
    for field, text in raw.items():
        found[field] = " ".join(text.split())

    def doubt(field: str, why: str) -> None:
        what = f"{field} of its {whose} is {found[field]!r}: {why}"
        faults.append(Fault("warning", place.file, place.row, what, "left empty"))
        found[field] = ""

    if found["captured"]:
        day = date_of(found["captured"])
        if isinstance(day, str):
            doubt("captured", day)
        else:
            found["captured"] = day.isoformat()
    for field, most in (("latitude", 90.0), ("longitude", 180.0)):
        if found[field] and not _within(found[field], most):
            doubt(field, f"not a number of degrees between -{most:g} and {most:g}")
    if found["latitude"] and found["longitude"] and float(found["latitude"]) == float(found["longitude"]) == 0:
        doubt("latitude", "0, 0 is what a receiver without a fix writes")
        found["longitude"] = ""
    if bool(found["latitude"]) != bool(found["longitude"]):
        found["latitude"] = found["longitude"] = ""  # one of the two is no position
    return Metadata(**found), faults


def fields(*, location: bool) -> tuple[str, ...]:
    """Those that are written."""
    return tuple(field for field in FIELDS if location or field not in LOCATION)


def table(ids: Sequence[str], rows: Sequence[Metadata], *, location: bool) -> str:
    """CSV with a line per item, to be joined to a catalogue's own table by id."""
    file, names = io.StringIO(), fields(location=location)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["id", *names])
    writer.writerows([one, *(getattr(row, name) for name in names)] for one, row in zip(ids, rows, strict=True))
    return file.getvalue()


def date_of(text: str, today: datetime.date | None = None) -> datetime.date | str:
    """The day, or why there is none: 2026-03-31, 2026:03:31, 2026/03/31, 20260331, 31.03.2026, 31 March 2026, each
    also with a time behind it.
    """
    day = _day(text.strip())
    if day is None:
        return "not a date in a form that is known; write it as 2026-03-31"
    if isinstance(day, str):
        return day
    latest = (today or datetime.datetime.now(datetime.UTC).date()) + datetime.timedelta(days=1)  # time zones
    return day if _FIRST <= day <= latest else f"before photography or after {latest}"


def embedded(data: bytes, *, location: bool = False) -> dict[str, str]:
    """What a picture carries, field -> text as written there; EXIF before XMP before IPTC.

    Raises:
        CatalogueError: not a picture that can be read.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            found = _iptc(image) | _xmp(image.info.get("xmp")) | _exif(image, location=location)
    except UnidentifiedImageError as error:
        raise CatalogueError(reason(data)) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CatalogueError(f"not a picture that can be read ({error}); replace it or take it out") from error
    return {field: text for field, text in found.items() if text and (location or field not in LOCATION)}


def _exif(image: Image.Image, *, location: bool) -> dict[str, str]:
    exif = image.getexif()
    taken = exif.get_ifd(IFD.Exif).get(Base.DateTimeOriginal)
    found = {"captured": str(taken).strip("\0 ")} if taken and "0000" not in str(taken)[:4] else {}
    gps = exif.get_ifd(IFD.GPSInfo) if location else {}
    for field, value, side, negative in (
        ("latitude", GPS.GPSLatitude, GPS.GPSLatitudeRef, "S"),
        ("longitude", GPS.GPSLongitude, GPS.GPSLongitudeRef, "W"),
    ):
        degrees = _degrees(gps.get(value))
        if degrees is not None:
            sign = -1 if str(gps.get(side, "")).strip("\0 ").upper() == negative else 1
            found[field] = f"{sign * degrees:.6f}"
    return found


def _degrees(parts: Any) -> float | None:
    """Degrees, minutes and seconds as one number; None where they are none."""
    try:
        numbers = [float(part) for part in parts]
        return sum(part / 60**place for place, part in enumerate(numbers[:3])) if numbers else None
    except (TypeError, ValueError, ZeroDivisionError):
        return None


def _xmp(packet: bytes | str | None) -> dict[str, str]:
    """Properties as elements or attributes; a packet that declares entities is not parsed."""
    text = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else packet or ""
    start, end = text.find("<x:xmpmeta"), text.rfind("</x:xmpmeta>")
    if start < 0 or end < 0 or "<!" in text:
        return {}
    try:
        root = ElementTree.fromstring(text[start : end + len("</x:xmpmeta>")])
    except ElementTree.ParseError:
        return {}
    found: dict[str, str] = {}
    for element in root.iter():
        for field, name in _XMP.items():
            if name in element.attrib:
                found.setdefault(field, element.attrib[name])
            if element.tag == name:
                first = element.find(f".//{_RDF}li")
                found.setdefault(field, (first.text if first is not None else element.text) or "")
    return found


def _iptc(image: ImageFile) -> dict[str, str]:
    info = IptcImagePlugin.getiptcinfo(image) if image.format in ("JPEG", "TIFF") else None
    found = {}
    for field, key in _IPTC.items():
        value = (info or {}).get(key)
        value = value[0] if isinstance(value, list) and value else value
        if isinstance(value, bytes):
            found[field] = value.decode("utf-8", "replace")
    return found


def _day(text: str) -> datetime.date | str | None:
    if match := re.match(r"(\d{4})([-:/]?)(\d{2})\2(\d{2})(?!\d)", text):
        return _made(int(match[1]), int(match[3]), int(match[4]))
    if match := re.match(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?!\d)", text):
        return _made(int(match[3]), int(match[2]), int(match[1]))
    if match := re.match(r"(\d{1,2})[ .-]+([A-Za-z]{3})[a-z]*[ .,-]+(\d{4})(?!\d)", text):
        month = _MONTHS.get(match[2].lower())
        return _made(int(match[3]), month, int(match[1])) if month else None
    if match := re.match(r"(\d{1,2})[/-](\d{1,2})[/-](\d{4})(?!\d)", text):
        first, second = int(match[1]), int(match[2])
        if first <= 12 and second <= 12 and first != second:
            return "could be two days; write it as 2026-03-31"
        return _made(int(match[3]), min(first, second), max(first, second))
    return None


def _made(year: int, month: int, day: int) -> datetime.date | str:
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return "no day of the calendar"


def _within(text: str, most: float) -> bool:
    try:
        return -most <= float(text) <= most
    except ValueError:
        return False
