"""What is done to vectors before they are kept."""

import tracemalloc

import numpy as np

from clipadapt.search.contents import scaled


def test_vectors_are_scaled_block_by_block():
    vectors = np.random.default_rng(0).standard_normal((600_000, 16), np.float32)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    expected = (vectors / lengths[:, None]).astype(np.float32)
    tracemalloc.start()
    found = scaled(vectors, lengths)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found, expected)
    assert peak < 2 * expected.nbytes, "in float64 at once it takes three times what comes of it"
    assert scaled(vectors, None) is vectors
