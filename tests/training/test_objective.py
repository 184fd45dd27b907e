"""What a batch asks for and what its loss is, against small cases written out."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clipadapt.config import Config, Loss
from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.data.splits import load_splits
from clipadapt.errors import TrainingError
from clipadapt.prompts import Prompts
from clipadapt.training.bank import Bank
from clipadapt.training.captions import Captions
from clipadapt.training.labels import Labels, labels_of
from clipadapt.training.objective import Base, Objective
from clipadapt.training.value_vectors import ValueTable


@pytest.fixture
def config(configured: Callable[..., Config]) -> Config:
    return configured()


@pytest.fixture
def catalogue(config: Config) -> Catalogue:
    return load_splits(config.data, 0).train


@pytest.fixture
def prompts(config: Config) -> Prompts:
    return Prompts.load(config.prompts)


def unit(rows: int, seed: int, dim: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64), dim=-1)


ITEMS = np.arange(10)
SCALE = torch.tensor(10.0, dtype=torch.float64)


def test_each_distinct_caption_is_drawn_once_and_is_keyed(catalogue: Catalogue, prompts: Prompts):
    captions = Captions(catalogue, prompts, seed=0)
    batch = captions.batch(ITEMS.tolist(), epoch=0)
    assert len(set(batch.texts)) == len(batch.texts) < len(ITEMS)
    for item, row in enumerate(batch.of.tolist()):
        assert batch.texts[row] == prompts.caption(catalogue.row(item), (0, 0, item))
    again = captions.batch([7, 2], epoch=0)
    assert [again.texts[row] for row in again.of] == [batch.texts[batch.of[item]] for item in (7, 2)]
    assert captions.batch(ITEMS.tolist(), epoch=1).texts != batch.texts


def test_a_caption_is_true_of_items_with_the_same_cells(catalogue: Catalogue, prompts: Prompts):
    captions = Captions(catalogue, prompts, seed=0)
    batch = captions.batch(list(range(len(catalogue))), epoch=0)
    positives, known = batch.pairs(slice(0, len(catalogue)), slice(0, len(batch.texts)))
    rows = [catalogue.row(item) for item in range(len(catalogue))]
    for writer, column in enumerate(batch.of.tolist()):
        said = prompts.stated(rows[writer], (0, 0, writer)).columns
        for item, row in enumerate(rows):
            if batch.of[item] == column:
                assert positives[item, column] and known[item, column]
                continue
            cells = [(row[name], rows[writer][name]) for name in said]
            assert bool(positives[item, column]) == all(mine == theirs for mine, theirs in cells)
            contradicted = any(mine and mine != theirs for mine, theirs in cells)
            assert bool(known[item, column]) == (contradicted or all(mine for mine, _ in cells))


def test_softmax_takes_equal_captions_as_written(catalogue: Catalogue, prompts: Prompts):
    objective = Objective(Loss(name="softmax"), catalogue, prompts, seed=0)
    text_batch = objective.texts_for(ITEMS, epoch=0, step=0)
    image, text = unit(10, 0), unit(len(text_batch.texts), 1)
    assert text_batch.captions is not None
    logits = SCALE * image @ text[text_batch.captions.of].T
    expected = (F.cross_entropy(logits, torch.arange(10)) + F.cross_entropy(logits.T, torch.arange(10))) / 2
    assert float(objective.loss(text_batch, image, text, scale=SCALE).loss) == pytest.approx(float(expected))


def test_attributes_ask_for_every_value_and_weigh_attributes_not_labels(catalogue: Catalogue, prompts: Prompts):
    loss = Loss(name="attributes", caption_weight=0.0, attribute_weights={"baseColour": 3.0})
    objective = Objective(loss, catalogue, prompts, seed=0)
    assert [labels.attribute for labels in objective.labels] == ["Pattern", "baseColour"]  # one value is no choice
    text_batch = objective.texts_for(ITEMS, epoch=0, step=0)
    assert text_batch.captions is None
    image, text = unit(10, 0), unit(len(text_batch.texts), 1)
    expected = 0.0
    for attribute, weight in (("Pattern", 0.25), ("baseColour", 0.75)):
        counts = catalogue.counts(attribute)
        values = sorted(counts)
        known = sum(value is not None for value in catalogue.values(attribute))
        (rows,) = text_batch.values[attribute].tolist()
        assert [text_batch.texts[row] for row in rows] == [
            objective.wordings.training(attribute, value, (0, 0, 0)) for value in values
        ]
        prior = torch.tensor([math.log(counts[value] / known) for value in values])
        for item, value in enumerate(catalogue.values(attribute)[:10]):
            if value is not None:
                logits = SCALE * image[item] @ text[rows].T + prior
                one = -float(logits.log_softmax(0)[values.index(value)])
                expected += weight * one / (10 * known / len(catalogue))
    outcome = objective.loss(text_batch, image, text, scale=SCALE)
    assert float(outcome.loss) == pytest.approx(expected, rel=1e-6)


def test_accuracy_leaves_the_prior_out_and_chance_is_one_in_the_values(catalogue: Catalogue, prompts: Prompts):
    objective = Objective(Loss(name="attributes", caption_weight=0.0), catalogue, prompts, seed=0)
    text_batch = objective.texts_for(ITEMS, epoch=0, step=0)
    text = torch.eye(len(text_batch.texts), dtype=torch.float64)
    image = torch.zeros(10, len(text), dtype=torch.float64)
    for labels in objective.labels:
        for item, target in enumerate(labels.target(text_batch.items).tolist()):
            if target >= 0:
                image[item, text_batch.values[labels.attribute][0, target]] = 1.0
    outcome = objective.loss(text_batch, image, text, scale=SCALE)
    judged = sum(int((labels.target(text_batch.items) >= 0).sum()) for labels in objective.labels)
    assert float(outcome.judged) == judged
    assert outcome.accuracy == 1.0
    expected = sum(
        int((labels.target(text_batch.items) >= 0).sum()) / len(labels.values) for labels in objective.labels
    )
    assert float(outcome.guessed) == pytest.approx(expected)


def test_parts_add_up_with_their_weights(catalogue: Catalogue, prompts: Prompts):
    loss = Loss(name="attributes", caption_weight=0.5, keep=2.0)
    objective = Objective(loss, catalogue, prompts, seed=0)
    text_batch = objective.texts_for(ITEMS, epoch=0, step=0)
    assert text_batch.captions is not None
    image, text = unit(10, 0), unit(len(text_batch.texts), 1)
    base = Base(unit(10, 2).float(), unit(len(text_batch.captions.texts), 3).float(), 10.0)
    outcome = objective.loss(text_batch, image, text, scale=SCALE, base=base)
    parts = {name: float(part) for name, part in outcome.parts.items()}
    expected = parts["recognise texts"] + 0.5 * parts["captions"] + 2.0 * parts["keep"]
    assert float(outcome.loss) == pytest.approx(expected)
    same = Base(image.float(), text[: len(text_batch.captions.texts)].float(), 10.0)
    assert float(objective.loss(text_batch, image, text, scale=SCALE, base=same).parts["keep"]) == pytest.approx(
        0, abs=1e-6
    )


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "multi_positive", "attributes"])
def test_a_loss_over_dims_is_the_mean_of_those_of_shorter_vectors(catalogue: Catalogue, prompts: Prompts, name: str):
    def made(**more: Any) -> Objective:
        terms = {"search": 1.0, "value_vectors": 1.0, "wordings": 2} if name == "attributes" else {}
        objective = Objective(Loss(name=name, **terms, **more), catalogue, prompts, seed=0)
        if objective.labels:
            learned = {one.attribute: unit(len(one.values), 7, dim) for one in objective.labels}
            objective.table = ValueTable(objective.labels, dim).double()
            objective.table.start(learned)
            objective.bank = Bank(unit(len(catalogue), 8, dim), size=100, seed=0)
            objective.set_targets(learned)
        return objective

    dim = 8
    whole, nested = made(), made(dims=(8, 5, 2))
    text_batch = whole.texts_for(ITEMS, epoch=0, step=0)
    image, text = unit(10, 0, dim).requires_grad_(), unit(len(text_batch.texts), 1, dim)
    expected = []
    for length in (8, 5, 2):
        cut = made()
        if cut.table is not None and cut.bank is not None:
            for rows in cut.table.rows:
                rows.data = rows.data[:, :length].clone()
            cut.bank.vectors.data = F.normalize(cut.bank.vectors.data[:, :length], dim=-1)
            cut.set_targets({one.attribute: F.normalize(unit(len(one.values), 7, dim)[:, :length], dim=-1)
                             for one in cut.labels})  # fmt: skip
        short = [one if length == dim else F.normalize(one[:, :length], dim=-1) for one in (image, text)]
        expected.append(cut.loss(text_batch, *short, scale=SCALE).loss)
    outcome = nested.loss(text_batch, image, text, scale=SCALE)
    torch.testing.assert_close(outcome.loss, torch.stack(expected).mean())
    torch.testing.assert_close(outcome.parts["first 5"], expected[1].detach())
    found = torch.autograd.grad(outcome.loss, image)[0]
    torch.testing.assert_close(found, torch.autograd.grad(torch.stack(expected).mean(), image)[0])
    plain = whole.loss(text_batch, image, text, scale=SCALE)
    assert torch.equal(plain.loss, made(dims=(8,)).loss(text_batch, image, text, scale=SCALE).loss)
    assert torch.equal(plain.loss, expected[0]) and plain.right == outcome.right


def test_anchors_of_a_shorter_vector_are_the_bases_first_dimensions(catalogue: Catalogue, prompts: Prompts):
    loss = Loss(name="attributes", caption_weight=0.0, anchor=1.0, dims=(3,))
    objective = Objective(loss, catalogue, prompts, seed=0)
    text_batch = objective.texts_for(ITEMS, epoch=0, step=0)
    image, text = unit(10, 0, 6), unit(len(text_batch.texts), 1, 6)
    kept = text_batch._replace(anchors=torch.tensor([0, 1]), anchor_vectors=text[:2])
    assert float(objective.loss(kept, image, text, scale=SCALE).parts["anchor"]) == pytest.approx(0)
    gain = (
        objective.loss(kept, image, text, scale=SCALE).loss - objective.loss(text_batch, image, text, scale=SCALE).loss
    )
    assert float(gain) == pytest.approx(0, abs=1e-9)


def test_fewer_captions_than_pictures_are_the_first(catalogue: Catalogue, prompts: Prompts):
    objective = Objective(Loss(name="attributes"), catalogue, prompts, seed=0)
    few, all_ = (objective.texts_for(ITEMS, epoch=0, step=0, captioned=count) for count in (4, None))
    assert few.captions is not None and all_.captions is not None
    assert len(few.captions.of) == 4
    assert few.captions.texts == all_.captions.texts[: len(few.captions.texts)]


def test_the_bias_of_sigmoid_starts_where_half_a_caption_is_expected(catalogue: Catalogue, prompts: Prompts):
    objective = Objective(Loss(name="sigmoid"), catalogue, prompts, seed=0)
    text_batch = objective.texts_for(ITEMS, epoch=0, step=0)
    image, text = unit(10, 0), unit(len(text_batch.texts), 1)
    shifted = F.normalize(image + 5 * image.mean(0), dim=-1)
    losses = [float(objective.loss(text_batch, one, text, scale=SCALE).loss) for one in (image, shifted)]
    own = objective.loss(text_batch, image, text, scale=SCALE, bias=torch.tensor(-3.0)).loss
    assert all(math.isfinite(one) for one in losses)
    assert float(own) != pytest.approx(losses[0])


def test_a_multi_attribute_is_a_yes_or_no_per_value(catalogue: Catalogue):
    multi = Labels(catalogue, Attribute("baseColour", "multi"), 1.0)
    target = multi.target(torch.arange(4))
    assert target.dtype == torch.bool and target.shape == (4, len(multi.values))
    assert target.sum(1).tolist() == [1, 1, 1, 1]
    terms = multi.terms(torch.arange(4), unit(4, 0), unit(len(multi.values), 1), SCALE, None, 1.0)
    assert float(terms.mean()) > 0


def test_weight_zero_leaves_an_attribute_out(catalogue: Catalogue):
    assert [labels.attribute for labels in labels_of(catalogue, {"Pattern": 0.0})] == ["baseColour"]


def test_nothing_to_choose_among_is_refused(catalogue: Catalogue, prompts: Prompts):
    loss = Loss(name="attributes", attribute_weights={"Pattern": 0.0, "baseColour": 0.0})
    with pytest.raises(TrainingError, match="no attribute has two values"):
        Objective(loss, catalogue, prompts, seed=0)
