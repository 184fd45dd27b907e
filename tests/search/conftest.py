"""What tests of search share: clustered vectors with items, an encoder that sees colours and reads their names."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import Tensor

from clipadapt.data.images import Preprocess
from clipadapt.search.filters import Where, matching, parse_all
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.vectors import Vectors

COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0), "white": (1.0, 1.0, 1.0)}
PATTERNS = ("Solid", "Striped", "Checked")


class Painter:
    """An encoder whose vectors can be worked out by hand: mean colour of a picture, colours named in a text.

    The last three of its six dimensions hold a constant that differs between pictures and texts: the modality gap.
    """

    def __init__(self, space: str = "colours", name: str = "painter", text: bool = True) -> None:
        self.name = name
        self.dim = 6
        self.preprocess = Preprocess(8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.context_length = 77 if text else None
        self.space = space
        self.encoded: list[int] = []

    @property
    def image_space(self) -> str:
        return self.space

    @property
    def text_space(self) -> str | None:
        return "words" if self.context_length else None

    @property
    def scale(self) -> float:
        return 100.0

    def encode_images(self, pictures: Sequence[Image.Image] | Tensor) -> Tensor:
        self.encoded.append(len(pictures))
        pixels = pictures if isinstance(pictures, Tensor) else torch.stack([self.preprocess(one) for one in pictures])
        return self._unit(pixels.mean(dim=(2, 3)), [0.5, 0.0, 0.0])

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        colours = [sum(np.array(COLOURS.get(word, (0, 0, 0))) for word in text.split()) for text in texts]
        return self._unit(torch.tensor(np.array(colours), dtype=torch.float32), [0.0, 2.0, 0.1])

    def _unit(self, colours: Tensor, gap: list[float]) -> Tensor:
        whole = torch.cat([colours.float(), torch.tensor([gap]).expand(len(colours), 3)], dim=1)
        return torch.nn.functional.normalize(whole, dim=1)


@pytest.fixture
def painter() -> type[Painter]:
    return Painter


@pytest.fixture(scope="session")
def cloud() -> Callable[..., np.ndarray]:
    return _cloud


def _cloud(count: int, dim: int = 32, seed: int = 0, clusters: int = 40) -> np.ndarray:
    """Unit vectors in clusters around a common direction."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((clusters, dim)) + 2
    points = centres[rng.integers(clusters, size=count)] + 0.5 * rng.standard_normal((count, dim))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def _table(count: int, first: int = 0, seed: int = 0) -> pa.Table:
    """Two items to a product; a price, a pattern that some items lack, tags as a list in a text."""
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "id": [f"i{first + row}" for row in range(count)],
            "product": [f"p{(first + row) // 2}" for row in range(count)],
            "price": [str(price) for price in rng.integers(1, 100, count)],
            "Pattern": [str(value) for value in rng.choice([*PATTERNS, ""], count)],
            "tags": [" | ".join(rng.permutation(["new", "sale", "eco"])[: rng.integers(0, 4)]) for _ in range(count)],
        }
    )


@pytest.fixture
def vectors_of() -> Callable[..., Vectors]:
    """count -> vectors of that many items, numbered from `first`."""

    def make(count: int, first: int = 0, space: str = "synthetic", dim: int = 32, seed: int = 0) -> Vectors:
        items = Items.of(_table(count, first, seed), {"tags": "|"})
        return Vectors(_cloud(count, dim, seed + first), items, space, None)

    return make


@pytest.fixture
def in_shards(monkeypatch) -> None:
    """Indexes in folders are built in three shards where no number is named."""
    monkeypatch.setattr("clipadapt.search.opening._USUAL", 3)


@pytest.fixture(params=["embedded", "sharded", "milvus"])
def place(request, tmp_path) -> str | Path:
    """Where an index is built that no test looks into: behaviour is the same in every backend."""
    if request.param == "sharded":
        request.getfixturevalue("in_shards")
    return request.getfixturevalue("in_milvus") if request.param == "milvus" else tmp_path / "index"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A source of 12 coloured pictures, three of each colour, two items to a product."""
    folder = tmp_path / "shop" / "train"
    folder.mkdir(parents=True)
    rows = ["file_name,id,product,colour,price"]
    for item in range(12):
        colour = list(COLOURS)[item // 3]
        shade = 255 - 20 * (item % 3)
        pixels = tuple(round(shade * part) for part in COLOURS[colour])
        Image.new("RGB", (8, 8), pixels).save(folder / f"{item}.png")  # pyright: ignore[reportArgumentType]
        rows.append(f"{item}.png,i{item},p{item // 2},{colour},{10 * item}")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return folder.parent


@pytest.fixture(params=["arrays", "milvus"])
def rows_that_meet(request) -> Callable[[Items, Where], list[int]]:
    """(items, conditions) -> rows of the items that meet them, as the embedded engine or as Milvus judges."""
    if request.param == "arrays":
        return lambda items, where: np.flatnonzero(matching(items, parse_all(where))).tolist()
    kept: dict[int, tuple[Items, Index]] = request.getfixturevalue("tables_in_milvus")
    milvus_file, few = request.getfixturevalue("milvus_file"), request.getfixturevalue("monkeypatch")

    def rows(items: Items, where: Where) -> list[int]:
        if id(items) not in kept:
            few.setattr("clipadapt.search.recall._TIMED", 1)
            made = Vectors(_cloud(items.rows, 4), items, "synthetic", None)
            kept[id(items)] = items, Index.build(made, f"milvus:{milvus_file}/table{len(kept)}")
        index = kept[id(items)][1]
        (hits,) = index.search(np.ones(4, np.float32), items.rows, where=where, collapse=False)
        assert index.count(where) == len(hits)
        return sorted(items.ids().index(hit.id) for hit in hits)

    return rows


@pytest.fixture(scope="session")
def tables_in_milvus() -> dict[int, tuple[Items, Index]]:
    """Item tables that tests ask about, built once."""
    return {}
