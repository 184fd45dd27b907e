"""The text tower of an open_clip folder alone, in NumPy: for a search by words, which needs nothing else of a model.

    tower = ClipText.open("runs/shop/export/open_clip", "text-4cae...")
    tower.encode_texts(["a red shirt"])          [1, dim], unit length

Importing torch and open_clip, building both towers and filling them with random numbers first takes seconds; one text
through a text tower takes milliseconds, so what is saved is nearly all of a search from the command line. The trade: it
knows CLIP's own text transformer, causal and read at the end token, in float32 on the CPU. Whatever differs from that
in a folder's config makes `open` return None, and the whole model is loaded.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Int

from clipadapt.towers.byte_pairs import SIZE, BytePairs
from clipadapt.towers.identity import weights_digest
from clipadapt.towers.value_vectors import ValueVectors

_BATCH = 64
_CONFIG = {"embed_dim", "vision_cfg", "text_cfg", "custom_text", "quick_gelu", "init_logit_scale", "init_logit_bias"}
_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
"""Keys of a config that this tower knows; each other may change what a text means."""

Weights = Mapping[str, Float[np.ndarray, "..."]]


class ClipText:
    """Unit vectors of texts."""

    def __init__(self, name: str, weights: Weights, heads: int, layers: int, *, quick: bool) -> None:
        self.name = name
        self.context_length: int | None = len(weights["positional_embedding"])
        self._weights, self._heads, self._layers, self._quick = weights, heads, layers, quick
        self.value_vectors: ValueVectors | None = None
        self._tokenizer = BytePairs(len(weights["positional_embedding"]))

    @classmethod
    def open(cls, folder: str | Path, digest: str) -> Self | None:
        """The tower of an open_clip folder whose text weights have this digest; None: load the whole model instead."""
        try:
            config: dict[str, Any] = json.loads(Path(folder, "open_clip_config.json").read_bytes())["model_cfg"]
            text: dict[str, Any] = config["text_cfg"]
            if set(config) - _CONFIG or set(text) - _TEXT or text.get("vocab_size", SIZE) != SIZE:
                return None
            named = _read(Path(folder, "open_clip_model.safetensors"))
            if named is None or weights_digest(named.items()) != digest:
                return None
            weights = {name.removeprefix("text."): values for name, values in named.items()}
            return cls(
                f"local-dir:{folder}",
                weights,
                text.get("heads", 8),
                text.get("layers", 12),
                quick=bool(config.get("quick_gelu")),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None  # the loader of whole models says what is wrong

    def encode_texts(self, texts: Sequence[str]) -> Float[np.ndarray, "t dim"]:
        """Unit-length float32 vectors."""
        parts = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
        whole = [self._features(self._tokenizer.ids(part)) for part in parts]
        found = np.concatenate(whole) if whole else np.empty((0, self._weights["text_projection"].shape[1]), np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def _features(self, ids: Int[np.ndarray, "t length"]) -> Float[np.ndarray, "t dim"]:
        weights = self._weights
        x = weights["token_embedding.weight"][ids] + weights["positional_embedding"][: ids.shape[1]]
        for number in range(self._layers):
            block = f"transformer.resblocks.{number}."
            x = x + self._attention(_norm(x, weights, block + "ln_1."), block + "attn.")
            wide = _linear(_norm(x, weights, block + "ln_2."), weights, block + "mlp.c_fc.")
            x = x + _linear(self._bent(wide), weights, block + "mlp.c_proj.")
        x = _norm(x, weights, "ln_final.")
        return x[np.arange(len(ids)), ids.argmax(axis=1)] @ weights["text_projection"]

    def _attention(self, x: Float[np.ndarray, "t length width"], at: str) -> Float[np.ndarray, "t length width"]:
        count, length, width = x.shape
        packed = x @ self._weights[at + "in_proj_weight"].T + self._weights[at + "in_proj_bias"]
        q, k, v = packed.reshape(count, length, 3, self._heads, -1).transpose(2, 0, 3, 1, 4)
        scores = q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(width // self._heads))
        scores += np.triu(np.full((length, length), -np.inf, np.float32), 1)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = scores / scores.sum(axis=-1, keepdims=True) @ v
        return _linear(mixed.swapaxes(1, 2).reshape(count, length, width), self._weights, at + "out_proj.")

    def _bent(self, x: np.ndarray) -> Float[np.ndarray, "t length width"]:
        """GELU, or the quick form that OpenAI's weights were trained with."""
        from scipy.special import erf, expit

        if self._quick:
            return x * expit(np.float32(1.702) * x)
        return x * (1 + erf(x / np.float32(np.sqrt(2)))) / 2


def _read(file: Path) -> dict[str, np.ndarray] | None:
    """All but the picture tower and the logit scale and bias; None where a weight is not float32."""
    from safetensors import safe_open

    with safe_open(file, framework="np") as opened:
        every = opened.keys()
        names = [name for name in every if name.partition(".")[0] not in ("visual", "logit_scale", "logit_bias")]
        if any(opened.get_slice(name).get_dtype() != "F32" for name in names):
            return None
        return {name: opened.get_tensor(name) for name in names}


def _linear(x: np.ndarray, weights: Weights, at: str) -> Float[np.ndarray, "t length out"]:
    return x @ weights[at + "weight"].T + weights[at + "bias"]


def _norm(x: np.ndarray, weights: Weights, at: str) -> Float[np.ndarray, "t length width"]:
    x = x - x.mean(axis=-1, keepdims=True)
    return (
        x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(1e-5)) * weights[at + "weight"]
        + weights[at + "bias"]
    )
