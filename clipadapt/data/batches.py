"""The pictures of each optimizer step, for one process, in micro-batches.

What a step trains on depends on (seed, epoch, step) and the global batch size alone. Processes take contiguous parts of
it and cut them into micro-batches, so two processes, or smaller pieces, see the same items with the same crops. The
last batch of an epoch is filled up from the epoch's own beginning rather than dropped: contrastive losses depend on the
batch size, processes need equal shares, and at 5,000 items and batches of 512 dropping would lose a tenth.
With `train.views` an item's n-th draw in epoch e is its view e + n, counted round: each view comes as often as others.
What is read may then be tokens of a view in place of its pixels. Nothing here knows of captions or losses.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped

from clipadapt import config
from clipadapt.data.augment import Augment
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.images import Preprocess
from clipadapt.data.sampling import epoch_order, occurrences
from clipadapt.errors import CatalogueError, ConfigError


@runtime_checkable
class KeptTokens(Protocol):
    """What was computed of fixed views once, to be read in place of their pictures."""

    def read(self, items: Int[np.ndarray, " n"], views: Int[np.ndarray, " n"]) -> Shaped[torch.Tensor, "n ..."]:
        """The tokens of these views of these items, on the CPU."""
        ...


@dataclass(frozen=True)
class TrainBatch:
    """One micro-batch: what goes through the towers at once."""

    indices: Int[np.ndarray, " batch"]
    """Items, as indices into the training catalogue."""
    repeats: Int[np.ndarray, " batch"]
    """How often each was drawn before in this epoch; its augmentation and caption are keyed by it."""
    stored: Shaped[torch.Tensor, "batch ..."]
    """Pixels as bytes [batch, size, size, 3]; or tokens."""
    preprocess: Preprocess
    device: torch.device
    has_tokens: bool = False
    """Whether `stored` are tokens that enter the first trained block; there are no pixels then."""

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def pixels(self) -> Float[torch.Tensor, "batch 3 size size"]:
        """Normalised on the device at each access: a large batch waits in memory as bytes, a quarter of the floats."""
        return self.preprocess.normalise(self.stored.to(self.device, non_blocking=True))


class Batches:
    """The training items of one process, epoch after epoch.

        batches = Batches(train, config.train, Augment(config.augment, encoder.preprocess, seed), seed, rank, world)
        for step, micros in enumerate(batches.epoch(2, start_step=5), start=5):   # resumes within an epoch
            for micro in micros:
                micro.indices, micro.pixels

    `workers` processes decode ahead (torch DataLoader); 0 decodes here, when a step is asked for. Memory per step is
    size * size * 3 bytes a picture.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        train: config.Train,
        augment: Augment,
        seed: int,
        rank: int = 0,
        world: int = 1,
        *,
        workers: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """Raises:
        ConfigError: a batch larger than the catalogue, or one that does not divide over the processes.
        CatalogueError: a prepared cache of pictures for another model.
        """
        if train.batch_size > len(catalogue):
            raise ConfigError(
                f"train.batch_size is {train.batch_size}, and there are {len(catalogue)} training items; "
                f"set it to {len(catalogue)} or less"
            )
        if train.batch_size % world:
            raise ConfigError(
                f"train.batch_size {train.batch_size} does not divide over {world} processes; "
                f"{train.batch_size - train.batch_size % world or world} would"
            )
        if catalogue.prepared is not None:
            catalogue.prepared.require(augment.preprocess)
        self.catalogue = catalogue
        self.train = train
        self.augment = augment
        self.seed = seed
        self.rank = rank
        self.world = world
        self.workers = workers
        self.device = torch.device(device)
        self.tokens: KeptTokens | None = None
        """To be read instead of pictures; needs `train.views`."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps, the last one filled up."""
        return -(-len(self.catalogue) // self.train.batch_size)

    def order(self, epoch: int) -> Int[np.ndarray, " draws"]:
        """Items of the whole epoch over all processes, steps_per_epoch * batch_size of them."""
        items = epoch_order(self.catalogue, epoch, self.seed, self.train.balance, self.train.balance_cap)
        return np.resize(items, self.steps_per_epoch * self.train.batch_size)

    def epoch(
        self, epoch: int, start_step: int = 0, order: Int[np.ndarray, " draws"] | None = None
    ) -> Iterator[list[TrainBatch]]:
        """The micro-batches of each step from `start_step` on.

        Args:
            order: the epoch's draws in another order than `order(epoch)`; the same on every process.

        Raises:
            CatalogueError: a picture that cannot be decoded; the message names item, file and remedy.
        """
        jobs = self._jobs(self.order(epoch) if order is None else order, start_step)
        loader = self._load(epoch, [job for step in jobs for job in step])
        try:
            for step in jobs:
                yield [self._batch(job, next(loader)) for job in step]
        finally:
            del loader  # ends the workers now, not when the last traceback that refers to this frame is collected

    def _jobs(self, order: np.ndarray, start_step: int) -> list[list["_Job"]]:
        """Per step, what each micro-batch of this process holds."""
        repeats = occurrences(order)
        share = self.train.batch_size // self.world
        steps = []
        for step in range(start_step, self.steps_per_epoch):
            first = step * self.train.batch_size + self.rank * share
            cuts = range(first, first + share, self.train.micro_batch)
            ends = [min(cut + self.train.micro_batch, first + share) for cut in cuts]
            steps.append([_Job(order[cut:end], repeats[cut:end]) for cut, end in zip(cuts, ends, strict=True)])
        return steps

    def _load(self, epoch: int, jobs: list["_Job"]) -> Iterator[torch.Tensor | CatalogueError]:
        views = self.train.views
        if self.tokens is None:
            decoding = _Decoding(self.catalogue, self.augment, epoch, jobs, views)
        else:
            decoding = _Reading(self.tokens, epoch, jobs, views)
        if self.workers == 0:
            return (decoding[index] for index in range(len(jobs)))
        loader = torch.utils.data.DataLoader(
            decoding,
            batch_size=None,
            num_workers=min(self.workers, max(len(jobs), 1)),
            pin_memory=self.device.type == "cuda",
        )
        return iter(loader)

    def _batch(self, job: "_Job", loaded: torch.Tensor | CatalogueError) -> TrainBatch:
        if isinstance(loaded, CatalogueError):
            raise loaded
        kept = self.tokens is not None
        return TrainBatch(job.indices, job.repeats, loaded, self.augment.preprocess, self.device, kept)


class _Job(NamedTuple):
    indices: np.ndarray
    repeats: np.ndarray


class _Decoding(torch.utils.data.Dataset):
    """Micro-batches by number, decoded and augmented, for the DataLoader's workers."""

    def __init__(self, catalogue: Catalogue, augment: Augment, epoch: int, jobs: list[_Job], views: int) -> None:
        self._catalogue = catalogue
        self._augment = augment
        self._epoch = epoch
        self._jobs = jobs
        self._views = views

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, number: int) -> torch.Tensor | CatalogueError:
        job = self._jobs[number]
        side = self._augment.preprocess.size
        stored = np.empty((len(job.indices), side, side, 3), dtype=np.uint8)
        draws = views_of(self._epoch, job.repeats, self._views) if self._views else job.repeats
        try:
            for place, (index, draw) in enumerate(zip(job.indices.tolist(), draws.tolist(), strict=True)):
                picture = self._catalogue.picture(index)
                if self._views:
                    stored[place] = self._augment.view(picture, draw, index)
                else:
                    stored[place] = self._augment.pixels(picture, self._epoch, index, draw)
        except CatalogueError as error:
            return error  # raised by the reader: from a worker it would arrive with its traceback for a message
        return torch.from_numpy(stored)


class _Reading(torch.utils.data.Dataset):
    """Micro-batches by number, as tokens that were computed before."""

    def __init__(self, tokens: KeptTokens, epoch: int, jobs: list[_Job], views: int) -> None:
        self._tokens = tokens
        self._epoch = epoch
        self._jobs = jobs
        self._views = views

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, number: int) -> torch.Tensor:
        job = self._jobs[number]
        return self._tokens.read(job.indices, views_of(self._epoch, job.repeats, self._views))


def views_of(epoch: int, repeats: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " n"]:
    """The numbers of the views that draws see: an item's first in this epoch, its second (repeats 1), and so on."""
    return (epoch + repeats) % count
