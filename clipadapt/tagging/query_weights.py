"""What a release knows of values when it is searched: probabilities of thresholds, and weights fitted on tune.

    signals = signals_of(thresholds, encoder, prompts, cache)
    signals = fit_weights(signals, tune, encoder, prompts, cache)
    signals.save("runs/shop/queries.safetensors")

For each attribute, tune's items that have two labels make queries of two values ("striped shirt") and of one without
another ("shirt", not striped), searched as if the attribute's labels were unknown. Of the weights whose gain over 0 is
shown, with 95% certainty over queries, the one with the highest mean average precision is taken; it stays 0 where there
is none. How many times more what is not wanted weighs is chosen the same way, by the first ten answers with half and
with a tenth of the labels known: one that has what a person refused counts as much against them as a right one for
them. Whoever calls keeps tune apart from what is reported.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from clipadapt.data.catalogue import Catalogue
from clipadapt.prompts import Prompts
from clipadapt.prompts.wording import names_of
from clipadapt.recognition.vectors import VectorCache
from clipadapt.search.items import Items
from clipadapt.search.query import encode_words
from clipadapt.search.understanding.vocabulary import Value
from clipadapt.search.wishes import Signal, Signals, Weigher, Wishes
from clipadapt.tagging.thresholds import Thresholds, read_pictures
from clipadapt.towers.encoder import Encoder

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Tried of every attribute."""
REFUSALS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Tried of what is not wanted."""
_KNOWN = (0.5, 0.1)
"""Shares of the labels that are known when they are tried."""
_TOP = 10
"""Answers that they are judged by."""
_FEWEST = 3
"""Products of tune with both values of a query."""
_PARTNERS = 4
"""Most frequent other values that a value is combined with."""
_QUANTILE = 1.645
"""One-sided 95% of the normal distribution."""


class _Query(NamedTuple):
    """One query of tune."""

    attribute: str
    wanted: bool
    wishes: Wishes
    beside: Value
    """The other value that it names, which it wants, too."""
    text: str
    gallery: Bool[np.ndarray, " n"]
    relevant: Bool[np.ndarray, " n"]
    has: Bool[np.ndarray, " n"]
    """Items with the attribute's value: what is refused where it is not wanted."""


def signals_of(thresholds: Thresholds, encoder: Encoder, prompts: Prompts, cache: VectorCache) -> Signals:
    """Probabilities as `tag` computes them, with weights of 0.

    Raises:
        SpaceError, ConfigError: thresholds of another model or another prompts file.
    """
    thresholds.require(encoder, prompts)
    found = {}
    for name, one in thresholds.attributes.items():
        candidates = one.candidates
        total = max(sum(candidates.tune_items), 1)
        found[name] = Signal(
            candidates.values,
            cache.values(encoder, prompts, name, candidates.values).astype(np.float32),
            candidates.kind,
            one.scale,
            tuple(items / total for items in candidates.tune_items),
        )
    fitted_on = thresholds.fitted_on._asdict()
    return Signals(found, encoder.image_space, encoder.text_space or "", dict(thresholds.prompts), fitted_on)


def fit_weights(
    signals: Signals, tune: Catalogue, encoder: Encoder, prompts: Prompts, cache: VectorCache, *, progress: bool = True
) -> Signals:
    """The same with the weights of every attribute.

    Args:
        tune: the items that the thresholds were fitted on.
    """
    pictures = read_pictures(encoder, tune, cache, progress=progress)
    whole = np.flatnonzero(np.isfinite(pictures).all(axis=1))
    pictures = pictures[whole]
    queries = list(_queries(signals, tune, prompts, whole))
    if not queries:
        return signals
    texts = list(dict.fromkeys(query.text for query in queries))
    vectors = dict(zip(texts, encode_words(encoder, texts), strict=True))
    blank = Items.of(pa.table({"id": pa.array([str(row) for row in whole.tolist()], pa.string())}))
    precision: dict[tuple[str, bool], list[list[float]]] = {}
    for query in queries:
        cosines = pictures @ vectors[query.text]
        spread = max(float(cosines.std()), 1e-6)
        rows = np.flatnonzero(query.gallery)
        found = []
        for weight in WEIGHTS:
            weigher = Weigher(blank, signals.weighed({query.attribute: (weight, weight)}))
            scores = cosines[rows] + spread * weigher.weigh(query.wishes, rows, pictures[rows])
            found.append(average_precision(scores, query.relevant[rows]))
        precision.setdefault((query.attribute, query.wanted), []).append(found)
    chosen = {key: _chosen(np.array(rows), WEIGHTS) for key, rows in precision.items()}
    weighed = signals.weighed(
        {name: (chosen.get((name, True), 0.0), chosen.get((name, False), 0.0)) for name in signals.attributes}
    )
    return _refusing(weighed, queries, pictures, vectors, tune, whole)


def _refusing(
    signals: Signals, queries: Sequence[_Query], pictures: np.ndarray, vectors: Mapping[str, np.ndarray],
    tune: Catalogue, whole: np.ndarray,
) -> Signals:  # fmt: skip
    """With the weight of what is not wanted whose first answers are worth most, where some of the labels are known."""
    refused, rows = [query for query in queries if not query.wanted], np.arange(len(whole))
    found = []
    for known in _KNOWN:
        keep = np.random.default_rng(0).random((len(signals.attributes), len(whole))) < known
        cells = {
            name: [sorted(sets[row]) if kept else [] for row, kept in zip(whole.tolist(), keep[place], strict=True)]
            for place, name in enumerate(signals.attributes)
            if name in tune.columns and (sets := tune.value_sets(name))
        }
        columns = {name: pa.array(lists, pa.list_(pa.string())) for name, lists in cells.items()}
        weigher = Weigher(Items.of(pa.table({"id": pa.array(rows.astype(str).tolist()), **columns})), signals)
        for query in refused:
            cosines, gallery = pictures @ vectors[query.text], np.flatnonzero(query.gallery)
            spread, wanted = max(float(cosines.std()), 1e-6), Wishes(wanted=((query.beside,),))
            scores = cosines[gallery] + spread * weigher.weigh(wanted, gallery, pictures[gallery])
            worth = spread * weigher.weigh(query.wishes, gallery, pictures[gallery])
            value = query.relevant[gallery].astype(float) - query.has[gallery]
            found.append([first_answers(scores + one * worth, value) for one in REFUSALS])
    return replace(signals, refusal=_chosen(np.array(found), REFUSALS)) if found else signals


def average_precision(scores: Float[np.ndarray, " n"], relevant: Bool[np.ndarray, " n"]) -> float:
    """Mean over the relevant items of the precision down to each; ties go by place; 0 where none is relevant."""
    ranked = relevant[np.argsort(-scores, kind="stable")]
    places = np.flatnonzero(ranked)
    return float((np.arange(1, len(places) + 1) / (places + 1)).mean()) if len(places) else 0.0


def first_answers(scores: Float[np.ndarray, " n"], value: Float[np.ndarray, " n"]) -> float:
    """Mean value of the first ten; ties go by place."""
    return float(value[np.argsort(-scores, kind="stable")[:_TOP]].mean())


def _queries(signals: Signals, tune: Catalogue, prompts: Prompts, whole: np.ndarray) -> Iterator[_Query]:
    labels = {
        name: [tune.value_sets(name)[row] for row in whole.tolist()]
        for name in signals.attributes
        if name in tune.columns
    }
    known = {name: np.array([bool(values) for values in sets]) for name, sets in labels.items()}
    products = tune.products[whole]
    for name, other in itertools.permutations(labels, 2):
        gallery = known[name] & known[other]
        pairs = Counter(
            (value, partner)
            for row in np.flatnonzero(gallery).tolist()
            for value in labels[name][row]
            for partner in labels[other][row]
        )
        listed = signals.attributes[name].values
        for value in (value for value in listed if any(value == first for first, _ in pairs)):
            partners = sorted((-count, partner) for (first, partner), count in pairs.items() if first == value)
            has = np.array([value in values for values in labels[name]])
            for _, partner in partners[:_PARTNERS]:
                beside = np.array([partner in values for values in labels[other]]) & gallery
                said, also = _said(prompts, name, value), _said(prompts, other, partner)
                wish = Value(name, value)
                cases = (
                    (True, Wishes(wanted=((wish,),)), f"{said} {also}", beside & has),
                    (False, Wishes(unwanted=(wish,)), also, beside & ~has),
                )
                for wanted, wishes, text, relevant in cases:
                    some = len(set(products[relevant]))
                    if some >= _FEWEST and relevant.sum() < gallery.sum():
                        yield _Query(name, wanted, wishes, Value(other, partner), text, gallery, relevant, has)


def _said(prompts: Prompts, attribute: str, value: str) -> str:
    return names_of(prompts.library, prompts.library.attributes.get(attribute), value)[0].what.text


def _chosen(precision: Float[np.ndarray, "queries weights"], weights: Sequence[float]) -> float:
    """Of the weights whose gain over the first is shown, the one with the highest mean; the first where none is."""
    if len(precision) < 2:
        return weights[0]
    gains = precision - precision[:, :1]
    low = gains.mean(axis=0) - _QUANTILE * gains.std(axis=0, ddof=1) / np.sqrt(len(gains))
    shown = np.flatnonzero(low > 1e-9)
    return weights[int(shown[gains.mean(axis=0)[shown].argmax()])] if len(shown) else weights[0]


def described(signals: Signals) -> Sequence[str]:
    """A line per attribute: how much its probabilities count."""
    lines = [f"{name}: wanted {one.wanted:g}, not wanted {one.unwanted:g}" for name, one in signals.attributes.items()]
    return [*lines, f"what is not wanted weighs {signals.refusal:g} times"]
