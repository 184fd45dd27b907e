"""Texts to token ids without the library a model came from: tokenizer.json, and the few rules it cannot say.

    text = TextInput.of(encoder.backend)     what the torch encoder does with a text, as data
    text.save(folder)                      tokenizer.json, readable by Hugging Face's tokenizers in any language
    TextInput.read(folder, settings).tokens(["a red shirt"])

tokenizer.json holds vocabulary, special tokens, truncation and padding. Mending of broken characters and HTML, which
open_clip does before, is named in `clean`: it cannot be put into that file. Ids are compared with the model's own on
awkward texts before anything is written. CLIP's own byte-pair encoding is run here by open_clip's code, once its
vocabulary is found to be the file's: tokenizers differs from it by the age of its Unicode tables (code points that are
unassigned or new) and where a text spells out a special token next to punctuation. Nothing here knows of graphs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Int
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from clipadapt.errors import ExportError, ModelError
from clipadapt.towers.backend import ModelBackend

TOKENIZER = "tokenizer.json"
LOWERCASE = "lowercase"
_CLEANINGS = ("lower", "whitespace", "canonicalize")
_AWKWARD = (
    "",
    "a photo of a red cotton t-shirt.",
    "Pleated MIDI skirt, 3/4 sleeves; größe 38! it's the girls' won't",
    "  é\u00a0half-zip \n two\tlines ",
    "T-shirt &amp;amp; jeans &lt;b&gt; schÃ¶n",
    "ΣΊΣΥΦΟΣ İstanbul 短袖 👗🏽 a\u0301",
    " ".join(["striped cotton shirt"] * 60),
)
_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
"""How CLIP cuts a text into words. Source: openai/CLIP, simple_tokenizer.py."""


@dataclass(frozen=True)
class TextInput:
    """How a text becomes the ids that a text tower takes."""

    tokenizer: Tokenizer = field(repr=False)
    """With truncation and padding to `context_length` set."""
    context_length: int
    clean: str | None
    """Cleaning before tokenizing: open_clip's lower, whitespace or canonicalize; lowercase and no more; null: none."""
    bpe: Any = field(repr=False)
    """open_clip's SimpleTokenizer, where the model is one of those; null: `tokenizer` is exact."""
    end: int | None
    """Id of the end token after which nothing is read, so that columns may be cut; null: all are needed."""

    @classmethod
    def of(cls, backend: ModelBackend) -> Self:
        """From a model's own tokenizer.

        Raises:
            ExportError: it does something that tokenizer.json cannot say, so that ids would differ.
        """
        assert backend.context_length is not None, "the model has a text tower"
        tokenizer: Any = backend.tokenizer  # type: ignore[attr-defined]
        inner = getattr(tokenizer, "tokenizer", tokenizer)
        fast = getattr(inner, "backend_tokenizer", None)
        if fast is not None:
            made = Tokenizer.from_str(fast.to_str())
            pad, token = int(inner.pad_token_id), str(inner.pad_token)
        elif hasattr(tokenizer, "bpe_ranks") and tokenizer.reduction_fn is None:
            made = _clip_tokenizer(tokenizer)
            pad, token = 0, next(name for name, number in tokenizer.encoder.items() if number == 0)
        else:
            raise ExportError(
                f"{type(inner).__name__}: a tokenizer that {TOKENIZER} cannot hold (no fast form, or random masking); "
                "export to open_clip or transformers"
            )
        made.enable_truncation(backend.context_length, direction=getattr(inner, "truncation_side", "right"))
        side = getattr(inner, "padding_side", "right")
        made.enable_padding(direction=side, length=backend.context_length, pad_id=pad, pad_token=token)
        slow = None if fast is not None else tokenizer
        found = cls(made, backend.context_length, _cleaning(backend, tokenizer), slow, _end(backend))
        found._check(backend)
        return found

    def _check(self, backend: ModelBackend) -> None:
        expected = backend.tokens(_AWKWARD).numpy()
        written = self._by_file(_AWKWARD)
        for row, text in enumerate(_AWKWARD):
            if not np.array_equal(written[row], expected[row]):
                raise ExportError(
                    f"{TOKENIZER} gives other ids for {text[:40]!r} than the model's own tokenizer "
                    f"({written[row, :12].tolist()} for {expected[row, :12].tolist()}); "
                    "export to open_clip or transformers"
                )

    @classmethod
    def read(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """What `save` and `settings` left.

        Raises:
            ModelError: the file is missing or broken.
        """
        try:
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # tokenizers raises Exception itself
            raise ModelError(f"{folder / TOKENIZER}: cannot be read ({error}); export again") from error
        context_length, clean = int(settings["context_length"]), settings["clean"]
        bpe = _simple_tokenizer(context_length, clean) if settings["bpe"] else None
        if bpe is not None and bpe.encoder != tokenizer.get_vocab():
            raise ModelError(f"{folder / TOKENIZER}: not the vocabulary of the installed open_clip; upgrade open_clip")
        return cls(tokenizer, context_length, clean, bpe, settings["end"])

    def save(self, folder: Path) -> None:
        """Writes tokenizer.json."""
        self.tokenizer.save(str(folder / TOKENIZER))

    def settings(self) -> dict[str, Any]:
        """What tokenizer.json cannot say, for JSON."""
        return {
            "context_length": self.context_length,
            "clean": self.clean,
            "bpe": self.bpe is not None,
            "end": self.end,
        }

    def padded(self, texts: Sequence[str], length: int | None = None) -> Int[np.ndarray, "t context"]:
        """Ids of all columns, int64; cut or padded to context_length, or to another length."""
        if self.bpe is not None and len(texts):
            return self.bpe(list(texts), context_length=length or self.context_length).numpy()
        return self._by_file(texts, length)

    def _by_file(self, texts: Sequence[str], length: int | None = None) -> Int[np.ndarray, "t context"]:
        clean = _cleaning_function(self.clean)
        tokenizer, columns = self.tokenizer, length or self.context_length
        if columns != self.context_length:
            tokenizer = Tokenizer.from_str(tokenizer.to_str())
            tokenizer.enable_truncation(columns)
            tokenizer.enable_padding(**{**(self.tokenizer.padding or {}), "length": columns})
        encoded = tokenizer.encode_batch([clean(text) for text in texts])
        return np.array([one.ids for one in encoded], np.int64).reshape(-1, columns)

    def tokens(self, texts: Sequence[str]) -> Int[np.ndarray, "t length"]:
        """Ids, cut to the longest text where the tower cannot see beyond a text's end."""
        ids = self.padded(texts)
        if self.end is None or not len(ids):
            return ids
        return ids[:, : int((ids == self.end).argmax(axis=1).max()) + 1]


def _clip_tokenizer(tokenizer: Any) -> Tokenizer:
    """open_clip's SimpleTokenizer as a byte-level BPE of tokenizers."""
    start, end = (tokenizer.decoder[number] for number in (tokenizer.sot_token_id, tokenizer.eot_token_id))
    special = {tokenizer.decoder[number] for number in tokenizer.all_special_ids}
    vocabulary = {name: number for name, number in tokenizer.encoder.items() if name not in special}
    made = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=list(tokenizer.bpe_ranks),
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            fuse_unk=False,
        )
    )
    made.add_special_tokens(
        [AddedToken(name, normalized=True, special=True) for name in sorted(special, key=tokenizer.encoder.__getitem__)]
    )
    # the last two of what open_clip's cleaning does, for servers that call tokenizers alone
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase(), normalizers.Strip()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, tokenizer.sot_token_id), (end, tokenizer.eot_token_id)],
    )
    made.decoder = decoders.ByteLevel()
    return made


def _simple_tokenizer(context_length: int, clean: str) -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=context_length, clean=clean)


def _cleaning(backend: ModelBackend, tokenizer: Any) -> str | None:
    if getattr(backend, "lowercases", False):
        return LOWERCASE
    used = getattr(tokenizer, "clean_fn", None)
    if used is None:
        return None
    named = [name for name in _CLEANINGS if _open_clip_cleaning(name) is used]
    if not named:
        raise ExportError(f"{used}: a cleaning of texts that open_clip does not name; export to open_clip")
    return named[0]


def _cleaning_function(name: str | None) -> Callable[[str], str]:
    if name is None:
        return _identity
    return str.lower if name == LOWERCASE else _open_clip_cleaning(name)


def _open_clip_cleaning(name: str) -> Callable[[str], str]:
    from open_clip.tokenizer import get_clean_fn

    return get_clean_fn(name)


def _identity(text: str) -> str:
    return text


def _end(backend: ModelBackend) -> int | None:
    """The id at each text's last column that is read; null where all columns are."""
    rows = [backend.tokens([text]) for text in _AWKWARD]
    lengths = [backend.needed(row) for row in rows]
    if lengths[0] == backend.context_length:
        return None
    ends = {int(row[0, length - 1]) for row, length in zip(rows, lengths, strict=True)}
    firsts = [int((row[0] == row[0, length - 1]).int().argmax()) for row, length in zip(rows, lengths, strict=True)]
    if len(ends) != 1 or firsts != [length - 1 for length in lengths]:
        raise ExportError("the text tower stops at no single end token, which cutting its texts needs")
    return ends.pop()
