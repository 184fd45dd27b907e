"""Contrastive losses against loops that spell out their definitions, hand-computed cases, gradcheck and invariances."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch.nn.functional import normalize

from clipadapt.errors import TrainingError
from clipadapt.losses.contrastive import agreement, multi_positive_loss, sigmoid_loss, softmax_loss
from clipadapt.losses.terms import Terms

REFUSED = (ValueError, TypeCheckError)
"""Shapes at odds: our own message, or jaxtyping's where tests have its checks switched on."""


def unit(rows, width=5, seed=0, requires_grad=False):
    vectors = normalize(torch.randn(rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    return vectors.requires_grad_(requires_grad)


def slow_direction(queries, others, scale, weights, known):
    """Loss of every query that has a positive, by the definition."""
    losses = []
    for q in range(len(queries)):
        logits = {
            o: scale * sum(float(a) * float(b) for a, b in zip(queries[q], others[o], strict=True))
            for o in range(len(others))
            if known[q][o]
        }
        mass = sum(weights[q][o] for o in logits)
        if mass == 0:
            continue
        normaliser = math.log(sum(math.exp(value) for value in logits.values()))
        losses.append(sum(weights[q][o] / mass * (normaliser - logits[o]) for o in logits))
    return losses


def slow_multi_positive(image, text, scale, weights, known):
    by_image = slow_direction(image, text, scale, weights.tolist(), known.tolist())
    by_text = slow_direction(text, image, scale, weights.T.tolist(), known.T.tolist())
    return (sum(by_image) / len(by_image) + sum(by_text) / len(by_text)) / 2, len(by_image)


def test_softmax_by_hand():
    # Orthogonal pairs: each right logit is 2, each wrong one 0, so every query costs log(1 + e^-2).
    image = torch.eye(2, dtype=torch.float64)
    terms = softmax_loss(image, image, 2.0)
    assert terms.mean().item() == pytest.approx(math.log1p(math.exp(-2)), abs=1e-15)
    assert terms.items.item() == 2


def test_softmax_equals_the_loop():
    image, text = unit(6), unit(6, seed=1)
    expected, _ = slow_multi_positive(image, text, 14.0, torch.eye(6), torch.ones(6, 6).bool())
    assert softmax_loss(image, text, 14.0).mean().item() == pytest.approx(expected, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(b=st.integers(1, 6), t=st.integers(1, 6), seed=st.integers(0, 10_000), soft=st.booleans())
def test_multi_positive_equals_the_loop(b, t, seed, soft):
    generator = torch.Generator().manual_seed(seed)
    image, text = unit(b, seed=seed), unit(t, seed=seed + 1)
    weights = (torch.rand(b, t, generator=generator) < 0.4).double()
    if soft:
        weights *= torch.rand(b, t, generator=generator).double()
    known = torch.rand(b, t, generator=generator) < 0.7
    weights[0, 0], known[0, 0] = 1, True
    terms = multi_positive_loss(image, text, 9.0, weights, known)
    expected, items = slow_multi_positive(image, text, 9.0, weights, known)
    assert terms.mean().item() == pytest.approx(expected, rel=1e-10)
    assert terms.items.item() == items


def test_one_positive_each_is_softmax():
    image, text = unit(5), unit(5, seed=1)
    plain, multi = softmax_loss(image, text, 30.0), multi_positive_loss(image, text, 30.0, torch.eye(5).bool())
    torch.testing.assert_close(plain, multi, rtol=1e-13, atol=0)


def test_query_with_many_positives_weighs_as_much_as_one_with_few():
    # Picture 0 has both captions of its direction, picture 1 has one; by hand with all cosines 0: log 3 each.
    image, text = torch.zeros(2, 4, dtype=torch.float64), torch.zeros(3, 4, dtype=torch.float64)
    image[:, 0], text[:, 1] = 1, 1
    positives = torch.tensor([[True, True, False], [False, False, True]])
    expected = (math.log(3) + math.log(2)) / 2
    assert multi_positive_loss(image, text, 5.0, positives).mean().item() == pytest.approx(expected, rel=1e-14)


def test_unknown_pair_neither_pulls_nor_pushes():
    image, text = unit(3, requires_grad=True), unit(4, seed=1)
    positives = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]).bool()
    known = torch.ones(3, 4).bool()
    known[:, 3] = False
    masked = multi_positive_loss(image, text, 10.0, positives, known).mean()
    without = multi_positive_loss(image, text[:3], 10.0, positives[:, :3]).mean()
    assert masked.item() == pytest.approx(without.item(), rel=1e-14)
    torch.testing.assert_close(*(torch.autograd.grad(loss, image)[0] for loss in (masked, without)))


def test_fully_unknown_picture_has_no_gradient_and_no_nan():
    image, text = unit(3, requires_grad=True), unit(3, seed=1)
    known = torch.ones(3, 3).bool()
    known[2] = False
    terms = multi_positive_loss(image, text, 10.0, torch.eye(3).bool(), known)
    (gradient,) = torch.autograd.grad(terms.mean(), image)
    assert terms.items.item() == 2
    assert gradient.isfinite().all() and (gradient[2] == 0).all()


def test_batch_without_positives_says_so():
    nothing = torch.zeros(3, 2).bool()
    with pytest.raises(TrainingError, match=r"none of the 3 pictures .* any of its 2 captions"):
        multi_positive_loss(unit(3), unit(2), 10.0, nothing)
    with pytest.raises(TrainingError, match="none of the 3 pictures"):
        sigmoid_loss(unit(3), unit(2), 10.0, -10.0, nothing)
    with pytest.raises(TrainingError, match="none of the 3 pictures"):
        sigmoid_loss(unit(3), unit(2), 10.0, -10.0, ~nothing, nothing)


def test_terms_without_items_have_no_mean():
    with pytest.raises(TrainingError, match="no item"):
        Terms(torch.tensor(0.0), torch.tensor(0.0)).mean()


@pytest.mark.parametrize("masked", [False, True])
def test_sigmoid_equals_the_loop(masked):
    image, text = unit(4), unit(6, seed=1)
    generator = torch.Generator().manual_seed(2)
    positives = torch.rand(4, 6, generator=generator) < 0.4
    known = torch.rand(4, 6, generator=generator) < 0.7 if masked else None
    expected = 0.0
    for i in range(4):
        for j in range(6):
            if known is not None and not known[i, j]:
                continue
            logit = 7.0 * float(image[i] @ text[j]) - 3.0
            expected += math.log1p(math.exp(-logit if positives[i, j] else logit))
    terms = sigmoid_loss(image, text, 7.0, -3.0, positives, known)
    assert terms.total.item() == pytest.approx(expected, rel=1e-12)
    assert terms.items.item() == 4


def test_sigmoid_defaults_to_the_diagonal():
    image, text = unit(3), unit(3, seed=1)
    expected = sigmoid_loss(image, text, 10.0, -10.0, torch.eye(3).bool())
    torch.testing.assert_close(sigmoid_loss(image, text, 10.0, -10.0), expected)


def test_gradients():
    image, text = unit(4, requires_grad=True), unit(3, seed=1, requires_grad=True)
    scale = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(-2.0, dtype=torch.float64, requires_grad=True)
    positives = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]]).bool()
    known = torch.tensor([[1, 1, 1], [1, 1, 1], [0, 1, 1], [1, 1, 0]]).bool()

    def total(loss):
        return lambda *inputs: loss(*inputs).total

    assert torch.autograd.gradcheck(total(softmax_loss), (image[:3], text, scale))
    multi = total(lambda i, t, s: multi_positive_loss(i, t, s, positives, known))
    assert torch.autograd.gradcheck(multi, (image, text, scale))
    pairwise = total(lambda i, t, s, b: sigmoid_loss(i, t, s, b, positives, known))
    assert torch.autograd.gradcheck(pairwise, (image, text, scale, bias))


def test_turning_the_whole_space_changes_nothing():
    image, text, positives = unit(5), unit(4, seed=1), torch.rand(5, 4) < 0.5
    positives[0, 0] = True
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    for loss in (
        lambda i, t: softmax_loss(i[:4], t, 20.0),
        lambda i, t: multi_positive_loss(i, t, 20.0, positives),
        lambda i, t: sigmoid_loss(i, t, 20.0, -10.0, positives),
    ):
        torch.testing.assert_close(loss(image, text), loss(image @ turn, text @ turn), rtol=1e-12, atol=1e-12)


def test_swapping_pictures_and_captions_changes_nothing():
    image, text, positives = unit(4), unit(4, seed=1), torch.tensor([[1, 1, 0, 0]] + [[0, 0, 1, 1]] * 3).bool()
    there, back = multi_positive_loss(image, text, 9.0, positives), multi_positive_loss(text, image, 9.0, positives.T)
    assert there.mean().item() == pytest.approx(back.mean().item(), rel=1e-13)


def test_autocast_does_not_coarsen_the_logits():
    image, text = unit(8).float(), unit(8, seed=1).float()
    plain = softmax_loss(image, text, 100.0).mean()
    with torch.autocast("cpu", torch.bfloat16):
        assert softmax_loss(image, text, 100.0).mean().item() == plain.item()
    assert softmax_loss(image.bfloat16(), text.bfloat16(), 100.0).total.dtype == torch.float32


def test_mismatched_pairs_are_refused():
    with pytest.raises(REFUSED, match=r"row by row|Type-check"):
        softmax_loss(unit(3), unit(2), 1.0)
    with pytest.raises(ValueError, match="hand in positives"):
        sigmoid_loss(unit(3), unit(2), 1.0, 0.0)


def test_agreement_by_hand():
    items = torch.tensor([[0, 1], [0, -1], [2, 1]])  # the second picture's second attribute is unknown
    captions = torch.tensor([[0, -1], [0, 1], [2, 0], [-1, -1]])
    positives, known = agreement(items, captions)
    assert positives.tolist() == [
        [True, True, False, False],
        [True, False, False, False],
        [False, False, False, False],
    ]
    assert known.tolist() == [
        [True, True, True, False],
        [True, False, True, False],  # (0, 1) may be true of it; (2, 0) is contradicted by the first attribute
        [True, True, True, False],
    ]
