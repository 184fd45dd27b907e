"""Intervals of average precision when the queries are given and the gallery is the sample.

"striped shirt" is not drawn at random; the catalogue that is searched is. Average precision of a query is a mean over
its relevant items of the precision at their rank, so the relevant items are the sample, each query is a class, and
intervals.py says how sure the mean is. What stands between them matters too: another catalogue would have other
irrelevant items on top. Their part of the variance, from how the figure answers to each product's weight, is added, and
so is what relevant items do to one another's ranks. The trade: these parts are added as if they were independent.
Nothing here knows what is searched or how.
Source: Efron, "Nonparametric estimates of standard error: the jackknife, the bootstrap and other methods" (1981), for
the infinitesimal jackknife.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from clipadapt.metrics.intervals import Difference, Interval, balanced_interval, compared
from clipadapt.metrics.studentised import balanced_swap_p


class Query(NamedTuple):
    """One query against a gallery: what it should find, and the places it gave."""

    relevant: Bool[np.ndarray, " items"]
    """Of the catalogue's items."""
    order: Int[np.ndarray, " depth"]
    """Item numbers, best first; a relevant item that is not in it counts as never found."""


class _Parts(NamedTuple):
    """Average precision of several queries, in parts."""

    items: Int[np.ndarray, " found"]
    """Relevant items, query after query."""
    classes: Int[np.ndarray, " found"]
    """Their query."""
    precision: Float[np.ndarray, " found"]
    """At their rank; 0 when never found."""
    mutual: Float[np.ndarray, " found"]
    """What the item adds to the precision of itself and those below it, were it counted a little more."""
    others: Float[np.ndarray, " products"]
    """How the mean over queries answers to the weight of each product's irrelevant items."""


def gallery_interval(
    queries: Sequence[Query], products: Shaped[np.ndarray, " items"], *, coverage: float = 0.95
) -> Interval:
    """Mean average precision over queries, over galleries of products like these.

    Raises:
        ValueError: a query without relevant items, or relevant items of one product in all.
    """
    place = np.unique(products, return_inverse=True)[1]
    parts = _parts(queries, place)
    mutual = _mutual(parts, _centred(parts, place), place, len(queries))
    return balanced_interval(
        parts.precision,
        parts.classes,
        place[parts.items],
        coverage=coverage,
        other_variance=float((parts.others**2).sum() + (mutual**2).sum()),
    )


def paired_gallery(
    queries: Sequence[Query],
    against: Sequence[Query],
    products: Shaped[np.ndarray, " items"],
    *,
    coverage: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Mean average precision of one system minus another's, on the same queries and gallery.

    p swaps what each product adds to the difference, product by product: the precision at its relevant items' ranks,
    and, to first order, what its presence does to the precision of others. Without the second, irrelevant items on top
    of all relevant ones looked like a difference: 20% to 29% of comparisons of equals had p below 0.05. With few
    products first order is not enough (up to 9% at 50 products that answer every query, relevant or not; 3% to 4% in
    eval/benchmarks/interval_coverage.py), so a verdict asks for an interval clear of zero, too.

    Raises:
        ValueError: as gallery_interval; queries that do not ask for the same items.
    """
    if len(queries) != len(against) or any(
        not np.array_equal(one.relevant, other.relevant) for one, other in zip(queries, against, strict=True)
    ):
        raise ValueError("the two systems have different queries")
    place = np.unique(products, return_inverse=True)[1]
    ours, theirs = _parts(queries, place), _parts(against, place)
    differences, products_of = ours.precision - theirs.precision, place[ours.items]
    mutual = _mutual(ours, ours.mutual - theirs.mutual, place, len(queries))
    others = ours.others - theirs.others
    # As one more class, with an item for each product: influences add up to zero, as the mean of such a class would.
    p = balanced_swap_p(
        np.concatenate([differences, (others + mutual) * len(others)]),
        np.concatenate([ours.classes, np.full(len(others), len(queries))]),
        np.concatenate([products_of, np.arange(len(others))]),
        np.append(np.full(len(queries), 1 / len(queries)), 1.0),
        draws=draws,
        seed=seed,
    )
    variance = float((others**2).sum() + (mutual**2).sum())
    return compared(differences, ours.classes, products_of, None, p, coverage=coverage, other_variance=variance)


def _centred(parts: _Parts, place: Int[np.ndarray, " items"]) -> Float[np.ndarray, " found"]:
    """Mutual effects around their query's mean, for as many items answer it in every gallery like this; widened by
    what taking the mean of few products off hides.
    """
    items = np.bincount(parts.classes)
    pairs = np.unique(np.stack([parts.classes, place[parts.items]]), axis=1)
    products = np.bincount(pairs[0])
    around = parts.mutual - (np.bincount(parts.classes, parts.mutual) / items)[parts.classes]
    return around * np.sqrt(products / np.maximum(products - 1, 1))[parts.classes]


def _mutual(
    parts: _Parts, effects: Float[np.ndarray, " found"], place: Int[np.ndarray, " items"], queries: int
) -> Float[np.ndarray, " products"]:
    """How the mean over queries answers to each product's relevant items through the ranks of relevant items."""
    sizes = np.bincount(parts.classes)[parts.classes] * queries
    return np.bincount(place[parts.items], effects / sizes, minlength=len(parts.others))


def _parts(queries: Sequence[Query], place: Int[np.ndarray, " items"]) -> _Parts:
    items, classes, precision, mutual = [], [], [], []
    others = np.zeros(int(place.max()) + 1)
    for number, query in enumerate(queries):
        wanted = np.flatnonzero(query.relevant)
        if not len(wanted):
            raise ValueError(
                f"query {number} has no relevant item in the gallery, so it cannot be scored; leave it out"
            )
        found = query.relevant[query.order]
        ranks = np.flatnonzero(found) + 1
        at = np.arange(1, len(ranks) + 1) / ranks
        # One more at a rank adds (1 - precision) / rank to each relevant item's precision there and below, one more
        # irrelevant item takes precision / rank off: sums from the bottom up.
        gained, lost = np.zeros(len(found)), np.zeros(len(found))
        gained[ranks - 1], lost[ranks - 1] = (1 - at) / ranks, at / ranks
        gained, lost = np.cumsum(gained[::-1])[::-1], np.cumsum(lost[::-1])[::-1]
        by_item = np.zeros((2, len(query.relevant)))
        by_item[:, query.order[found]] = at, gained[found]
        items.append(wanted)
        classes.append(np.full(len(wanted), number))
        precision.append(by_item[0, wanted])
        mutual.append(by_item[1, wanted])
        pushed = np.where(found, 0.0, lost) / (len(wanted) * len(queries))
        others -= np.bincount(place[query.order], pushed, minlength=len(others))
    joined = [np.concatenate(part) for part in (items, classes, precision, mutual)]
    return _Parts(joined[0], joined[1], joined[2], joined[3], others)
