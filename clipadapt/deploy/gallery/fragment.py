"""One item as an HTML fragment, and a page of many to look at before anything is published.

    html = fragment(card, language="en")      # <figure>: picture, caption, credit, and JSON-LD in a script element

A fragment needs no style sheet and no script, and nothing in it can end its elements early: cells come from catalogues,
so text is escaped, in JSON too. Nothing here knows where fragments are kept.
"""

import json
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from clipadapt.deploy.gallery.structured import Card, licence_address, structured

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("clipadapt.deploy.gallery", "."), autoescape=True, undefined=jinja2.StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


def fragment(card: Card, *, language: str) -> str:
    """A figure with its JSON-LD."""
    template = _ENVIRONMENT.get_template("fragment.html.jinja")
    licence = licence_address(card.metadata.licence)
    return template.render(card=card, language=language, licence=licence, data=_script(structured(card)))


def page(fragments: Sequence[str], *, language: str, items: int, source: str) -> str:
    """A page with those fragments, of `items` in all."""
    template = _ENVIRONMENT.get_template("page.html.jinja")
    return template.render(fragments=[Markup(one) for one in fragments], language=language, items=items, source=source)


def _script(document: dict[str, Any]) -> Markup:
    """JSON that may stand in a script element."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
