"""The frozen first blocks of the image tower, computed once: pictures -> tokens on disk that training goes on from.

    cached = train_from_tokens(config, folder, encoder, batches, step, processes, say)
    cached.vectors()          # of the plain views, by the tower as it is now: the base's, before training

A view is fixed (`train.views`), so what frozen blocks make of it is fixed, and training on tokens is training on these
views: adapters, dropout masks and gradients are those of the uncached run, to the rounding of what is kept.
What training does with vectors is not known here.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipadapt.config import Config
from clipadapt.data.augment import Augment
from clipadapt.data.batches import Batches
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.digests import text_digest
from clipadapt.errors import ModelError, StoreError
from clipadapt.processes.exchange import Processes
from clipadapt.processes.gather import gather
from clipadapt.progress import bar
from clipadapt.towers.cut import Cut, find_cut
from clipadapt.towers.encode import ahead
from clipadapt.towers.encoder import DTYPES, TorchEncoder, evaluating
from clipadapt.training.attention import training_attention
from clipadapt.training.step import Step
from clipadapt.training.tokens import Tokens, ViewTokens

_SPARE = 200 * 2**20
"""Bytes that are to stay free for checkpoints and metrics."""


class CachedBlocks:
    """A cut tower and the tokens of a catalogue's views that enter its upper half."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        encoder: TorchEncoder,
        cut: Cut,
        catalogue: Catalogue,
        augment: Augment,
        processes: Processes,
    ) -> None:
        self.cut = cut
        self.folder = folder
        self._encoder = encoder
        self._catalogue = catalogue
        self._augment = augment
        self._processes = processes
        self._batch = config.train.micro_batch
        self._checkpointing = config.model.checkpointing
        dtype = kept_dtype(config, cut)
        common = made_from(config, encoder, cut, catalogue)
        self.tokens = Tokens(
            [
                ViewTokens(
                    folder, number, {**common, "view": _view(augment, number)},
                    items=len(catalogue), shape=cut.shape, dtype=dtype,
                )
                for number in range(config.train.views)
            ]
        )  # fmt: skip

    def __str__(self) -> str:
        count, views = len(self._catalogue), len(self.tokens.views)
        each = self.tokens.views[0].bytes_per_item
        kept = str(self.tokens.views[0].dtype).removeprefix("torch.")
        return (
            f"tokens that enter {self.cut} of the image tower: {views} view(s) of {count:,} pictures, {each:,} bytes "
            f"each in {kept}, {self.tokens.bytes / 2**20:,.0f} MiB in {self.folder}"
        )

    def refuse_small_disk(self) -> None:
        """Before anything is computed.

        Raises:
            StoreError: what is missing does not fit.
        """
        needed = self.tokens.missing_bytes
        where = next(folder for folder in (self.folder.absolute(), *self.folder.absolute().parents) if folder.is_dir())
        free = shutil.disk_usage(where).free
        if needed and needed + _SPARE > free:
            raise StoreError(
                f"{self.folder}: the tokens of {len(self.tokens.views)} view(s) need {needed / 2**20:,.0f} MiB more "
                f"and {free / 2**20:,.0f} MiB are free, of which {_SPARE / 2**20:,.0f} stay for checkpoints; nothing "
                "was written. Free some space, lower train.views, name another disk in train.cache_folder, or set "
                "train.cache to optional, which then computes the frozen blocks in every step"
            )

    def fill(self) -> None:
        """Computes what is missing, each process its share of the files; ends when all of them are there.

        Raises:
            CatalogueError: a picture cannot be decoded.
            StoreError: no space, values that the kept type does not hold, or processes without a common folder.
        """
        if self._processes.main:
            for view in self.tokens.views:
                view.describe()
        self._processes.wait()
        missing = [(view, part) for view in self.tokens.views for part in view.missing()]
        mine = missing[self._processes.rank :: self._processes.count]
        self._processes.wait()  # or a file that another process has just written would be counted as there
        with bar(sum(len(view.items(part)) for view, part in mine), "computing frozen blocks", "images") as shown:
            for view, part in mine:
                view.write(part, self._compute(view, view.items(part), shown.advance))
        self._processes.wait()
        if left := [str(view.folder) for view in self.tokens.views if view.missing()]:
            raise StoreError(
                f"{left[0]}: files that other processes wrote are not here; all processes of a run need one folder: "
                "name one on a shared disk in train.cache_folder, or set train.cache to off"
            )

    def _compute(self, view: ViewTokens, items: np.ndarray, advance: Callable[[float], None]) -> Tensor:
        """The tokens of some items' view, on the CPU."""
        preprocess, device = self._encoder.preprocess, self._encoder.device
        kept = torch.empty(len(items), *view.shape, dtype=self.cut.dtype)

        def pixels(item: int) -> Tensor:
            return torch.from_numpy(self._augment.view(self._catalogue.picture(item), view.number, item))

        threads = 1 if self._augment.options.autoaugment else None  # its policy draws from torch's one generator
        for start, pictures in ahead(pixels, items, self._batch, threads=threads):
            batch = preprocess.normalise(torch.stack(pictures).to(device))
            with training_attention(device, checkpointing=self._checkpointing):
                kept[start : start + len(pictures)] = self.cut.lower(batch).cpu()
            advance(len(pictures))
        return kept

    def vectors(self) -> Float[Tensor, "n d"]:
        """Unit vectors of all items' plain views by the tower as it is now, the same on every process."""
        mine = self._processes.part(len(self._catalogue))
        plain, encoder = self.tokens.views[0], self._encoder
        found = torch.empty(len(mine), encoder.dim, device=encoder.device)
        with evaluating(encoder), torch.no_grad(), torch.compiler.set_stance("force_eager"):
            for start in range(0, len(mine), self._batch):
                some = mine[start : start + self._batch]
                found[start : start + len(some)] = F.normalize(self.cut.upper(plain.read(some)).float(), dim=-1)
        return gather(found)

    def remove_others(self) -> list[str]:
        """Takes away what earlier bases, plans or pictures left in the folder; returns the names."""
        kept = {view.folder for view in self.tokens.views}
        left = [path for path in self.folder.glob("view*-*") if path.is_dir() and path not in kept]
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
        return [path.name for path in left]


def train_from_tokens(
    config: Config,
    folder: Path,
    encoder: TorchEncoder,
    batches: Batches,
    step: Step,
    processes: Processes,
    say: Callable[[str], None],
) -> CachedBlocks | None:
    """Computes what the config asks for, and has `batches` and `step` go on from it; None where pictures are used.

    Collective: processes share the work, and what is on disk already is not computed again.

    Args:
        folder: of a run; `train.cache_folder` replaces it.
        say: is given what is kept and how large it is, or why nothing is.

    Raises:
        CatalogueError: a picture cannot be decoded.
        StoreError: the disk is too small, and the config does not allow to compute instead; or it fails.
    """
    cached = cached_blocks(config, folder, encoder, batches.catalogue, batches.augment, processes, say)
    if cached is not None:
        cached.fill()
        batches.tokens, step.cut = cached.tokens, cached.cut
    if config.model.compile and config.train.views:
        if cached is not None:
            cached.cut.compile()
        else:
            encoder.compile_towers(("image",))
    return cached


def cached_blocks(
    config: Config,
    folder: Path,
    encoder: TorchEncoder,
    catalogue: Catalogue,
    augment: Augment,
    processes: Processes,
    say: Callable[[str], None],
) -> CachedBlocks | None:
    """As train_from_tokens, with nothing computed yet."""
    settings = config.train
    if not settings.views or settings.cache == "off":
        return None
    if not any(p.requires_grad and encoder.tower_of(name) == "image" for name, p in encoder.model.named_parameters()):
        say("train.views: the image tower is not trained, so no tokens are kept")
        return None
    try:
        cut = find_cut(encoder)
    except ModelError as error:
        say(f"no tokens are kept, pictures run through the whole image tower: {error}")
        return None
    own = settings.cache_folder is None
    where = folder if settings.cache_folder is None else Path(settings.cache_folder).expanduser()
    cached = CachedBlocks(config, where, encoder, cut, catalogue, augment, processes)
    if own and processes.main and (names := cached.remove_others()):
        say(f"{where}: removed tokens of another base, plan or catalogue ({', '.join(names)})")
    processes.wait()
    fault = ""
    try:
        cached.refuse_small_disk()
    except StoreError as error:
        fault = str(error)
    full = torch.tensor([float(bool(fault))], device=encoder.device)
    processes.share([full])  # free space changes while it is looked at; all processes do what the first one found
    if full.item():
        fault = fault or f"{where}: its disk is too small for the tokens"
        if settings.cache == "required":
            raise StoreError(fault)
        say(f"no tokens are kept, frozen blocks are computed in every step: {fault}")
        return None
    say(str(cached))
    return cached


def kept_dtype(config: Config, cut: Cut) -> torch.dtype:
    """How tokens are kept: as they are, but float32 ones of a half-precision tower as float16."""
    if config.train.cache_dtype is not None:
        return DTYPES[config.train.cache_dtype]
    return torch.float16 if cut.dtype == torch.float32 and config.model.precision != "fp32" else cut.dtype


def made_from(config: Config, encoder: TorchEncoder, cut: Cut, catalogue: Catalogue) -> dict[str, Any]:
    """What decides the tokens of a view, besides the view."""
    return {
        "image_space": encoder.lineage.image_space,
        "frozen_blocks": cut.first,
        "precision": config.model.precision,
        "frozen_dtype": config.model.frozen_dtype,
        "items": text_digest(catalogue.ids),
        "pictures": text_digest(catalogue.pictures.stamps()),
        "decoding": catalogue.decoding.describe(),
        "prepared": catalogue.prepared is not None,
    }


def _view(augment: Augment, number: int) -> Any:
    if number == 0:
        return "plain"
    options = augment.options.model_dump(mode="json", exclude={"mixup", "cutmix", "force"})
    return {"number": number, "seed": augment.seed, **options}
