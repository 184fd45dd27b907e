"""What is tagged, and the other items that thresholds are fitted on.

    material = tag_inputs(resolve(model="run:runs/fashion"), "validation", tune=None, given=None)

A run brings the split that its training set aside, and so does a config; a catalogue that no training knew gives a
share of its training split. What is tagged may lack labels, or the very columns. Nothing here tags.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from clipadapt.data.bins import training_counts
from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.data.splits import load_split, refuse_fitted
from clipadapt.errors import ConfigError
from clipadapt.inputs import Inputs
from clipadapt.prompts import Prompts
from clipadapt.recognition.vectors import VectorCache
from clipadapt.tagging.thresholds import Thresholds, fit
from clipadapt.towers.encoder import Encoder

DEFAULT_SHARE = "0.1"
"""Of the products of train, where no config or flag says what thresholds are fitted on."""


class TagInputs(NamedTuple):
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
    trained_on_it: bool
    """Whether the model's weights were fitted on what is tagged, so that its labels prove nothing."""

    def fit(self, encoder: Encoder, prompts: Prompts, cache: VectorCache, *, precision: float) -> Thresholds:
        """Thresholds from tune.

        Raises:
            ConfigError: as `thresholds.fit` does.
        """
        assert self.tune is not None, "read from a file otherwise"
        return fit(
            encoder,
            self.tune,
            prompts,
            self.attributes,
            cache,
            split=self.tune_name,
            carved_from=self.carved_from,
            known=self.known,
            precision=precision,
        )


def tag_inputs(inputs: Inputs, split: str, *, tune: str | None, given: Thresholds | None) -> TagInputs:
    """Puts together what is tagged.

    Args:
        tune: a split, or a share of train's products; None: the one that training set aside, else a tenth of train.
        given: thresholds that were fitted earlier.

    Raises:
        ConfigError: no attribute, or tune is what is tagged or what the model was trained on.
    """
    train = inputs.data.splits.train
    trained_on_it = inputs.trained and split == train
    if given is not None:
        declared = tuple(_declared(given))
        return TagInputs(_tagged(inputs, split, declared), split, None, "", None, declared, {}, trained_on_it)
    if tune is not None and tune == split:
        raise ConfigError(f"--tune {tune}: what is tagged and reported cannot be what thresholds are fitted on")
    if tune is not None and inputs.trained and tune == train:
        raise ConfigError(
            f"--tune {tune}: the model was trained on it and is too sure of it; leave --tune out to take the split "
            "that training set aside"
        )
    if inputs.known_source and tune is None:
        return _set_aside(inputs, split, trained_on_it)
    return _split_off(inputs, split, DEFAULT_SHARE if tune is None else tune, trained_on_it)


def _set_aside(inputs: Inputs, split: str, trained_on_it: bool) -> TagInputs:
    """Splits as training made them."""
    names, tune = inputs.data.splits, inputs.splits.tune
    known = split in (names.train, names.validation, inputs.tune_name)
    catalogue = inputs.catalogue(split) if known else _tagged(inputs, split, inputs.attributes)
    refuse_fitted(catalogue, split, {"thresholds": inputs.tune_name}, tune)
    carved_from = None if isinstance(names.tune, str) else names.train
    # Train without tune bears the name of the split that tune was split off, but shares none of its products.
    called = f"{split} without {inputs.tune_name}" if split == carved_from else split
    counts = training_counts(inputs.splits.train, tune)
    return TagInputs(catalogue, called, tune, inputs.tune_name, carved_from, tune.attributes, counts, trained_on_it)


def _split_off(inputs: Inputs, split: str, tune: str, trained_on_it: bool) -> TagInputs:
    """A split of the source, or a share of its training split, that no config set aside."""
    share = _share(tune)
    if share is None:
        name, carved_from = tune, None
        whole = fitted = inputs.catalogue(name)
    else:
        carved_from = inputs.data.splits.train
        name = f"{share:g} of {carved_from}"
        if inputs.trained:
            raise ConfigError(
                f"--tune {tune}: the run was trained on other shares of {carved_from!r}; leave --tune out to take the "
                "one that training set aside, or name a split"
            )
        whole, fitted = inputs.share_of_train(share)
    catalogue = _tagged(inputs, split, whole.attributes)
    refuse_fitted(catalogue, split, {"thresholds": name}, fitted)
    return TagInputs(
        catalogue, split, fitted, name, carved_from, whole.attributes, training_counts(whole), trained_on_it
    )


def _tagged(inputs: Inputs, split: str, declared: Iterable[Attribute]) -> Catalogue:
    """The split that is tagged: it may lack the columns, or every label in them."""
    plain = inputs.items(split)
    there = {one.name: one for one in declared if one.name in plain.columns}
    plain = plain.with_attributes(list(there.values()))
    if not there or not plain.labelled().any() or split not in inputs.opened.splits():
        return plain
    kinds = {name: {"kind": one.kind, "separator": one.separator} for name, one in there.items()}
    data = type(inputs.data).model_validate({**inputs.data.model_dump(), "attributes": kinds})
    return load_split(data, split, inputs.opened)


def _declared(given: Thresholds) -> Iterable[Attribute]:
    return (Attribute(name, one.candidates.kind, one.candidates.separator) for name, one in given.attributes.items())


def _share(tune: str) -> float | None:
    """A number is a share of train, anything else the name of a split."""
    try:
        return float(tune)
    except ValueError:
        return None
