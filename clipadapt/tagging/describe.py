"""A caption and an alt text from confident values alone, in the words of the prompts file's caption templates.

    describer = Describer(prompts)
    describer({"Pattern": "Striped", "articleType": "Shirts"})    # Description("a striped shirt", "A striped shirt")

Of all templates that can speak of an item the one that states most is taken, the first in the file among equals; what
is not confident is an empty cell, so its phrases vanish. An alt text does not announce a picture (screen readers do)
and is short enough to be read out whole; only English words for a picture are known here. Nothing is said of an item
when every template needs a column that is not confident.
"""

from collections.abc import Mapping
from typing import NamedTuple

from clipadapt.prompts import Prompts
from clipadapt.prompts.template import Template

ALT_LENGTH = 125
"""Characters that screen readers read without a break."""
_ANNOUNCES = {"photo", "photograph", "picture", "image", "drawing", "shot"}
_LEAD = 4
"""Words at the start that may announce a picture, as in "a close-up product photo"."""


class Description(NamedTuple):
    """Empty where no template can speak of the item."""

    caption: str
    alt_text: str


class Describer:
    """Descriptions by the values that are known; equal values are described once."""

    def __init__(self, prompts: Prompts) -> None:
        self._prompts = prompts
        self._templates = [entry.what for entry in prompts.library.captions if entry.weight]
        self._made: dict[tuple[tuple[str, str], ...], Description] = {}

    def __call__(self, confident: Mapping[str, str]) -> Description:
        """Of an item with those cells; all others are unknown."""
        key = tuple(sorted(confident.items()))
        if key not in self._made:
            self._made[key] = self._describe(confident)
        return self._made[key]

    def _describe(self, confident: Mapping[str, str]) -> Description:
        row = dict.fromkeys(self._prompts.fields, "") | dict(confident)
        texts = {text: template for template in self._templates if (text := self._prompts.caption_of(template, row))}
        ranked = sorted(texts, key=lambda text: -self._stated(texts[text], row, text))
        short = (text for text in ranked if len(text) <= ALT_LENGTH and not _announces(text))
        alt = next(short, "")
        return Description(ranked[0] if ranked else "", alt[:1].upper() + alt[1:])

    def _stated(self, template: Template, row: Mapping[str, str], text: str) -> int:
        """How many columns the text depends on."""
        names = {field.name for field in template.fields if row.get(field.name)}
        return sum(self._prompts.caption_of(template, {**row, name: ""}) != text for name in names)


def _announces(text: str) -> bool:
    return bool(_ANNOUNCES & set(text.lower().split()[:_LEAD]))
