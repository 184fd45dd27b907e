"""LoRA on both towers through peft, with the guards that stop an adapter from failing silently.

    report = add_adapters(encoder, config.lora, seed)      splits attention, adds adapters, counts them
    report = select_trainable(encoder, config.train, config.lora, seed)     the same, or norms, or everything
    add_adapters(encoder, config.lora, seed, tokens=own_tokens(...))        with rows of the token embedding
    loss.backward(); check_gradients(encoder)              after the first backward

Rank is per module, by the plan; alpha follows it so that alpha / rank is the same everywhere (with rsLoRA alpha itself
is), so a plan changes capacity and not the size of updates. Nothing here knows of losses, files or merging.
"""

import dataclasses
import difflib
import re
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn

from clipadapt import config
from clipadapt.errors import AdapterError, ConfigError, listing
from clipadapt.towers.adapter_state import NAME, Adapters, inject, train_in_place
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.identity import TOWERS, Tower
from clipadapt.towers.names import PROJECTIONS, is_norm
from clipadapt.towers.packed import split_attention
from clipadapt.towers.plan import match
from clipadapt.towers.tokens import embedding_path, wrappers

_OURS = frozenset(
    (
        *("r", "lora_alpha", "lora_dropout", "bias", "rank_pattern", "alpha_pattern", "target_modules"),
        *("exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern", "layer_replication"),
        *("target_parameters", "trainable_token_indices", "task_type", "peft_type", "inference_mode"),
        *("base_model_name_or_path", "revision"),
    )
)
"""peft options that the plan, rank, alpha, dropout, norms and tokens of the config decide."""
OPTIONS = ("use_dora", "use_rslora", "lora_bias", "init_lora_weights", "use_qalora", "qalora_group_size")
"""peft options whose adapter loads as it was trained, merges exactly, and is the base at strength 0 (peft 0.21.2; tests
hold each). Others are refused before training: KaSA, VeLoRA, MonteCLoRA and BD-LoRA train adapters that do not load or
change the base, arrow and runtime settings fail, and aLoRA trains nothing here; docs/libraries.md has the table."""
_NEED_DATA = ("eva", "corda", "lora_ga", "loftq")
"""Initialisations that need passes over data, or a quantized base, before training."""


class Tally(NamedTuple):
    """One tower's parameters and adapters."""

    trainable: int
    total: int
    adapters: int
    tokens: int = 0
    """Whose rows of the token embedding are trained by themselves."""

    def __str__(self) -> str:
        share = self.trainable / self.total if self.total else 0.0
        text = f"{self.trainable:,} of {self.total:,} parameters trained ({share:.2%}), {self.adapters} adapters"
        return f"{text}, {self.tokens} tokens" if self.tokens else text


class AdapterReport(NamedTuple):
    """What trains, per tower."""

    towers: dict[Tower, Tally]

    def __str__(self) -> str:
        return "\n".join(f"{tower}: {tally}" for tower, tally in self.towers.items())


def select_trainable(
    encoder: TorchEncoder, train: config.Train, lora: config.Lora, seed: int = 0, *, tokens: Sequence[int] = ()
) -> AdapterReport:
    """Makes trainable what `train.trainable` says, in the towers of `lora.preset`, and nothing else.

    `tokens`: as of add_adapters.

    Raises:
        ConfigError: a plan or option that cannot be followed.
        AdapterError: adapters that are missing, or an encoder that already carries some.
    """
    if train.trainable == "adapters":
        return add_adapters(encoder, lora, seed, tokens=tokens)
    if tokens:
        raise ConfigError(f"lora.tokens: trained beside adapters, and train.trainable is {train.trainable}")
    _refuse_adapted(encoder)
    encoder.requires_grad_(False)
    towers = _towers(encoder, lora)
    if train.trainable == "head":
        names: list[str] = []
    elif train.trainable == "norms":
        names = _norm_parameters(encoder, towers)
    else:
        names = [name for name, _ in encoder.model.named_parameters() if encoder.tower_of(name) in towers]
    adapters = Adapters(encoder, train.trainable, None)
    train_in_place(encoder, adapters, names)
    encoder.adapters = adapters
    return tally(encoder)


def add_adapters(
    encoder: TorchEncoder, lora: config.Lora, seed: int = 0, *, tokens: Sequence[int] = ()
) -> AdapterReport:
    """Splits attention, adds an adapter to every module that the plan gives a rank, and freezes the rest.

    What is drawn depends on `seed` alone. The logit scale stays frozen; its owner decides.
    `tokens`: ids whose rows of the text tower's token embedding are trained by themselves; see tokens.py.

    Raises:
        ConfigError: a pattern that decides nothing, a norm with a rank, an option that is unknown, is decided elsewhere
            or needs data.
        AdapterError: fewer adapters than blocks x planned projections, naming those that are missing; a tower without
            blocks; a text tower without a token embedding; an encoder that already carries adapters.
    """
    _refuse_adapted(encoder)
    split_attention(encoder.model)
    names = encoder.logical_names()
    towers = _towers(encoder, lora)
    if tokens and "text" not in towers:
        raise ConfigError(f"lora.tokens: the text tower's, and {', '.join(towers)} alone is trained; set it to false")
    planned = {
        name: rank
        for name, rank in match(lora.resolved_plan(), _candidates(names, towers)).items()
        if rank is not None and name.partition(".")[0] in towers
    }
    _refuse_norms(encoder, planned, names)
    _refuse_missing(planned, [name for name in planned if name in names])
    targets = {names[name]: rank for name, rank in planned.items()}
    if lora.options.get("lora_bias"):
        _refuse_biasless(encoder, targets)
    rows = {embedding_path(encoder): list(tokens)} if tokens else None
    adapters = inject(encoder, _peft_config(lora, targets, encoder.lineage.base, rows), seed)
    if lora.norms:
        train_in_place(encoder, adapters, _norm_parameters(encoder, towers))
    by_path = {path: name for name, path in names.items()}
    _refuse_missing(planned, [by_path[path] for path in adapters.layers()])
    encoder.adapters = adapters
    return tally(encoder)


def check_gradients(encoder: TorchEncoder, towers: Collection[Tower] = TOWERS) -> None:
    """After the first backward: every adapter has a gradient on its B, every other trained weight has one at all.

    `towers` limits the check to those that took part in the step. A's gradient is zero at the first step, rightly,
    because B starts at zero.

    Raises:
        AdapterError: naming what the gradient did not reach.
    """
    lost = []
    for name, parameter in encoder.model.named_parameters():
        if not parameter.requires_grad or encoder.tower_of(name) not in towers:
            continue
        is_b = ".lora_B." in name
        if parameter.grad is None or (is_b and not parameter.grad.any()):
            lost.append(name)
    if lost:
        by_path = {path: name for name, path in encoder.logical_names().items()}
        shown = list(dict.fromkeys(str(by_path.get(name.partition(".lora_")[0], name)) for name in lost))
        raise AdapterError(
            f"{len(shown)} adapter(s) or weight(s) got no gradient, so training would leave them as they are; "
            f"freeze them in lora.plan, or report the layout of this model{listing(shown)}"
        )


def tally(encoder: TorchEncoder) -> AdapterReport:
    """Counts per tower; an adapter's own parameters are part of neither the base nor its total."""
    counts: dict[Tower, tuple[int, int]] = {}
    for name, parameter in encoder.model.named_parameters():
        tower = encoder.tower_of(name)
        if tower is not None:
            trainable, total = counts.get(tower, (0, 0))
            trainable += parameter.numel() if parameter.requires_grad else 0
            added = ".lora_" in name or ".trainable_tokens_" in name
            counts[tower] = trainable, total + (0 if added else parameter.numel())
    rows = {
        encoder.tower_of(path): len(one.token_adapter.token_indices[NAME])
        for path, one in wrappers(encoder.model).items()
    }
    layers = [path for path, module in encoder.model.named_modules() if isinstance(module, LoraLayer)]
    towers = [encoder.tower_of(path) for path in layers]
    return AdapterReport(
        {tower: Tally(*counts[tower], towers.count(tower), rows.get(tower, 0)) for tower in TOWERS if tower in counts}
    )


def _refuse_adapted(encoder: TorchEncoder) -> None:
    if encoder.adapters is not None:
        raise AdapterError(f"{encoder.name} already carries adapters; merge them first, or load its base")


def _towers(encoder: TorchEncoder, lora: config.Lora) -> tuple[Tower, ...]:
    """The towers of the preset that the encoder has.

    Raises:
        ConfigError: the preset names a tower that is not there.
    """
    present: tuple[Tower, ...] = ("image",) if encoder.context_length is None else TOWERS
    if lora.preset == "both":
        return present
    if lora.preset not in present:
        raise ConfigError(f"lora.preset: {lora.preset}, but {encoder.name} is an image tower alone")
    return (lora.preset,)


def _norm_parameters(encoder: TorchEncoder, towers: Collection[Tower]) -> list[str]:
    return [
        f"{path}.{name}"
        for path, module in encoder.model.named_modules()
        if is_norm(module) and encoder.tower_of(path) in towers
        for name, _ in module.named_parameters(recurse=False)
    ]


def _candidates(names: Mapping[str, str], towers: Collection[str]) -> list[str]:
    """The names that are there, and those of q, k, v and out that every attention of these towers must have.

    Raises:
        AdapterError: a tower has no block that a name could be read from.
    """
    wanted = dict.fromkeys(names)
    for tower in towers:
        blocks = dict.fromkeys(match[1] for name in names if (match := re.match(rf"({tower}\.blocks\.\d+)\.", name)))
        if not blocks:
            raise AdapterError(
                f"the {tower} tower has no transformer blocks that adapters could go into (a ResNet has none); "
                f"choose lora.preset {'text' if tower == 'image' else 'image'}, or another model"
            )
        pool = [f"{tower}.pool"] if any(name.startswith(f"{tower}.pool.attention.") for name in names) else []
        wanted |= dict.fromkeys(f"{place}.attention.{part}" for place in (*blocks, *pool) for part in PROJECTIONS)
    return list(wanted)


def _refuse_norms(encoder: TorchEncoder, planned: Mapping[str, int], names: Mapping[str, str]) -> None:
    norms = [name for name in planned if name in names and not _is_linear(encoder.model.get_submodule(names[name]))]
    if norms:
        raise ConfigError(
            f"lora.plan gives a rank to {len(norms)} norm(s), such as {norms[0]}; a norm has no rank: "
            "write null there and set lora.norms: true to train its scale and bias"
        )
    if not planned:
        raise ConfigError("lora.plan freezes everything in the towers of lora.preset; give some pattern a rank")


def _refuse_biasless(encoder: TorchEncoder, targets: Iterable[str]) -> None:
    bare = [path for path in targets if getattr(encoder.model.get_submodule(path), "bias", None) is None]
    if bare:
        raise ConfigError(
            f"lora.options: lora_bias could not be merged into {len(bare)} Linear(s) without a bias, such as "
            f"{bare[0]}; freeze them in lora.plan, or leave lora_bias out"
        )


def _refuse_missing(planned: Collection[str], present: Collection[str]) -> None:
    missing = [name for name in planned if name not in present]
    if missing:
        raise AdapterError(
            f"{len(planned)} adapters are planned (blocks x projections) and {len(present)} found; the model has no "
            f"Linear of its own for{listing(missing)}"
        )


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or hasattr(module, "base_layer")


def _peft_config(
    lora: config.Lora, targets: Mapping[str, int], base: str, tokens: Mapping[str, list[int]] | None
) -> LoraConfig:
    """peft's config for these module paths and ranks, and the tokens of an embedding."""
    known = {field.name for field in dataclasses.fields(LoraConfig)}
    faults = []
    for option in lora.options:
        if option in _OURS:
            faults.append(f"{option}: decided by lora.plan, rank, alpha, dropout, norms or tokens; leave it out")
        elif option not in known:
            close = difflib.get_close_matches(option, known - _OURS, n=1)
            faults.append(f"{option}: no option of peft.LoraConfig" + (f"; did you mean {close[0]}?" if close else ""))
        elif option not in OPTIONS:
            faults.append(
                f"{option}: not used here, for its adapter does not load or merge as it was trained; "
                f"options that do: {', '.join(OPTIONS)}"
            )
    initial = lora.options.get("init_lora_weights", True)
    if initial in _NEED_DATA:
        faults.append(f"init_lora_weights: {initial} needs passes over data before training, which is not supported")
    if faults:
        raise ConfigError(f"lora.options: {len(faults)} fault(s){listing(faults)}")
    ranks: dict[int, list[str]] = {}
    for path, rank in targets.items():
        ranks.setdefault(rank, []).append(path)
    others = {expression(paths): rank for rank, paths in ranks.items() if rank != lora.rank}
    follow = {
        key: lora.alpha * (1 if lora.options.get("use_rslora") else rank / lora.rank) for key, rank in others.items()
    }
    with warnings.catch_warnings():  # peft cannot convert PiSSA with rsLoRA and a rank pattern; saved_config does
        warnings.filterwarnings("ignore", message="Using Rank-Stabilized LoRA with rank_pattern")
        try:
            return LoraConfig(
                r=lora.rank,
                lora_alpha=lora.alpha,  # pyright: ignore[reportArgumentType]  # peft divides it, fractions are fine
                lora_dropout=lora.dropout,
                target_modules=expression(targets),
                rank_pattern=others,
                alpha_pattern=follow,
                trainable_token_indices=tokens,  # pyright: ignore[reportArgumentType]  # a dict by embedding, too
                base_model_name_or_path=base,
                **lora.options,
            )
        except (ValueError, TypeError, ImportError) as error:
            raise ConfigError(f"lora.options: peft refuses them: {error}") from error


def expression(paths: Iterable[str]) -> str:
    """A regular expression for exactly these module paths, blocks that differ only in their number written once.

    Anchored, because peft otherwise matches ends of paths, and one tower's paths are ends of the other's in open_clip.
    """
    numbers: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        block = re.match(r"(.*?\.)(\d+)(\..*)", path)
        head, number, tail = block.groups() if block else (path, "", "")
        numbers.setdefault((head, tail), []).append(number)
    tails: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (head, tail), blocks in numbers.items():
        tails.setdefault((head, tuple(blocks)), []).append(tail)
    parts = []
    for (head, blocks), ends in tails.items():
        middle = f"(?:{'|'.join(blocks)})" if any(blocks) else ""
        parts.append(f"{re.escape(head)}{middle}(?:{'|'.join(re.escape(end) for end in ends)})")
    return f"^(?:{'|'.join(parts)})$"
