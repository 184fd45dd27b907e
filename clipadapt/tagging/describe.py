"""A caption and an alt text from confident values alone, in the words of the prompts file's caption templates.

    describer = Describer(prompts)
    said = describer({"Pattern": "Striped", "articleType": "Shirts"})
    said.caption, said.alt_text                   # "a striped shirt", "A striped shirt"
    said.states                                   # ("Pattern", "articleType")

Of all templates that can speak of an item the one that states most is taken, the first in the file among equals; what
is not confident is an empty cell, so its phrases vanish. Heaps of keywords are no captions, and an alt text has to be
fit for a screen reader as well (prompts.publishing). Nothing is said of an item when every template needs a column that
is not confident.
"""

from collections.abc import Mapping
from typing import NamedTuple

from clipadapt.prompts import Prompts
from clipadapt.prompts.publishing import stuffed, unfit_alt
from clipadapt.prompts.template import Template


class Description(NamedTuple):
    """Empty where no template can speak of the item."""

    caption: str
    alt_text: str
    states: tuple[str, ...] = ()
    """Columns that the caption or the alt text depends on."""


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
        states = {text: self._states(texts[text], row, text) for text in texts if not stuffed(text)}
        ranked = sorted(states, key=lambda text: -len(states[text]))
        caption, alt = next(iter(ranked), ""), next((text for text in ranked if not unfit_alt(text)), "")
        stated = dict.fromkeys((*states.get(caption, ()), *states.get(alt, ())))
        return Description(caption, alt[:1].upper() + alt[1:], tuple(stated))

    def _states(self, template: Template, row: Mapping[str, str], text: str) -> list[str]:
        """The columns that the text depends on."""
        names = dict.fromkeys(field.name for field in template.fields if row.get(field.name))
        return [name for name in names if self._prompts.caption_of(template, {**row, name: ""}) != text]
