"""Numbers, prices and dates in a query -> conditions on the columns they are about.

    "under 50", "cheaper than €49,99"     price < 50           money, or the only column of numbers
    "size 38 to 40", "38-40 size"         size >= 38, <= 40
    "since May 2024", "in 2023"           added >= 2024-05     the only column of dates, else the only one of years

A number that no column, comparison or currency belongs to is no quantity; one that could be of several columns is none
either, and that is said. Nothing here knows of values.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

from rapidfuzz.distance import OSA

from clipadapt.search.filters import Condition, Operator
from clipadapt.search.understanding.vocabulary import Quantity, Vocabulary
from clipadapt.search.understanding.words import Token, key

_SIGNS: dict[str, Operator] = {"<": "<", "<=": "<=", "≤": "<=", ">": ">", ">=": ">=", "≥": ">="}
_CURRENCY = frozenset("€$£¥₹")
_GLUED = re.compile(r"(\d+(?:[.,]\d+)*)([^\W\d]+)")
_DAY = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?")
_OPPOSITE: dict[Operator, Operator] = {
    "<": ">=", "<=": ">", ">": "<=", ">=": "<", "=": "!=", "!=": "=", "in": "not in", "not in": "in",
    "is known": "is unknown", "is unknown": "is known", "within": "not within", "not within": "within",
}  # fmt: skip


class Bound(NamedTuple):
    """Some tokens and the conditions that they are; none where it is not known of which column, with the reason."""

    size: int
    conditions: tuple[Condition, ...]
    note: str = ""


class _Amount(NamedTuple):
    size: int
    text: str
    """As a condition writes it."""
    money: bool = False
    date: bool = False
    """Whether it can only be a date."""
    year: bool = False
    """Whether it can be a year."""


def quantity(all_tokens: Sequence[Token], at: int, vocabulary: Vocabulary) -> Bound | None:
    """What begins at a token; None where nothing of the kind does."""
    found = _Scan(all_tokens, vocabulary).from_(at)
    return found if found is not None and found.size else None


def opposite(bound: Bound) -> Bound | None:
    """What "not" before it means; None where that is no single condition."""
    if len(bound.conditions) != 1:
        return None
    one = bound.conditions[0]
    return bound._replace(conditions=(one._replace(operator=_OPPOSITE[one.operator]),))


class _Scan:
    """One text."""

    def __init__(self, all_tokens: Sequence[Token], vocabulary: Vocabulary) -> None:
        self.tokens, self.vocabulary, self.grammar = all_tokens, vocabulary, vocabulary.grammar
        self.folded = [token.folded for token in all_tokens]

    def from_(self, at: int) -> Bound | None:
        place, names = self._column(at)
        size, _ = self.grammar.negations.longest(self.folded, place) if names else (0, "")
        if size and not self.grammar.comparisons.longest(self.folded, place)[0]:
            inner = self._compared(place + size, place + size, names)
            turned = opposite(inner) if inner is not None else None
            return None if turned is None else turned._replace(size=place + size - at + turned.size)
        return self._compared(at, place, names)

    def _compared(self, at: int, place: int, names: tuple[str, ...]) -> Bound | None:
        compared, operator, kind = self._operator(place)
        place += compared
        second = None
        size, _ = self.grammar.between.longest(self.folded, place) if not operator else (0, "")
        pair = self._pair(place + size) if size else None
        if pair is not None:
            first, second, place = pair
        else:
            first = self._amount(place)
            if first is None and operator in ("<", ">", "<=", ">=") and compared:
                return None
            if first is None:
                return None
            ranged = self._pair(place) if not operator or operator == ">=" else None
            if ranged is not None:
                first, second, place = ranged
            else:
                place += first.size
        if not names:
            place, names = self._column(place)
        money = first.money or (second is not None and second.money) or (compared > 0 and kind == "money")
        if second is None and not operator and not names:
            return None
        if second is not None and not (names or money or size or operator or first.year or first.date):
            return None
        if kind == "date" and not (first.date or first.year):
            return None
        years = second is not None and first.year and second.year and self._dates()
        columns = self._columns(names, first, money, kind == "date" or years)
        text = self._text(at, place)
        if len(columns) != 1:
            return Bound(place - at, (), self._unresolved(text, columns))
        if second is None:
            return Bound(place - at, _conditions(columns[0], {operator or "=": first.text}))
        low, high = sorted((first, second), key=lambda one: _ordered(one.text))
        return Bound(place - at, _conditions(columns[0], {">=": low.text, "<=": high.text}))

    def _column(self, at: int) -> tuple[int, tuple[str, ...]]:
        """Where the name of a column that begins here ends, and which columns are called so."""
        for size in (3, 2, 1):
            words = self.folded[at : at + size]
            if len(words) == size and all(self.tokens[at + n].kind == "word" for n in range(size)):
                names = self.vocabulary.called.get(key(words), frozenset())
                columns = tuple(sorted(name for name in names if name in self.vocabulary.columns))
                if columns:
                    end = at + size
                    return end + (self.folded[end : end + 1] in ([":"], ["="], ["is"])), columns
        return at, ()

    def _operator(self, at: int) -> tuple[int, Operator | None, str]:
        """How many tokens compare, how, and whether that is for dates, prices or any number."""
        if at >= len(self.tokens):
            return 0, None, ""
        if self.folded[at] in _SIGNS:
            return 1, _SIGNS[self.folded[at]], ""
        size, operator = self.grammar.comparisons.longest(self.folded, at)
        timed, time_operator = self.grammar.times.longest(self.folded, at)
        following = self._amount(at + timed) if timed else None
        dated = following is not None and (following.date or (following.year and self._dates()))
        if timed and dated and (timed >= size):
            return timed, time_operator, "date"  # pyright: ignore[reportReturnType]
        if size:
            cheap = self.folded[at] in ("cheaper", "dearer", "günstiger", "billiger", "teurer")
            return size, operator, "money" if cheap else ""  # pyright: ignore[reportReturnType]
        if self.tokens[at].kind == "word" and len(self.folded[at]) > 3 and self._amount(at + 1) is not None:
            word = self.folded[at]
            for known in ("under", "below", "over", "above", "within", "since", "before", "after", "until"):
                if known[0] == word[0] and OSA.distance(word, known, score_cutoff=1) <= 1:
                    _, meant = (self.grammar.comparisons if known in self.grammar.comparisons.words
                                else self.grammar.times).longest([known], 0)  # fmt: skip
                    return (1, meant, "" if known in self.grammar.comparisons.words else "date") if meant else (0, None, "")  # pyright: ignore[reportReturnType] # fmt: skip # noqa: E501
        return 0, None, ""

    def _pair(self, at: int) -> tuple[_Amount, _Amount, int] | None:
        """Two amounts and what joins them, and where they end."""
        first = self._amount(at)
        if first is None:
            return None
        place = at + first.size
        size, _ = self.grammar.ranges.longest(self.folded, place)
        if not size and self.folded[place : place + 1] in (["-"], ["–"], ["—"]):
            size = 1
        second = self._amount(place + size) if size else None
        return None if second is None else (first, second, place + size + second.size)

    def _amount(self, at: int) -> _Amount | None:
        if at >= len(self.tokens):
            return None
        dated = self._date(at)
        if dated is not None:
            return dated
        place, money = at, False
        if self.folded[place] in _CURRENCY:
            place, money = place + 1, True
        if place >= len(self.tokens):
            return None
        token = self.tokens[place]
        glued = _GLUED.fullmatch(token.folded) if token.kind == "word" else None
        if glued is not None and self.grammar.money.longest([glued[2]], 0)[0]:
            return _Amount(place + 1 - at, _written(glued[1]), money=True)
        if token.kind != "number":
            return None
        text = _written(token.text)
        place += 1
        if self.folded[place : place + 1] and self.folded[place] in _CURRENCY:
            place, money = place + 1, True
        size, _ = self.grammar.money.longest(self.folded, place)
        year = text.isdecimal() and len(text) == 4 and 1900 <= int(text) < 2100 and not (money or size)
        return _Amount(place + size - at, text, money=money or size > 0, year=year)

    def _date(self, at: int) -> _Amount | None:
        token, months = self.tokens[at], self.grammar.months
        if token.kind == "date":
            return _Amount(1, token.text, date=True) if _real(token.text) else None
        day, place = None, at
        numbered = _DAY.fullmatch(token.folded)
        if numbered is not None and token.folded[:1].isdigit():
            day, place = int(numbered[1]), at + 1
            place += self.folded[place : place + 1] in (["."], ["of"])
        if self.folded[place : place + 1] and self.folded[place] in months:
            month, place = months[self.folded[place]], place + 1
            place += self.folded[place : place + 1] == ["."]
            if day is None and place < len(self.tokens):
                numbered = _DAY.fullmatch(self.folded[place])
                if numbered is not None:
                    day, place = int(numbered[1]), place + 1
            place += self.folded[place : place + 1] == [","]
            if place < len(self.tokens) and self.tokens[place].kind == "number":
                year = self.tokens[place].text
                if year.isdecimal() and len(year) == 4:
                    text = f"{year}-{month:02}" + (f"-{day:02}" if day is not None else "")
                    return _Amount(place + 1 - at, text, date=True) if _real(text) else None
        return None

    def _columns(self, names: Sequence[str], first: _Amount, money: bool, dated: bool) -> list[Quantity]:
        """The columns that an amount can be of; one where it is known."""
        columns = self.vocabulary.columns
        if names:
            fitting = [columns[name] for name in names]
            whole = first.date and not first.year
            return [one for one in fitting if (one.measure == "date") == whole or (first.year and not whole)]
        if money:
            return [one for one in columns.values() if one.money]
        if first.date or dated:
            dates = [one for one in columns.values() if one.measure == "date"]
            return dates if dates or first.date else [one for one in columns.values() if one.year]
        numbers = [one for one in columns.values() if one.measure == "number" and not one.year]
        prices = [one for one in numbers if one.money]
        return prices if len(prices) == 1 else numbers

    def _dates(self) -> bool:
        return any(one.measure == "date" or one.year for one in self.vocabulary.columns.values())

    def _text(self, start: int, end: int) -> str:
        whole = self.tokens[start:end]
        return " ".join(token.text for token in whole)

    def _unresolved(self, text: str, columns: Sequence[Quantity]) -> str:
        if not columns:
            return f"{text!r}: no column that this can be of, so it is searched as words"
        names = ", ".join(one.name for one in columns)
        return f"{text!r} can be of {names}; name one of them before it. It is searched as words"


def _conditions(column: Quantity, limits: Mapping[Operator, str]) -> tuple[Condition, ...]:
    """One per limit; of a column of texts, the numbers among them that lie within all of them."""
    if not column.values:
        return tuple(Condition(column.name, operator, (text,)) for operator, text in limits.items())
    within = [value for value in column.values if all(_holds(value, *limit) for limit in limits.items())]
    if "=" in limits or not within:
        return (Condition(column.name, "=", (within[0] if within else next(iter(limits.values())),)),)
    return (Condition(column.name, "in", tuple(sorted(within, key=float))),)


def _holds(value: str, operator: Operator, limit: str) -> bool:
    one, other = float(value), float(limit)
    return {"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other, "=": one == other}[operator]


def _written(text: str) -> str:
    """1,000 -> 1000, 49,99 -> 49.99: a comma before three digits parts thousands, before others decimals."""
    if text.count(".") > 1:
        text = text.replace(".", "")
    if "," in text and ("." in text or text.count(",") > 1 or len(text.rpartition(",")[2]) == 3):
        return (
            text.replace(",", "")
            if text.rfind(".") > text.rfind(",") or "." not in text
            else text.replace(".", "").replace(",", ".")
        )
    return text.replace(",", ".")


def _real(text: str) -> bool:
    try:
        date.fromisoformat(text if len(text) > 7 else f"{text}-01")
    except ValueError:
        return False
    return True


def _ordered(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return float(text[:4]), text
