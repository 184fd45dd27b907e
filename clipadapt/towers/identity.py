"""image_space and text_space: short names for what a vector means.

    space = hash(base space of the tower, adapter tensors of the tower, strength)
    base space = hash(the tower's weights, its preprocessing or its tokenizer)

Two vectors may be compared only when their spaces are equal. A tower without an adapter, or with strength 0, is in its
base's space, so adapting text alone leaves every picture vector valid. The logit scale is in neither space: it
changes no direction. Merged, exported and quantized forms inherit the spaces of the adaptation they were made from,
through `clipadapt.json` beside their weights; the weights' own digest is kept there too, so that a form whose weights
were changed afterwards is not taken for the original. Hashing 150 million float32 weights takes about half a second.
Nothing here knows how a model is called.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from clipadapt import places
from clipadapt.errors import ModelError

if TYPE_CHECKING:
    import torch

Tower = Literal["image", "text"]
TOWERS: tuple[Tower, Tower] = ("image", "text")
CARD = "clipadapt.json"
_SCHEMA = 1
_PROBES = ("a photo of a red cotton t-shirt.", "Pleated MIDI skirt, 3/4 sleeves; größe 38!", "  é\u00a0half-zip ")


def weights_digest(tensors: "Iterable[tuple[str, torch.Tensor | np.ndarray]]") -> str:
    """blake2b over names, shapes and float32 values, in order of name; the same on any device, in any wider dtype, and
    for arrays.
    """

    def one(pair: "tuple[str, torch.Tensor | np.ndarray]") -> bytes:
        name, tensor = pair
        values = tensor if isinstance(tensor, np.ndarray) else tensor.detach().float().cpu().numpy()
        values = np.asarray(values, np.float32, order="C")
        hasher = hashlib.blake2b(f"{name}{list(values.shape)}".encode(), digest_size=32)
        hasher.update(values.data)
        return hasher.digest()

    with ThreadPoolExecutor() as pool:  # hashlib releases the interpreter lock on large buffers
        parts = pool.map(one, sorted(tensors, key=lambda pair: pair[0]))
    return hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()


def tokenizer_digest(tokenize: Any, vocabulary: Mapping[str, int] | None, context_length: int) -> str:
    """What decides token ids: the vocabulary, the context length and how a few awkward texts come out.

    `tokenize` takes a list of texts and returns ids [texts, context_length].
    """
    hasher = hashlib.blake2b(f"{context_length}".encode(), digest_size=16)
    if vocabulary is not None:
        hasher.update(json.dumps(sorted(vocabulary.items()), ensure_ascii=True).encode())
    hasher.update(json.dumps(np.asarray(tokenize(list(_PROBES))).tolist()).encode())
    return hasher.hexdigest()


def base_space(tower: Tower, weights: str, inputs: str | Mapping[str, Any]) -> str:
    """The space of an unadapted tower; `inputs` describes its preprocessing (image) or tokenizer (text)."""
    return _name(tower, {"weights": weights, "inputs": inputs})


def adapted_space(tower: Tower, base: str, adapter: str | None, strength: float) -> str:
    """The space of `base` under an adapter whose digest is `adapter` (null: the tower has none)."""
    if adapter is None or strength == 0.0:
        return base
    return _name(tower, {"base": base, "adapter": adapter, "strength": float(strength)})


def _name(tower: Tower, parts: Mapping[str, Any]) -> str:
    document = json.dumps(parts, sort_keys=True, default=list)
    return f"{tower}-{hashlib.blake2b(document.encode(), digest_size=12).hexdigest()}"


@dataclass(frozen=True)
class Lineage:
    """Where an encoder comes from, as kept in memory and in clipadapt.json.

        lineage.base                       "EVA02-B-16:merged2b_s8b_b131k"
        lineage.image_space                of the weights as they lie there, without adapters
        lineage.after(spaces, strength)    the same model after a merge

    An encoder's own spaces add what its adapters do to these.
    """

    base: str
    """The MODEL string the first of its line was loaded with."""
    image_space: str
    text_space: str | None
    image_weights: str
    """Digest of the image tower's weights, unsplit and unadapted."""
    text_weights: str | None
    image_size: int
    """Pixels per side."""
    strength: Mapping[str, float] | None = None
    """Tower -> strength it was merged with; null for a model that was never adapted."""

    def after(self, spaces: Mapping[Tower, str | None], strength: Mapping[Tower, float]) -> Self:
        """The lineage of merged weights; their digests are taken anew when they are written."""
        image_space = spaces["image"]
        assert image_space is not None, "every model has an image tower"
        return replace(self, image_space=image_space, text_space=spaces["text"], strength=dict(strength))


def write_card(folder: str | Path, lineage: Lineage, **more: Any) -> None:
    """Writes clipadapt.json: the lineage, and whatever else the writer wants to say (precision, agreement, ...)."""
    document = {"schema_version": _SCHEMA, **asdict(lineage), **places.public(more)}
    document["base"] = places.portable(lineage.base, Path(folder))
    Path(folder, CARD).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_card(folder: str | Path) -> dict[str, Any] | None:
    """clipadapt.json of a folder, or null where there is none.

    Raises:
        ModelError: the file is not JSON, or of a newer form than this clipadapt knows.
    """
    file = Path(folder, CARD)
    if not file.is_file():
        return None
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: cannot be read as JSON ({error}); export again, or delete it") from error
    if not isinstance(document, dict) or document.get("schema_version", 0) > _SCHEMA:
        raise ModelError(f"{file}: written by a newer clipadapt; upgrade this one")
    return document


def inherit(lineage: Lineage, folder: str | Path) -> Lineage:
    """The lineage in clipadapt.json beside the weights, after checking that the weights have the digests it names.

    Raises:
        ModelError: the weights are not those that clipadapt.json was written for.
    """
    card = read_card(folder)
    if card is None or "image_weights" not in card or card.get("image_size") != lineage.image_size:
        return lineage  # loaded at another size than it was written for, it is a model of its own
    for tower in TOWERS:
        written, found = card.get(f"{tower}_weights"), getattr(lineage, f"{tower}_weights")
        if written != found:
            raise ModelError(
                f"{folder}: the {tower} tower's weights changed since {CARD} was written "
                f"({found} here, {written} there); export again, or delete {CARD} to treat this as a model of its own"
            )
    return replace(
        lineage,
        base=places.from_folder(card["base"], Path(folder)),
        image_space=card["image_space"],
        text_space=card["text_space"],
        strength=card.get("strength"),
    )
