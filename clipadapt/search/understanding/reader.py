"""Text and vocabulary in, a query's structure out: the longest name first, deterministic, and no word is dropped.

    found = understand("striped skirt, not mini, under 50", vocabulary)
    found.explain()                                    "Pattern: Striped · articleType: Skirts · not Length: Mini · ..."
    understand(text, vocabulary, parser=language_model)   another parser's Reading, which goes through the same checks

A name goes before a negation ("no sleeves" is a value of its own), a misspelt one comes last. "not" denies the next
value, and those joined to it by or and nor; by and where they are of one attribute. What follows it and names nothing
stays words, and so does a choice between a value and a word. Nothing here encodes or searches.
"""

from collections.abc import Callable
from typing import NamedTuple

from clipadapt.search.understanding.quantities import Bound, opposite, quantity
from clipadapt.search.understanding.understood import Part, Reading, Understood, checked
from clipadapt.search.understanding.vocabulary import Value, Vocabulary
from clipadapt.search.understanding.words import key, tokens

Parser = Callable[[str, Vocabulary], Reading]
_INNER = frozenset("-–'’./&")
"""Signs that may stand inside a name."""
_MINUS = frozenset("-−–")
_SHORT = 3
"""Letters of the shortest word that can be a slip."""
_TERSE = 2
"""Letters of a value that only counts beside its attribute's name: size M, size 38."""


class _Match(NamedTuple):
    """Tokens that are a value's name."""

    end: int
    values: tuple[Value, ...]
    note: str = ""


class _Link(NamedTuple):
    """What joins two values: or, and, a comma."""

    end: int
    kind: str


def understand(text: str, vocabulary: Vocabulary, parser: Parser | None = None) -> Understood:
    """What a query says.

    Args:
        parser: in place of `read`; its result is checked like any.

    Raises:
        UsageError: another parser's parts that do not fit the text or the vocabulary.
    """
    return checked(text, (parser or read)(text, vocabulary), vocabulary)


def read(text: str, vocabulary: Vocabulary) -> Reading:
    """The parser that is used where no other is given."""
    return _Reader(text, vocabulary).read()


class _Reader:
    """One text."""

    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self.text, self.vocabulary, self.grammar = text, vocabulary, vocabulary.grammar
        self.tokens = tokens(text)
        self.folded = [token.folded for token in self.tokens]
        self.parts: list[Part] = []
        self.notes: list[str] = []
        self._known_windows: dict[int, list[tuple[list[str], int]]] = {}

    def read(self) -> Reading:
        at = 0
        while at < len(self.tokens):
            at = max(self._next(at), at + 1)
        return Reading(tuple(self.parts), tuple(self.notes))

    def _next(self, at: int) -> int:
        """Reads what begins at a token; where the next thing begins."""
        match, bound = self._match(at), quantity(self.tokens, at, self.vocabulary)
        if bound is not None and (match is None or at + bound.size >= match.end):
            return self._bounded(at, at, bound)
        if match is not None:
            return self._wanted(at, match)
        denied = self._denied(at)
        if denied:
            return self._unwanted(at, denied)
        return at

    def _bounded(self, start: int, at: int, bound: Bound) -> int:
        if bound.note:
            self.notes.append(bound.note)
        if bound.conditions:
            self._part(start, at + bound.size, "condition", conditions=bound.conditions)
        return at + bound.size

    def _wanted(self, at: int, match: _Match) -> int:
        """A value, or a choice between several."""
        start = at - 1 if at and self.folded[at - 1] in ("either", "entweder") else at
        values, end, open_end = self._chain(match, denied=False)
        if open_end is not None:
            self.notes.append(
                f"{self._shown(start, open_end)!r}: {self._shown(open_end - 1, open_end)!r} is no known value, so "
                "the choice is searched as words"
            )
            return end
        self._part(start if end > match.end else at, end, "wanted", values)
        return end

    def _unwanted(self, at: int, after: int) -> int:
        """What a negation that ends at `after` denies."""
        place = after
        while (size := self.grammar.fillers.longest(self.folded, place)[0]) and self._exact(place) is None:
            place += size
        bound = quantity(self.tokens, place, self.vocabulary) if place < len(self.tokens) else None
        if bound is not None and bound.conditions and (turned := opposite(bound)) is not None:
            return self._bounded(at, place, turned)
        match = self._match(place)
        if match is None:
            if after < len(self.tokens) and self.tokens[after].kind != "sign" and self.tokens[at].kind != "sign":
                shown = self._shown(at, min(place + 1, len(self.tokens)))
                self.notes.append(f"{shown!r}: no known value after it, so it is searched as words")
            return after
        values, end, _ = self._chain(match, denied=True)
        self._part(self._owner_before(at, values), end, "unwanted", values)
        return end

    def _chain(self, first: _Match, *, denied: bool) -> tuple[tuple[Value, ...], int, int | None]:
        """Values that a choice joins to a first one, where it ends, and the end of a word that is none of them."""
        values, notes = list(first.values), [first.note]
        sure, place, seen = len(values), first.end, len(notes)
        end = first.end
        open_end = None
        while (link := self._link(place)) is not None:
            following = link.end
            while (size := self.grammar.fillers.longest(self.folded, following)[0]) and self._exact(following) is None:
                following += size
            if self._denied(following) and self._exact(following) is None:
                break
            match = self._match(following)
            if match is None:
                word = following < len(self.tokens) and self.tokens[following].kind != "sign"
                if link.kind == "or" and word and not denied and not quantity(self.tokens, following, self.vocabulary):
                    open_end = following + 1
                break
            same = {value.attribute for value in match.values} & {value.attribute for value in first.values}
            if (link.kind == "and" and not (denied and same)) or (link.kind == "comma" and not same):
                break
            values += match.values
            notes.append(match.note)
            place = match.end
            if link.kind != "comma":
                sure, end, seen = len(values), match.end, len(notes)
        self.notes += [note for note in notes[:seen] if note]
        return tuple(dict.fromkeys(values[:sure])), (open_end or end), open_end

    def _link(self, at: int) -> _Link | None:
        """What joins the value before a token to one after it."""
        comma = at < len(self.tokens) and self.folded[at] == ","
        place = at + comma
        for phrases, kind in ((self.grammar.alternatives, "or"), (self.grammar.joining, "and")):
            size, _ = phrases.longest(self.folded, place) if place < len(self.tokens) else (0, "")
            if size:
                return _Link(place + size, kind)
        if place < len(self.tokens) and self.folded[place] in ("/", "|"):
            return _Link(place + 1, "or")
        if place < len(self.tokens) and self.folded[place] == "&":
            return _Link(place + 1, "and")
        return _Link(place, "comma") if comma else None

    def _denied(self, at: int) -> int:
        """Where a negation that begins at a token ends; 0 where none does."""
        if at >= len(self.tokens):
            return 0
        token = self.tokens[at]
        if token.folded in _MINUS:
            following = self.tokens[at + 1] if at + 1 < len(self.tokens) else None
            glued = token.spaced and following is not None and not following.spaced and following.kind == "word"
            return at + 1 if glued else 0
        size, _ = self.grammar.negations.longest(self.folded, at)
        return at + size if size else 0

    def _owner_before(self, at: int, values: tuple[Value, ...]) -> int:
        """Where the name of the values' attribute begins, if it stands just before a token: "colour not red"."""
        place = at - (at > 0 and self.folded[at - 1] in (":", "=", "is"))
        owners = {value.attribute for value in values}
        taken = self.parts[-1].end if self.parts else 0
        for size in (3, 2, 1):
            start = place - size
            if start >= 0 and self.tokens[start].start >= taken and owners & self._owners(start, size):
                return start
        return at

    def _match(self, at: int) -> _Match | None:
        """A name at a token; one that is misspelt where none is spelled right, or only a shorter one."""
        exact = self._exact(at)
        return self._misspelt(at, at if exact is None else exact.end) or exact

    def _exact(self, at: int) -> _Match | None:
        """The longest name at a token, with its attribute's before or behind it."""
        if at >= len(self.tokens) or self.tokens[at].kind == "sign":
            return None
        for size in (3, 2, 1):
            owners = self._owners(at, size)
            if owners:
                place = at + size
                named = self.folded[place : place + 1] in ([":"], ["="], ["is"])
                match = self._name(place + named, owners)
                own = self._name(at, None)
                if match is not None and (own is None or own.end < match.end):
                    return match
        return self._name(at, None)

    def _name(self, at: int, owners: frozenset[str] | None) -> _Match | None:
        """The longest name at a token; `owners`: of these attributes alone."""
        for words, end in self._windows(at):
            values = self.vocabulary.senses(key(words), "".join(words))
            if owners is not None:
                values = tuple(value for value in values if value.attribute in owners)
            if values and (match := self._sensed(values, words, end, owners)) is not None:
                return match
        return None

    def _sensed(
        self, values: tuple[Value, ...], words: list[str], end: int, owners: frozenset[str] | None
    ) -> _Match | None:
        """A name's values, of the attribute that is named behind it where one is."""
        for size in (3, 2, 1):
            named = tuple(value for value in values if value.attribute in self._owners(end, size))
            if named and owners is None and self._exact_longer(end, size):
                return _Match(end + size, named)
        joined = "".join(words)
        terse = len(joined) <= _TERSE or joined.replace(".", "").isdecimal()
        return None if terse and owners is None else _Match(end, values)

    def _exact_longer(self, at: int, size: int) -> bool:
        """Whether the words of an attribute's name are not themselves the longer name of a value."""
        return not any(end > at + size and self.vocabulary.senses(key(words), "".join(words))
                       for words, end in self._windows(at))  # fmt: skip

    def _misspelt(self, at: int, spelt: int) -> _Match | None:
        """The name that words at a token mean, of which one at least from `spelt` on is no word."""
        if at >= len(self.tokens) or self.tokens[at].kind != "word" or self.folded[at] in self.grammar.words:
            return None
        best, fewest = None, 0
        odd = [place for place in range(spelt, self._reach(at)) if not self._is_word(place)]
        for words, end in self._windows(at) if odd else ():
            if end <= odd[0]:
                break
            slips, values = self._near(words)
            if values and (best is None or slips < fewest):
                match = self._sensed(values, words, end, None) or _Match(end, values)
                meant = " or ".join(map(str, match.values))
                best, fewest = match._replace(note=f"{self._shown(at, end)!r} is taken for {meant}"), slips
        return best

    def _near(self, words: list[str]) -> tuple[int, tuple[Value, ...]]:
        """The values that misspelt words mean, and by how many slips; none where different ones are as near."""
        for form in (key(words), "".join(words)):
            slips, found = self.vocabulary.spelling.nearest(form)
            names = {self.vocabulary.senses(name, name) for name in found}
            if len(names) == 1:
                return slips, next(iter(names))
        return 0, ()

    def _reach(self, at: int) -> int:
        """The end of the longest window at a token."""
        windows = self._windows(at)
        return windows[0][1] if windows else at

    def _is_word(self, place: int) -> bool:
        token, word = self.tokens[place], self.folded[place]
        if token.kind != "word" or len(word) < _SHORT:
            return True
        return bool(self.vocabulary.senses(key([word]), word)) or self.vocabulary.spelling.is_word(word)

    def _windows(self, at: int) -> list[tuple[list[str], int]]:
        """The words from a token on, as many as the longest name has and one more, and where they end; most first."""
        if at in self._known_windows:
            return self._known_windows[at]
        found, words = [], []
        place = at
        while place < len(self.tokens) and len(words) <= self.vocabulary.longest:
            token = self.tokens[place]
            if token.kind == "sign":
                if not words or token.folded not in _INNER or (token.folded in _MINUS and token.spaced):
                    break
            else:
                words.append(token.folded)
                found.append((list(words), place + 1))
            place += 1
        self._known_windows[at] = found[::-1]
        return self._known_windows[at]

    def _owners(self, at: int, size: int) -> frozenset[str]:
        """The attributes whose name some tokens are."""
        part = self.tokens[at : at + size]
        if len(part) < size or any(token.kind == "sign" for token in part):
            return frozenset()
        return self.vocabulary.called.get(key([token.folded for token in part]), frozenset())

    def _shown(self, start: int, end: int) -> str:
        return self.text[self.tokens[start].start : self.tokens[end - 1].end]

    def _part(self, start: int, end: int, kind, values=(), conditions=()) -> None:
        self.parts.append(Part(self.tokens[start].start, self.tokens[end - 1].end, kind, values, conditions))
