"""The two pages of an audit: one on which a person marks labels, one that reports what the marks say.

Both are self-contained: pictures are inline thumbnails, no request leaves them. Everything from a catalogue is escaped,
in HTML by the templates, in the script's data by `_script_json`. Nothing here measures.
"""

import functools
import importlib.metadata
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from clipadapt import places
from clipadapt.audit.estimate import Estimate, headline
from clipadapt.audit.labels import Labels
from clipadapt.audit.overview import Overview
from clipadapt.audit.sample import Sample
from clipadapt.audit.suspects import Suspects
from clipadapt.audit.twins import Twin
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.thumbnails import embedded
from clipadapt.errors import CatalogueError

SIDE = 192
"""Pixels of a thumbnail's longer side."""
_PAGE = 12
"""Labels that are looked at together; all of one value."""
_PAIRS = 60
"""Pairs of near-identical pictures that the page shows."""
_SHOWN = 120
"""Likely errors that the page shows; suspects.csv has all."""


class Pair(NamedTuple):
    """Two items side by side."""

    pictures: tuple[str | None, str | None]
    names: tuple[str, str]
    what: str


class Line(NamedTuple):
    """One estimate as the table shows it."""

    attribute: str
    value: str | None
    labels: int
    looked_at: int
    wrong: int
    percent: str
    interval: str
    left_out: str


class Card(NamedTuple):
    """One likely error."""

    attribute: str
    value: str
    instead: str
    item: str
    place: str
    picture: str | None


def marking_page(
    catalogue: Catalogue,
    labels: Labels,
    chosen: Sample,
    digest: str,
    found: Overview,
    catalogues: Mapping[str, Catalogue],
    twins: Sequence[Twin],
    twin_sentence: str,
) -> str:
    """The page on which labels are marked; below them what the catalogue holds."""
    pictures: dict[int, str | None] = {}
    groups: list[dict[str, Any]] = []
    for place, at in enumerate(chosen.labels.tolist()):
        row, stratum = int(labels.row[at]), labels.strata[labels.stratum[at]]
        if row not in pictures:
            pictures[row] = thumbnail(catalogue, row)
        same = groups and (groups[-1]["attribute"], groups[-1]["value"]) == stratum
        if not same or len(groups[-1]["cards"]) == _PAGE:
            groups.append({"attribute": stratum.attribute, "value": stratum.value, "cards": []})
        product = str(labels.products[row]) if catalogue.product_column is not None else ""
        shown = row if pictures[row] is not None else None
        groups[-1]["cards"].append({"n": place, "id": catalogue.ids[row], "product": product, "picture": shown})
    data = {
        "audit": digest,
        "source": places.public(catalogue.source),
        "split": catalogue.split,
        "attributes": [attribute.name for attribute in catalogue.attributes],
        "share": chosen.share,
        "seed": chosen.seed,
        "groups": groups,
        "pictures": {row: picture for row, picture in pictures.items() if picture is not None},
    }
    script = files("clipadapt.audit").joinpath("mark.js").read_text(encoding="utf-8")
    return _render(
        "mark.html.jinja",
        title=f"Are the labels right? {_name(catalogue)}",
        labels=len(labels),
        looked_at=len(chosen.labels),
        split=catalogue.split,
        overview=found,
        measured=bool(twin_sentence),
        twin_sentence=twin_sentence,
        twins=[_pair(catalogues, twin) for twin in twins[:_PAIRS]],
        data=_script_json(data),
        script=Markup(script),
    )


def result_page(
    catalogue: Catalogue,
    labels: Labels,
    found: Sequence[Estimate],
    likely: Suspects | None,
    hidden: Iterable[int],
    sentence: str,
    suspect_sentence: str,
) -> str:
    """Label error as a table, and the likeliest errors with their pictures.

    Args:
        hidden: labels that a person marked right.
    """
    passed = set(hidden)
    shown = [one for one in likely.suspects if one.label not in passed][:_SHOWN] if likely is not None else []
    cards = []
    for one in shown:
        row, stratum = int(labels.row[one.label]), labels.strata[labels.stratum[one.label]]
        place = catalogue.place(row)
        where = f"row {place.row}" + (f", {places.public(place.picture)}" if place.picture else "")
        picture = thumbnail(catalogue, row)
        cards.append(Card(stratum.attribute, stratum.value, one.instead, catalogue.ids[row], where, picture))
    return _render(
        "result.html.jinja",
        title=f"Label error of {_name(catalogue)}",
        sentence=sentence,
        estimates=[line(one) for one in found],
        suspects=cards,
        suspect_sentence=suspect_sentence,
    )


def line(one: Estimate) -> Line:
    """An estimate in words and percent."""
    left_out = [f"{count} {what}" for count, what in ((one.unclear, "unclear"), (one.unmarked, "not marked")) if count]
    if one.covered < 1:
        left_out.append(f"speaks of {one.covered:.0%} of the labels")
    percent = f"{100 * one.error.mean:.1f}" if one.error is not None else "–"
    interval = f"[{100 * one.error.low:.1f}, {100 * one.error.high:.1f}]" if one.error is not None else "no interval"
    return Line(one.attribute, one.value, one.labels, one.looked_at, one.wrong, percent, interval, ", ".join(left_out))


def sentence(found: Sequence[Estimate], seconds: float) -> str:
    """The result in words."""
    whole = headline(found)
    if whole.error is None:
        return "Too few labels are marked to say how many are wrong: mark labels of at least two products."
    shown = line(whole)
    minutes = max(round(seconds / 60), 1)
    spent = f", in {minutes} minute{'s' if minutes > 1 else ''}" if seconds >= 30 else ""
    left = f" ({shown.left_out})" if shown.left_out else ""
    return (
        f"{shown.percent}% of the labels are wrong, 95% interval {shown.interval}: {whole.wrong} of the "
        f"{whole.looked_at} that were looked at{spent}, weighted by how many labels each value has{left}."
    )


def thumbnail(catalogue: Catalogue, row: int) -> str | None:
    """A small JPEG in base64; None where the picture cannot be read, which the page says."""
    try:
        return embedded(catalogue.picture(row), SIDE)
    except CatalogueError:
        return None


def _pair(catalogues: Mapping[str, Catalogue], twin: Twin) -> Pair:
    pictures, names = [], []
    for item in (twin.one, twin.other):
        catalogue = catalogues[item.split]
        pictures.append(thumbnail(catalogue, item.row))
        names.append(f"{item.split}: {catalogue.ids[item.row]}, product {catalogue.products[item.row]}")
    parts = [text for text, there in (("two splits", twin.splits), ("two products", twin.products)) if there]
    by = "alike by perceptual hash" if twin.by == "hash" else "alike to the model"
    cosine = f", cosine {twin.cosine:.3f}" if twin.cosine is not None else ""
    return Pair((pictures[0], pictures[1]), (names[0], names[1]), f"{' and '.join(parts)}: {by}{cosine}")


def _name(catalogue: Catalogue) -> str:
    return f"{places.public(catalogue.source)}, split {catalogue.split}"


def _script_json(document: object) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values, version=importlib.metadata.version("clipadapt"))


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("clipadapt.audit", "."),
        autoescape=lambda name: name is not None and name.endswith(".html.jinja"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
