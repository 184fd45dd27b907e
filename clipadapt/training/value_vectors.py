"""Value vectors learned from encoded pictures, in a minute: before any tower moves, and again once pictures have.

For each attribute one free unit vector per value is fitted in both directions: which value has this picture
(logit-adjusted cross-entropy over the values) and which pictures have this value (cross-entropy over the labelled
items). It is a linear probe in the form of the model itself: cosines, no bias; of few labels a penalised one is written
so (probe_vectors.py). The text warm-up leads the values' texts to them, they recognise beside texts, and in the
training of both towers they are parameters like others.

How much of them goes into a mixture with texts is chosen per attribute on tune, by a smooth figure: the mean of
balanced likelihood and value-wise average precision moves with every item, where accuracy over a handful of rare items
jumps. Of shares that tune cannot tell from the best one the largest is taken. Nothing here knows of files or epochs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.special import log_softmax
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from clipadapt.data.catalogue import Catalogue
from clipadapt.losses.prefixes import prefix
from clipadapt.towers.value_vectors import Cloud, Learned, ValueVectors
from clipadapt.training.labels import Labels
from clipadapt.training.probe_vectors import few, probe_vectors

STEPS = 100
RATE = 0.01
"""Of the vectors that pictures are trained from: a short way, for further on rare values' vectors fit their few items
rather than the value: after 300 at a factor of 100 tune's top-1 was .25, after these .36."""
STEPS_AGAIN = 300
RATE_AGAIN = 0.03
SCALE_AGAIN = 100.0
"""Of the vectors that are learned from trained pictures: those lie further apart, and vectors that separate them as
sharply as the training of CLIP may (its factor ends at 100) recognise and find more (eval/LOG.md, "Value vectors,
learned again")."""
LOGITS = 1 << 26
"""Items x values of one step: 256 MB for each copy that the backward pass holds."""
ITEMS = 4096
"""Items of a step at least, however many values there are."""
NOISE = 0.02
"""Size of the first vectors' spread around the pictures' mean, which separates nothing yet."""
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Shares of value vectors that a mixture may have."""
SHARPNESS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Parts of training's factor on cosines that a mixture is judged at: it is flatter than what it is mixed from."""
GROUPS = 10
"""Parts of tune, by product, of which each is left out once to see how far a difference of figures is to be trusted;
with fewer labelled products nothing is chosen."""


class ValueTable(nn.Module):
    """The value vectors of every attribute in training: free rows, of which the direction alone counts."""

    def __init__(self, labels: Sequence[Labels], dim: int) -> None:
        super().__init__()
        self.values = {one.attribute: tuple(one.values) for one in labels}
        self._at = {name: number for number, name in enumerate(self.values)}
        self.rows = nn.ParameterList([torch.zeros(len(values), dim) for values in self.values.values()])

    def vectors(self, attribute: str) -> Float[Tensor, "v d"]:
        """Unit vectors of one attribute, with gradient."""
        return F.normalize(self.rows[self._at[attribute]], dim=-1)

    @property
    def started(self) -> bool:
        """Whether there is anything in it yet."""
        return any(bool(rows.detach().any()) for rows in self.rows)

    @torch.no_grad()
    def start(self, learned: Mapping[str, Float[Tensor, "v d"]]) -> None:
        """Takes learned vectors."""
        for name in self.values:
            self.rows[self._at[name]].copy_(learned[name])

    def kept(
        self,
        image_space: str,
        weights: Mapping[str, float],
        fitted: Mapping[str, object],
        pictures: Float[np.ndarray, "n d"],
    ) -> ValueVectors:
        """As it is now, for recognising and for the file; `pictures`: unit vectors that say how pictures lie."""
        learned = {
            name: Learned(values, self.vectors(name).detach().float().cpu().numpy().copy(), weights.get(name, 0.5))
            for name, values in self.values.items()
        }
        return ValueVectors(learned, image_space, fitted, Cloud.of(pictures))


def learn(
    labels: Sequence[Labels],
    pictures: Float[Tensor, "n d"],
    *,
    scale: float,
    tau: float,
    search: float = 1.0,
    seed: int = 0,
    again: bool = False,
    dims: Sequence[int] = (),
) -> dict[str, Float[Tensor, "v d"]]:
    """Attribute -> unit vector of each of its values, fitted over all items at once; of exclusive attributes with few
    labels by `probe_vectors`, unless first dimensions are to do by themselves.

    Where items x values would not fit in memory, each step takes another share of the items. Time grows with both.

    Args:
        labels: the attributes of a catalogue, and what each item has.
        pictures: unit vectors of its items, in order; no gradient reaches them.
        scale: factor on cosines; a low one regularises.
        tau: strength of the frequency prior, as in the recognition loss.
        search: weight of the direction from values to items; that of the other is 1.
        seed: of the first vectors.
        again: the pictures were trained by value vectors: more steps, and a factor of 100 at least.
        dims: first dimensions that are to do by themselves, as in `loss.dims`.
    """
    lengths = [pictures.shape[1], *(dim for dim in dims if dim < pictures.shape[1])]
    steps, rate = (STEPS_AGAIN, RATE_AGAIN) if again else (STEPS, RATE)
    draws = torch.Generator().manual_seed(seed)
    factor = torch.tensor(max(scale, SCALE_AGAIN) if again else scale, device=pictures.device)
    learned = {}
    for attribute in labels:
        spread = NOISE * torch.randn(len(attribute.values), pictures.shape[1], generator=draws)
        items = attribute.known.nonzero().squeeze(1).to(pictures.device)
        if attribute.exclusive and len(lengths) == 1 and few(len(items), len(attribute.values)):
            target = attribute.target(torch.arange(len(pictures)))
            vectors = probe_vectors(pictures.float().cpu().numpy(), target.numpy(), spread[0].numpy())
            learned[attribute.attribute] = torch.from_numpy(vectors).to(pictures)
            continue
        free = (pictures.mean(0) + spread.to(pictures)).requires_grad_()
        optimizer = torch.optim.Adam([free], lr=rate)
        size = max(ITEMS, LOGITS // len(attribute.values))
        for _ in range(steps):
            some = items
            if len(items) > size:
                some = items[torch.randperm(len(items), generator=draws)[:size].to(items.device)]
            losses = []
            for dim in lengths:
                vectors, shown = prefix(F.normalize(free, dim=-1), dim), prefix(pictures[some], dim)
                loss = attribute.terms(some, shown, vectors, factor, None, tau).mean()
                if search:
                    loss = loss + search * attribute.search_terms(some, shown, vectors, factor, None).mean()
                losses.append(loss)
            loss = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        learned[attribute.attribute] = F.normalize(free.detach(), dim=-1)
    return learned


def choose_weights(
    learned: ValueVectors,
    tune: Catalogue,
    pictures: Float[np.ndarray, "n d"],
    texts: Mapping[str, Float[np.ndarray, "v d"]],
    *,
    scale: float,
) -> dict[str, float]:
    """Attribute -> share of value vectors in its mixture, by `smooth_figure` on tune.

    The largest share within one standard error of the best: text comes in where tune says so clearly, for a few hundred
    items prefer now this share and now that one. The error is that of the difference, by a jackknife over products.
    Fewer labelled products than GROUPS say nothing clearly: the vectors alone, which recognise more than any mixture
    with texts from the first label a value on (eval/LOG.md, "Few labels").
    Source: the one-standard-error rule of Breiman et al., "Classification and Regression Trees" (1984), 3.4.3.

    Args:
        pictures: unit vectors of tune's items.
        texts: attribute -> unit vectors of the texts of `learned`'s values, in their order, in the wording to judge by.
    """
    chosen = {}
    for name, one in learned.attributes.items():
        place = {value: row for row, value in enumerate(one.values)}
        sets = [[place[value] for value in sorted(had) if value in place] for had in tune.value_sets(name)]
        rows = np.array([row for row, had in enumerate(sets) if had], np.int64)
        if len({tune.products[int(row)] for row in rows}) < GROUPS:
            chosen[name] = WEIGHTS[-1]
            continue
        has = np.zeros((len(rows), len(one.values)), bool)
        for row, item in enumerate(rows):
            has[row, sets[item]] = True
        scales = [factor * scale for factor in SHARPNESS]
        cosines = [pictures[rows] @ learned.mixed(name, one.values, texts[name], weight).T for weight in WEIGHTS]
        figures = [smooth_figure(some, has, scales=scales) for some in cosines]
        best = int(np.argmax(figures))
        chosen[name] = WEIGHTS[best]
        parts = _without_a_group([tune.products[int(row)] for row in rows])
        if best < len(WEIGHTS) - 1:
            left_out = [
                [smooth_figure(some[part], has[part], scales=scales) for some in cosines[best:]] for part in parts
            ]
            error = _jackknife_error(np.array(left_out))
            for share, figure, wide in zip(WEIGHTS[best:], figures[best:], error, strict=True):
                if figures[best] - figure <= wide:
                    chosen[name] = share
    return chosen


def _without_a_group(products: Sequence[str]) -> list[np.ndarray]:
    """Which items are left as each part of the products is taken out; `GROUPS` parts, or one for each product."""
    place = {product: number for number, product in enumerate(dict.fromkeys(products))}
    group = np.random.default_rng(0).permutation(len(place)) % GROUPS
    of = group[[place[product] for product in products]]
    return [of != one for one in range(min(GROUPS, len(place))) if (of != one).any()]


def _jackknife_error(left_out: Float[np.ndarray, "g w"]) -> Float[np.ndarray, " w"]:
    """Standard error of how far each column's figure is from the first one's, from the figures with each of two or more
    groups left out in turn.
    """
    groups = len(left_out)
    apart = left_out - left_out[:, :1]
    return np.sqrt((groups - 1) / groups * ((apart - apart.mean(axis=0)) ** 2).sum(axis=0))


def smooth_figure(cosines: Float[np.ndarray, "n v"], has: np.ndarray, *, scales: Sequence[float]) -> float:
    """How well values are recognised and found: the mean over the values that occur of the geometric mean probability
    of their items, and of average precision, averaged. From 0 to 1; larger is better.

    Args:
        cosines: of labelled items with every value.
        has: bool, which values an item has.
        scales: factors on cosines, of which the one with the largest probability counts: vectors that lie closer
            together recognise no worse for it.
    """
    occurring = np.flatnonzero(has.any(axis=0))
    precise = [average_precision_score(has[:, value], cosines[:, value]) for value in occurring]
    likely = []
    for scale in scales:
        logs = log_softmax(scale * cosines.astype(np.float64), axis=1)
        likely.append(np.mean([np.exp(logs[has[:, value], value].mean()) for value in occurring]))
    return float((max(likely) + np.mean(precise)) / 2)
