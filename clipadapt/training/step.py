"""One optimizer step's gradient: the exact gradient of the global batch, whatever it is cut into.

Each process encodes its share of the pictures and of the distinct texts in micro-batches, all vectors are gathered,
every process takes the loss of the whole batch and walks back through its own share. A share of one micro-batch is
encoded once; a larger one twice (losses.large_batch.two_pass), so that memory depends on the micro-batch alone.
A tower that does not learn is encoded once without a graph, and with `cut` a batch may hold the tokens that enter its
first trained block in place of pictures. No vector is remembered from one step to the next: its last
bits depend on what it was encoded with, and a resumed run would remember others.
Nothing here knows of optimizers, epochs' order or files.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipadapt.config import Config
from clipadapt.data.batches import TrainBatch
from clipadapt.losses.large_batch import Stream, two_pass
from clipadapt.processes.exchange import Processes
from clipadapt.processes.gather import gather
from clipadapt.towers.cut import Cut
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.identity import TOWERS, Tower
from clipadapt.towers.unread import block_of_the_read_token, first_token_alone
from clipadapt.training import mixing
from clipadapt.training.attention import training_attention
from clipadapt.training.base import BaseModel
from clipadapt.training.dropout import Dropouts
from clipadapt.training.logit_scale import LogitScale
from clipadapt.training.lora_linear import fuse
from clipadapt.training.objective import Objective, Outcome, TextBatch

TEXTS_PER_PICTURE = 4
"""Texts in a pass for each picture of a micro-batch: a caption has a tenth of a picture's tokens or fewer."""


class Step:
    """Gradients of global batches, accumulated in `.grad` of what is trained."""

    def __init__(
        self,
        encoder: TorchEncoder,
        objective: Objective,
        logit_scale: LogitScale,
        processes: Processes,
        config: Config,
        *,
        base: BaseModel | None = None,
        backward: Callable[[Tensor], None] = Tensor.backward,
    ) -> None:
        self._encoder = encoder
        self._objective = objective
        self._logit_scale = logit_scale
        self._processes = processes
        self._config = config
        self._base = base
        self._backward = backward
        self.learning: tuple[Tower, ...] = tuple(tower for tower in TOWERS if _learns(encoder, tower))
        """The towers that have something to train."""
        self.cut: Cut | None = None
        """To be set where batches hold tokens instead of pictures."""
        self._dropouts = {
            tower: Dropouts(view, tower, seed=config.seed)
            for tower, view in (("image", encoder.image), ("text", encoder.text))
            if view is not None
        }
        if not config.model.compile:  # which fuses by itself
            fuse(encoder.model)
        plain = "image" in self.learning and not (config.model.compile or config.model.checkpointing)
        self._last_block = block_of_the_read_token(encoder) if plain else None

    def both(self, batches: Sequence[TrainBatch], *, epoch: int, step: int) -> Outcome:
        """A step of both towers. `batches`: this process's share of the global batch, in micro-batches."""
        device = self._encoder.device
        local = torch.from_numpy(np.concatenate([batch.indices for batch in batches])).to(device)
        items = gather(local).cpu().numpy()
        text_batch = self._objective.texts_for(items, epoch=epoch, step=step)
        sizes = [len(batch) for batch in batches]
        mix = mixing.draw(
            items, sizes * self._processes.count, self._config.augment,
            side=self._encoder.preprocess.size, seed=self._config.seed, step=step,
        )  # fmt: skip
        text_batch = text_batch._replace(mix=mix).on(device)
        starts = self._processes.rank * len(local) + np.cumsum([0, *sizes[:-1]])

        def encode(piece: tuple[int, TrainBatch]) -> Tensor:
            at, batch = piece
            self._dropouts["image"].draw(step=step, items=batch.indices.tolist(), device=device)
            with self._attention(), first_token_alone(self._last_block):
                return F.normalize(self._image_features(batch, at, text_batch.mix), dim=-1)

        pieces = list(zip(starts.tolist(), batches, strict=True))
        image = Stream(encode, pieces) if "image" in self.learning else _frozen(Stream(encode, pieces))
        return self._gradients(text_batch, step, image=image)

    def _image_features(self, batch: TrainBatch, at: int, mix: mixing.Mix | None) -> Tensor:
        """Of a micro-batch that begins at this place of the global batch."""
        if batch.has_tokens:
            assert self.cut is not None and mix is None, "tokens come with a cut, and configs that mix have none"
            return self.cut.upper(batch.stored)
        return self._encoder.image_features(batch.pixels if mix is None else mix.pixels(batch.pixels, at))

    def text_alone(self, text_batch: TextBatch, vectors: Float[Tensor, "b d"], *, step: int) -> Outcome:
        """A step of the text tower against picture vectors that are already there, the same on every process."""
        return self._gradients(text_batch, step, vectors=vectors)

    def _gradients(
        self, text_batch: TextBatch, step: int, *, image: Stream | None = None, vectors: Tensor | None = None
    ) -> Outcome:
        """Two passes over what learns; pictures come as a stream to encode, or as vectors."""
        outcomes: list[Outcome] = []
        seen: list[Tensor] = []
        base = self._base.batch(text_batch) if self._base is not None else None

        def loss(*gathered: Tensor) -> Tensor:
            pictures = gathered[0] if vectors is None else vectors
            seen.append(pictures.detach())
            outcome = self._objective.loss(
                text_batch,
                pictures,
                gathered[-1][: len(text_batch.texts)] if text_batch.texts else pictures[:0],
                scale=self._logit_scale.scale(),
                bias=self._logit_scale.bias,
                base=base,
            )
            outcomes.append(outcome)
            return outcome.loss

        streams = [] if image is None else [image]
        if text_batch.texts:
            streams.append(self._text_stream(text_batch.texts, step))
        two_pass(streams, loss, gather=gather, backward=self._backward)
        for dropouts in self._dropouts.values():
            dropouts.clear()
        if vectors is None and self._objective.bank is not None and text_batch.mix is None:
            self._objective.bank.refresh(text_batch.items, seen[-1])
        (outcome,) = outcomes
        return outcome._replace(loss=outcome.loss.detach())

    def _text_stream(self, texts: Sequence[str], step: int) -> Stream:
        """The texts of this process, in passes: a contiguous part of all, at least one text."""
        size = TEXTS_PER_PICTURE * self._config.train.micro_batch
        mine = _share(texts, self._processes)
        # Lengths in steps of 8, so that a compiled tower meets at most ten of them; other towers take the exact one.
        multiple = 8 if self._config.model.compile else 1

        def encode(at: slice) -> Tensor:
            piece = mine[at]
            if (
                at.start not in tokenized
            ):  # a piece is encoded twice; with thousands of values its tokens are half the time
                tokenized[at.start] = self._encoder.tokenize(piece, multiple=multiple)
            tokens = tokenized[at.start]
            self._dropouts["text"].draw(step=step, items=piece, device=self._encoder.device)
            with self._attention():
                return F.normalize(self._encoder.text_features(tokens), dim=-1)

        tokenized: dict[int, Tensor] = {}
        stream = Stream(encode, [slice(at, at + size) for at in range(0, len(mine), size)])
        return stream if "text" in self.learning else _frozen(stream)

    def _attention(self) -> AbstractContextManager[object]:
        return training_attention(self._encoder.device, checkpointing=self._config.model.checkpointing)


def _learns(encoder: TorchEncoder, tower: Tower) -> bool:
    return any(p.requires_grad and encoder.tower_of(name) == tower for name, p in encoder.model.named_parameters())


def _frozen(stream: Stream) -> Stream:
    """The same vectors in one piece, without a graph."""

    def whole(_: None) -> Tensor:
        with torch.no_grad():
            return torch.cat([stream.encode(piece) for piece in stream.batches])

    return Stream(whole, [None])


def _share(texts: Sequence[str], processes: Processes) -> list[str]:
    """A contiguous part for each process; with fewer texts than processes the last text is encoded again."""
    padded = list(texts) + [texts[-1]] * (processes.count - len(texts))
    return [padded[place] for place in processes.part(len(padded))]
