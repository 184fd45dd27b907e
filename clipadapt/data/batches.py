"""The pictures of each optimizer step, for one process, in micro-batches.

What a step trains on depends on (seed, epoch, step) and the global batch size alone. Processes take contiguous parts of
it and cut them into micro-batches, so two processes, or smaller pieces, see the same items with the same crops. The
last batch of an epoch is filled up from the epoch's own beginning rather than dropped: contrastive losses depend on the
batch size, processes need equal shares, and at 5,000 items and batches of 512 dropping would lose a tenth.
A catalogue in shards is drawn in windows of shards (clipadapt.data.draws), without a list of the whole epoch; while one
window is read, the shards of the next are copied to this machine.
With `train.views` an item's n-th draw in epoch e is its view e + n, counted round: each view comes as often as others.
What is read may then be tokens of a view in place of its pixels. Nothing here knows of captions or losses.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped

from clipadapt import config
from clipadapt.data.augment import Augment
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.draws import Draws, ListedDraws, Stretch, WindowedDraws
from clipadapt.data.images import Preprocess
from clipadapt.data.pictures import InShards
from clipadapt.data.sampling import epoch_order
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
    """How often each was drawn before in this epoch; its augmentation is keyed by it."""
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
        window: int = 0,
    ) -> None:
        """`window`: shards among which the items of a catalogue in shards are mixed; 0: all, as of other catalogues.

        Raises:
            ConfigError: a batch larger than the catalogue, or one that does not divide over the processes; pictures
                that are mixed two by two, and an odd number of them; or balancing within windows.
            CatalogueError: a prepared cache, or shards, of pictures for another model.
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
        if augment.options.mixup or augment.options.cutmix:
            _refuse_cut_pairs(train, world)
        catalogue.require(augment.preprocess)
        self._shards = catalogue.pictures.shards() if window and isinstance(catalogue.pictures, InShards) else None
        if self._shards is not None and train.balance != "none":
            raise ConfigError(
                f"train.balance: {train.balance} draws rare values from the whole catalogue, and {catalogue.source} is "
                f"read by windows of {window} shards; set train.balance: none, or data.window: 0, which reads pictures "
                "from all shards at once: for shards on a disk of this machine"
            )
        self._window = window
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

    def draws(self, epoch: int) -> Draws:
        """What an epoch draws over all processes, steps_per_epoch * batch_size of it."""
        if self._shards is not None:
            return WindowedDraws(self._shards, self._window, epoch=epoch, seed=self.seed)
        items = epoch_order(self.catalogue, epoch, self.seed, self.train.balance, self.train.balance_cap)
        return ListedDraws(np.resize(items, self._draws_per_epoch))

    def order(self, epoch: int) -> Int[np.ndarray, " draws"]:
        """The items of all `draws`, as a list."""
        return self.draws(epoch).between(0, self._draws_per_epoch).items

    @property
    def _draws_per_epoch(self) -> int:
        return self.steps_per_epoch * self.train.batch_size

    def epoch(
        self, epoch: int, start_step: int = 0, order: Int[np.ndarray, " draws"] | None = None
    ) -> Iterator[list[TrainBatch]]:
        """The micro-batches of each step from `start_step` on.

        Args:
            order: the epoch's draws in another order than `order(epoch)`; the same on every process.

        Raises:
            CatalogueError: a picture that cannot be decoded; the message names item, file and remedy.
        """
        draws = self.draws(epoch) if order is None else ListedDraws(order)
        steps = range(start_step, self.steps_per_epoch)
        jobs = MicroBatches(draws, steps, self.train.batch_size, self.train.micro_batch, self.rank, self.world)
        loader = self._load(epoch, jobs)
        with self._ahead(draws) as reach:  # begun after the workers, which a thread must not be forked into
            try:
                for step in range(len(steps)):
                    reach(steps[step] * self.train.batch_size)
                    yield [self._batch(jobs[number], next(loader)) for number in jobs.of_step(step)]
            finally:
                del loader  # ends the workers now, not when the last traceback that refers to this frame is collected

    @contextlib.contextmanager
    def _ahead(self, draws: Draws) -> Iterator[Callable[[int], None]]:
        """What is called with the place of each step, so that the shards after it are copied while it is computed."""
        pictures = self.catalogue.pictures
        if not isinstance(draws, WindowedDraws) or not isinstance(pictures, InShards) or self.tokens is not None:
            yield lambda place: None
            return
        with pictures.ahead() as want:
            yield lambda place: want(draws.shards_from(place))

    def _load(self, epoch: int, jobs: "MicroBatches") -> Iterator[torch.Tensor | CatalogueError]:
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

    def _batch(self, job: Stretch, loaded: torch.Tensor | CatalogueError) -> TrainBatch:
        if isinstance(loaded, CatalogueError):
            raise loaded
        kept = self.tokens is not None
        return TrainBatch(job.items, job.repeats, loaded, self.augment.preprocess, self.device, kept)


def _refuse_cut_pairs(train: config.Train, world: int) -> None:
    """Pictures are mixed with their neighbours two by two: which ones must not depend on where a batch is cut.

    Raises:
        ConfigError: processes or micro-batches of an odd number of pictures, but for the last.
    """
    share = train.batch_size // world
    about = "augment.mixup and cutmix mix neighbouring pictures two by two, and pairs would depend on where"
    if world > 1 and share % 2:
        raise ConfigError(
            f"train.batch_size {train.batch_size} over {world} processes is {share} each: {about} an odd number is "
            f"cut; set it to {(share + 1) * world}"
        )
    if train.micro_batch % 2 and train.micro_batch < share:
        raise ConfigError(
            f"train.micro_batch {train.micro_batch}: {about} an odd number is cut; set it to {train.micro_batch + 1}"
        )


class MicroBatches:
    """The draws of a process's micro-batches, by number, from the first of some steps to their last."""

    def __init__(self, draws: Draws, steps: range, batch_size: int, micro_batch: int, rank: int, world: int) -> None:
        self._draws, self._steps = draws, steps
        self._batch_size, self._micro_batch = batch_size, micro_batch
        self._share = batch_size // world
        self._first = rank * self._share
        self._per_step = -(-self._share // micro_batch)

    def __len__(self) -> int:
        return len(self._steps) * self._per_step

    def of_step(self, step: int) -> range:
        """The numbers of a step's micro-batches, steps counted from the first."""
        return range(step * self._per_step, (step + 1) * self._per_step)

    def __getitem__(self, number: int) -> Stretch:
        step, cut = divmod(number, self._per_step)
        first = self._steps[step] * self._batch_size + self._first
        start = first + cut * self._micro_batch
        return self._draws.between(start, min(start + self._micro_batch, first + self._share))


class _Decoding(torch.utils.data.Dataset):
    """Micro-batches by number, decoded and augmented, for the DataLoader's workers."""

    def __init__(self, catalogue: Catalogue, augment: Augment, epoch: int, jobs: MicroBatches, views: int) -> None:
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
        stored = np.empty((len(job.items), side, side, 3), dtype=np.uint8)
        draws = views_of(self._epoch, job.repeats, self._views) if self._views else job.repeats
        try:
            for place, (index, draw) in enumerate(zip(job.items.tolist(), draws.tolist(), strict=True)):
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

    def __init__(self, tokens: KeptTokens, epoch: int, jobs: MicroBatches, views: int) -> None:
        self._tokens = tokens
        self._epoch = epoch
        self._jobs = jobs
        self._views = views

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, number: int) -> torch.Tensor:
        job = self._jobs[number]
        return self._tokens.read(job.items, views_of(self._epoch, job.repeats, self._views))


def views_of(epoch: int, repeats: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " n"]:
    """The numbers of the views that draws see: an item's first in this epoch, its second (repeats 1), and so on."""
    return (epoch + repeats) % count
