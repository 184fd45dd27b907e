"""The attribute losses against loops, by hand, and summed over pieces of a batch."""

import math

import pytest
import torch
from jaxtyping import TypeCheckError
from torch.nn.functional import normalize

from clipadapt.losses.attributes import (
    attribute_loss,
    log_odds,
    log_prior,
    multi_attribute_loss,
    value_to_items_loss,
)

REFUSED = (ValueError, TypeCheckError)
"""Shapes at odds: our own message, or jaxtyping's where tests have its checks switched on."""


def unit(rows, width=5, seed=0, requires_grad=False):
    vectors = normalize(torch.randn(rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    return vectors.requires_grad_(requires_grad)


PRIOR = log_prior(torch.tensor([100, 10, 1, 0])).double()


def slow(image, values, target, scale, prior, tau):
    total, items = 0.0, 0
    for i, own in enumerate(target):
        if own < 0:
            continue
        logits = [scale * float(image[i] @ values[v]) + tau * float(prior[v]) for v in range(len(values))]
        total += math.log(sum(math.exp(logit) for logit in logits)) - logits[own]
        items += 1
    return total, items


def test_equals_the_loop_and_leaves_unknowns_out():
    image, values, target = unit(6), unit(4, seed=1), torch.tensor([0, -1, 3, 1, -1, 0])
    terms = attribute_loss(image, values, target, 20.0, PRIOR, tau=0.7)
    total, items = slow(image, values, target.tolist(), 20.0, PRIOR, 0.7)
    assert terms.total.item() == pytest.approx(total, rel=1e-12)
    assert terms.items.item() == items == 4


def test_adjustment_by_hand():
    # All cosines equal: the adjusted softmax is the training distribution itself, so the loss is -log frequency.
    image = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    values = torch.tensor([[0.0, 1.0]] * 3, dtype=torch.float64)
    prior = log_prior(torch.tensor([90, 9, 1]))
    for value, share in enumerate([0.9, 0.09, 0.01]):
        loss = attribute_loss(image, values, torch.tensor([value]), 50.0, prior).mean()
        assert loss.item() == pytest.approx(-math.log(share), rel=1e-6)


def test_prior_matters_only_up_to_a_constant():
    image, values, target = unit(3), unit(4, seed=1), torch.tensor([0, 1, 2])
    shifted = attribute_loss(image, values, target, 20.0, PRIOR + 5.0)
    torch.testing.assert_close(attribute_loss(image, values, target, 20.0, PRIOR), shifted, rtol=1e-12, atol=0)


def test_value_without_items_has_a_finite_prior():
    assert log_prior(torch.tensor([3, 0])).tolist() == pytest.approx([math.log(3 / 4), math.log(1 / 4)])
    assert log_odds(torch.tensor([0, 4]), 4).tolist() == pytest.approx([math.log(0.5 / 4.5), math.log(4.5 / 0.5)])


def test_batch_without_labels_is_zero_with_zero_gradient():
    image = unit(3, requires_grad=True)
    terms = attribute_loss(image, unit(2, seed=1), torch.tensor([-1, -1, -1]), 20.0)
    terms.total.backward()
    assert terms.total.item() == 0 and terms.items.item() == 0
    assert image.grad is not None and (image.grad == 0).all()


def test_pieces_add_up_to_the_whole_batch():
    image, values, target = unit(7, requires_grad=True), unit(4, seed=1), torch.tensor([0, -1, -1, 1, 2, -1, 3])
    whole = attribute_loss(image, values, target, 20.0, PRIOR).mean()
    terms = [attribute_loss(i, values, t, 20.0, PRIOR) for i, t in zip(image.split(3), target.split(3), strict=True)]
    pieces = torch.stack([t.total for t in terms]).sum() / torch.stack([t.items for t in terms]).sum()
    torch.testing.assert_close(pieces, whole, rtol=1e-14, atol=0)
    torch.testing.assert_close(torch.autograd.grad(pieces, image), torch.autograd.grad(whole, image))


def test_hard_labels_are_soft_ones_with_all_on_one_value():
    image, values, target = unit(4), unit(4, seed=1), torch.tensor([0, -1, 3, 1])
    shares = torch.zeros(4, 4, dtype=torch.float64)
    shares[torch.arange(4)[target >= 0], target[target >= 0]] = 1
    hard, soft = (attribute_loss(image, values, t, 20.0, PRIOR) for t in (target, shares))
    torch.testing.assert_close(hard, soft, rtol=1e-12, atol=0)


def test_mixed_targets_are_the_mixture_of_losses():
    image, values = unit(1), unit(3, seed=1)
    mixed = attribute_loss(image, values, torch.tensor([[0.3, 0.7, 0.0]], dtype=torch.float64), 20.0)
    parts = [attribute_loss(image, values, torch.tensor([v]), 20.0).total.item() for v in (0, 1)]
    assert mixed.total.item() == pytest.approx(0.3 * parts[0] + 0.7 * parts[1], rel=1e-12)
    half_known = attribute_loss(image, values, torch.tensor([[0.3, 0.0, 0.0]], dtype=torch.float64), 20.0)
    assert half_known.items.item() == pytest.approx(0.3)
    assert half_known.mean().item() == pytest.approx(parts[0], rel=1e-12)


def test_multi_equals_the_loop():
    image, values = unit(4), unit(3, seed=1)
    target = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]]).bool()
    cells = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 0, 0], [0, 1, 0]]).bool()
    total, items = 0.0, 0
    for i in range(4):
        losses = []
        for v in range(3):
            logit = 8.0 * float(image[i] @ values[v]) - 1.0 + 0.5 * float(PRIOR[v])
            if cells[i, v]:
                losses.append(math.log1p(math.exp(-logit if target[i, v] else logit)))
        if losses:
            total, items = total + sum(losses) / len(losses), items + 1
    terms = multi_attribute_loss(image, values, target, cells, 8.0, -1.0, PRIOR[:3], tau=0.5)
    assert terms.total.item() == pytest.approx(total, rel=1e-12)
    assert terms.items.item() == items == 3


def test_multi_knows_whole_pictures_too():
    image, values, target = unit(3), unit(2, seed=1), torch.tensor([[1, 0], [0, 1], [1, 1]]).bool()
    rows = torch.tensor([True, False, True])
    by_row = multi_attribute_loss(image, values, target, rows, 8.0)
    torch.testing.assert_close(by_row, multi_attribute_loss(image[rows], values, target[rows], rows[rows], 8.0))


def test_gradients():
    image, values = unit(4, requires_grad=True), unit(3, seed=1, requires_grad=True)
    scale = torch.tensor(6.0, dtype=torch.float64, requires_grad=True)
    target, shares = torch.tensor([2, -1, 0, 1]), torch.rand(4, 3, dtype=torch.float64)
    cells = torch.rand(4, 3) < 0.6
    for loss in (
        lambda i, v, s: attribute_loss(i, v, target, s, PRIOR[:3]).total,
        lambda i, v, s: attribute_loss(i, v, shares, s).total,
        lambda i, v, s: multi_attribute_loss(i, v, shares, cells, s, -3.0).total,
    ):
        assert torch.autograd.gradcheck(loss, (image, values, scale))


def test_bad_targets_are_refused():
    with pytest.raises(ValueError, match="target 2 with 2 values"):
        attribute_loss(unit(1), unit(2), torch.tensor([2]), 1.0)
    with pytest.raises(REFUSED, match=r"shares|Type-check"):
        attribute_loss(unit(2), unit(2), torch.rand(2, 3), 1.0)


def slow_search(values, items, has, known, scale):
    """Value after value, item after item."""
    total, counted = 0.0, 0
    for v in range(len(values)):
        answers = [i for i in range(len(items)) if known[i] and has[i][v]]
        if not answers:
            continue
        below = math.log(sum(math.exp(scale * float(values[v] @ items[i])) for i in range(len(items)) if known[i]))
        total += sum(below - scale * float(values[v] @ items[i]) for i in answers) / len(answers)
        counted += 1
    return total, counted


@pytest.mark.parametrize("several", [False, True], ids=["exclusive", "multi"])
def test_search_direction_equals_the_loop_and_leaves_unknowns_out(several):
    values, items = unit(4, seed=1), unit(9)
    has = torch.zeros(9, 4, dtype=torch.bool)
    for item, value in enumerate([0, 1, 0, 0, 2, 1, 0, 2, 0]):
        has[item, value] = True
    if several:
        has[0, 2] = has[4, 1] = True
    known = torch.tensor([True, True, False, True, True, True, True, False, True])
    terms = value_to_items_loss(values, items, has, known, 20.0)
    total, counted = slow_search(values, items, has.tolist(), known.tolist(), 20.0)
    assert terms.total.item() == pytest.approx(total, rel=1e-12)
    assert terms.items.item() == counted == 3


def test_search_direction_weighs_values_alike_and_reaches_zero():
    # A value's items alone score 1 and all others -1: at a high scale only the number of its own items is left.
    values = torch.eye(2, dtype=torch.float64)[:1]
    items = torch.tensor([[1.0, 0.0]] * 3 + [[-1.0, 0.0]] * 5, dtype=torch.float64)
    has = (items[:, :1] > 0).bool()
    loss = value_to_items_loss(values, items, has, torch.ones(8, dtype=torch.bool), 100.0).mean()
    assert loss.item() == pytest.approx(math.log(3), rel=1e-12)


def test_search_direction_without_a_known_item_is_zero_with_zero_gradient():
    values, items = unit(2, seed=1, requires_grad=True), unit(3, requires_grad=True)
    terms = value_to_items_loss(
        values, items, torch.ones(3, 2, dtype=torch.bool), torch.zeros(3, dtype=torch.bool), 50.0
    )
    terms.total.backward()
    assert terms.total.item() == 0 and terms.items.item() == 0
    for vectors in (values, items):
        assert vectors.grad is not None and (vectors.grad == 0).all()


def test_search_direction_gives_items_without_gradient_none_and_others_the_same():
    values, items = unit(3, seed=1), unit(6, requires_grad=True)
    has = torch.eye(3, dtype=torch.bool).repeat(2, 1)
    known = torch.ones(6, dtype=torch.bool)
    (whole,) = torch.autograd.grad(value_to_items_loss(values, items, has, known, 20.0).mean(), items)
    some = items[:2].detach().requires_grad_()
    both = torch.cat([some, items[2:].detach()])
    (part,) = torch.autograd.grad(value_to_items_loss(values, both, has, known, 20.0).mean(), some)
    torch.testing.assert_close(part, whole[:2], rtol=1e-12, atol=0)
