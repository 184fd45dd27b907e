"""The control of a prompt's words: the same texts with every word but the value's name exchanged for a random one.

Several texts per value help by averaging alone, whatever they say. What is left of a gain against this control is owed
to the words. Random words have the lengths of those they replace and are the same for every value, so that they tell
values apart by nothing; they depend on lengths and a seed alone, so that an edit encodes no more than it has to.
Source: Roth et al., "Waffling around for performance", ICCV 2023 (random words in place of descriptions).
"""

import functools
import re
from collections.abc import Iterator, Sequence

from clipadapt.keyed import integer
from clipadapt.prompts.wording import Text

_COMMON = """a I of to in it is be as at so we he by or on do if me my up an go no us am
the and for are but not you all any can had her was one our out day get has him his how man new now old see two way who
that with have this will your from they know want been good much some time very when come here just like long make many
over such take than them well were work year home went look must most high last life left life line main mind move need
there about other which their words would write first water after where right think three years place sound great again
still every small found those never world while house point along might close night north white paper story below heard
should people number before little around follow letter mother answer father family second system better always nature
between another thought country through example because picture several without against himself problem morning history
together question children mountain possible remember complete thousand language business building national consider
something important different sometimes continent beginning community education direction necessary yesterday knowledge
everything themselves government understand discovered experience individual especially industries washington
information significant development traditional immediately environment established independent
"""
LONGEST = 11
"""Letters of the longest common word here; longer ones are put together from two."""


def controls(texts: Sequence[Text], replicate: int, seed: int = 0) -> list[Text]:
    """A text for each of `texts`, with its share, whose words are random except the value's first name.

    The name keeps its place; where it cannot be found in a text it comes last.
    """
    name = next((text.name for text in texts if text.name), "")
    seen: dict[tuple[int, ...], int] = {}
    replaced = []
    for text in texts:
        place = re.search(rf"(?<!\w){re.escape(text.name)}(?!\w)", text.text) if text.name else None
        before, after = (text.text[: place.start()], text.text[place.end() :]) if place else (text.text, "")
        lengths = tuple(map(len, before.split())), tuple(map(len, after.split()))
        form = (*lengths[0], 0, *lengths[1])
        seen[form] = seen.get(form, -1) + 1
        key = (seed, "random words", replicate, ",".join(map(str, form)), seen[form])
        words = iter(list(_words(key, (*lengths[0], *lengths[1]))))
        replacement = [*(next(words) for _ in lengths[0]), *([name] if place else []), *words]
        replacement = replacement if place or not name else [*replacement, name]
        replaced.append(text._replace(text=" ".join(replacement), name=name))
    return replaced


@functools.cache
def _of_length(length: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in _COMMON.split() if len(word) == length))


def _words(key: tuple[int | str, ...], lengths: Sequence[int]) -> Iterator[str]:
    for place, length in enumerate(lengths):
        rest, word = length, ""
        while rest > 0:
            part = min(rest, LONGEST)
            known = _of_length(part)
            word += known[integer(*key, place, rest) % len(known)]
            rest -= part
        yield word
