"""The text tower alone of a model, without torch where that can be had: what a search by words loads.

    text_tower("run:runs/shop", image_space)     the run's ONNX export, else its open_clip export, else None
    text_tower("local-dir:export", image_space)  that folder's

Only a folder whose clipadapt.json says that it is of the same spaces is taken, and only with the weights it was written
with. In every doubt the answer is None: then the whole model is loaded, which says what is wrong, if anything is.
"""

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from clipadapt.atomic import sha256_file
from clipadapt.errors import ModelError
from clipadapt.towers import hub
from clipadapt.towers.byte_pairs import BytePairs
from clipadapt.towers.clip_text import ClipText
from clipadapt.towers.identity import read_card
from clipadapt.towers.protocol import TextEncoder
from clipadapt.towers.value_vectors import ValueVectors

_BATCH = 64


def text_tower(model: str, image_space: str) -> TextEncoder | None:
    """The text tower of a model whose pictures' vectors are of `image_space`; None: load the whole model."""
    try:
        name = hub.parse(model)
        folder = Path(name.name).expanduser()
        if name.scheme in ("local-dir", "onnx"):
            card = read_card(folder)
            return _of_folder(folder, image_space, card["text_space"]) if card is not None else None
        if name.scheme != "run":
            return None
        run = folder.parent if folder.name == "adapter" else folder
        card = read_card(run / "adapter")
        if card is None or not (run / "export").is_dir():
            return None
        exports = sorted((run / "export").iterdir(), key=lambda export: (not (export / "text.onnx").is_file(), export))
        towers = (_of_folder(export, image_space, card["adapter"]["text_space"]) for export in exports)
        return next((tower for tower in towers if tower is not None), None)
    except (ModelError, KeyError, TypeError):
        return None


def _of_folder(folder: Path, image_space: str, text_space: str | None) -> TextEncoder | None:
    card = read_card(folder)
    if (
        card is None
        or text_space is None
        or (card.get("image_space"), card.get("text_space")) != (image_space, text_space)
    ):
        return None
    onnx = (folder / "text.onnx").is_file()
    tower = OnnxText.open(folder, card) if onnx else ClipText.open(folder, str(card.get("text_weights")))
    if tower is not None:
        tower.value_vectors = ValueVectors.beside(folder)
        if tower.value_vectors is not None:
            tower.value_vectors.require(image_space, tower.name)
    return tower


class OnnxText:
    """text.onnx of an export, in float32."""

    def __init__(self, folder: Path, session: Any, tokens: Callable[[Sequence[str]], np.ndarray], length: int) -> None:
        self.name = f"onnx:{folder}"
        self.context_length: int | None = length
        self._session, self._tokens = session, tokens
        self.value_vectors: ValueVectors | None = None

    @classmethod
    def open(cls, folder: Path, card: dict[str, Any]) -> Self | None:
        """From an export's folder; None: load the whole model instead."""
        if importlib.util.find_spec("onnxruntime") is None:
            return None
        files: dict[str, str] = card["files"]
        for name in ("text.onnx", "text.onnx.data"):
            if name in files and (not (folder / name).is_file() or sha256_file(folder / name) != files[name]):
                return None
        try:
            settings = json.loads((folder / "preprocess.json").read_bytes())["text"]
        except (OSError, ValueError):
            return None
        if not settings["bpe"] or settings["clean"] != "lower" or settings["end"] is None:
            return None  # tokenizers of other models need what the whole encoder brings
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(folder / "text.onnx"), options, providers=["CPUExecutionProvider"])
        length = int(settings["context_length"])
        return cls(folder, session, BytePairs(length).ids, length)

    def encode_texts(self, texts: Sequence[str]) -> Float[np.ndarray, "t dim"]:
        """Unit-length float32 vectors."""
        parts = [self._tokens(texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
        return np.concatenate([self._session.run(None, {"tokens": ids})[0] for ids in parts])
