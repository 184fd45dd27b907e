"""What the model said before training: picture vectors of the training split, encoded once, and texts when asked for.

Pictures are encoded as they are, without augmentation, and kept in memory (4 bytes x dim per item); texts are encoded
for each batch anew, for the last bits of a vector depend on what it was encoded with, and a resumed run would have
remembered others. The trained parameters are put back to their first values for a moment, so that no second model is
held. Nothing here knows of losses.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clipadapt.towers.encoder import TorchEncoder
from clipadapt.training.objective import Base, TextBatch


class BaseModel:
    """The unadapted model beside the one in training; make it before the first step, or a checkpoint, changes anything.

    base = BaseModel(encoder, parameters, lambda: picture_vectors(encoder, train, processes, batch_size=64))
    base.pictures        # of every item; encoded when first asked for, by all processes together
    base.batch(text_batch)    # vectors of a batch's pictures and captions
    """

    def __init__(
        self, encoder: TorchEncoder, parameters: Mapping[str, nn.Parameter], encode: Callable[[], Tensor]
    ) -> None:
        self._encoder = encoder
        self._parameters = parameters
        self._first = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        self._encode = encode
        self._scale = encoder.scale

    @functools.cached_property
    def pictures(self) -> Float[Tensor, "n d"]:
        """Unit vectors of all training items."""
        with self.as_it_was():
            return self._encode()

    def batch(self, text_batch: TextBatch) -> Base | None:
        """The base's vectors of the captioned pictures and of their captions; None without captions."""
        if text_batch.captions is None:
            return None
        image = self.pictures[text_batch.items[: len(text_batch.captions.of)]]
        if text_batch.mix is not None:
            image = nn.functional.normalize(text_batch.mix.blend(image), dim=-1)
        with self.as_it_was(), torch.compiler.set_stance("force_eager"):
            return Base(image, self._encoder.encode_texts(text_batch.captions.texts), self._scale)

    @contextmanager
    def as_it_was(self) -> Iterator[None]:
        """The first values within, today's afterwards; gradients and optimizer states are not touched."""
        today = {name: parameter.data for name, parameter in self._parameters.items()}
        try:
            for name, parameter in self._parameters.items():
                parameter.data = self._first[name]
            yield
        finally:
            for name, parameter in self._parameters.items():
                parameter.data = today[name]
