"""The three splits of a run: train, validation, and tune, which is carved from train for every choice made on data.

Splits go by product: products are ranked by a hash of the seed and their name and the first are carved, so neither
the order of rows nor the machine matters, and a catalogue that grows moves only the few products at the bound. Pairs
of values can be held out of training, to measure composition. What is odd but usable is logged as a counted warning.
"""

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from clipadapt import config, keyed
from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.data.columns import near, nearest, option
from clipadapt.data.lookalikes import lookalikes
from clipadapt.data.policy import Policy
from clipadapt.data.prepared import PreparedPictures
from clipadapt.data.scan import broken
from clipadapt.data.sources import Source, no_split, open_source
from clipadapt.errors import CatalogueError, ConfigError, listing

log = logging.getLogger(__name__)

_SHOWN = 5


class Splits(NamedTuple):
    """What a run is trained on, measured on, and tuned on; no product is in two of them."""

    train: Catalogue
    validation: Catalogue
    tune: Catalogue


def load_splits(data: config.Data, seed: int) -> Splits:
    """Loads, carves and checks the splits a config names.

    No picture is read, unless `data.broken` says count: then each is decoded once, or looked up in the prepared cache.

    A validation split that the source does not have is carved from train by `validation_share`; `tune` as a number is
    carved from what remains. Pairs held out are taken from train, after both.

    Raises:
        CatalogueError: a missing or empty split or column, a product in two splits, a split without known values.
        ConfigError: pairs that name no attribute.
    """
    source = open_source(data.source, data.revision)
    names = data.splits
    there = [names.train]
    there += [names.validation] if names.validation in source.splits() else []
    there += [names.tune] if isinstance(names.tune, str) else []
    whole = dict(zip(there, grouped([load_split(data, name, source) for name in there], data.title), strict=True))
    # Weights and choices are fitted on train and tune; pictures of validation are in the report.
    loaded = {name: one.permitted("show" if name == names.validation else "train") for name, one in whole.items()}
    train = loaded[names.train]
    if names.validation in loaded:
        validation = loaded[names.validation]
    else:
        _refuse_near_split(source, names)
        train, validation = carve(train, names.validation_share, seed, purpose="validation")
        validation = validation.permitted("show")
        _warn_once(
            f"{source.name}: no split {names.validation!r}; carved {len(validation)} items "
            f"({len(set(validation.products))} products) from {names.train!r} by product"
        )
    if isinstance(names.tune, str):
        tune = loaded[names.tune]
    else:
        train, tune = carve(train, names.tune, seed, purpose="tune")
    check_disjoint({names.train: train, names.validation: validation, "tune": tune})
    train, _ = hold_out_pairs(train, data.holdout_pairs)
    splits = Splits(*(_usable(catalogue, data) for catalogue in (train, validation, tune)))
    for line in oddities(splits):
        _warn_once(f"{source.name}: {line}")
    return splits


def grouped(catalogues: Sequence[Catalogue], title: str | None) -> list[Catalogue]:
    """The catalogues as they are, or, where no column names products, with look-alikes and equal titles as products."""
    if all(catalogue.product_column is not None for catalogue in catalogues):
        return list(catalogues)
    how = "near-identical pictures" + (f" and equal titles ({title})" if title is not None else "")
    names = lookalikes(catalogues, title)
    regrouped = [catalogue.with_products(products, how) for catalogue, products in zip(catalogues, names, strict=True)]
    groups = len(set(np.concatenate(names).tolist()))
    _warn_once(
        f"{catalogues[0].source}: no product column; {how} make {groups} groups of {sum(map(len, regrouped))} items, "
        f"which stand for products; name a column with {option('product')} if there is one"
    )
    return regrouped


def carve(catalogue: Catalogue, share: float, seed: int, purpose: str = "carve") -> tuple[Catalogue, Catalogue]:
    """(rest, carved): the share of products whose hash of seed, purpose and name is lowest; at least one on each side.

    Raises:
        CatalogueError: fewer than two products, or a share that leaves a side empty.
    """
    products = sorted(set(catalogue.products.tolist()))
    if len(products) < 2 or not 0.0 < share < 1.0:
        grouped_by = f" ({catalogue.grouped_by} count as one)" if catalogue.grouped_by is not None else ""
        raise CatalogueError(
            f"{catalogue.source}: a share of {share} of the {len(products)} product(s){grouped_by} in "
            f"{catalogue.split!r} cannot be set aside for {purpose}: both sides need one; choose a share between 0 "
            "and 1, add products, or name a split of the source under data.splits"
        )
    shuffled = sorted(products, key=lambda product: (keyed.integer(seed, "split", purpose, product), product))
    taken = set(shuffled[: min(max(round(share * len(products)), 1), len(products) - 1)])
    carved = np.array([product in taken for product in catalogue.products.tolist()], dtype=bool)
    return catalogue.subset(np.flatnonzero(~carved)), catalogue.subset(np.flatnonzero(carved))


def hold_out_pairs(catalogue: Catalogue, pairs: Sequence[Mapping[str, str]]) -> tuple[Catalogue, Catalogue]:
    """(kept, held out): an item is held out when it has all the values of any one pair; unknown values match nothing.

    Raises:
        ConfigError: a pair of fewer than two attributes, or a value that no item has; all such faults at once.
        CatalogueError: an attribute that is no column, or nothing left to train on.
    """
    faults: list[str] = []
    held_out = np.zeros(len(catalogue), dtype=bool)
    for pair in pairs:
        words = " and ".join(f"{attribute} {value}" for attribute, value in pair.items())
        if len(pair) < 2:
            faults.append(f"{words or 'an empty pair'}: a pair needs two attributes or more")
            continue
        matches = np.ones(len(catalogue), dtype=bool)
        for attribute, value in pair.items():
            sets = catalogue.value_sets(attribute)
            known = {member for values in sets for member in values}
            if value not in known:
                faults.append(f"{words}: no item has {attribute} {value!r}{near(value, sorted(known))}")
            matches &= np.array([value in values for values in sets], dtype=bool)
        if not matches.any() and not faults:
            log.warning("%s: no item of %r has %s", catalogue.source, catalogue.split, words)
        held_out |= matches
    if faults:
        raise ConfigError(f"data.holdout_pairs: {len(faults)} fault(s){listing(faults)}")
    if held_out.all():
        raise CatalogueError(
            f"{catalogue.source}: data.holdout_pairs takes every item of {catalogue.split!r}; name fewer"
        )
    return catalogue.subset(np.flatnonzero(~held_out)), catalogue.subset(np.flatnonzero(held_out))


def shared_products(splits: Mapping[str, Catalogue]) -> dict[str, list[str]]:
    """Products found in more than one split -> those splits; only where a column names products."""
    homes: dict[str, list[str]] = {}
    for name, catalogue in splits.items():
        if catalogue.product_column is not None:
            for product in sorted(set(catalogue.products.tolist())):
                homes.setdefault(product, []).append(name)
    return {product: names for product, names in homes.items() if len(names) > 1}


def check_disjoint(splits: Mapping[str, Catalogue]) -> None:
    """Refuses splits that share a product.

    Raises:
        CatalogueError: products in two splits, the first few with a row in each.
    """
    shared = shared_products(splits)
    if not shared:
        return
    lines = [
        f"{product!r}: {'; '.join(_first_place(splits[name], product) for name in names)}"
        for product, names in shared.items()
    ]
    raise CatalogueError(
        f"{len(shared)} product(s) are in two splits, so what is measured was trained on:{listing(lines, _SHOWN)}"
        "\nmove all items of a product to one split; or delete the split to have it carved by product; "
        "or, if the column does not name products, correct data.product"
    )


def refuse_fitted(catalogue: Catalogue, split: str, fitted_on: Mapping[str, str], tune: Catalogue | None) -> None:
    """Refuses to report choices on what they were fitted on.

    Args:
        split: what the reported split is called.
        fitted_on: what was chosen (weights, epoch, thresholds, ...) -> the split it was chosen on.
        tune: what temperatures are going to be fitted on.

    Raises:
        ConfigError: the reported split is one of those, or shares products with tune.
    """
    faults = [f"{what} was fitted on {used!r}" for what, used in fitted_on.items() if used == split]
    if tune is not None:
        both = {"tune": tune, "reported": catalogue}
        shared = shared_products(both)
        if tune.split == catalogue.split or None not in (tune.id_column, catalogue.id_column):
            shared = shared or set(tune.ids) & set(catalogue.ids)
        if shared and tune.source == catalogue.source:
            faults.append(f"temperatures would be fitted on {len(shared)} of the products that are reported")
    if faults:
        raise ConfigError(
            f"split {split!r} of {catalogue.source} cannot be reported{listing(faults)}"
            "\nreport a split that nothing was chosen on, such as validation"
        )


def oddities(splits: Splits) -> list[str]:
    """What is usable but worth a warning, a line each: unlabelled items, values that training never sees."""
    lines = []
    for name, catalogue in splits._asdict().items():
        if catalogue.left_out:
            lines.append(
                f"{name}: {len(catalogue.left_out)} broken picture(s) left out, the first: {catalogue.left_out[0]}"
            )
        if name != "train" and catalogue.grouped_by is not None:
            seen = np.isin(catalogue.products, splits.train.products)
            if seen.any():
                lines.append(
                    f"{name}: {int(seen.sum())} of {len(catalogue)} items look like items of train "
                    f"({catalogue.grouped_by}); their figures flatter the model"
                )
        if catalogue.attributes and (missing := int((~catalogue.labelled()).sum())):
            lines.append(f"{name}: {missing} of {len(catalogue)} items have no known attribute; they are kept")
    for attribute in splits.train.attributes:
        trained = splits.train.counts(attribute.name)
        unseen = {v: n for v, n in splits.validation.counts(attribute.name).items() if v not in trained}
        if unseen:
            shown = ", ".join(f"{value!r} ({count})" for value, count in list(unseen.items())[:_SHOWN])
            more = f" and {len(unseen) - _SHOWN} more" if len(unseen) > _SHOWN else ""
            lines.append(f"{attribute.name}: {len(unseen)} value(s) only in validation, never trained: {shown}{more}")
    return lines


@functools.cache
def _warn_once(line: str) -> None:
    """One job opens the same splits several times; what is odd about them is said at the first."""
    log.warning("%s", line)


def declared_attributes(data: config.Data) -> list[Attribute]:
    """The attributes of a config, in its order."""
    return [Attribute(name, kind.kind, kind.separator) for name, kind in data.kinds().items()]


def load_split(data: config.Data, split: str, source: Source | None = None) -> Catalogue:
    """One split of a source as it is, with the attributes and columns of a data section.

    Raises:
        CatalogueError: no such source, split or column.
    """
    source = source or open_source(data.source, data.revision)
    catalogue = Catalogue.of(
        source,
        split,
        attributes=declared_attributes(data),
        product=data.product,
        id=data.id,
        image=data.image,
        unknown=data.unknown,
        limits=data.range,
        bands=data.bands,
        normalise=data.normalise,
    )
    return catalogue if data.policy is None else catalogue.with_policy(Policy.load(data.policy))


def _usable(catalogue: Catalogue, data: config.Data) -> Catalogue:
    """The catalogue reading from the prepared cache if there is one, without broken pictures if they are only counted.

    Raises:
        CatalogueError: a cache of other content, or no picture left.
    """
    if data.prepared is not None:
        catalogue = PreparedPictures.open(data.prepared).attach(catalogue)
        if catalogue.left_out and data.broken == "error":
            raise CatalogueError(
                f"{data.prepared}: prepared without {len(catalogue.left_out)} broken picture(s), the first: "
                f"{catalogue.left_out[0]}; correct them and prepare again, or leave them out with data.broken: count"
            )
    elif data.broken == "count":
        catalogue = catalogue.without(broken(catalogue, f"checking pictures of {catalogue.split}"))
    if not len(catalogue):
        raise CatalogueError(
            f"{catalogue.source}: not one picture of {catalogue.split!r} can be decoded; check the files"
        )
    return catalogue


def _first_place(catalogue: Catalogue, product: str) -> str:
    index = int(np.flatnonzero(catalogue.products == product)[0])
    return str(catalogue.place(index))


def _refuse_near_split(source: Source, names: config.SplitNames) -> None:
    """Refuses to carve validation where its name was changed, or is nearly that of a split: both are slips."""
    default = config.SplitNames.model_fields["validation"].default
    similar = nearest(names.validation, [split for split in source.splits() if split != names.train])
    if names.validation != default or similar:
        raise no_split(source.name, names.validation, source.splits())
