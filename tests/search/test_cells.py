import faiss
import numpy as np
import pytest

from clipadapt.search.cells import centres


@pytest.mark.parametrize(("cells", "count"), [(64, 3_000), (64, 64), (10, 500), (1, 50)])
def test_as_many_centres_as_cells_and_of_unit_length(cloud, cells, count):
    found = centres(cloud(count), cells)
    assert found.shape == (cells, 32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_vectors_lie_nearly_as_close_to_them_as_to_those_of_plain_k_means(cloud):
    vectors = cloud(6_000)
    plain = faiss.Kmeans(32, 64, niter=10, spherical=True, seed=0)
    plain.train(vectors)
    assert plain.centroids is not None
    near, nearest = (
        (vectors @ np.transpose(one)).max(axis=1).mean() for one in (centres(vectors, 64), plain.centroids)
    )
    chance = (vectors @ vectors[:64].T).max(axis=1).mean()
    assert chance < nearest
    assert near > nearest - 0.1 * (nearest - chance)


def test_seed_decides(cloud):
    vectors = cloud(2_000)
    np.testing.assert_array_equal(centres(vectors, 16, 3), centres(vectors, 16, 3))
