"""What pictures say of all rows: the probabilities of the vectors, kept while an engine is open, and bounded."""

import numpy as np

from clipadapt.recognition.calibration import Scale
from clipadapt.search.engine import Engine, SearchParams
from clipadapt.search.predicted import Predicted
from clipadapt.search.recall import Kind
from clipadapt.search.segments import Segments
from clipadapt.search.wishes import LEAST, Signal, Signals

PARAMS: dict[Kind, SearchParams] = {"picture": SearchParams(1, 1), "text": SearchParams(1, 1)}


def test_bytes_say_what_the_vectors_say_and_outlive_what_is_added() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    one = Signal(("a", "b", "c"), np.eye(3, 16, dtype=np.float32), "exclusive", Scale(20.0), (0.4, 0.3, 0.3), 1.0, 1.0)
    signals = Signals({"x": one}, "space", "words", {"path": "p", "digest": "d"})
    first, second = Engine.build(vectors[:200], "Flat"), Engine.build(vectors[200:], "Flat")
    rows = rng.permutation(300)[:150]
    expected = np.clip(one.probabilities(vectors[rows]), LEAST, 1.0)

    predicted = Predicted(signals)
    predicted(Segments([first], [PARAMS]), "x", rows[rows < 200])
    assert predicted.memory() == 200 * 3
    found = predicted(Segments([first, second], [PARAMS, PARAMS]), "x", rows)
    np.testing.assert_allclose(np.log(found), np.log(expected), atol=0.02)
    assert predicted.memory() == 300 * 3
    del second
    assert predicted.memory() == 200 * 3

    tight = Predicted(signals, most=100)
    np.testing.assert_allclose(tight(Segments([first], [PARAMS]), "x", np.arange(5)), one.probabilities(vectors[:5]), rtol=1e-5)  # fmt: skip # noqa: E501
    assert tight.memory() == 0
