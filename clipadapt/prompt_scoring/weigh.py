"""Template weights, fitted to pictures: without labels, or with few, and never believed on what they were fitted on.

One weight per template and attribute, shared by all values: a handful of parameters, drawn towards the file's own
weights. Whether they help is judged out of fold: products are dealt into folds, each is recognised with weights fitted
on the others, and only a gain whose interval clears zero at a level shared by all attributes is claimed: how often it
is claimed where labels are dealt at random is measured by eval/benchmarks/prompt_shuffled.py.

Without labels a template's weight is the softmax of how sure it makes the model: the mean over pictures of the largest
logit, after the mean logit of each value is taken off, since words that fit every picture tell nothing. With labels it
minimises the cross-entropy of values, each value counting alike.
Source: Allingham et al., "A simple zero-shot prompt weighting technique", ICML 2023 (without labels; its second
normalisation, by pictures of the pretraining data, is left out, for those are not at hand).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import optimize

from clipadapt.errors import PromptError
from clipadapt.keyed import generator, integer
from clipadapt.metrics.intervals import Interval
from clipadapt.prompt_scoring.table import PromptScorer, ScorableItems, verdict
from clipadapt.prompts import Prompts
from clipadapt.recognition.nearest import nearest
from clipadapt.recognition.values import Classifier

Method = Literal["labels", "no_labels"]
FOLDS = 5
MOST_ITEMS = 20_000
"""Pictures of one attribute that weights are fitted on; a handful of parameters needs no more."""
MOST_COSINES = 1 << 27
"""Of pictures, values and templates while fitting: 1 GB. Where values are many, fewer pictures are fitted on."""


@dataclass(frozen=True)
class Weighing:
    """What fitting found for one attribute."""

    attribute: str
    method: Method
    items: int
    products: int
    before: tuple[float, ...]
    """The file's weights, one per template, mean 1 over those that count."""
    after: tuple[float, ...]
    """Fitted on everything; rounded as they are written."""
    gain: Interval
    """In balanced accuracy, out of fold; its interval leaves out 5% shared by all attributes."""

    @property
    def claimed(self) -> bool:
        """Whether the gain's interval lies above zero."""
        return verdict(self.gain) == "helps"


class Mixture(NamedTuple):
    """One attribute's templates as vectors: what weights mix."""

    means: Float[np.ndarray, "templates values dim"]
    """Mean of a template's texts for a value, by their shares within it; zero where it has none."""
    present: Bool[np.ndarray, "templates values"]
    start: Float[np.ndarray, " templates"]
    """The file's weights, summing to 1."""

    def vectors(self, weights: Float[np.ndarray, " templates"]) -> Float[np.ndarray, "values dim"]:
        """Unit vectors of the values under these weights; values that only weightless templates word stay worded."""
        mixed = np.einsum("t,tvd->vd", weights, self.means)
        silent = ~(self.present & (weights > 0)[:, None]).any(axis=0)
        mixed[silent] = self.means[:, silent].sum(axis=0)
        return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def weigh(scorer: PromptScorer, prompts: Prompts, method: Method, scale: float, *, seed: int = 0) -> list[Weighing]:
    """Fits and judges the weights of every attribute that has more than one template.

    `scale` is the model's factor on cosines before a softmax.

    Raises:
        PromptError: no attribute can be weighed.
    """
    ready: list[tuple[str, ScorableItems, Mixture]] = []
    for attribute in scorer.labelled.values:
        scorable = scorer.scorable(attribute)
        mixture = None if isinstance(scorable, str) else _mixture(scorer, prompts, attribute, scorable)
        if mixture is not None and not isinstance(scorable, str):
            ready.append((attribute, scorable, mixture))
    if not ready:
        raise PromptError(
            f"{prompts.path}: no attribute can be weighed: each needs two templates and two values with items enough"
        )
    level = 0.05 / len(ready)
    return [
        _weigh(attribute, scorable, mixture, scorer.pictures(attribute, scorable), method, scale, level, seed)
        for attribute, scorable, mixture in ready
    ]


def fit(
    mixture: Mixture,
    pictures: Float[np.ndarray, "items dim"],
    codes: Int[np.ndarray, " items"],
    products: int,
    method: Method,
    scale: float,
) -> Float[np.ndarray, " templates"]:
    """Weights that sum to 1; `codes` are looked at by the method "labels" alone."""
    if method == "no_labels":
        return _confidence(mixture, pictures, scale)
    return _likelihood(mixture, pictures, codes, products, scale)


def _mixture(scorer: PromptScorer, prompts: Prompts, attribute: str, scorable: ScorableItems) -> Mixture | None:
    """None where there are not two templates that count."""
    ensembles = [prompts.ensemble(attribute, value) for value in scorable.values]
    entries = prompts.wording(attribute).templates
    used = sorted({text.template for texts in ensembles for text in texts if text.template >= 0})
    if len(used) < 2:
        return None
    encoded = scorer.encode(list(dict.fromkeys(text.text for texts in ensembles for text in texts)))
    means = np.zeros((len(entries), len(ensembles), encoded.shape[1]))
    totals = np.zeros((len(entries), len(ensembles)))
    place: dict[str, int] = {}
    for value, texts in enumerate(ensembles):
        for text in texts:
            template = text.template if text.template >= 0 else used[0]
            vector = encoded[place.setdefault(text.text, len(place))]
            means[template, value] += text.share * vector.astype(np.float64)
            totals[template, value] += text.share
    present = totals > 0
    means[present] /= totals[present][:, None]
    weights = np.array([0.0 if entry.held_out else entry.weight for entry in entries])
    return Mixture(means, present, weights / weights.sum())


def _weigh(
    attribute: str,
    scorable: ScorableItems,
    mixture: Mixture,
    pictures: Float[np.ndarray, "items dim"],
    method: Method,
    scale: float,
    level: float,
    seed: int,
) -> Weighing:
    codes, products = scorable.codes, scorable.products
    fold = _folds(products, seed)
    differences = np.zeros(len(pictures))
    base = nearest(pictures, Classifier.cosine(mixture.vectors(mixture.start)))
    for number in range(FOLDS):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if not len(test) or not len(train):
            continue
        weights = _fit_rows(mixture, pictures, codes, products, train, method, scale, seed)
        found = nearest(pictures[test], Classifier.cosine(mixture.vectors(weights)))
        differences[test] = (found == codes[test]).astype(float) - (base[test] == codes[test])
    gain = scorable.sample.difference(differences, coverage=1 - level)
    everything = np.arange(len(pictures))
    weights = _fit_rows(mixture, pictures, codes, products, everything, method, scale, seed)
    before, after = _readable(mixture.start), _readable(weights)
    return Weighing(attribute, method, len(pictures), scorable.sample.products, before, after, gain)


def _folds(products: Int[np.ndarray, " items"], seed: int) -> Int[np.ndarray, " items"]:
    """The fold of each item; products are dealt by their key, so that folds differ by one product at most."""
    names, inverse = np.unique(products, return_inverse=True)
    keys = np.array([integer(seed, "fold", int(name)) for name in names], dtype=np.uint64)
    return (np.argsort(np.argsort(keys)) % FOLDS)[inverse]


def _fit_rows(
    mixture: Mixture,
    pictures: np.ndarray,
    codes: np.ndarray,
    products: np.ndarray,
    rows: np.ndarray,
    method: Method,
    scale: float,
    seed: int,
) -> Float[np.ndarray, " templates"]:
    most = min(MOST_ITEMS, MOST_COSINES // mixture.present.size)
    if len(rows) > most:
        rows = np.sort(generator(seed, "weigh").choice(rows, most, replace=False))
    return fit(mixture, pictures[rows], codes[rows], len(np.unique(products[rows])), method, scale)


def _confidence(mixture: Mixture, pictures: np.ndarray, scale: float) -> Float[np.ndarray, " templates"]:
    sure = np.full(len(mixture.start), -np.inf)
    for template in np.flatnonzero(mixture.start):
        present = mixture.present[template]
        means = mixture.means[template, present]
        vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
        logits = scale * (pictures @ vectors.T.astype(np.float32)).astype(np.float64)
        sure[template] = (logits - logits.mean(axis=0)).max(axis=1).mean()
    raised = mixture.start * np.exp(sure - sure.max())
    return raised / raised.sum()


def _likelihood(
    mixture: Mixture, pictures: np.ndarray, codes: np.ndarray, products: int, scale: float
) -> Float[np.ndarray, " templates"]:
    """The most probable weights: cross-entropy by value, and a normal prior of deviation 1 on their logarithms."""
    used = np.flatnonzero(mixture.start)
    means = mixture.means[used]
    dots = np.stack([(pictures @ part.T.astype(np.float32)).astype(np.float64) for part in means])
    gram = np.einsum("tvd,uvd->vtu", means, means)
    counts = np.bincount(codes, minlength=means.shape[1])
    item_weights = 1.0 / (counts[codes] * np.count_nonzero(counts))
    rows = np.arange(len(codes))

    def cost(logs: np.ndarray) -> tuple[float, np.ndarray]:
        raised = mixture.start[used] * np.exp(logs - logs.max())
        weights = raised / raised.sum()
        norms = np.sqrt(np.einsum("t,vtu,u->v", weights, gram, weights))
        cosines = np.einsum("t,tnv->nv", weights, dots) / norms
        logits = scale * cosines
        logits -= logits.max(axis=1, keepdims=True)
        chances = np.exp(logits)
        sums = chances.sum(axis=1, keepdims=True)
        loss = -item_weights @ (logits[rows, codes] - np.log(sums[:, 0]))
        error = chances / sums
        error[rows, codes] -= 1.0
        error *= scale * item_weights[:, None] / norms
        pulled = np.einsum("vtu,u->vt", gram, weights) / norms[:, None]
        by_weight = np.einsum("nv,tnv->t", error, dots) - np.einsum("nv,nv,vt->t", error, cosines, pulled)
        by_log = weights * (by_weight - weights @ by_weight)
        return loss + logs @ logs / (2 * products), by_log + logs / products

    best = optimize.minimize(cost, np.zeros(len(used)), jac=True, method="L-BFGS-B")
    raised = mixture.start[used] * np.exp(best.x - best.x.max())
    weights = np.zeros(len(mixture.start))
    weights[used] = raised / raised.sum()
    return weights


def _readable(weights: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    """Mean 1 over the templates that count, two decimals: what a person reads in the file."""
    found = np.asarray(weights)
    return tuple(float(weight) for weight in np.round(found * np.count_nonzero(found), 2))
