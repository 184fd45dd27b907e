"""Catalogues, texts and values as matrices."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import DIM, TEXTS

from clipadapt.errors import CatalogueError
from clipadapt.towers.encode import encode_catalogue, encode_texts_batched
from clipadapt.towers.encoder import TorchEncoder


class Shop:
    """Pictures of one colour each; some of them broken."""

    def __init__(self, count: int, broken: tuple[int, ...] = ()) -> None:
        self.count = count
        self.broken = broken
        self.threads: set[int] = set()

    def __len__(self) -> int:
        return self.count

    def picture(self, index: int) -> Image.Image:
        self.threads.add(threading.get_ident())
        if index in self.broken:
            raise CatalogueError(f"item {index}: truncated")
        return Image.new("RGB", (20 + index, 30), (7 * index % 256, 255 - index, 40))


def test_rows_keep_their_order_and_two_runs_their_bits(encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder, shop = encoder_of("eva_separate"), Shop(23)
    vectors = encode_catalogue(encoder, shop, batch_size=4, progress=False)
    assert vectors.dtype == np.float32
    assert vectors.shape == (23, DIM)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    slow = torch.cat([encoder.encode_images([shop.picture(row)]) for row in range(23)]).numpy()
    np.testing.assert_allclose(vectors, slow, atol=1e-6)
    np.testing.assert_array_equal(encode_catalogue(encoder, shop, batch_size=4), vectors)
    assert threading.main_thread().ident not in Shop(1).threads
    some = [5, 2, 22, 2]
    np.testing.assert_allclose(encode_catalogue(encoder, shop, indices=some, progress=False), vectors[some], atol=1e-6)
    assert encode_catalogue(encoder, shop, indices=[]).shape == (0, DIM)


def test_broken_pictures_stop_or_are_counted(encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder, shop = encoder_of("clip"), Shop(9, broken=(0, 4, 5))
    with pytest.raises(CatalogueError, match="item 0: truncated"):
        encode_catalogue(encoder, shop, batch_size=2)
    with pytest.warns(UserWarning, match=r"3 picture\(s\) could not be decoded") as caught:
        vectors = encode_catalogue(encoder, shop, batch_size=2, broken="count")
    assert "item 5: truncated" in str(caught[0].message)
    assert np.flatnonzero(np.isnan(vectors).any(axis=1)).tolist() == [0, 4, 5]
    whole = encode_catalogue(encoder, Shop(9), batch_size=2)
    np.testing.assert_allclose(vectors[[1, 2, 3, 6, 7, 8]], whole[[1, 2, 3, 6, 7, 8]], atol=1e-6)


def test_texts_are_encoded_once_each(encoder_of: Callable[[str], TorchEncoder], monkeypatch: Any) -> None:
    encoder = encoder_of("clip")
    expected = torch.cat([encoder.encode_texts([text]) for text in TEXTS]).numpy()
    seen: list[str] = []
    original = TorchEncoder.encode_texts
    monkeypatch.setattr(
        TorchEncoder, "encode_texts", lambda self, texts: (seen.extend(texts), original(self, texts))[1]
    )
    np.testing.assert_allclose(encode_texts_batched(encoder, TEXTS, batch_size=2), expected, atol=1e-6)
    assert sorted(seen) == sorted(set(TEXTS))
    assert encode_texts_batched(encoder, []).shape == (0, DIM)
