"""The first dimensions of vectors."""

import torch
import torch.nn.functional as F

from clipadapt.losses.prefixes import prefix


def test_a_prefix_is_of_unit_length_and_the_whole_is_left_as_it_is() -> None:
    vectors = F.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    short = prefix(vectors, 3)
    assert short.shape == (5, 3)
    torch.testing.assert_close(short.norm(dim=-1), torch.ones(5))
    torch.testing.assert_close(short / short[:, :1], vectors[:, :3] / vectors[:, :1])
    assert prefix(vectors, 8) is vectors and prefix(vectors, 9) is vectors


def test_gradients_reach_the_first_dimensions_alone() -> None:
    vectors = F.normalize(torch.randn(2, 4), dim=-1).requires_grad_()
    prefix(vectors, 2)[0, 0].backward()
    assert vectors.grad is not None
    assert vectors.grad[0, :2].any() and not vectors.grad[:, 2:].any() and not vectors.grad[1].any()
