"""Before anything is measured: pictures become vectors, and broken ones go out.

    inputs = prepare(encoders, catalogue, cache)     # inputs.catalogue holds the items that have vectors

Nothing here measures.
"""

import warnings
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import ConfigError, listing
from clipadapt.evaluation.details import Missing
from clipadapt.recognition.vectors import VectorCache
from clipadapt.towers.classifier import LinearHead
from clipadapt.towers.encoder import Encoder


class EvalInputs(NamedTuple):
    """Items with vectors of every system."""

    catalogue: Catalogue
    pictures: dict[str, Float[np.ndarray, "items dim"]]
    broken: tuple[str, ...]
    """Pictures that were left out, a line each."""


def prepare(
    encoders: Mapping[str, Encoder],
    catalogue: Catalogue,
    cache: VectorCache,
    *,
    broken: Literal["error", "count"] = "error",
    progress: bool = True,
) -> EvalInputs:
    """Encodes every picture with every system, or takes it from the cache.

    Raises:
        CatalogueError: a picture is broken and `broken` is "error", or none is left.
    """
    catalogue = catalogue.permitted("show")  # the report holds some of its pictures
    pictures = {}
    with warnings.catch_warnings():
        if broken == "count":  # they are counted below, with their places
            warnings.filterwarnings("ignore", message=".*could not be decoded", category=UserWarning)
        for system, encoder in encoders.items():
            pictures[system] = cache.pictures(encoder, catalogue, broken=broken, progress=progress)
    whole = np.all([np.isfinite(vectors).all(axis=1) for vectors in pictures.values()], axis=0)
    lines = tuple(
        f"item {catalogue.ids[row]!r}, {catalogue.place(int(row))}: cannot be decoded" for row in np.flatnonzero(~whole)
    )
    if not whole.all():
        catalogue = catalogue.subset(np.flatnonzero(whole))
        pictures = {system: vectors[whole] for system, vectors in pictures.items()}
    if not len(catalogue):
        raise ConfigError(
            f"{catalogue.source}: no picture of split {catalogue.split!r} can be decoded{listing(lines[:5])}"
        )
    return EvalInputs(catalogue, pictures, (*catalogue.left_out, *catalogue.kept_out, *lines))


def heads_of(encoders: Mapping[str, Encoder]) -> tuple[dict[str, LinearHead], list[str]]:
    """System -> its linear head, and notes for the report.

    A system that has neither a head nor texts is given the linear probe that the other's head started from, where that
    was fitted on this system's own vectors: it is the base, and a base without texts has no other answer.

    Raises:
        SpaceError: a head that is not of the vectors its model gives.
    """
    heads, notes = {}, []
    for system, encoder in encoders.items():
        head: LinearHead | None = getattr(encoder, "head", None)
        if head is not None:
            head.require(encoder.image_space, encoder.name)
            heads[system] = head
            names = ", ".join(head.attributes)
            notes.append(
                f"{system}: {names} recognised by a linear head ({head.fitted.get('by', 'fitted elsewhere')}), "
                "not by texts"
            )
    for system, encoder in encoders.items():
        if system in heads or encoder.text_space is not None:
            continue
        for other in encoders.values():
            probe: LinearHead | None = getattr(other, "base_probe", None)
            if probe is not None and probe.image_space == encoder.image_space:
                heads[system] = probe
                notes.append(
                    f"{system}: has no text tower and so no zero-shot; recognised by a linear probe on its frozen "
                    "vectors, fitted on train and chosen on tune"
                )
    return heads, notes


def missing(catalogue: Catalogue, attributes: tuple[str, ...], min_items: int) -> tuple[Missing, ...]:
    """Counts of what each attribute's queries and gallery leave out."""
    lines = []
    for attribute in attributes:
        known = sum(bool(had) for had in catalogue.value_sets(attribute))
        few = tuple(value for value, count in catalogue.counts(attribute).items() if count < min_items)
        lines.append(Missing(attribute, len(catalogue) - known, known, few))
    return tuple(lines)
