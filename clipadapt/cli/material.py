"""What tagging is about: the items to tag, and those that thresholds are fitted on, which are never the same.

    found = find(model="run:runs/fashion", source=None, split="validation", tune=None, ...)

A run brings the split that its training set aside, with a config it is carved the same way; a source that no training
knew gives a share of its training split. What is tagged may lack labels, or the very columns. Nothing here tags.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clipadapt.cli.subject import GENERIC, load_split, settings_of_run
from clipadapt.config import AttributeKind, Config, Data
from clipadapt.data.bins import training_counts
from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.data.sources import open_source
from clipadapt.data.splits import carve, load_splits
from clipadapt.errors import ConfigError
from clipadapt.evaluation.inputs import check_fitted
from clipadapt.tagging.thresholds import Thresholds

log = logging.getLogger(__name__)

DEFAULT_TUNE = "0.1"
_BARE_SEED = 0
"""Of the share that is carved where no config names a seed; the same as a config's default."""


class Material(NamedTuple):
    """What is tagged, and what thresholds are fitted on."""

    catalogue: Catalogue
    split: str
    """What the tagged split is called."""
    tune: Catalogue | None
    """None: thresholds are read from a file."""
    tune_name: str
    carved_from: str | None
    attributes: tuple[Attribute, ...]
    known: Mapping[str, Iterable[str]]
    """Attribute -> values of training."""
    prompts: str
    trained_on_it: bool
    """Whether the model's weights were fitted on what is tagged, so that its labels prove nothing."""


def find(
    *,
    model: str,
    source: str | None,
    split: str,
    tune: str | None,
    prompts: str | None,
    config: Path | None,
    attributes: Sequence[str],
    product: str | None,
    given: Thresholds | None,
) -> Material:
    """Puts together what options, a config, a run and fitted thresholds say.

    Raises:
        ConfigError: no source, no attribute, or tune is what is tagged or what the model was trained on.
    """
    settings = Config.load(config) if config is not None else settings_of_run(model)
    if settings is None and source is None:
        raise ConfigError("no source: name a catalogue with --source, or a config or run that has one")
    own = settings is not None and source in (None, settings.data.source)
    data = settings.data if settings is not None else Data(source=source or "")
    changed = {"source": source or data.source} | ({"product": product} if product is not None else {})
    data = data.model_copy(update=changed)
    words = prompts or (given.prompts["path"] if given else settings.prompts if settings else GENERIC)
    trained_on = data.splits.train if own and model.startswith("run:") else None
    if given is not None:
        declared = tuple(_declared(given))
        return Material(_tagged(data, split, declared), split, None, "", None, declared, {}, words, split == trained_on)
    if tune is not None and tune == split:
        raise ConfigError(f"--tune {tune}: what is tagged and reported cannot be what thresholds are fitted on")
    if tune is not None and tune == trained_on:
        raise ConfigError(
            f"--tune {tune}: {model} was trained on it and is too sure of it; leave --tune out to take the split that "
            "training set aside"
        )
    if own and tune is None:
        assert settings is not None, "a source of its own comes with settings"
        return _configured(settings, data, split, attributes, words, trained_on)
    return _bare(data, split, tune or DEFAULT_TUNE, attributes, words, trained_on, settings is not None)


def _configured(
    settings: Config, data: Data, split: str, attributes: Sequence[str], words: str, trained_on: str | None
) -> Material:
    """Splits as training made them."""
    splits, names = load_splits(data, settings.seed), data.splits
    tune = names.tune if isinstance(names.tune, str) else "tune"
    parts = {names.validation: splits.validation, names.train: splits.train, tune: splits.tune}
    declared = _chosen(splits.tune.attributes, attributes)
    catalogue = parts[split] if split in parts else _tagged(data, split, declared)
    check_fitted(catalogue, split, {"thresholds": tune}, splits.tune)
    carved_from = None if isinstance(names.tune, str) else names.train
    # Train without tune bears the name of the split that tune was carved from, but shares none of its products.
    called = f"{split} without {tune}" if split == carved_from else split
    known = training_counts(splits.train, splits.tune)
    return Material(catalogue, called, splits.tune, tune, carved_from, declared, known, words, split == trained_on)


def _bare(
    data: Data, split: str, tune: str, attributes: Sequence[str], words: str, trained_on: str | None, named: bool
) -> Material:
    """A split of the source, or a share of its training split, that no config set aside.

    Args:
        named: whether a config names the attributes; else those of the default config that tune has.
    """
    share = _share(tune)
    base = data.splits.train if share is not None else tune
    if share is not None and trained_on is not None:
        raise ConfigError(
            f"--tune {tune}: the run was trained on other shares of {base!r}; leave --tune out to take the one that "
            "training set aside, or name a split"
        )
    if attributes:
        kinds = data.kinds()
        wanted = {name: kinds.get(name, AttributeKind()) for name in attributes}
        data = data.model_copy(update={"attributes": wanted})
    elif not named:
        columns = Catalogue.of(open_source(data.source), base, product=data.product).columns
        found = tuple(name for name in data.kinds() if name in columns)
        if not found:
            raise ConfigError(f"{data.source}: which columns are attributes? name them with --attribute, or --config")
        log.info("attributes: %s", ", ".join(found))
        data = data.model_copy(update={"attributes": found})
    whole = load_split(data, data.source, base)
    fitted = carve(whole, share, _BARE_SEED, purpose="tune")[1] if share is not None else whole
    name = f"{share:g} of {base}" if share is not None else tune
    catalogue = _tagged(data, split, whole.attributes)
    check_fitted(catalogue, split, {"thresholds": name}, fitted)
    carved_from = base if share is not None else None
    known = training_counts(whole)
    return Material(catalogue, split, fitted, name, carved_from, whole.attributes, known, words, split == trained_on)


def _tagged(data: Data, split: str, declared: Iterable[Attribute]) -> Catalogue:
    """The split that is tagged: it may lack the columns, or every label in them."""
    opened = open_source(data.source, data.revision)
    plain = Catalogue.of(opened, split, product=data.product, id=data.id, image=data.image, unknown=data.unknown)
    there = {one.name: one for one in declared if one.name in plain.columns}
    plain.attributes = tuple(there.values())
    if not there or not plain.labelled().any():
        return plain
    kinds = {name: {"kind": one.kind, "separator": one.separator} for name, one in there.items()}
    return load_split(type(data).model_validate({**data.model_dump(), "attributes": kinds}), data.source, split)


def _declared(given: Thresholds) -> Iterable[Attribute]:

    return (Attribute(name, one.candidates.kind, one.candidates.separator) for name, one in given.attributes.items())


def _chosen(known: tuple[Attribute, ...], wanted: Iterable[str]) -> tuple[Attribute, ...]:
    """Of the attributes, those asked for; all when none is."""
    wanted = tuple(wanted)
    by_name = {one.name: one for one in known}
    if unknown := [name for name in wanted if name not in by_name]:
        raise ConfigError(f"no attribute {', '.join(unknown)}; the config has {', '.join(by_name)}")
    return tuple(by_name[name] for name in wanted) or known


def _share(tune: str) -> float | None:
    """A number is a share of train, anything else the name of a split."""
    try:
        return float(tune)
    except ValueError:
        return None
