"""How far an adaptation moves pictures."""

import numpy as np
import pyarrow as pa
import pytest

from clipadapt.deploy.drift.shift import shift
from clipadapt.errors import SpaceError, UsageError
from clipadapt.search.items import Items
from clipadapt.search.vectors import Vectors


def vectors(points: np.ndarray, space: str, names: list[str]) -> Vectors:
    unit = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    table = pa.table({"id": names, "product": [name[0] for name in names]})
    return Vectors(unit, Items.of(table, {}), space, None)


def test_items_are_matched_by_id_and_turned_by_a_known_angle():
    base = np.eye(4)[[0, 1, 2, 3]]
    turned = np.cos(0.5) * base + np.sin(0.5) * np.roll(base, 1, axis=1)
    names = ["1a", "1b", "2a", "3a"]
    found = shift(vectors(turned, "adapted", names), vectors(base[::-1], "base", names[::-1]))
    assert (found.items, found.products) == (4, 3)
    assert found.mean == pytest.approx(np.cos(0.5), abs=1e-6) and -1 <= found.low <= found.mean <= found.high <= 1
    assert "cosine between base and adapted, new: 0.878 [" in found.sentence("new")


def test_what_cannot_be_compared_is_refused():
    names = ["1a", "2a"]
    base = vectors(np.eye(2), "base", names)
    with pytest.raises(SpaceError, match="both folders hold vectors of image_space base"):
        shift(base, base)
    with pytest.raises(SpaceError, match="3 and 2 dimensions"):
        shift(vectors(np.eye(3)[:2], "adapted", names), base)
    with pytest.raises(UsageError, match="in one of the two folders alone, such as '2a'"):
        shift(vectors(np.eye(2), "adapted", ["1a", "9z"]), base)
    with pytest.raises(UsageError, match="fewer than two products"):
        shift(vectors(np.eye(2), "adapted", ["1a", "1b"]), vectors(np.eye(2), "base", ["1a", "1b"]))
