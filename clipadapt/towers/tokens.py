"""Token embeddings that are trained one by one: peft's trainable tokens, for words that a base does not know.

LoRA on a block moves every text that passes through it. A row of the token embedding moves the texts that have its
token and no others, so that a word can learn what it means; words that are cut into pieces share them with others.

    ids = distinctive_tokens(encoder, taught=["striped", "plaid"], kept=["shirt"])
    path = embedding_path(encoder)             # for peft's trainable_token_indices
    lighten(encoder.model)                     # after peft put them on

Nothing here knows of attributes or files.
"""

import re
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from peft.tuners.trainable_tokens import TrainableTokensLayer
from peft.utils.other import TrainableTokensWrapper
from torch import Tensor, nn

from clipadapt.errors import AdapterError
from clipadapt.towers.encoder import TorchEncoder

SAVED = ".token_adapter.trainable_tokens_delta"
"""What peft's name of the rows on disk has behind the embedding's."""
_WRAPPED = ".token_adapter.base_layer"
"""Where the embedding is once it has rows beside it."""
_MARKS = re.compile(r"^(##|[\u2581\u0120])|</w>$")
"""What vocabularies write for the beginning, the inside or the end of a word: WordPiece, SentencePiece, GPT-2, CLIP."""
_FRAME = "a {}"
"""A word inside of a text."""


class TokenRows(TrainableTokensLayer):
    """peft's layer with one adapter on a frozen embedding; `lighten` makes it of those that fit.

    peft copies the whole embedding in every pass and has a gradient for all of it (49,408 x 256: 50 MB each). Here the
    rows are put in after the lookup: the same vectors and the same gradients.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x: [t, length], token ids -> [t, length, width]."""
        if args or kwargs or self.disable_adapters or self.merged:
            return super().forward(x, *args, **kwargs)
        (name,) = self.active_adapters
        base = self.base_layer(x)
        rows = cast("Tensor", self.row_of)[x]
        trained = F.embedding(rows.clamp(min=0), self.trainable_tokens_delta[name])
        return torch.where((rows >= 0)[..., None], trained.to(base), base)


def lighten(model: nn.Module) -> None:
    """Exchanges the class of peft's layers that have one adapter on a plain, frozen embedding; others stay peft's."""
    for layer in [one for one in model.modules() if type(one) is TrainableTokensLayer]:
        base: Any = layer.base_layer
        names = list(layer.trainable_tokens_delta)
        plain = type(base) is nn.Embedding and base.max_norm is None and not base.weight.requires_grad
        if plain and len(names) == 1 and layer.tied_adapter is None:
            row_of = torch.full((base.num_embeddings,), -1, device=base.weight.device)
            row_of[layer.token_indices[names[0]]] = torch.arange(len(layer.token_indices[names[0]])).to(row_of)
            layer.register_buffer("row_of", row_of, persistent=False)
            layer.__class__ = TokenRows


def wrappers(model: nn.Module) -> dict[str, TrainableTokensWrapper]:
    """Path of the embedding -> peft's wrapper around it."""
    return {path: one for path, one in model.named_modules() if isinstance(one, TrainableTokensWrapper)}


def embedding_path(encoder: TorchEncoder) -> str:
    """Path in `encoder.model` of the text tower's token embedding: the embedding with the most rows, for positions and
    kinds of token have fewer.

    Raises:
        AdapterError: the text tower has none, or there is no text tower.
    """
    tables = {
        path: module.num_embeddings
        for path, module in encoder.model.named_modules()
        if isinstance(module, nn.Embedding) and encoder.tower_of(path) == "text"
    }
    if not tables:
        raise AdapterError(f"lora.tokens: {encoder.name} has no text tower with a token embedding; leave it out")
    return max(tables, key=lambda path: tables[path]).removesuffix(_WRAPPED)


def distinctive_tokens(encoder: TorchEncoder, taught: Sequence[str], kept: Sequence[str]) -> list[int]:
    """One token of each taught word, in order of their ids, without those that a kept word has.

    Of a word that is cut into pieces it is the longest piece, for short ones are what many words have, and never a
    single letter. Words are cut as they are inside of a text; some vocabularies cut them in other ways at its start.

    Raises:
        AdapterError: the tokenizer does not say what its tokens are.
    """
    vocabulary = encoder.backend.vocabulary()
    if vocabulary is None:
        raise AdapterError(f"lora.tokens: the tokenizer of {encoder.name} has no list of its tokens; set it to false")
    texts = {token: _MARKS.sub("", text).casefold() for text, token in vocabulary.items()}
    frame = set(_ids(encoder, [_FRAME.format("")]))
    unchanged = set(_ids(encoder, ["", *kept, *map(_FRAME.format, kept)]))
    chosen = set()
    for word in taught:
        pieces = {token: texts.get(token, "") for token in _ids(encoder, [_FRAME.format(word)]) if token not in frame}
        readable = {token: text for token, text in pieces.items() if len(text) > 1 and text in word.casefold()}
        if readable:
            chosen.add(max(readable, key=lambda token: (len(readable[token]), token)))
    return sorted(chosen - unchanged)


def _ids(encoder: TorchEncoder, texts: Sequence[str]) -> list[int]:
    """Every token of some texts, those that begin, end and fill a text among them; an empty text has no others."""
    return encoder.tokenize(texts).unique().tolist()
