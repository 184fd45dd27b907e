"""The terms that hold an adaptation close to its base."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from clipadapt.losses.keep import anchor_loss, keep_loss


def unit(rows, width=5, seed=0, requires_grad=False):
    vectors = normalize(torch.randn(rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    return vectors.requires_grad_(requires_grad)


def test_keep_equals_the_loop():
    image, text, base_image, base_text = unit(3), unit(4, seed=1), unit(3, width=7, seed=2), unit(4, width=7, seed=3)
    total = 0.0
    for i in range(3):
        ours = [math.exp(10.0 * float(image[i] @ t)) for t in text]
        theirs = [math.exp(5.0 * float(base_image[i] @ t)) for t in base_text]
        for p, q in zip(theirs, ours, strict=True):
            total += p / sum(theirs) * math.log(p / sum(theirs) / (q / sum(ours)))
    terms = keep_loss(image, text, base_image, base_text, 10.0, 5.0)
    assert terms.total.item() == pytest.approx(total, rel=1e-12)
    assert terms.items.item() == 3


def test_keep_is_zero_at_the_base_and_after_turning_both_towers():
    image, text = unit(3), unit(4, seed=1)
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    for ours in ((image, text), (image @ turn, text @ turn)):
        assert keep_loss(*ours, image, text, 50.0).mean().item() == pytest.approx(0, abs=1e-12)


def test_base_gets_no_gradient():
    image, base = unit(3, requires_grad=True), unit(3, seed=4, requires_grad=True)
    text = unit(4, seed=1)
    keep_loss(image, text, base, text, 10.0).mean().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0
    assert base.grad is None
    anchor_loss(image, base).mean().backward()
    assert base.grad is None


def test_anchor_by_hand():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    terms = anchor_loss(vectors, torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
    assert terms.total.item() == pytest.approx(0.2)
    assert terms.mean().item() == pytest.approx(0.1)


def test_gradients():
    image, text = unit(3, requires_grad=True), unit(4, seed=1, requires_grad=True)
    base_image, base_text = unit(3, seed=2), unit(4, seed=3)
    assert torch.autograd.gradcheck(lambda i, t: keep_loss(i, t, base_image, base_text, 5.0).total, (image, text))
    assert torch.autograd.gradcheck(lambda i: anchor_loss(i, base_image).total, (image,))


def test_a_single_text_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        keep_loss(unit(2), unit(1), unit(2), unit(1), 10.0)
