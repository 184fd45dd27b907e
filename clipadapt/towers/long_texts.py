"""A warning for texts that a tower does not read to their end, which tokenizers cut without a word.

    LongTexts("run:runs/shop", 77).say(texts, ids)       counts with the tokenizer that cuts
    LongTexts("run:runs/shop", 77).warn({text: 3})       where it is known how many tokens are lost

Each text is named once. The trade: a text that may be too long is tokenized again, with room for all of it. Nothing
here imports torch or knows a library's tokenizer: it comes in as a function.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

log = logging.getLogger(__name__)

_REMEMBERED = 10_000
"""Texts from which all are forgotten, and named once more."""
Ids = Callable[[Sequence[str], int], Sequence[Sequence[int]]]
"""Texts and a length -> token ids of each, cut or padded to that length."""


class LongTexts:
    """The texts of one encoder that were named already."""

    def __init__(self, name: str, context_length: int) -> None:
        self.name = name
        self.context_length = context_length
        self._known: set[str] = set()

    def say(self, texts: Sequence[str], ids: Ids) -> None:
        """Warns of those that are cut."""
        long = [text for text in texts if len(text.encode()) + 2 > self.context_length and text not in self._known]
        self._remember(long)
        self._log({text: tokens for text in long if (tokens := self.cut(text, ids))})

    def warn(self, lost: Mapping[str, int]) -> None:
        """The same where it is known how many tokens of which texts are cut off."""
        new = {text: tokens for text, tokens in lost.items() if text not in self._known}
        self._remember(new)
        self._log(new)

    def _remember(self, texts: Iterable[str]) -> None:
        if len(self._known) > _REMEMBERED:  # a service would keep every long query for ever
            self._known.clear()
        self._known.update(texts)

    def cut(self, text: str, ids: Ids) -> int:
        """How many tokens of a text are not read."""
        room = 2 * len(text.encode()) + 8  # a token stands for a byte at least, but cleaning may lengthen a text
        padding = ids([""], room)[0][-1]
        whole, read = (_content(ids([text], length)[0], padding) for length in (room, self.context_length))
        return max(whole - read, 0)

    def _log(self, lost: Mapping[str, int]) -> None:
        if not lost:
            return
        text, tokens = next(iter(lost.items()))
        shown = text if len(text) <= 60 else f"{text[:28]} ... {text[-28:]}"
        others = f", and the ends of {len(lost) - 1} other text(s)" if len(lost) > 1 else ""
        log.warning(
            "%s reads %d tokens of a text: the last %d of %r are cut off%s; say what matters first, or in fewer words",
            self.name, self.context_length, tokens, shown, others,
        )  # fmt: skip


def _content(ids: Sequence[int], padding: int) -> int:
    """How many ids there are before the padding."""
    end = len(ids)
    while end and ids[end - 1] == padding:
        end -= 1
    return end
