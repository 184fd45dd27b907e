"""ONNX files behind the encoder protocol, so that every command accepts `onnx:DIR`.

    load("onnx:export/onnx")            image.onnx and text.onnx, float32
    load("onnx:export/onnx@int8")       image.int8.onnx and text.int8.onnx beside them
    load("onnx:export/onnx@fp16")       image.fp16.onnx and text.fp16.onnx, for a GPU

The folder alone says what its vectors mean: clipadapt.json carries the spaces of the adaptation, and the files are
compared with the digests written there, so that a changed file is not taken for the original. onnxruntime runs on the
CPU with as many threads as torch is set to, or on a GPU where its CUDA provider is installed; it never falls back from
one to the other. Nothing here exports or quantises.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clipadapt.atomic import sha256_file
from clipadapt.data.images import Preprocess
from clipadapt.errors import ModelError
from clipadapt.export.tokens import TextInput
from clipadapt.towers.arguments import Picture, pictures_of, several, texts_of
from clipadapt.towers.encoder import Precision
from clipadapt.towers.identity import CARD, Tower, read_card
from clipadapt.towers.long_texts import LongTexts
from clipadapt.towers.value_vectors import ValueVectors

PREPROCESS = "preprocess.json"
Form = Literal["fp32", "int8", "fp16"]
FORMS: tuple[Form, ...] = ("fp32", "int8", "fp16")
_IMAGES, _TEXTS = 16, 64
"""Most pictures and texts in one call: attention matrices of more do not fit into a CPU's caches."""
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def file_of(tower: Tower, form: Form) -> str:
    """Name of a tower's file: image.onnx, image.int8.onnx, ..."""
    return f"{tower}.onnx" if form == "fp32" else f"{tower}.{form}.onnx"


class OnnxEncoder:
    """A folder that `clipadapt export --to onnx` wrote, as an Encoder.

    Raises:
        ModelError: no such folder, form or device; a file that is missing, broken or changed since it was written.
    """

    def __init__(self, folder: str | Path, form: Form = "fp32", *, device: str = "cpu", threads: int | None = None):
        self.folder = Path(folder).expanduser()
        self.form: Form = form
        self.name = f"onnx:{self.folder}" + ("" if form == "fp32" else f"@{form}")
        self.precision = f"onnx-{form}"
        card = read_card(self.folder)
        if card is None or card.get("format") != "onnx":
            raise ModelError(f"{self.folder}: no {CARD} of an ONNX export; write one with: clipadapt export --to onnx")
        self.card: dict[str, Any] = card
        self.dim = int(card["dim"])
        self.scale = float(card["scale"])
        self.image_space = str(card["image_space"])
        self.text_space: str | None = card["text_space"]
        self.value_vectors = ValueVectors.beside(self.folder)
        if self.value_vectors is not None:
            self.value_vectors.require(self.image_space, self.name)
        image, text = _inputs(self.folder)
        self.preprocess = image
        self.text_input = text
        self.context_length = None if text is None else text.context_length
        self._long_texts = LongTexts(self.name, self.context_length or 0)
        count, half = threads or torch.get_num_threads(), form == "fp16"
        self._image = session(self._checked("image"), device, count, fp16=half)
        self._text = None if text is None else session(self._checked("text"), device, count, fp16=half)

    def encode_images(self, pictures: Iterable[Picture] | Tensor) -> Float[Tensor, "b dim"]:
        """Unit-length float32 vectors on the CPU; arguments and errors as those of `TorchEncoder.encode_images`."""
        given = pictures if isinstance(pictures, Tensor) else several(pictures)
        chunks = []
        for start in range(0, len(given), _IMAGES):
            some = given[start : start + _IMAGES]
            if not isinstance(some, Tensor):
                some = torch.stack([self.preprocess(one) for one in pictures_of(some, start)])
            chunks.append(self.run_images(some.cpu().float().numpy()))
        return torch.from_numpy(np.concatenate(chunks)) if chunks else torch.empty(0, self.dim)

    def encode_texts(self, texts: Iterable[str]) -> Float[Tensor, "t dim"]:
        """As encode_images, for a list of texts; a warning names those of which the end is not read."""
        if self.text_input is None:
            raise ModelError(f"{self.name} is an image tower alone; for texts export a model with two towers")
        listed, padded = texts_of(texts), self.text_input.padded
        chunks = []
        for start in range(0, len(listed), _TEXTS):
            some = listed[start : start + _TEXTS]
            tokens = self.text_input.tokens(some)
            if tokens.shape[1] == self.context_length:
                self._long_texts.say(some, lambda few, length: padded(few, length).tolist())
            chunks.append(self.run_texts(tokens))
        return torch.from_numpy(np.concatenate(chunks)) if chunks else torch.empty(0, self.dim)

    def run_images(self, pixels: np.ndarray) -> np.ndarray:
        """Preprocessed pictures [b, 3, size, size] float32 -> unit vectors [b, dim], in one call of the graph."""
        return self._image.run(None, {"pixels": np.ascontiguousarray(pixels)})[0]

    def run_texts(self, tokens: np.ndarray) -> np.ndarray:
        """Token ids [t, length] int64 -> unit vectors [t, dim], in one call of the graph."""
        assert self._text is not None, "has a text tower"
        return self._text.run(None, {"tokens": np.ascontiguousarray(tokens)})[0]

    def _checked(self, tower: Tower) -> Path:
        """The tower's file, after checking that it is the one the card names."""
        file = self.folder / file_of(tower, self.form)
        digests: dict[str, str] = self.card["files"]
        if file.name not in digests:
            forms = [form for form in FORMS if file_of(tower, form) in digests]
            raise ModelError(f"{self.folder}: holds no {self.form} form; it has {', '.join(forms)}")
        for name in (file.name, f"{file.name}.data"):
            if name in digests and (
                not (self.folder / name).is_file() or sha256_file(self.folder / name) != digests[name]
            ):
                raise ModelError(
                    f"{self.folder / name}: missing, or changed since {CARD} was written; copy the whole folder again, "
                    "or export again"
                )
        return file


def load_encoder(name: str, *, device: str, precision: Precision, image_size: int | None) -> OnnxEncoder:
    """What `load("onnx:NAME")` calls; the form is part of the name, after an @.

    Raises:
        ModelError: as OnnxEncoder; or a precision or size other than that of the files is asked for.
    """
    folder, at, form = name.rpartition("@")
    if not at or Path(name).expanduser().is_dir():
        folder, form = name, "fp32"
    if form not in FORMS:
        raise ModelError(f"onnx:{name}: no form {form!r}; write onnx:DIR, onnx:DIR@int8 or onnx:DIR@fp16")
    if precision != "fp32":
        raise ModelError(f"onnx:{name}: its precision is that of its files; leave precision at fp32, or write @fp16")
    encoder = OnnxEncoder(folder, form, device=device)
    if image_size not in (None, encoder.preprocess.size):
        raise ModelError(f"onnx:{name}: made for {encoder.preprocess.size} pixels; export again for {image_size}")
    return encoder


def session(file: Path | bytes, device: str = "cpu", threads: int = 1, *, fp16: bool = False) -> Any:
    """An onnxruntime session of one file or serialised graph; `fp16` says that its numbers are half wide.

    Raises:
        ModelError: no such provider, or onnxruntime cannot load it.
    """
    import onnxruntime

    provider = _PROVIDERS.get(device.partition(":")[0])
    if provider is None or provider not in onnxruntime.get_available_providers():
        raise ModelError(f"onnxruntime here cannot run on {device}; use cpu, or install onnxruntime-gpu for cuda")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")  # idle threads would slow torch's beside them
    if fp16 and device == "cpu":  # onnxruntime 1.32 crashes when it rearranges such graphs for a CPU
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3  # what it says of a graph's shapes while loading is not about its results
    source = file if isinstance(file, bytes) else str(file)
    try:
        return onnxruntime.InferenceSession(source, options, providers=[provider])
    except Exception as error:  # onnxruntime's errors have no common class
        where = "the graph" if isinstance(file, bytes) else file
        raise ModelError(f"{where}: onnxruntime cannot load it: {str(error)[:400]}") from error


def _inputs(folder: Path) -> tuple[Preprocess, TextInput | None]:
    file = folder / PREPROCESS
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        described = document["image"] | {key: tuple(document["image"][key]) for key in ("mean", "std")}
        image = Preprocess(**described)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file}: cannot be read ({error!r}); export again") from error
    return image, None if document["text"] is None else TextInput.read(folder, document["text"])
