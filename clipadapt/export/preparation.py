"""What every format starts from: a place that may be written to, and a model with its adapters merged.

    ready = prepare("run:runs/fashion", out, strength={"image": 0.8})
    ready.encoder       merged and fused: the base's own graph
    ready.measured      its vectors of some inputs before that, to compare with those of what was written

What can be known before work starts is refused before work starts: a folder in use, too little disk, a model without
torch weights. Nothing here knows how a format is written.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from clipadapt.atomic import refuse_unwritable
from clipadapt.errors import ModelError, StoreError, UsageError
from clipadapt.export.parity import Agreement, Probe, probe
from clipadapt.export.strength import Curve, Strength, factors
from clipadapt.runs import Run
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.identity import Lineage
from clipadapt.towers.load import load
from clipadapt.towers.merge import merge
from clipadapt.towers.packed import fuse_attention

_SPARE = 2**24
"""Bytes for everything that is not weights."""


class Exported(NamedTuple):
    """What was written, and how well it agrees with what was measured."""

    path: Path
    format: str
    """Name of the form."""
    agreement: Agreement
    image_space: str
    text_space: str | None


class Prepared(NamedTuple):
    """A merged model, ready to be written."""

    encoder: TorchEncoder
    measured: Probe
    lineage: Lineage
    curve: Curve | None
    """What the strengths were chosen by; null where they were given."""

    def exported(self, out: Path, to: str, agreement: Agreement) -> Exported:
        """What the exporter returns."""
        return Exported(out, to, agreement, self.encoder.image_space, self.encoder.text_space)


def prepare(
    model: str | TorchEncoder,
    out: Path,
    *,
    strength: Strength | None,
    overwrite: bool,
    share: float = 1.0,
    check: Callable[[TorchEncoder], None] | None = None,
) -> Prepared:
    """Refuses what cannot be done, loads the model and merges it.

    Args:
        model: a MODEL string, or an encoder, which is merged in place.
        out: a folder that does not exist or is empty, unless `overwrite`.
        strength: factors on what the adapters add, 1 where not named; or the curve they were found by.
        share: bytes to be written over those of the weights.
        check: refuses, before anything is merged, a model that the format cannot hold.

    Raises:
        UsageError: the folder is not empty.
        ModelError: the model cannot be loaded, or has no torch weights.
        StoreError: too little room on the disk.
    """
    refuse_occupied(out, overwrite)
    encoder = torch_encoder(model)
    if check is not None:
        check(encoder)
    refuse_small_disk(out, encoder, share)
    measured, lineage = merged(encoder, strength)
    return Prepared(encoder, measured, lineage, strength if isinstance(strength, Curve) else None)


def refuse_occupied(out: Path, overwrite: bool = False) -> None:
    """Before any work starts.

    Raises:
        UsageError: `out` is a file, or a folder that holds something and is not to be replaced.
        StoreError: nothing can be written beside it, where it is made.
    """
    if out.exists() and not overwrite and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is there already and not empty; give another folder")
    refuse_unwritable(out.parent)


def refuse_small_disk(out: Path, encoder: TorchEncoder, share: float) -> None:
    """Before anything is merged or traced.

    Raises:
        StoreError: the weights, times `share`, do not fit beside what is on the disk.
    """
    size = sum(value.numel() * value.element_size() for value in encoder.model.state_dict().values())
    needed = int(size * share) + _SPARE
    where = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(where).free
    if needed > free:
        raise StoreError(
            f"{out}: the export needs about {needed / 2**20:,.0f} MiB and {free / 2**20:,.0f} MiB are free; nothing "
            "was written. Free some space, or choose another disk"
        )


def torch_encoder(model: str | TorchEncoder) -> TorchEncoder:
    """The model with its torch weights, on the CPU.

    Raises:
        ModelError: it has none, being an export itself.
    """
    encoder = load(model) if isinstance(model, str) else model
    if not isinstance(encoder, TorchEncoder):
        raise ModelError(f"{model}: holds no torch weights to merge and write; name the run or the checkpoint")
    return encoder.cpu()


def run_of(model: str) -> Run:
    """The run that run:PATH names; PATH is its folder, or that of its adapter.

    Raises:
        UsageError: the MODEL string is of another kind.
        ModelError: no run lies there.
    """
    scheme, _, path = model.partition(":")
    if scheme != "run" or not path:
        raise UsageError(f"{model}: is no run, and only a run knows its tune split; name run:PATH")
    folder = Path(path).expanduser()
    return Run.open(folder.parent if folder.name == "adapter" else folder)


def merged(encoder: TorchEncoder, strength: Strength | None) -> tuple[Probe, Lineage]:
    """Merges and fuses `encoder` in place -> what it says (before merging, at full strength), and what it is now."""
    whole = factors(strength)
    unmerged = probe(encoder) if set(whole.values()) == {1.0} else None
    if encoder.adapters is not None:
        merge(encoder, whole)
    fuse_attention(encoder.model)
    return unmerged or probe(encoder), encoder.written_lineage()
