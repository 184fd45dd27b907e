"""What a command is about: a split of a source with its attributes, words and training counts.

    subject = find(model="run:runs/fashion", source=None, split="validation", ...)

A run brings all of it along, a config brings all but the model, and options overrule both. Without either, attributes
are those of the default config that the source has. Nothing here measures.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipadapt.config import Config, Data
from clipadapt.data.bins import training_counts
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.sources import open_source
from clipadapt.data.splits import declared_attributes, load_splits
from clipadapt.errors import ConfigError
from clipadapt.prompts import Prompts
from clipadapt.runs import Run

log = logging.getLogger(__name__)

GENERIC = "prompts/generic.yaml"


@dataclass(frozen=True)
class Subject:
    """All that an evaluation or a tagging needs besides models."""

    catalogue: Catalogue
    split: str
    prompts: Prompts
    counts: Mapping[str, Mapping[str, int]] | None
    """Attribute -> value -> labelled training items; null: no training split is known."""
    tune: Catalogue | None
    fitted_on: Mapping[str, str]
    """What the model's training chose -> the split it was chosen on."""
    headline: tuple[str, ...] | None
    holdout_pairs: Sequence[Mapping[str, str]]


def find(
    *,
    model: str,
    source: str | None,
    split: str,
    config: Path | None = None,
    prompts: str | None = None,
    train_split: str | None = None,
    attributes: Sequence[str] = (),
    product: str | None = None,
) -> Subject:
    """Puts together what options, a config and a run say.

    Raises:
        ConfigError: no source, or options that contradict each other.
        CatalogueError: no such source, split or column.
        PromptError: the prompts file is at fault.
    """
    settings = Config.load(config) if config is not None else settings_of_run(model)
    if settings is not None and (source is None or source == settings.data.source):
        return _configured(settings, split, prompts, attributes, trained=model.startswith("run:"))
    if source is None:
        raise ConfigError("no source: name a catalogue with --source, or a config or run that has one")
    return _bare(settings, source, split, prompts, train_split, attributes, product)


def settings_of_run(model: str) -> Config | None:
    """The config of a run: MODEL; None for models that are no run."""
    if not model.startswith("run:"):
        return None
    folder = Path(model.removeprefix("run:")).expanduser()
    return Run.open(folder.parent if folder.name == "adapter" else folder).config


def _configured(
    settings: Config, split: str, prompts: str | None, attributes: Sequence[str], *, trained: bool
) -> Subject:
    """The splits as training made them."""
    names = settings.data.splits
    splits = load_splits(settings.data, settings.seed)
    tune = names.tune if isinstance(names.tune, str) else "tune"
    parts = {names.validation: splits.validation, tune: splits.tune, names.train: splits.train}
    catalogue = parts.get(split)
    if catalogue is None:
        catalogue = load_split(settings.data, settings.data.source, split)
    fitted = {"weights": names.train, "epoch": tune} if trained else {}
    return Subject(
        _only(catalogue, attributes),
        split,
        Prompts.load(prompts or settings.prompts),
        training_counts(splits.train, splits.tune),
        splits.tune if split != tune else None,
        fitted,
        settings.eval.headline if not attributes else None,
        settings.data.holdout_pairs,
    )


def _bare(
    settings: Config | None,
    source: str,
    split: str,
    prompts: str | None,
    train_split: str | None,
    attributes: Sequence[str],
    product: str | None,
) -> Subject:
    """A source that no training knew."""
    data = (settings.data if settings is not None else Data(source=source)).model_copy(update={"source": source})
    if product is not None:
        data = data.model_copy(update={"product": product})
    opened = open_source(source)
    if attributes:
        data = data.model_copy(update={"attributes": tuple(attributes)})
    elif settings is None:
        columns = Catalogue.of(opened, split, product=data.product).columns
        known = tuple(name for name in data.kinds() if name in columns)
        if not known:
            raise ConfigError(f"{source}: which columns are attributes? name them with --attribute, or give a --config")
        log.info("attributes: %s", ", ".join(known))
        data = data.model_copy(update={"attributes": known})
    catalogue = load_split(data, source, split)
    if train_split is None and "train" in opened.splits() and split != "train":
        train_split = "train"
    counts = training_counts(load_split(data, source, train_split)) if train_split is not None else None
    if counts is None:
        log.info("no training split is known, so values have no bins; name one with --train-split")
    words = Prompts.load(prompts or (settings.prompts if settings is not None else GENERIC))
    headline = settings.eval.headline if settings is not None and not attributes else None
    return Subject(catalogue, split, words, counts, None, {}, headline, data.holdout_pairs)


def load_split(data: Data, source: str, split: str) -> Catalogue:
    """One split with the attributes and columns of a config."""
    return Catalogue.load(
        source,
        split,
        attributes=declared_attributes(data),
        product=data.product,
        id=data.id,
        image=data.image,
        unknown=data.unknown,
        revision=data.revision if source == data.source else None,
    )


def _only(catalogue: Catalogue, attributes: Sequence[str]) -> Catalogue:
    """The same items with only those attributes declared."""
    if not attributes:
        return catalogue
    part = catalogue.subset(range(len(catalogue)))
    known = {attribute.name: attribute for attribute in catalogue.attributes}
    if unknown := [name for name in attributes if name not in known]:
        raise ConfigError(f"no attribute {', '.join(unknown)}; the config has {', '.join(known)}")
    part.attributes = tuple(known[name] for name in attributes)
    return part
