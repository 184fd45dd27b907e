"""CLIP's byte-pair tokenizer without torch: texts to the ids that open_clip's own gives, for a text tower alone.

    BytePairs(77).ids(["a red shirt"])          [[49406, 320, 736, 2523, 49407]]

open_clip's tokenizer cannot be imported without torch and torchvision, which take longer than a search. This one reads
the vocabulary that open_clip brings and cleans texts with the same libraries, so that ids are equal: a test compares
them on texts of every script. Nothing here knows of towers.
"""

import functools
import gzip
import html
import importlib.util
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from clipadapt.errors import ModelError
from clipadapt.towers.long_texts import LongTexts

_FILE = "bpe_simple_vocab_16e6.txt.gz"
_START, _END = "<start_of_text>", "<end_of_text>"
_LAST = "</w>"
SIZE = 49_408
"""Entries of the vocabulary."""


class BytePairs:
    """One vocabulary, for texts of at most `context_length` ids; longer ones are cut before their end token.

    A warning names those that are cut.
    """

    def __init__(self, context_length: int) -> None:
        import regex  # which knows the classes of Unicode; as open_clip

        self.context_length = context_length
        self._long_texts = LongTexts("the text tower", context_length)
        symbols = list(_symbols().values())
        merges = _merges()
        names = [*symbols, *(symbol + _LAST for symbol in symbols), *(left + right for left, right in merges)]
        self._id = {name: number for number, name in enumerate([*names, _START, _END])}
        self._rank = {pair: rank for rank, pair in enumerate(merges)}
        self._words = regex.compile(
            rf"{_START}|{_END}|'s|'t|'re|'ve|'m|'ll|'d|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+", regex.IGNORECASE
        )
        self._known: dict[str, list[int]] = {name: [self._id[name]] for name in (_START, _END)}

    def ids(self, texts: Sequence[str]) -> Int[np.ndarray, "t length"]:
        """Start token, the text, end token, then zeros up to the longest text's end."""
        rows = [[self._id[_START], *self._of_text(text), self._id[_END]] for text in texts]
        over = {text: len(row) - self.context_length for text, row in zip(texts, rows, strict=True)}
        self._long_texts.warn({text: tokens for text, tokens in over.items() if tokens > 0})
        rows = [row if len(row) <= self.context_length else [*row[: self.context_length - 1], row[-1]] for row in rows]
        padded = np.zeros((len(rows), max(map(len, rows), default=0)), np.int64)
        for row, ids in enumerate(rows):
            padded[row, : len(ids)] = ids
        return padded

    def _of_text(self, text: str) -> list[int]:
        return [number for word in self._words.findall(cleaned(text)) for number in self._of_word(word)]

    def _of_word(self, word: str) -> list[int]:
        symbols = _symbols()
        spelled = "".join(symbols[byte] for byte in word.encode())
        if spelled not in self._known:
            self._known[spelled] = [self._id[piece] for piece in self._merged([*spelled[:-1], spelled[-1] + _LAST])]
        return self._known[spelled]

    def _merged(self, pieces: list[str]) -> list[str]:
        """Neighbours joined, the pair of the lowest rank first and wherever it occurs, until none has a rank."""
        while len(pieces) > 1:
            pairs = itertools.pairwise(pieces)
            best = min(pairs, key=lambda pair: self._rank.get(pair, len(self._rank)))
            if best not in self._rank:
                break
            joined: list[str] = []
            place = 0
            while place < len(pieces):
                size = 2 if tuple(pieces[place : place + 2]) == best else 1
                joined.append("".join(pieces[place : place + size]))
                place += size
            pieces = joined
        return pieces


def cleaned(text: str) -> str:
    """As open_clip's cleaning `lower`: broken characters and HTML mended, one space between words, lower case."""
    import ftfy

    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()


@functools.cache
def _symbols() -> dict[int, str]:
    """A printable character for each byte: itself where it is one, else the next after the first 256."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def frequent_words(merges: int) -> frozenset[str]:
    """Whole words, in lower case, among the first merges: those that texts of pictures use most."""
    joined = (left + right for left, right in _merges()[:merges])
    return frozenset(pair.removesuffix(_LAST) for pair in joined if pair.endswith(_LAST))


@functools.cache
def _merges() -> list[tuple[str, str]]:
    """The pairs that are joined, in order.

    Raises:
        ModelError: open_clip does not bring its vocabulary where it is looked for.
    """
    spec = importlib.util.find_spec("open_clip")  # does not import it
    file = Path(((spec and spec.submodule_search_locations) or [""])[0], _FILE)
    if not file.is_file():
        raise ModelError(f"{file}: open_clip's vocabulary is not there; install open_clip_torch again")
    lines = gzip.decompress(file.read_bytes()).decode("utf-8").split("\n")
    pairs = (line.split() for line in lines[1 : SIZE - 2 * 256 - 2 + 1])
    return [(left, right) for left, right in pairs]
