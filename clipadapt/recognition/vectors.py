"""Vectors that are kept: pictures by image_space and content, texts by text_space and text; only the new is encoded.

    vectors = VectorCache("~/.cache/clipadapt/vectors")
    vectors.pictures(encoder, catalogue)              # [n, dim]; NaN rows are broken pictures, where those are counted
    vectors.texts(encoder, ["a red shirt"])
    vectors.values(encoder, prompts, "Pattern", ["Striped", "Solid"])

On disk a space is a folder of safetensors shards, each holding 16-byte keys and the vectors that one call added; a
shard appears whole, and two processes may add to one space at a time. A folder that cannot be written to costs the
keeping, not the result, and is said once. The trade: picture files are read on every call
to know their content (about 0.2 ms each); what is kept is trusted by its key alone. Nothing here knows of relevance.
"""

import functools
import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from clipadapt.atomic import atomic_write
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import CatalogueError, ModelError, StoreError
from clipadapt.recognition.values import Encode, Wording, mixed, value_vectors
from clipadapt.towers.encode import encode_catalogue, encode_texts_batched
from clipadapt.towers.encoder import Encoder

log = logging.getLogger(__name__)


class VectorCache:
    """Vectors of any number of spaces; `root` None keeps them for this process alone."""

    def __init__(self, root: str | Path | None = None) -> None:
        self.root = None if root is None else Path(root).expanduser()
        self._spaces: dict[str, _Space] = {}

    def pictures(
        self,
        encoder: Encoder,
        catalogue: Catalogue,
        *,
        broken: Literal["error", "count"] = "error",
        progress: bool = True,
    ) -> Float[np.ndarray, "n dim"]:
        """One unit vector per item, float32; with broken="count" those of broken pictures are NaN and not kept.

        Raises:
            CatalogueError: a picture is missing or broken and `broken` is "error".
        """
        keys = [_content(catalogue, row, broken) for row in range(len(catalogue))]

        def encode(missing: list[int]) -> Float[np.ndarray, "m dim"]:
            return encode_catalogue(encoder, catalogue, indices=missing, broken=broken, progress=progress)

        return self._space(f"{encoder.image_space}-{_precision(encoder)}").vectors(keys, encode, encoder.dim)

    def texts(self, encoder: Encoder, texts: Sequence[str]) -> Float[np.ndarray, "t dim"]:
        """One unit vector per text, float32.

        Raises:
            ModelError: the model has no text tower.
        """
        space = encoder.text_space  # read once: an adapted encoder hashes its adapter for it
        if space is None:
            raise ModelError(f"{encoder.name} has no text tower; evaluate it by pictures alone, or name another model")
        keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]

        def encode(missing: list[int]) -> Float[np.ndarray, "m dim"]:
            return encode_texts_batched(encoder, [texts[place] for place in missing])

        return self._space(f"{space}-{_precision(encoder)}").vectors(keys, encode, encoder.dim)

    def values(
        self,
        encoder: Encoder,
        prompts: Wording,
        attribute: str,
        values: Sequence[str],
        *,
        plain: bool = False,
        share: float | None = None,
    ) -> Float[np.ndarray, "v dim"]:
        """One unit vector per value, float64: of its texts, mixed with the value vectors that the encoder has.

        A plain text stays as it is. `share`: of the value vectors; None: the one that tune chose. Other arguments and
        errors are those of `recognition.values.value_vectors`.
        """
        texts = value_vectors(prompts, attribute, values, self.encode(encoder), plain=plain)
        return texts if plain else mixed(encoder, attribute, values, texts, share)

    def encode(self, encoder: Encoder) -> Encode:
        """`texts` of one encoder."""
        return functools.partial(self.texts, encoder)

    def _space(self, name: str) -> "_Space":
        if name not in self._spaces:
            self._spaces[name] = _Space(None if self.root is None else self.root / name)
        return self._spaces[name]


class _Space:
    """Vectors of one meaning by 16-byte key."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[bytes, np.ndarray] = {}
        for file in sorted(folder.glob("*.safetensors")) if folder is not None else ():
            shard = load_tensors(file.read_bytes())
            self._known |= zip((key.tobytes() for key in shard["keys"]), shard["vectors"], strict=True)

    def vectors(
        self, keys: Sequence[bytes], encode: Callable[[list[int]], Float[np.ndarray, "m dim"]], dim: int
    ) -> Float[np.ndarray, "n dim"]:
        first: dict[bytes, int] = {}
        for place, key in enumerate(keys):
            if key not in self._known:
                first.setdefault(key, place)
        if first:
            new = encode(list(first.values()))
            fresh = {key: vector for key, vector in zip(first, new, strict=True) if np.isfinite(vector).all()}
            self._known |= fresh
            self._keep(fresh)
        nothing = np.full(dim, np.nan, np.float32)
        return np.array([self._known.get(key, nothing) for key in keys], np.float32).reshape(-1, dim)

    def _keep(self, fresh: dict[bytes, np.ndarray]) -> None:
        if self._folder is None or not fresh:
            return
        keys = np.frombuffer(b"".join(fresh), np.uint8).reshape(-1, 16).copy()
        name = hashlib.blake2b(keys.tobytes(), digest_size=12).hexdigest()
        data = save_tensors({"keys": keys, "vectors": np.array(list(fresh.values()), np.float32)})
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            atomic_write(self._folder / f"{name}.safetensors", data)
        except (OSError, StoreError) as error:  # a result is worth more than its place in a cache
            _warn_once(str(self._folder.parent), getattr(error, "strerror", None) or str(error))


@functools.cache
def _warn_once(folder: str, reason: str) -> None:
    log.warning(
        "%s: vectors cannot be kept there and will be encoded anew next time (%s); set CLIPADAPT_CACHE to a folder "
        "that may be written to", folder, reason,
    )  # fmt: skip


def _content(catalogue: Catalogue, row: int, broken: str) -> bytes:
    """A picture's key: what decides its pixels; that of nothing for one that is not there and counted."""
    try:
        return bytes.fromhex(catalogue.picture_key(row))
    except CatalogueError:
        if broken == "error":
            raise
        return bytes(16)


def _precision(encoder: Encoder) -> str:
    """What products were computed in, for its rounding is part of a vector though not of its meaning."""
    return str(getattr(encoder, "precision", "fp32"))
