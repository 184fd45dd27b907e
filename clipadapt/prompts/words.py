"""The little grammar that keeps a filled-in template readable: a or an, plurals, spacing and punctuation.

Rules, not a dictionary: they cover the words of shops and archives, and an editor overrules them per value with
`article:` and `plural:`. Only English has rules for articles and plurals; other languages state both. Nothing here
knows of templates, YAML or rows.
"""

import re
from typing import NamedTuple


class Word(NamedTuple):
    """How one value is said; `article` and `plural` are None where the language's rules decide."""

    text: str
    article: str | None = None
    """Said before it in place of a or an: "a pair of", "eine", or "" for none."""
    plural: str | None = None


_CONSONANT_SOUND = re.compile(
    r"(eu|ewe|ubiq|ukr|uni(?!n|m|dent)|us[ae]|usu|ut[eio]|u(v|[^\w]|$)|one(\W|$)|once)", re.IGNORECASE
)
_SILENT_H = re.compile(r"(hour|honest|honou?r|heir)", re.IGNORECASE)
_SPELLED_OUT = re.compile(r"[A-Z]{2,4}\d*s?(\W|$)|[A-Z](\W|$)")
_EIGHT = re.compile(r"(8\d*|1[18](\d{3})*)(\D|$)")


def indefinite(following: str) -> str:
    """`a` or `an` by the sound of the English word that follows: an hour, a unisex bag, an SUV, an 8-bit sensor."""
    start = following.lstrip("\"'“‘(")
    if start[:1].isdigit():
        return "an" if _EIGHT.match(start) else "a"
    if _SPELLED_OUT.match(start) and not start.startswith("A "):
        return "an" if start[0] in "AEFHILMNORSX" else "a"
    if _SILENT_H.match(start):
        return "an"
    return "an" if start[:1].lower() in tuple("aeiou") and not _CONSONANT_SOUND.match(start) else "a"


_IRREGULAR = {"man": "men", "woman": "women", "child": "children", "person": "people", "foot": "feet", "tooth": "teeth"}
_UNCOUNTED = ("wear", "clothing", "footage", "luggage", "jewellery", "jewelry", "denim", "land", "equipment", "ware")
_VES = re.compile(r"(scar|cal|hal|lea|shel|thie|wol|loa)f$|(kni|wi|li)fe$", re.IGNORECASE)


def pluralise(text: str) -> str:
    """Several of it, in English, by its last word; a word that already ends like a plural stays as it is."""
    *before, last = text.split(" ") if text else [""]
    return " ".join([*before, _plural_word(last)])


def _plural_word(word: str) -> str:
    lower = word.lower()
    for singular, plural in _IRREGULAR.items():
        if lower == singular or (lower.endswith(singular) and singular in ("man", "woman") and lower != "human"):
            return word[: len(word) - len(singular)] + plural
    if lower.endswith(_UNCOUNTED) or not lower[-1:].isalnum():
        return word
    if _VES.search(word):
        return re.sub(r"fe?$", "ves", word)
    if re.search(r"(ss|us|is|x|z|ch|sh)$", lower):
        return word[:-2] + "es" if lower.endswith("is") else word + "es"
    if lower.endswith("s"):
        return word
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", lower) else word + "s"


def spoken(column: str) -> str:
    """A column's name as words: `Sleeve Length`, `sleeve_length` and `sleeveLength` are all "sleeve length"."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", column)
    return " ".join(re.split(r"[\s_\-.]+", parted)).strip().lower() or column.strip()


def joined(texts: list[str], conjunction: str) -> str:
    """A list as it is said, "red, blue and green", with the file's own word for "and"."""
    if len(texts) < 2:
        return "".join(texts)
    return f"{', '.join(texts[:-1])} {conjunction} {texts[-1]}"


_BEFORE_SPACE = re.compile(r" +([,.;:!?，。、；：！？]+)(?=\s|$)")
_BEFORE_SPACE_FRENCH = re.compile(r" +([,.，。、；：！？]+)(?=\s|$)")


def tidy(text: str, language: str = "en") -> str:
    """One space between words, none before a comma, and no punctuation left alone where a phrase has vanished.

    French keeps its space before ; : ! and ?.
    """
    text = re.sub(r"[\s\u200b]+", " ", text)
    text = re.sub(r"\( *\)|\[ *\]", "", text)
    text = re.sub(r"([(\[]) +", r"\1", re.sub(r" +([)\]])", r"\1", text))
    text = (_BEFORE_SPACE_FRENCH if language == "fr" else _BEFORE_SPACE).sub(r"\1", text)
    text = re.sub(r"[,;:，、；：]\s*(?=[,.;:!?，。、；：！？])", "", text)
    text = re.sub(r"(?<!\.)\.\s+(?=\.(?!\.))", "", text)
    text = re.sub(r"^[\s,;:.!?，。、；：！？]+", "", text)
    text = re.sub(r"[\s,;:，、；：]+$", "", text)
    return re.sub(r" {2,}", " ", text)
