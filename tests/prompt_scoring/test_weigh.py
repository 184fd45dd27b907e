"""Fitted weights: gradients, what they find when there is something to find, and silence when there is not."""

import numpy as np
import pytest
from scipy import optimize

from clipadapt.errors import PromptError
from clipadapt.prompt_scoring import weigh as module
from clipadapt.prompt_scoring.table import LabelledPictures, PromptScorer
from clipadapt.prompt_scoring.weigh import Mixture, fit, weigh
from clipadapt.prompts import Prompts

DIM, VALUES = 24, 4
FILE = """attributes:
  Pattern: {templates: ["good {value}", "noisy {value}", "misleading {value}"]}
  Fit: {templates: ["{value}"]}
"""


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


class World:
    """Values with true directions; "good" texts say them, "noisy" ones mumble, "misleading" ones name another value."""

    def __init__(self, items: int = 400, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.truth = unit(random.standard_normal((VALUES, DIM)))
        self.noise = {word: unit(random.standard_normal((VALUES, DIM))) for word in ("good", "noisy", "misleading")}
        codes = random.integers(VALUES, size=items // 2).repeat(2)
        vectors = unit(self.truth[codes] + 0.35 * random.standard_normal((items, DIM))).astype(np.float32)
        labels: list[str | None] = [f"v{code}" for code in codes]
        products = np.arange(items) // 2
        self.labelled = LabelledPictures(vectors, {"Pattern": labels, "Fit": labels}, products.astype(str))

    def encode(self, texts) -> np.ndarray:
        return np.stack([self.text(*text.split()) for text in texts]).astype(np.float32)

    def text(self, word: str, value: str = "") -> np.ndarray:
        code = int((value or word)[1:])
        if word == "good":
            return unit(self.truth[code] + 0.3 * self.noise[word][code])
        if word == "noisy":
            return unit(0.3 * self.truth[code] + self.noise[word][code])
        return unit(self.truth[(code + 1) % VALUES] + 0.3 * self.noise["misleading"][code])


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.mark.parametrize("method", ["labels", "no_labels"])
def test_what_helps_gains_weight(world, method):
    prompts = Prompts.parse(FILE, "p.yaml")
    (found,) = weigh(PromptScorer(world.labelled, world.encode), prompts, method, scale=20.0)
    assert found.attribute == "Pattern" and found.before == (1.0, 1.0, 1.0)
    assert sum(found.after) == pytest.approx(3.0, abs=0.02) and found.after[0] > found.after[1]
    if method == "labels":
        assert found.after[0] > 1.5 > 0.7 > found.after[2]
        assert found.claimed and found.gain.mean > 0.1


def test_the_gradient_is_that_of_the_cost(world, monkeypatch):
    mixture = _mixture(world)
    codes = np.array([int(label[1:]) for label in world.labelled.values["Pattern"]])
    costs = []
    monkeypatch.setattr(optimize, "minimize", lambda cost, start, **_: costs.append((cost, len(start))) or _Done(start))
    fit(mixture, world.labelled.vectors, codes, 200, "labels", 20.0)
    cost, size = costs[0]
    for seed in range(3):
        point = np.random.default_rng(seed).standard_normal(size)
        assert optimize.check_grad(lambda x: cost(x)[0], lambda x: cost(x)[1], point) < 1e-5


class _Done:
    def __init__(self, x: np.ndarray) -> None:
        self.x = x


def _mixture(world: World) -> Mixture:
    means = np.stack([[world.text(word, f"v{code}") for code in range(VALUES)] for word in world.noise])
    return Mixture(means, np.ones((3, VALUES), bool), np.array([0.5, 0.25, 0.25]))


def test_the_likelihood_is_at_its_minimum(world):
    """A coarse grid over the simplex finds nothing better than the fit."""
    mixture = _mixture(world)
    codes = np.array([int(label[1:]) for label in world.labelled.values["Pattern"]])
    found = fit(mixture, world.labelled.vectors, codes, 200, "labels", 20.0)

    def cost(weights: np.ndarray) -> float:
        logits = 20.0 * world.labelled.vectors.astype(float) @ mixture.vectors(weights).T
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        counts = np.bincount(codes)
        loss = -np.mean([np.log(chances[codes == c, c]).sum() / counts[c] for c in range(VALUES)])
        logs = np.log(weights / mixture.start)
        logs -= logs.mean()
        return loss + logs @ logs / 400

    grid = [np.array([a, b, 1 - a - b]) for a in np.arange(0.02, 1, 0.04) for b in np.arange(0.02, 1 - a, 0.04)]
    assert cost(found) <= min(cost(weights) for weights in grid if weights[2] > 0.01) + 1e-3


@pytest.mark.parametrize("method", ["labels", "no_labels"])
def test_shuffled_labels_claim_nothing(method):
    """The level: of 200 shuffles by product at most as many claim a gain as 2.5% allows (99.5% of the time)."""
    prompts = Prompts.parse(FILE, "p.yaml")
    claims = 0
    world = World(items=160, seed=1)
    labels = np.array(world.labelled.values["Pattern"])[::2]
    for shuffle in range(200):
        shuffled = np.random.default_rng(shuffle).permutation(labels).repeat(2).tolist()
        labelled = world.labelled._replace(values={"Pattern": shuffled})
        (found,) = weigh(PromptScorer(labelled, world.encode), prompts, method, scale=20.0, seed=shuffle)
        claims += found.claimed
    assert claims <= 11


def test_folds_keep_products_whole_and_even():
    products = np.array([3, 3, 7, 7, 7, 1, 9, 2, 2, 5])
    folds = module._folds(products, 0)
    assert len({(p, f) for p, f in zip(products.tolist(), folds.tolist(), strict=True)}) == len(set(products.tolist()))
    assert sorted(np.bincount(folds[[0, 2, 5, 6, 7, 9]], minlength=module.FOLDS).tolist()) == [1, 1, 1, 1, 2]


def test_a_template_for_some_values_and_weights_of_nothing(world):
    mixture = _mixture(world)
    means = mixture.means.copy()
    means[0, 2] = 0.0
    present = mixture.present.copy()
    present[0, 2] = False
    partial = Mixture(means, present, mixture.start)
    vectors = partial.vectors(np.array([1.0, 0.0, 0.0]))
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(VALUES))
    for method in ("labels", "no_labels"):
        codes = np.array([int(label[1:]) for label in world.labelled.values["Pattern"]])
        weights = fit(partial, world.labelled.vectors, codes, 200, method, 20.0)
        assert weights.sum() == pytest.approx(1.0) and (weights > 0).all()
    off = partial._replace(start=np.array([0.5, 0.5, 0.0]))
    assert fit(off, world.labelled.vectors, codes, 200, "labels", 20.0)[2] == 0.0


def test_nothing_to_weigh_is_said(world):
    with pytest.raises(PromptError, match="no attribute can be weighed"):
        weigh(
            PromptScorer(world.labelled, world.encode),
            Prompts.parse('other_attributes: {templates: ["good {value}"]}'),
            "labels",
            1.0,
        )
