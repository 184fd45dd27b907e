"""Which adapter a run keeps: written beside its place, and put there once a checkpoint says that it is the best.

    keeping.write(encoder, run, progress)      # RUN/adapter.epoch-3
    checkpoints.save(...)                      # whose `progress` names it
    keeping.put_in_place(run, progress)        # RUN/adapter

A run that is killed between any two of these goes on from its last checkpoint, and has the adapter that this one speaks
of: the new one where the checkpoint names it, else the one from before. Nothing here trains or measures.
"""

import re
import shutil
from pathlib import Path

from clipadapt.atomic import Guard, atomic_folder, flush
from clipadapt.config import Config
from clipadapt.errors import TrainingError
from clipadapt.runs import Run
from clipadapt.towers.adapter import save_adapter, trained_tokens
from clipadapt.towers.adapter_state import Adapters
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.training.checkpoints import Progress

_WRITTEN = re.compile(r"adapter\.(epoch-\d+|texts)")
"""Others that lie beside an adapter, such as a copy of it, are their owner's."""
NO_BETTER = "tune is no better than before training: do not ship this adapter; look at train.lr and the captions"


def write(encoder: TorchEncoder, run: Run, progress: Progress) -> None:
    """Writes the adapter as it is now, to be put in place when a checkpoint of `progress` is there.

    Raises:
        StoreError: the disk refuses; what the run has is as it was.
    """
    save_adapter(encoder, run.adapter.with_name(f"{run.adapter.name}.{progress.kept}"))


def put_in_place(run: Run, progress: Progress) -> None:
    """Puts the adapter that a checkpoint names in the run's place for it, and removes what no checkpoint names.

    May be repeated; without anything written it changes nothing.

    Raises:
        StoreError: the disk refuses; what was written stays for the next start.
    """
    for left in run.path.glob(".adapter.*.removed"):
        shutil.rmtree(left, ignore_errors=True)
    for written in sorted(one for one in run.path.glob("adapter.*") if one.is_dir() and _WRITTEN.fullmatch(one.name)):
        if written.name == f"{run.adapter.name}.{progress.kept}":
            with Guard(run.adapter), atomic_folder(run.adapter) as staging:
                shutil.copytree(written, staging, dirs_exist_ok=True)
        # Under its name it is whole or not there: what a kill left of it must not be put in place.
        removed = written.rename(written.with_name(f".{written.name}.removed"))
        flush(run.path)
        shutil.rmtree(removed, ignore_errors=True)


def require(encoder: TorchEncoder, run: Run, progress: Progress, checkpoint: Path) -> None:
    """That the adapter is there which a checkpoint goes on from, and trains the tokens that are trained now.

    Raises:
        TrainingError: it is not.
    """
    if progress.best is None:
        return
    anew = f"or remove {run.checkpoints} to start anew"
    if not run.adapter.is_dir():
        raise TrainingError(
            f"{run.adapter}: missing, and {checkpoint} goes on from an epoch that kept its adapter there; restore it, "
            f"{anew}"
        )
    adapters = encoder.adapters
    if isinstance(adapters, Adapters) and trained_tokens(run.adapter) != adapters.token_ids():
        raise TrainingError(
            f"{run.adapter}: lora.tokens chose other tokens then than now, for names, titles or wordings have changed; "
            f"put them back, {anew}"
        )


def summary(progress: Progress, config: Config, metric: str) -> str:
    """Which epoch is the best on tune, and what the kept adapter scores there: the mean over the wordings that it is
    measured in.

    Args:
        metric: what epochs are chosen by.
    """
    linear, pictures_first = config.head == "linear", config.train.order == "pictures_first"
    start = "the linear probe" if linear else "the value vectors" if pictures_first else "the text warm-up"
    best = progress.best or 0
    chosen = f"the best by {metric} on tune is {f'epoch {best}' if best else start}"
    if not (score := progress.scores()[best]):
        return chosen
    sign = -1.0 if metric == "loss" else 1.0
    figures = f"{sign * score[0]:.3f}"
    if progress.texts is not None:
        figures += f"; {sign * progress.texts[0]:.3f} as the run keeps it, with what was learned after the epochs"
    return f"{chosen} ({figures})"


def no_better(progress: Progress) -> bool:
    """Whether what is kept is no better on tune than the model as it was."""
    kept = progress.texts or progress.scores()[progress.best or 0]
    return progress.first is not None and kept <= progress.first
