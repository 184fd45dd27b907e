"""Two-pass encoding: the plain method's gradients, dropout included, with one micro-batch's graph at a time."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from clipadapt.losses.contrastive import softmax_loss
from clipadapt.losses.large_batch import Stream, two_pass


class Tower(nn.Module):
    def __init__(self, seed, dropout=0.3):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Dropout(dropout), nn.Linear(8, 4)).double()

    def forward(self, inputs):
        return normalize(self.layers(inputs))


def setting(rows=10):
    generator = torch.Generator().manual_seed(3)
    image, text = Tower(0), Tower(1)
    scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
    data = [torch.randn(rows, 6, dtype=torch.float64, generator=generator) for _ in range(2)]
    return image, text, scale, data


def gradients(*owners):
    parameters = [p for owner in owners for p in (owner.parameters() if isinstance(owner, nn.Module) else [owner])]
    return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])


def plain(image, text, scale, batches):
    """All pieces encoded in the order two_pass uses, graphs kept, one backward pass."""
    vectors = [torch.cat([tower(b) for b in pieces]) for tower, pieces in zip((image, text), batches, strict=True)]
    loss = softmax_loss(vectors[0], vectors[1], scale.exp()).mean()
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("sizes", [(3, 4), (3, 10), (10, 10)])
def test_gradients_equal_the_plain_ones_with_dropout(sizes):
    results = []
    for way in ("plain", "two_pass"):
        image, text, scale, (pixels, tokens) = setting()
        batches = [pixels.split(sizes[0]), tokens.split(sizes[1])]
        torch.manual_seed(11)
        if way == "plain":
            loss = plain(image, text, scale, batches)
        else:
            streams = [Stream(image, batches[0]), Stream(text, batches[1])]
            loss = two_pass(streams, lambda i, t, scale=scale: softmax_loss(i, t, scale.exp()).mean())
        results.append((loss, gradients(image, text, scale), torch.rand(1)))
    (loss, expected, after), (ours, found, ours_after) = results
    assert ours.item() == pytest.approx(loss.item(), rel=1e-12)
    assert ((found - expected).norm() / expected.norm()).item() < 1e-9
    assert torch.equal(after, ours_after), "the random state afterwards is that of the plain method"


def test_without_restoring_dropout_the_gradients_would_differ():
    # Guards the test above: were dropout off, it would prove nothing about random states.
    image, _, _, (pixels, _) = setting()
    assert not torch.equal(image(pixels), image(pixels))


def test_only_the_last_backward_pass_is_marked_last():
    image, text, scale, (pixels, tokens) = setting()
    marks = []

    @contextmanager
    def around(last):
        marks.append(last)
        yield

    def loss(i, t):
        return softmax_loss(i, t, scale.exp()).mean()

    two_pass([Stream(image, pixels.split(5)), Stream(text, tokens.split(5))], loss, around=around)
    assert marks == [False, False, False, False, True]
    marks.clear()
    two_pass([Stream(image, [pixels]), Stream(text, [tokens])], loss, around=around)
    assert marks == [True]


def test_backward_is_handed_the_loss_and_its_scaling_reaches_both_passes():
    found = []
    for factor in (1.0, 1024.0):
        image, text, scale, (pixels, tokens) = setting()
        torch.manual_seed(11)
        two_pass(
            [Stream(image, pixels.split(4)), Stream(text, [tokens])],
            lambda i, t, scale=scale: softmax_loss(i, t, scale.exp()).mean(),
            backward=lambda loss, factor=factor: (loss * factor).backward(),
        )
        found.append(gradients(image, text, scale))
    torch.testing.assert_close(found[1], found[0] * 1024, rtol=1e-12, atol=0)


def test_half_precision_vectors_collect_float32_gradients():
    image, text, scale, (pixels, tokens) = setting()
    kinds = []

    def encode(batch):
        return image(batch).bfloat16()

    def loss(i, t):
        kinds.append(i.dtype)
        return softmax_loss(i, t.float(), scale.float().exp()).mean()

    two_pass([Stream(encode, pixels.split(5)), Stream(text, [tokens])], loss)
    assert kinds == [torch.float32]
    assert gradients(image).isfinite().all()


def test_faults_are_named():
    image, text, _, (pixels, tokens) = setting()
    with pytest.raises(ValueError, match="without micro-batches"):
        two_pass([Stream(image, [])], lambda i: i.sum())
    with pytest.raises(ValueError, match="stream 1"):
        two_pass([Stream(image, [pixels]), Stream(text, tokens.split(5))], lambda i, t: i.sum())
