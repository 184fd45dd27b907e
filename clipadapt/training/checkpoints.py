"""Checkpoints: everything a run needs to go on, in safetensors and JSON, each folder whole or absent.

    checkpoints/step-00000120/parameters.safetensors    what is trained: adapters, norms, logit scale
                              optimizer.safetensors     AdamW's moments and step counts, by parameter name
                              state.json                where the run was, best epoch so far, sha256 of both files

The order of items, captions, crops and dropout are keyed by (seed, epoch or step, item), so there is no random state to
save. Frozen weights are not saved: they are the base's, which the config names. Knows nothing of towers or losses.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from clipadapt.atomic import atomic_folder, sha256_file
from clipadapt.errors import TrainingError

SCHEMA = 1
_FOLDER = re.compile(r"step-(\d{8})")
_FILES = ("parameters.safetensors", "optimizer.safetensors")
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Epoch(BaseModel):
    """One finished epoch, as selection and the stall guard look back on it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: float
    """Mean training loss."""
    accuracy: float | None
    """Share of training items whose nearest text was a right one; null where none could be judged: mixed pictures and
    lists of values have no one right answer."""
    chance: float | None
    """The accuracy that guessing would have; null with it."""
    score: tuple[float, ...]
    """What tune says of it, the first figure first; larger is better."""


class Progress(BaseModel):
    """Where a run stands."""

    model_config = ConfigDict(extra="forbid")

    step: int = 0
    """Optimizer steps done in the main phase; a text warm-up is over whenever a checkpoint exists."""
    epochs: list[Epoch] = []
    """Finished epochs, in order."""
    first: tuple[float, ...] | None = None
    """Tune's score of the model as it was before the first step."""
    start: tuple[float, ...] | None = Field(default=None, validation_alias=AliasChoices("start", "led"))
    """Tune's score after the text warm-up, or of the linear probe; null without them. Earlier versions wrote `led`."""
    texts: tuple[float, ...] | None = None
    """Tune's score after the texts that were trained after all epochs; null where none were, or not yet."""
    best: int | None = None
    """Number of the best epoch, from 1, whose adapter lies in the run's adapter folder; 0 is what epochs start from."""
    sums: dict[str, float] = {}
    """Running sums of the epoch that is under way, for its mean loss and accuracy."""
    loss_scale: tuple[float, int] | None = None
    """fp16's gradient scale and the steps since it last changed; null in other precisions. Earlier versions wrote the
    scale alone."""
    logged: int | None = None
    """Bytes of the run's log; null in checkpoints of earlier versions."""
    order: list[int] | None = None
    """Draws of the epoch that is under way, where the model at its start decided on them; null otherwise."""

    @field_validator("loss_scale", mode="before")
    @classmethod
    def _scale_alone(cls, value: object) -> object:
        return (value, 0) if isinstance(value, float) else value

    @property
    def kept(self) -> str | None:
        """Names the adapter that the run keeps: that of its best epoch, until the texts that follow are trained."""
        if self.texts is not None:
            return "texts"
        return None if self.best is None else f"epoch-{self.best}"

    def add(self, *, loss: float, right: float, judged: float, guessed: float) -> None:
        """Counts one step towards its epoch."""
        for name, value in (("steps", 1.0), ("loss", loss), ("right", right), ("judged", judged), ("guessed", guessed)):
            self.sums[name] = self.sums.get(name, 0.0) + value

    def close_epoch(self, score: tuple[float, ...]) -> Epoch:
        """Turns the sums into a finished epoch, which tune gave this score."""
        judged = self.sums["judged"]
        epoch = Epoch(
            loss=self.sums["loss"] / self.sums["steps"],
            accuracy=self.sums["right"] / judged if judged else None,
            chance=self.sums["guessed"] / judged if judged else None,
            score=score,
        )
        self.epochs.append(epoch)
        self.sums = {}
        self.order = None
        return epoch

    def scores(self) -> list[tuple[float, ...]]:
        """Tune's scores, at the place that `best` counts by: after the text warm-up, then after each epoch."""
        return [self.start or (), *(epoch.score for epoch in self.epochs)]


def save(
    root: Path, progress: Progress, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> Path:
    """Writes `root/step-N`, whole or not at all; an existing one of that step is replaced.

    Raises:
        StoreError: no space, or the folder cannot be written; earlier checkpoints are as they were.
    """
    folder = root / f"step-{progress.step:08d}"
    moments = {
        f"{moment}.{name}": optimizer.state[parameter][moment].detach().cpu().contiguous()
        for name, parameter in parameters.items()
        for moment in _MOMENTS
        if moment in optimizer.state.get(parameter, {})
    }
    with atomic_folder(folder) as staging:
        save_file({name: p.detach().cpu().contiguous() for name, p in parameters.items()}, staging / _FILES[0])
        save_file(moments, staging / _FILES[1])
        state = {
            "schema_version": SCHEMA,
            "sha256": {name: sha256_file(staging / name) for name in _FILES},
            "progress": progress.model_dump(mode="json"),
        }
        (staging / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    return folder


def latest(root: Path) -> Path | None:
    """The checkpoint with the most steps; None when there is none."""
    return max(_all(root), default=None)


def load(folder: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> Progress:
    """Puts a checkpoint's values into `parameters` and `optimizer`, in place, bit for bit.

    Raises:
        TrainingError: a file is missing or changed, or it holds other parameters than the config trains.
    """
    progress = _state(folder)
    values = _tensors(folder / _FILES[0])
    if values.keys() != parameters.keys():
        odd = sorted(values.keys() ^ parameters.keys())
        raise TrainingError(
            f"{folder}: holds other parameters than this config trains ({len(odd)} differ, first {odd[0]}); "
            "take another output_dir, or the config this run was started with"
        )
    for name, parameter in parameters.items():
        if values[name].shape != parameter.shape:
            raise TrainingError(
                f"{folder}: {name} has shape {tuple(values[name].shape)}, the config wants {tuple(parameter.shape)}"
            )
    moments = _tensors(folder / _FILES[1])
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name])
            held = {moment: moments[f"{moment}.{name}"] for moment in _MOMENTS if f"{moment}.{name}" in moments}
            if held:
                optimizer.state[parameter] = {moment: _placed(moment, t, parameter) for moment, t in held.items()}
    return progress


def prune(root: Path, keep: int) -> None:
    """Removes all but the `keep` checkpoints with the most steps; a half-removed one is never mistaken for whole."""
    for folder in sorted(_all(root))[:-keep]:
        folder.rename(folder.with_name(f".{folder.name}.removed"))
    for leftover in root.glob(".step-*"):  # these, and what a killed writer left behind
        shutil.rmtree(leftover, ignore_errors=True)


def _all(root: Path) -> list[Path]:
    return [child for child in root.iterdir() if _FOLDER.fullmatch(child.name)] if root.is_dir() else []


def _state(folder: Path) -> Progress:
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        if state["schema_version"] != SCHEMA:
            raise TrainingError(f"{folder}: schema {state['schema_version']}, this clipadapt reads {SCHEMA}")
        changed = [name for name in _FILES if sha256_file(folder / name) != state["sha256"][name]]
        progress = Progress.model_validate(state["progress"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise TrainingError(f"{folder}: cannot be read ({error}); {_REMEDY}") from error
    if changed:
        raise TrainingError(f"{folder}: {', '.join(changed)} changed since it was written; {_REMEDY}")
    return progress


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path}: cannot be read ({error}); {_REMEDY}") from error


def _placed(moment: str, value: torch.Tensor, parameter: nn.Parameter) -> torch.Tensor:
    """Moments live with their parameter; step counts too when AdamW is fused, which is always here on CPU and CUDA."""
    if moment == "step":
        return value.clone().to(parameter.device if parameter.device.type in ("cpu", "cuda") else "cpu")
    return value.clone().to(parameter.device)


_REMEDY = "remove this folder to go on from the checkpoint before it"
