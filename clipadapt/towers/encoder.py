"""One encoder over every library: pictures and texts in, unit-length float32 vectors out.

`TorchEncoder` is the torch form of the protocol in protocol.py, which training also needs: it keeps the library's own
model, unchanged in its names, and adds trimming, precision and identity. The trade: `image` and `text` are views of
that model made on demand, not towers of our own, so that whatever is saved has the base's state-dict keys.
Nothing here knows how models are found, adapted or merged, or what they are for.
"""

import contextlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from clipadapt.data.images import Preprocess
from clipadapt.errors import AdapterError, ModelError
from clipadapt.towers.arguments import Picture, pictures_of, several, texts_of
from clipadapt.towers.backend import Family, ModelBackend, weights
from clipadapt.towers.classifier import LinearHead
from clipadapt.towers.identity import TOWERS, Lineage, Tower, adapted_space
from clipadapt.towers.long_texts import LongTexts
from clipadapt.towers.names import logical_names
from clipadapt.towers.packed import is_split
from clipadapt.towers.protocol import Encoder as Encoder
from clipadapt.towers.value_vectors import ValueVectors

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_IMAGES, _TEXTS = 64, 256
"""Most pictures and texts in one forward pass of encode_images and encode_texts, to bound memory."""


class Features(NamedTuple):
    """What a forward pass returns; unnormalised, null for what was not asked for."""

    image: Float[Tensor, "b dim"] | None
    text: Float[Tensor, "t dim"] | None


@runtime_checkable
class AdapterState(Protocol):
    """What the encoder asks of adapters put on it."""

    def digest(self, tower: Tower) -> str | None:
        """Hash over the tower's adapter tensors; null where the tower has none."""
        ...


class TorchEncoder(nn.Module):
    """A two-tower torch model (or an image tower alone), adapted or not.

        encoder.image_features(pixels)            unnormalised, with gradient, in `precision`
        encoder.text_features(encoder.tokenize(texts))
        encoder(pixels, tokens)                   both, as Features: what DDP wraps
        encoder.model                             the library's own model
        encoder.image, encoder.text               one tower as a module from pixels or ids to features
        encoder.precision = "bf16"                matrix products under autocast; weights stay as they are
        encoder.cast_frozen(torch.bfloat16)       weights that are not trained; adapters keep float32

    As loaded, every weight is frozen and dropout is off.
    """

    def __init__(self, name: str, backend: ModelBackend, preprocess: Preprocess, lineage: Lineage) -> None:
        super().__init__()
        self.name = name
        self.backend = backend
        self.preprocess = preprocess
        self.lineage = lineage
        self.source = lineage.base
        """The MODEL string that finds these weights again from any folder: of a run, its base's."""
        self.precision: Precision = "fp32"
        self.model = backend.model
        self.adapters: AdapterState | None = None
        self.head: LinearHead | None = None
        """Tells attributes from picture vectors, where a run trained one."""
        self._long_texts: LongTexts | None = None
        self.base_probe: LinearHead | None = None
        """The linear probe on the base's own vectors that the head started from."""
        self.value_vectors: ValueVectors | None = None
        """What pictures taught about values, beside their texts, where a run learned it."""

    @property
    def family(self) -> Family:
        return self.backend.family

    @property
    def dim(self) -> int:
        return self.backend.dim

    @property
    def context_length(self) -> int | None:
        return self.backend.context_length

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def logit_scale(self) -> nn.Parameter:
        """The natural logarithm of `scale`, as checkpoints keep it.

        Raises:
            ModelError: an image tower alone has none.
        """
        parameter = getattr(self.model, "logit_scale", None)
        if not isinstance(parameter, nn.Parameter):
            raise ModelError(f"{self.name} is an image tower alone and has no logit scale")
        return parameter

    @property
    def logit_bias(self) -> nn.Parameter | None:
        """SigLIP's bias on scaled similarities; null for models trained with a softmax."""
        bias = getattr(self.model, "logit_bias", None)
        return bias if isinstance(bias, nn.Parameter) else None

    @property
    def scale(self) -> float:
        return 1.0 if self.context_length is None else math.exp(float(self.logit_scale.detach()))

    @property
    def image_space(self) -> str:
        digest = self.adapters.digest("image") if self.adapters else None
        return adapted_space("image", self.lineage.image_space, digest, 1.0)

    @property
    def text_space(self) -> str | None:
        if self.lineage.text_space is None:
            return None
        digest = self.adapters.digest("text") if self.adapters else None
        return adapted_space("text", self.lineage.text_space, digest, 1.0)

    @property
    def image(self) -> nn.Module:
        """The image tower as a module: pixels [b, 3, h, w] -> unnormalised features [b, dim]; a view, not a copy."""
        return _View(self.backend, "image")

    @property
    def text(self) -> nn.Module | None:
        """The text tower as a module: token ids [t, length] -> unnormalised features; null for an image tower alone."""
        return None if self.context_length is None else _View(self.backend, "text")

    def tower_of(self, name: str) -> Tower | None:
        """The tower that a parameter or module path of `model` belongs to; null for the logit scale and bias."""
        return self.backend.tower_of(name)

    def logical_names(self) -> dict[str, str]:
        """Logical name (`image.blocks.3.attention.q`) -> path in `model`, for every Linear and LayerNorm."""
        return logical_names(self.model, self.backend.tower_of)

    def forward(self, pixels: Tensor | None = None, tokens: Tensor | None = None) -> Features:
        """Both towers at once, so that one DDP wrapper sees everything a step uses."""
        image = None if pixels is None else self.image_features(pixels)
        return Features(image, None if tokens is None else self.text_features(tokens))

    def image_features(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b dim"]:
        """Unnormalised features, float32 (float64 for a float64 model) whatever the precision inside."""
        with self.autocast():
            return widened(self.backend.image(pixels.to(self.device, next(self.model.parameters()).dtype)))

    def text_features(self, tokens: Int[Tensor, "t length"]) -> Float[Tensor, "t dim"]:
        """As image_features, from token ids as `tokenize` makes them."""
        with self.autocast():
            return widened(self.backend.text(tokens.to(self.device)))

    def tokenize(self, texts: Sequence[str], multiple: int = 1) -> Int[Tensor, "t length"]:
        """Token ids, cut to the longest text of the batch where the tower cannot see beyond a text's end.

        `multiple` rounds the length up, which bounds the number of shapes a compiled tower meets.
        """
        tokens = self.backend.tokens(texts)
        length = -(-self.backend.needed(tokens) // multiple) * multiple
        return tokens[:, :length]

    def encode_images(self, pictures: Iterable[Picture] | Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b dim"]:
        """Unit-length float32 vectors without gradient, dropout off.

        Args:
            pictures: PIL pictures, arrays [h, w], [h, w, 3] or [h, w, 4], or paths, decoded as a catalogue's are; or
                a tensor that is preprocessed already.

        Raises:
            UsageError: one picture instead of several, or something that is no picture.
            CatalogueError: a picture that cannot be read; names it.
        """
        given = pictures if isinstance(pictures, Tensor) else several(pictures)
        chunks = []
        with evaluating(self), torch.no_grad():
            for start in range(0, len(given), _IMAGES):
                some = given[start : start + _IMAGES]
                if not isinstance(some, Tensor):
                    some = torch.stack([self.preprocess(one) for one in pictures_of(some, start)])
                chunks.append(F.normalize(self.image_features(some).float(), dim=-1))
        return torch.cat(chunks) if chunks else torch.empty(0, self.dim, device=self.device)

    def encode_texts(self, texts: Iterable[str]) -> Float[Tensor, "t dim"]:
        """As encode_images, for a list of texts; a warning names those of which the end is not read.

        Raises:
            UsageError: a bare string, or something that is no text.
            ModelError: an image tower alone.
        """
        listed = texts_of(texts)
        chunks = []
        with evaluating(self), torch.no_grad():
            for start in range(0, len(listed), _TEXTS):
                some = listed[start : start + _TEXTS]
                tokens = self.tokenize(some)
                if tokens.shape[1] == self.context_length:
                    self._say_cut(some)
                chunks.append(F.normalize(self.text_features(tokens).float(), dim=-1))
        return torch.cat(chunks) if chunks else torch.empty(0, self.dim, device=self.device)

    def _say_cut(self, texts: Sequence[str]) -> None:
        if self._long_texts is None:
            self._long_texts = LongTexts(self.name, self.context_length or 0)
        self._long_texts.say(texts, lambda some, length: self.backend.tokens(some, length).tolist())

    def cast_frozen(self, dtype: torch.dtype) -> None:
        """Holds weights that are not trained in `dtype`; set `precision` to match before training on it."""
        for name, parameter in self.model.named_parameters():
            if not parameter.requires_grad and self.tower_of(name) is not None:
                parameter.data = parameter.data.to(dtype)

    def checkpointing(self, enable: bool = True) -> None:
        """Recomputes activations block by block in the backward pass."""
        self.backend.checkpointing(enable)

    def compile_towers(self, towers: Collection[Tower] = TOWERS) -> None:
        """torch.compile on the blocks of towers, in place; text lengths vary without a recompile each."""
        for tower, stack in self.backend.stacks().items():
            if tower in towers:
                stack.compile(dynamic=tower == "text")

    def written_lineage(self) -> Lineage:
        """The lineage with digests of the weights as they are now: what goes beside them into clipadapt.json.

        Raises:
            AdapterError: adapters are on, or attention is split; a stock loader would not see these weights. Or it has
                a linear head, which no exported form holds.
        """
        if self.head is not None:
            raise AdapterError(
                f"{self.name}: its attributes are recognised by a linear head, which no exported form holds; use the "
                "run itself, or remove head.safetensors from a copy of its adapter folder to export the towers alone"
            )
        if self.adapters is not None or is_split(self.model):
            raise AdapterError(f"{self.name}: merge the adapters and fuse the attention before writing the weights")
        digests = weights(self.backend)
        return replace(self.lineage, image_weights=digests["image"], text_weights=digests.get("text"))

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Within: matrix products in `precision`."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[self.precision])


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Dropout and the like off inside, then every submodule as it was."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


class _View(nn.Module):
    """One tower of a library's model, sharing its modules and parameters."""

    def __init__(self, backend: ModelBackend, tower: Tower) -> None:
        super().__init__()
        model = backend.model
        for name, child in model.named_children():
            if backend.tower_of(name) == tower:
                self.add_module(name, child)
        for name, parameter in model.named_parameters(recurse=False):
            if backend.tower_of(name) == tower:
                self.register_parameter(name, parameter)
        self.run = backend.image if tower == "image" else backend.text

    def forward(self, inputs: Tensor) -> Tensor:
        return self.run(inputs)


def widened(features: Tensor) -> Tensor:
    """Half-precision features in float32."""
    return features.float() if features.dtype in (torch.bfloat16, torch.float16) else features
