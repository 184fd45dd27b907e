"""Queries as people type them, made of a catalogue's labels: in several wordings, the last of them misspelt.

    for case in cases(labels, items, "articleType", said, 40): ...     # two attributes, negation, numbers, ...

The gallery of a query is what is labelled for all that it says, so that an unknown item is neither right nor wrong.
Nothing here searches or measures.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from clipadapt.search.items import PRODUCT, Items
from clipadapt.search.views import Numbers

WORDINGS = {
    "two attributes": ("{v} {u}", "{u} {v}", "{u}, {v}", "looking for a {v} {u}"),
    "three attributes": ("{v} {w} {u}", "{u} {v} {w}", "{u}, {v}, {w}", "looking for a {w} {v} {u}"),
    "negation": ("{u}, not {v}", "{u} without {v}", "a {u} but not {v}", "{u} -{v}"),
    "alternatives": ("{v} or {w} {u}", "{u} in {v} or {w}", "{v}/{w} {u}", "{u}: {v} or {w}"),
    "numbers": ("{u} {v} under {w}", "{u}, {v} below {w}", "{u} {v} < {w}", "a {u} with {v} less than {w}"),
    "dates": ("{u} {v} since {w}", "{u}, {v} after {w}", "{u} {v} >= {w}", "a {u} with {v} since {w}"),
}
FEWEST = 5
"""Items that are right for a query."""
TOP = 10


class Case(NamedTuple):
    """What a query asks for, in all its wordings."""

    kind: str
    texts: tuple[str, ...]
    gallery: Bool[np.ndarray, " items"]
    relevant: Bool[np.ndarray, " items"]
    violating: Bool[np.ndarray, " items"]


class Labels:
    """The values of every item, by attribute."""

    def __init__(self, sets: Mapping[str, Sequence[frozenset[str]]]) -> None:
        self.sets = sets

    def has(self, attribute: str, value: str) -> Bool[np.ndarray, " items"]:
        """Items with a value."""
        return np.array([value in values for values in self.sets[attribute]])

    def known(self, attribute: str) -> Bool[np.ndarray, " items"]:
        """Items whose attribute is labelled."""
        return np.array([bool(values) for values in self.sets[attribute]])


def cases(labels: Labels, items: Items, head: str, said: Callable[[str, str], str], most: int) -> Iterator[Case]:
    """At most `most` queries of each kind, those that most items answer first.

    Args:
        head: the attribute that says what kind of product an item is; each query names one of its values.
        said: what a value is called.
    """
    found: list[tuple[int, Case]] = []
    others = [name for name in labels.sets if name != head]
    for name in others:
        found += _of_one(labels, name, head, said)
    for first, second in combinations(others, 2):
        found += _of_two(labels, (first, second), head, said)
    found += _compared(labels, items, head, said)
    for kind in WORDINGS:
        some = sorted((one for one in found if one[1].kind == kind), key=lambda one: (-one[0], one[1].texts))
        yield from (case for _, case in some[:most])


def _of_one(labels: Labels, name: str, head: str, said: Callable[[str, str], str]) -> Iterator[tuple[int, Case]]:
    gallery = labels.known(name) & labels.known(head)
    pairs = Counter(
        (value, kind) for row in np.flatnonzero(gallery).tolist() for value in labels.sets[name][row]
        for kind in labels.sets[head][row]
    )  # fmt: skip
    nothing = np.zeros(len(gallery), bool)
    for (value, kind), count in pairs.items():
        if count < FEWEST:
            continue
        has, of_kind = labels.has(name, value) & gallery, labels.has(head, kind) & gallery
        words = {"u": said(head, kind), "v": said(name, value)}
        yield count, _case("two attributes", words, gallery, of_kind & has, nothing)
        if (of_kind & ~has).sum() >= TOP:
            yield count, _case("negation", words, gallery, of_kind & ~has, has)
        other = next((v for (v, k), n in pairs.most_common() if k == kind and v != value and n >= FEWEST), None)
        if other is not None:
            either = of_kind & (has | labels.has(name, other))
            yield count, _case("alternatives", words | {"w": said(name, other)}, gallery, either, nothing)


def _of_two(
    labels: Labels, names: tuple[str, str], head: str, said: Callable[[str, str], str]
) -> Iterator[tuple[int, Case]]:
    gallery = labels.known(names[0]) & labels.known(names[1]) & labels.known(head)
    triples = Counter(
        (first, second, kind) for row in np.flatnonzero(gallery).tolist() for first in labels.sets[names[0]][row]
        for second in labels.sets[names[1]][row] for kind in labels.sets[head][row]
    )  # fmt: skip
    for (first, second, kind), count in triples.items():
        if count >= FEWEST:
            right = gallery & labels.has(names[0], first) & labels.has(names[1], second) & labels.has(head, kind)
            words = {"u": said(head, kind), "v": said(names[0], first), "w": said(names[1], second)}
            yield count, _case("three attributes", words, gallery, right, np.zeros(len(gallery), bool))


def _compared(labels: Labels, items: Items, head: str, said: Callable[[str, str], str]) -> Iterator[tuple[int, Case]]:
    """Below, or since, the lower quartile of the numbers or dates of a kind of product."""
    for name in (name for name in items.columns if name not in ("id", PRODUCT, *labels.sets)):
        view = items.view(name)
        if not isinstance(view, Numbers):
            continue
        gallery = labels.known(head) & view.known
        for kind in sorted({kind for values in labels.sets[head] for kind in values}):
            of_kind = labels.has(head, kind) & gallery
            if of_kind.sum() < 4 * FEWEST:
                continue
            edge = np.sort(view.values[of_kind])[int(of_kind.sum()) // (4 if not view.dates else 2)]
            if view.dates:
                right, shown = of_kind & (view.values >= edge), str(np.datetime64(int(edge), "D"))
            else:
                right, shown = of_kind & (view.values < edge), f"{float(edge):g}"
            if right.sum() >= FEWEST:
                words = {"u": said(head, kind), "v": name, "w": shown}
                kind_of = "dates" if view.dates else "numbers"
                yield int(right.sum()), _case(kind_of, words, gallery, right, gallery & ~right)


def _case(kind: str, words: Mapping[str, str], gallery: np.ndarray, relevant: np.ndarray, bad: np.ndarray) -> Case:
    texts = [text.format(**words) for text in WORDINGS[kind]]
    slip = WORDINGS[kind][0].format(**{**words, "u": misspelt(words["u"])})
    return Case(kind, tuple(dict.fromkeys([*texts, slip])), gallery, relevant, bad)


def misspelt(word: str) -> str:
    """A slip of the finger: two letters in the middle of a longer word have changed places."""
    middle = len(word) // 2
    return word if len(word) < 5 else word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :]
