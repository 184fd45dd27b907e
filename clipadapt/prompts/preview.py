"""What a prompts file says of real items, beside their pictures: one HTML page that needs nothing else.

Pictures are shrunk and lie inside the page, so that it can be mailed; a page of 24 items weighs about half a megabyte.
Nothing here reads catalogues or models: pictures, rows and token counts come in.
"""

import base64
import html
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from PIL import Image

from clipadapt.prompts.definitions import Entry
from clipadapt.prompts.library import Prompts
from clipadapt.prompts.template import Template
from clipadapt.prompts.wordings import Wordings

SIDE = 224
"""Pixels of a picture's longer side on the page."""

Count = Callable[[str], int]
"""Tokens of a text."""


class Said(NamedTuple):
    """One template's caption of an item."""

    line: int
    """Of the template in the file."""
    template: str
    text: str
    """Empty when the template cannot speak of the item."""
    lacks: tuple[str, ...]
    """Columns it would have needed."""
    held_out: bool = False
    """Never trained with."""


class Card(NamedTuple):
    """One item of the preview."""

    name: str
    row: Mapping[str, str]
    said: tuple[Said, ...]
    picture: Image.Image | None

    @property
    def captioned(self) -> bool:
        """Whether any template that is trained with can speak of the item."""
        return any(said.text and not said.held_out for said in self.said)


def card(prompts: Prompts, name: str, row: Mapping[str, str], picture: Image.Image | None) -> Card:
    """What every template says of an item, values by their first names."""
    return Card(name, row, tuple(_said(prompts, entry, row) for entry in prompts.library.captions), picture)


def _said(prompts: Prompts, entry: Entry[Template], row: Mapping[str, str]) -> Said:
    text = prompts.caption_of(entry.what, row)
    lacks = () if text else prompts.lacking(entry.what, row)
    return Said(entry.place.line, entry.what.text, text, tuple(lacks), entry.held_out)


def page(prompts: Prompts, cards: Sequence[Card], values: Mapping[str, Sequence[str]], count: Count | None) -> str:
    """The page; `values` are the values whose texts are listed, by attribute, `count` gives tokens or is None."""
    wordings = Wordings(prompts)
    body = [
        f"<h1>{html.escape(prompts.path)}</h1>",
        f"<p>Captions of {len(cards)} items, one per template; grey ones need a column that is empty for the item.</p>",
        '<div class="cards">',
        *(_card_html(prompts, one, count) for one in cards),
        "</div>",
        "<h2>Texts that values are recognised and found by</h2>",
        "<p>Those in grey are never trained with; values are judged in them too.</p>",
        *(_attribute_html(prompts, wordings, attribute, listed, count) for attribute, listed in values.items()),
    ]
    title = html.escape(prompts.path)
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="{html.escape(prompts.library.rules.language)}"><head>{head}</head><body>' + (
        "\n".join(body) + "</body></html>\n"
    )


def _card_html(prompts: Prompts, one: Card, count: Count | None) -> str:
    picture = f'<img alt="" src="{data_uri(one.picture)}">' if one.picture is not None else ""
    captions = "".join(_said_html(said, count) for said in one.said)
    named = {*prompts.fields, *prompts.attributes}
    cells = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(cell)}</dd>"
        for name, cell in one.row.items()
        if name in named and cell
    )
    return f"<section>{picture}<div><h3>{html.escape(one.name)}</h3><ul>{captions}</ul><dl>{cells}</dl></div></section>"


def _said_html(said: Said, count: Count | None) -> str:
    held = ", held out" if said.held_out else ""
    where = f'<small title="{html.escape(said.template)}">line {said.line}{held}{_tokens(said.text, count)}</small>'
    if said.text and said.held_out:
        return f'<li class="not">{html.escape(said.text)} {where}</li>'
    if said.text:
        return f"<li>{html.escape(said.text)} {where}</li>"
    return f'<li class="not">needs {html.escape(", ".join(said.lacks) or "something to say")} {where}</li>'


def _attribute_html(
    prompts: Prompts, wordings: Wordings, attribute: str, values: Sequence[str], count: Count | None
) -> str:
    rows = []
    for value in values:
        shares = zip(prompts.value_texts(attribute, value), prompts.value_weights(attribute, value), strict=True)
        texts = "".join(
            f"<li>{html.escape(text)} <small>{share:.0%}{_tokens(text, count)}</small></li>" for text, share in shares
        )
        texts += "".join(
            f'<li class="not">{html.escape(text)} <small>held out, {share:.0%}{_tokens(text, count)}</small></li>'
            for text, share in _judged(prompts, wordings, attribute, value)
        )
        rows.append(f"<tr><th>{html.escape(value)}</th><td><ul>{texts}</ul></td></tr>")
    return f"<details><summary>{html.escape(attribute)}</summary><table>{''.join(rows)}</table></details>"


def _judged(prompts: Prompts, wordings: Wordings, attribute: str, value: str) -> list[tuple[str, float]]:
    """The texts a value is judged by and never trained with."""
    trained = set(prompts.value_texts(attribute, value))
    return [one for one in wordings.held_out(attribute, value) if one[0] not in trained]


def _tokens(text: str, count: Count | None) -> str:
    return f", {count(text)} tokens" if count is not None and text else ""


def data_uri(picture: Image.Image) -> str:
    """The picture, shrunk, as text that a page can hold."""
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")


def lines(one: Card, count: Count | None) -> Iterator[str]:
    """The same for a terminal: the item's name, then a line per template that can speak of it, or why none can."""
    yield one.name
    for said in one.said:
        if said.text:
            tokens = f"{count(said.text):>4} tokens" if count is not None else ""
            yield f"  line {said.line:>3}{tokens}  {said.text}{'   (held out)' if said.held_out else ''}"
    if not one.captioned:
        for said in one.said:
            yield f"  line {said.line:>3}  no caption: needs {', '.join(said.lacks) or 'something to say'}"
        if not one.said:
            yield "  no caption: the file has no `captions:`"


_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#222;background:#fff}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(34rem,1fr));gap:1.5rem}
section{display:flex;gap:1rem;align-items:flex-start}img{max-width:10rem;border-radius:4px}h3{margin:0;font-size:1rem}
ul{margin:.3rem 0;padding-left:1.1rem}small{color:#777}.not{color:#999}
dl{display:flex;flex-wrap:wrap;gap:0 .4rem;margin:0}
dt{color:#777}dt:after{content:":"}dd{margin:0 .6rem 0 0}th{text-align:left;vertical-align:top;padding-right:1rem}
summary{cursor:pointer;font-weight:600;margin:.4rem 0}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}}
"""
