"""Groups of items that are likely one product, where no column says so: near-identical pictures, and equal titles.

    groups = lookalikes([train, validation])     # a name per item of each catalogue; equal names: one product

Without groups, one photo listed twice lands in train and in validation, and what is measured was trained on. A picture
is reduced to a grid of 16 x 17 colours. Two are near-identical when their difference hashes (256 bits: is a cell
brighter than its left neighbour) differ in at most NEAR places and their colours by CLOSE on average: a copy that was
resized or compressed again is, another photo of the same shirt is not; only a product column says that those belong
together.
The trade: pairs are compared exactly up to EXACT pictures, about a minute at 50,000; above, only equal hashes are
compared, and that is logged. Nothing here knows of splits.
Source: N. Krawetz, "Kind of Like That" (2013), difference hash.
"""

import io
import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import CatalogueError
from clipadapt.progress import bar

log = logging.getLogger(__name__)

SIDE = 16
NEAR = 28
"""Bits of 256. With CLOSE it finds 99% of fashion photos saved again at 160 pixels and JPEG quality 60; of 25 million
pairs of photos that are no copies, fewer than 200 pass."""
CLOSE = 3.0
"""Mean difference of a colour channel, of 255."""
EXACT = 50_000
_ROWS = 512
"""Rows of the distance matrix held at once."""


def lookalikes(catalogues: Sequence[Catalogue], title: str | None = None) -> list[np.ndarray]:
    """A group's name for each item of each catalogue: the id of the group's first item.

    Args:
        title: column of titles; equal ones, case and spaces aside, form a group.

    A picture that cannot be decoded is a group of its own; whoever reads the pictures reports it.
    """
    from scipy.sparse import coo_matrix  # half a second, which most commands need not wait
    from scipy.sparse.csgraph import connected_components

    ids = [item for catalogue in catalogues for item in catalogue.ids]
    pairs = [near_pairs(catalogues)]
    if title is not None:
        texts = [" ".join(text.casefold().split()) for one in catalogues for text in titles_of(one, title)]
        pairs.append(_equal_pairs(texts))
    ends = np.concatenate(pairs)
    graph = coo_matrix((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(len(ids), len(ids)))
    _, labels = connected_components(graph, directed=False)
    first = np.unique(labels, return_index=True)[1]
    names = np.array([f"like {ids[at]}" for at in first], dtype=np.str_)[labels]
    return np.split(names, np.cumsum([len(one) for one in catalogues])[:-1])


def near_pairs(catalogues: Sequence[Catalogue]) -> Int[np.ndarray, "pairs 2"]:
    """Pairs of near-identical pictures, as places in the items of all catalogues one after the other.

    A group of `lookalikes` is a chain of such pairs, whose ends may look quite different.
    """
    grids, broken = _all_grids(catalogues)
    return _near_pairs(grids, np.flatnonzero(~broken))


def grid_of(picture: Image.Image) -> UInt8[np.ndarray, "rows columns rgb"]:
    """The picture as 16 x 17 colours."""
    return np.asarray(picture.convert("RGB").resize((SIDE + 1, SIDE), Image.Resampling.BOX))


def difference_bits(grids: UInt8[np.ndarray, "n rows columns rgb"]) -> UInt8[np.ndarray, "n bytes"]:
    """256 bits a picture, packed: whether cell (r, c + 1) is brighter than (r, c)."""
    grey = grids.astype(np.uint16).sum(axis=3)
    return np.packbits((grey[:, :, 1:] > grey[:, :, :-1]).reshape(len(grids), SIDE * SIDE), axis=1)


def _all_grids(catalogues: Sequence[Catalogue]) -> tuple[UInt8[np.ndarray, "n rows columns rgb"], np.ndarray]:
    """(grids, which pictures cannot be read)."""
    total = sum(map(len, catalogues))
    grids, broken = np.zeros((total, SIDE, SIDE + 1, 3), np.uint8), np.zeros(total, bool)
    at = 0
    with bar(total, "comparing pictures", "images") as shown:
        for catalogue in catalogues:
            for row in range(len(catalogue)):
                try:
                    with Image.open(io.BytesIO(catalogue.picture_bytes(row))) as opened:
                        opened.draft("RGB", (4 * SIDE, 4 * SIDE))  # a JPEG is decoded at an eighth of its size
                        grids[at] = grid_of(opened)
                except (CatalogueError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                    broken[at] = True
                at += 1
                shown.advance()
    return grids, broken


def _near_pairs(grids: UInt8[np.ndarray, "n rows columns rgb"], rows: np.ndarray) -> Int[np.ndarray, "pairs 2"]:
    """Pairs of rows whose pictures are near-identical."""
    words = difference_bits(grids[rows]).view(np.uint64)
    if len(rows) > EXACT:
        log.warning("more than %s pictures: only those whose hashes are equal are compared", f"{EXACT:,}")
        candidates = [_equal_pairs([word.tobytes() for word in words])]
    else:
        candidates = [_near_hashes(words, start) for start in range(0, len(rows), _ROWS)]
    ends = rows[np.concatenate([np.empty((0, 2), np.int64), *candidates])]
    alike = np.ones(len(ends), bool)
    for start in range(0, len(ends), _ROWS):  # a chunk of int16 grids takes about a megabyte
        one, other = (grids[ends[start : start + _ROWS, side]].astype(np.int16) for side in (0, 1))
        alike[start : start + _ROWS] = np.abs(one - other).mean(axis=(1, 2, 3)) <= CLOSE
    return ends[alike]


def _near_hashes(words: np.ndarray, start: int) -> Int[np.ndarray, "pairs 2"]:
    """Pairs of a chunk of rows with all later ones, few bits apart."""
    block = words[start : start + _ROWS]
    distance = np.zeros((len(block), len(words) - start), np.uint16)
    for word in range(words.shape[1]):
        distance += np.bitwise_count(block[:, None, word] ^ words[None, start:, word])
    left, right = np.nonzero(distance <= NEAR)
    later = left < right
    return np.stack([left[later], right[later]], axis=1) + start


def _equal_pairs(keys: Sequence[str] | Sequence[bytes]) -> Int[np.ndarray, "pairs 2"]:
    """Each row with the first one of its key; empty keys are equal to nothing."""
    first: dict[str | bytes, int] = {}
    pairs = [(first.setdefault(key, at), at) for at, key in enumerate(keys) if key]
    return np.array(pairs, np.int64).reshape(-1, 2)


def titles_of(catalogue: Catalogue, title: str | None) -> list[str]:
    """The title of every item, as it is written; nothing where no column has them.

    Raises:
        CatalogueError: no such column.
    """
    if title is None:
        return []
    if title not in catalogue.columns:
        raise CatalogueError(
            f"{catalogue.source}: no column of titles {title!r}; columns are {', '.join(catalogue.columns)}"
        )
    return [catalogue.row(item)[title] for item in range(len(catalogue))]
