"""Tiled losses: the plain ones' values and gradients, without ever holding a tensor of the plain ones' size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clipadapt.errors import TrainingError
from clipadapt.losses.contrastive import multi_positive_loss, sigmoid_loss, softmax_loss
from clipadapt.losses.tiled import tiled_multi_positive_loss, tiled_sigmoid_loss, tiled_softmax_loss

REFUSED = (ValueError, TypeCheckError)
"""Shapes at odds: our own message, or jaxtyping's where tests have its checks switched on."""


def unit(rows, width=6, seed=0, dtype=torch.float64):
    vectors = normalize(torch.randn(rows, width, dtype=dtype, generator=torch.Generator().manual_seed(seed)))
    return vectors.requires_grad_()


def scalar(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def assert_equal_with_gradients(plain, tiled, inputs):
    torch.testing.assert_close(tiled.mean(), plain.mean(), rtol=1e-9, atol=0)
    assert tiled.items.item() == plain.items.item()
    for ours, theirs in zip(
        torch.autograd.grad(tiled.mean(), inputs), torch.autograd.grad(plain.mean(), inputs), strict=True
    ):
        assert ((ours - theirs).norm() / theirs.norm()).item() < 1e-9


def lookup(positives, known):
    return lambda rows, columns: (positives[rows, columns], None if known is None else known[rows, columns])


@pytest.mark.parametrize("tile", [1, 4, 7, 64])
def test_softmax(tile):
    image, text, scale = unit(13), unit(13, seed=1), scalar(50.0)
    plain, tiled = softmax_loss(image, text, scale), tiled_softmax_loss(image, text, scale, tile)
    assert_equal_with_gradients(plain, tiled, (image, text, scale))


@settings(max_examples=40, deadline=None)
@given(
    b=st.integers(1, 9),
    t=st.integers(1, 9),
    tile=st.integers(1, 10),
    seed=st.integers(0, 10_000),
    masked=st.booleans(),
    soft=st.booleans(),
)
def test_multi_positive_and_sigmoid(b, t, tile, seed, masked, soft):
    generator = torch.Generator().manual_seed(seed)
    image, text, scale, bias = unit(b, seed=seed), unit(t, seed=seed + 1), scalar(30.0), scalar(-5.0)
    positives = torch.rand(b, t, generator=generator) < 0.3
    if soft:
        positives = positives * torch.rand(b, t, generator=generator)
    known = torch.rand(b, t, generator=generator) < 0.7 if masked else None
    positives[0, 0] = 1
    if known is not None:
        known[0, 0] = True
    pairs = lookup(positives, known)
    plain = multi_positive_loss(image, text, scale, positives, known)
    if b * t > 1:  # one picture and one caption: the gradient is exactly zero
        tiled = tiled_multi_positive_loss(image, text, scale, pairs, tile)
        torch.testing.assert_close(tiled.mean(), plain.mean(), rtol=1e-9, atol=1e-12)
        for ours, theirs in zip(
            torch.autograd.grad(tiled.mean(), (image, text, scale)),
            torch.autograd.grad(plain.mean(), (image, text, scale)),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    plain = sigmoid_loss(image, text, scale, bias, positives, known)
    tiled = tiled_sigmoid_loss(image, text, scale, bias, tile, pairs)
    assert_equal_with_gradients(plain, tiled, (image, text, scale, bias))


def test_sigmoid_diagonal():
    image, text, scale, bias = unit(11), unit(11, seed=1), scalar(10.0), scalar(-10.0)
    plain = sigmoid_loss(image, text, scale, bias)
    assert_equal_with_gradients(plain, tiled_sigmoid_loss(image, text, scale, bias, 4), (image, text, scale, bias))


class LargestTensor(TorchDispatchMode):
    """Remembers the largest tensor that any operation returned, forward or backward."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.untyped_storage().nbytes() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.largest = max(self.largest, *sizes, 0)
        return result


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_no_tensor_grows_with_the_square_of_the_batch(loss):
    rows, width, tile = 600, 8, 50
    image, text = unit(rows, width), unit(rows, width, seed=1)
    with LargestTensor() as watch:
        if loss == "softmax":
            terms = tiled_softmax_loss(image, text, 10.0, tile)
        else:
            terms = tiled_sigmoid_loss(image, text, 10.0, -10.0, tile)
        terms.mean().backward()
    assert 8 * tile * tile <= watch.largest <= 8 * rows * width < 8 * rows * rows


def test_backward_started_under_autocast_is_as_exact():
    image, text = unit(9, dtype=torch.float32), unit(9, seed=1, dtype=torch.float32)
    (plain,) = torch.autograd.grad(tiled_softmax_loss(image, text, 100.0, 4).mean(), image)
    with torch.autocast("cpu", torch.bfloat16):
        (ours,) = torch.autograd.grad(tiled_softmax_loss(image, text, 100.0, 4).mean(), image)
    assert torch.equal(plain, ours)


def test_batch_without_positives_says_so():
    pairs = lookup(torch.zeros(4, 3).bool(), None)
    with pytest.raises(TrainingError, match=r"none of the 4 pictures .* any of its 3 captions"):
        tiled_multi_positive_loss(unit(4), unit(3), 1.0, pairs, 2)
    with pytest.raises(TrainingError, match="none of the 4 pictures"):
        tiled_sigmoid_loss(unit(4), unit(3), 1.0, 0.0, 2, pairs)


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        tiled_softmax_loss(unit(4), unit(4), 1.0, 0)
    with pytest.raises(REFUSED, match=r"row by row|Type-check"):
        tiled_softmax_loss(unit(4), unit(3), 1.0, 2)
    with pytest.raises(ValueError, match="hand in pairs"):
        tiled_sigmoid_loss(unit(4), unit(3), 1.0, 0.0, 2)
