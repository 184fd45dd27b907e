"""Which adapter a run keeps: written beside its place, and put there once a checkpoint says that it is the best.

    keeping.write(encoder, run, progress)      # RUN/adapter.epoch-3
    checkpoints.save(...)                      # whose `progress` names it
    keeping.put_in_place(run, progress)        # RUN/adapter

A run that is killed between any two of these goes on from its last checkpoint, and has the adapter that this one speaks
of: the new one where the checkpoint names it, else the one from before. Nothing here knows of epochs or scores.
"""

import shutil

from clipadapt.atomic import atomic_folder
from clipadapt.runs import Run
from clipadapt.towers.adapter import save_adapter
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.training.checkpoints import Progress


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
    for written in sorted(run.path.glob(f"{run.adapter.name}.*")):
        if written.name == f"{run.adapter.name}.{progress.kept}":
            with atomic_folder(run.adapter) as staging:
                shutil.copytree(written, staging, dirs_exist_ok=True)
        shutil.rmtree(written)
