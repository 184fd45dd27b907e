"""Words of negation, choice and comparison, by language: what a query says around the values that it names.

    grammar = Grammar.of("de")          # German beside English, which shops' logs of any country hold
    grammar.negations.longest(words, 0)

A language that is not listed has English alone. Phrases are compared word by word, in one form of capitals.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

Comparison = Literal["<", "<=", ">", ">=", "="]


class Phrases:
    """Phrases of one meaning, or of several that `meaning` tells apart."""

    def __init__(self, meanings: Mapping[str, str]) -> None:
        self._meanings = {tuple(phrase.split()): meaning for phrase, meaning in meanings.items()}
        self.words = frozenset(word for phrase in self._meanings for word in phrase)
        self._sizes: dict[str, tuple[int, ...]] = {}
        for phrase in sorted(self._meanings, key=len, reverse=True):
            self._sizes[phrase[0]] = tuple(dict.fromkeys((*self._sizes.get(phrase[0], ()), len(phrase))))

    def longest(self, words: Sequence[str], at: int) -> tuple[int, str]:
        """How many words from `at` are such a phrase, and its meaning; 0 where none is."""
        for size in self._sizes.get(words[at], ()) if at < len(words) else ():
            meaning = self._meanings.get(tuple(words[at : at + size]))
            if meaning is not None:
                return size, meaning
        return 0, ""


class Grammar(NamedTuple):
    """The words of one or two languages."""

    negations: Phrases
    alternatives: Phrases
    joining: Phrases
    """and: what follows a negated value of the same attribute is not wanted, either."""
    fillers: Phrases
    """Between a negation and what it denies."""
    comparisons: Phrases
    """Before a number; the meaning is an operator."""
    times: Phrases
    """Before a date; the meaning is an operator."""
    between: Phrases
    ranges: Phrases
    """Between two numbers: to."""
    money: Phrases
    months: Mapping[str, int]
    words: frozenset[str]
    """All of them: none is a value misspelt."""

    @classmethod
    def of(cls, language: str) -> "Grammar":
        """English and the language of a prompts file."""
        return _grammar(language.partition("-")[0].lower())


@functools.cache
def _grammar(language: str) -> Grammar:
    both = [_ENGLISH, _MORE.get(language, {})]
    negations, alternatives, joining, fillers, between, ranges, money = (
        Phrases({phrase: name for one in both for phrase in one.get(name, "").split("|") if phrase})
        for name in ("not", "or", "and", "fillers", "between", "to", "money")
    )
    comparisons, times = (
        Phrases(
            {
                phrase: operator
                for one in both
                for operator in ("<", "<=", ">", ">=", "=")
                for phrase in one.get(f"{name}{operator}", "").split("|")
                if phrase
            }
        )
        for name in ("number", "date")
    )
    months = {name: number for one in both for number, names in enumerate(one.get("months", "").split("|"), 1)
              for name in names.split()}  # fmt: skip
    parts = (negations, alternatives, joining, fillers, comparisons, times, between, ranges, money)
    return Grammar(*parts, months, frozenset(months).union(*(part.words for part in parts)))


_ENGLISH = {
    "not": "not|no|without|non|never|except|except for|excluding|exclude|neither|nor|minus|avoid|w / o"
    "|isn't|isnt|aren't"
    "|anything but|everything but|all but|any but|other than|but not|but no|but without|and without"
    "|and not|and no|or no|or not"
    "|that is not|that are not|which is not|which are not|that isn't|that aren't|that's not|is not|are not|thats not"
    "|rather than|instead of|don't want|do not like|don't like|dont want|do not want"
    "|i don't want|not in|not with|free of|no more|nothing",
    "or": "or|nor|or else",
    "and": "and|as well as|plus",
    "fillers": "a|an|the|any|in|of|with|for|too|very|really|made of|made from",
    "number<": "under|below|less than|cheaper than|lower than|smaller than|< than|within",
    "number<=": "up to|at most|max|maximum|max .|no more than|not more than|not over|not above|until|no larger than",
    "number>": "over|above|more than|greater than|larger than|bigger than|higher than|dearer than",
    "number>=": "at least|min|minimum|from|no less than|not less than|not under|not below|starting at|starting from",
    "number=": "exactly|for exactly",
    "date<": "before|earlier than|older than",
    "date<=": "until|till|up to|to",
    "date>": "after|later than|newer than",
    "date>=": "since|from|as of",
    "date=": "in|of|on|during",
    "between": "between|from",
    "to": "to|and|till|until|through",
    "money": "euro|euros|eur|usd|dollar|dollars|gbp|pound|pounds|quid|bucks|chf|rs|inr|rupees",
    "months": "jan january|feb february|mar march|apr april|may|jun june|jul july|aug august|sep sept september"
    "|oct october|nov november|dec december",
}
_MORE = {
    "de": {
        "not": "nicht|kein|keine|keinen|keiner|ohne|außer|ausser|alles außer|alles ausser|nichts|weder|noch|aber nicht"
        "|aber kein|aber keine|aber ohne|bloß nicht|statt",
        "or": "oder|noch|bzw",
        "and": "und|sowie",
        "fillers": "ein|eine|einen|einem|der|die|das|in|aus|mit|zu",
        "number<": "unter|weniger als|günstiger als|billiger als",
        "number<=": "bis|bis zu|höchstens|maximal|nicht über|nicht mehr als",
        "number>": "über|mehr als|teurer als",
        "number>=": "ab|mindestens|von|nicht unter",
        "number=": "genau",
        "date<": "vor",
        "date<=": "bis",
        "date>": "nach",
        "date>=": "seit|ab",
        "date=": "im|in|vom",
        "between": "zwischen|von",
        "to": "bis|und",
        "money": "euro",
        "months": "januar|februar|märz|april|mai|juni|juli|august|september|oktober|november|dezember",
    },
    "fr": {
        "not": "sans|pas|pas de|pas en|sauf|ni|non|tout sauf|mais pas|mais sans",
        "or": "ou|ni",
        "and": "et",
        "fillers": "un|une|le|la|les|de|des|du|en|à|aux|avec",
        "number<": "moins de|sous|en dessous de|moins cher que",
        "number<=": "jusqu'à|au plus|maximum",
        "number>": "plus de|au dessus de",
        "number>=": "au moins|à partir de|dès",
        "date<": "avant",
        "date<=": "jusqu'à",
        "date>": "après",
        "date>=": "depuis",
        "date=": "en|de",
        "between": "entre|de",
        "to": "et|à",
        "money": "euro|euros",
        "months": "janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre",
    },
    "es": {
        "not": "sin|no|excepto|salvo|ni|todo menos|pero no|pero sin",
        "or": "o|u|ni",
        "and": "y|e",
        "fillers": "un|una|el|la|los|las|de|en|con",
        "number<": "menos de|bajo|por debajo de",
        "number<=": "hasta|como máximo|máximo",
        "number>": "más de|por encima de",
        "number>=": "al menos|desde|a partir de",
        "date<": "antes de",
        "date<=": "hasta",
        "date>": "después de",
        "date>=": "desde",
        "date=": "en|de",
        "between": "entre|de",
        "to": "y|a",
        "money": "euro|euros",
        "months": "enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre",
    },
}
