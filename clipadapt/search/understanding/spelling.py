"""The name that a misspelt word means: within one slip of the finger, two in long names; rapidfuzz counts them.

A slip is a letter added, left out, exchanged, or swapped with its neighbour (optimal string alignment). A word that
people write is never taken for a slip: the frequent ones of CLIP's tokenizer, and those of the catalogue. A first
letter is hardly ever wrong, so names are compared with words of the same one.
"""

import functools
from collections.abc import Iterable

from rapidfuzz import process
from rapidfuzz.distance import OSA

from clipadapt.towers.byte_pairs import frequent_words

_SHORT, _LONG = 4, 8
"""Letters from which one slip, and two, are allowed."""
_FREQUENT = 19_000
"""Merges of the tokenizer, most frequent first, whose words are taken for words."""


class Spelling:
    """Names by key, for words that are none."""

    def __init__(self, names: Iterable[str], words: Iterable[str]) -> None:
        self._words = frozenset(words)
        self._near: dict[tuple[str, int], list[str]] = {}
        for name in names:
            if len(name) >= _SHORT:
                self._near.setdefault((name[0], len(name)), []).append(name)

    def is_word(self, word: str) -> bool:
        """Whether people write it so."""
        return word in self._words or word in _frequent()

    def nearest(self, form: str) -> tuple[int, list[str]]:
        """The fewest slips that make a form a name, and the names; none where none is near."""
        if len(form) < _SHORT:
            return 0, []
        most = 2 if len(form) >= _LONG else 1
        best, found = most, list[str]()
        for size in range(max(len(form) - most, _SHORT), len(form) + most + 1):
            near = self._near.get((form[0], size), ())
            for name, _, _ in process.extract(form, near, scorer=OSA.distance, score_cutoff=best, limit=None):
                if len(form) == _SHORT and size == _SHORT and sorted(form) != sorted(name):
                    continue  # blue for bule, but not pink for pine
                slips = OSA.distance(form, name, score_cutoff=best)
                if slips < best:
                    best, found = slips, [name]
                elif slips == best:
                    found.append(name)
        return best, found


@functools.cache
def _frequent() -> frozenset[str]:
    return frequent_words(_FREQUENT)
