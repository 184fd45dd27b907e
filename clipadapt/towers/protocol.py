"""What search, evaluation and serving know of a model: the protocol that torch and ONNX encoders share.

A module without torch, so that what only reads an index imports nothing heavy. `TextEncoder` is the part of it that a
search by words needs; the text tower alone gives it (text_only.py). Nothing here computes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image
from typing_extensions import Protocol, runtime_checkable  # Python 3.11's own isinstance() evaluates every property

if TYPE_CHECKING:
    from torch import Tensor

    from clipadapt.data.images import Preprocess


@runtime_checkable
class TextEncoder(Protocol):
    """Texts in, vectors of one length out."""

    @property
    def name(self) -> str:
        """The MODEL string it was loaded with."""
        ...

    @property
    def context_length(self) -> int | None:
        """Most tokens a text can have; null for an image tower alone."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Any:
        """[t, dim], unit length, float32: a tensor, or an array from the text tower alone."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """What search, evaluation and serving know of a model.

        encoder.encode_images([picture, ...])     [n, dim], unit length, float32, no gradient
        encoder.encode_texts(["a red shirt"])     the same space of directions
        encoder.image_space                       names what a picture vector means

    Vectors may be compared across encoders exactly when their spaces are equal.
    """

    @property
    def name(self) -> str:
        """The MODEL string it was loaded with."""
        ...

    @property
    def dim(self) -> int: ...

    @property
    def preprocess(self) -> "Preprocess": ...

    @property
    def context_length(self) -> int | None:
        """Most tokens a text can have; null for an image tower alone."""
        ...

    @property
    def image_space(self) -> str: ...

    @property
    def text_space(self) -> str | None: ...

    @property
    def scale(self) -> float:
        """Factor on cosine similarities before a softmax: exp of the logit scale; 1 for an image tower alone."""
        ...

    def encode_images(self, pictures: "Sequence[Image.Image] | Tensor") -> "Tensor":
        """Those of clipadapt take paths and arrays, too (arguments.py); nothing here relies on it."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> "Tensor": ...
