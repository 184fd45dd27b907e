"""The little grammar that keeps a filled-in template readable: a or an, plurals, spacing and punctuation.

Rules, not a dictionary: they cover the words of shops and archives, and an editor overrules them per value with
`article:` and `plural:`. Only English has rules for articles and plurals; other languages state both. Nothing here
knows of templates, YAML or rows.
"""

import re
import unicodedata
from typing import NamedTuple


class Word(NamedTuple):
    """How one value is said; `article` and `plural` are None where the language's rules decide."""

    text: str
    article: str | None = None
    """Said before it in place of a or an: "a pair of", "eine", or "" for none."""
    plural: str | None = None
    written: str = ""
    """How the table writes it, where its case is another: capitals tell an abbreviation, so articles go by this."""

    @property
    def sound(self) -> str:
        """The text that an article before it is chosen by; what stands wholly in capitals may be any word."""
        text = self.written or self.text
        return text.lower() if text == text.upper() else text


_VOWEL_SOUND = re.compile(r"[aeioæœø]|u|y(?=[b-df-hj-np-tv-xz]+[aeiou])|hour|honest|honou?r|heir", re.IGNORECASE)
"""Beginnings that sound like a vowel, as far as letters say: an Yves Saint Laurent bag, an hour."""
_CONSONANT_SOUND = re.compile(
    r"eu|ew|ubiq|ugan|uk[reu]|unanim|uni(?!n|m|dent|r|ll|ss)|ur[aeou]|us[ae]|usu|ut[eio]|uy|once|oui"
    r"|one(s?(\W|$)|s?ie|ness)|u(sb|v|k|hd|tc|pc|rl|fo|i|x|n)?([^a-z]|$)",
    re.IGNORECASE,
)
"""Those of them that begin like "you" or "one" all the same: a unisex bag, a euro, a USB cable, a one-piece."""
_EIGHT = re.compile(r"(8\d*|1[18](\d{3})*|1[18]\d\d)(\D|$)")
"""Numbers that begin with the sound of eight, eleven or eighteen; four digits are a year."""
_VOWEL_LETTER = re.compile(r"[fhlmnrsx]", re.IGNORECASE)
"""Consonants whose names begin with a vowel: an F-stop, an X-ray."""
_READ_AS_A_WORD = re.compile(
    r"[fhlmnrsx](?=[aeiouy])|f[jlr]|ll|m[cn]|ng(?=u)|rh|s[chklmnpqtvw]|(mrs?|ms|rd|sr|st)(\W|$)", re.IGNORECASE
)
"""How an English word begins with one of them, and titles that are read out; "fbi" and "mp3" cannot be words."""
_WITHOUT_VOWEL = re.compile(r"[b-df-hj-np-tv-xz]+(?![a-z])", re.IGNORECASE)
_SPELLED_OUT = re.compile(r"(led|suv|faq|sos|hiv|seo|raf)s?(?![a-z])", re.IGNORECASE)
"""Abbreviations that could be read as a word and are not."""
_CAPITALS_READ = re.compile(
    r"(fifa|hepa|lan|lidar|mac|midi|nafta|nasa|nato|noaa|ram|rom|sar|sim|swat)(?![a-z])", re.IGNORECASE
)
"""Abbreviations that are read as a word."""
_CAPITALS = re.compile(r"[A-Z]{2,4}\d*s?(?![A-Za-z])")


def indefinite(following: str) -> str:
    """`a` or `an` by the sound of the English text that follows: an hour, a unisex bag, an SUV, an mp3 player.

    Hand in the text in its own case: an abbreviation that could be a word is known by its capitals. The rules are those
    above; a value's `article:` overrules them.
    """
    start = unicodedata.normalize("NFKD", following.lstrip("\"'“”‘’«„([#"))
    if start[:1].isdigit():
        return "an" if _EIGHT.match(start) else "a"
    if _VOWEL_LETTER.match(start) and _is_spelled(start):
        return "an"
    return "an" if _VOWEL_SOUND.match(start) and not _CONSONANT_SOUND.match(start) else "a"


def _is_spelled(start: str) -> bool:
    """Whether a text begins with an abbreviation that is said letter by letter, or with a lone letter."""
    if _CAPITALS_READ.match(start):
        return False
    if _SPELLED_OUT.match(start) or not _READ_AS_A_WORD.match(start):
        return True
    if _READ_AS_A_WORD.fullmatch(re.split(r"[\s-]", start)[0]):
        return False
    return bool(_WITHOUT_VOWEL.match(start) or _CAPITALS.match(start))


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
