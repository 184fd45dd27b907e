import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from clipadapt.errors import ServiceError
from clipadapt.service.batching import BatchedEncoder, Batcher, Remembered


def test_each_thread_gets_its_own_vectors(encoder):
    texts = [f"shirt number {number}" for number in range(60)]
    alone = {text: encoder.encode_texts([text])[0].numpy() for text in texts}
    batched = BatchedEncoder(encoder, gather_ms=3.0, remembered=10)
    with ThreadPoolExecutor(16) as pool:
        found = dict(pool.map(lambda text: (text, batched.encode_texts([text])[0].numpy()), texts * 3))
    for text, vector in found.items():
        np.testing.assert_allclose(vector, alone[text], atol=1e-5)
    pixels = torch.rand(9, 3, encoder.preprocess.size, encoder.preprocess.size)
    with ThreadPoolExecutor(9) as pool:
        pictures = list(pool.map(lambda one: batched.encode_images(one[None])[0], pixels))
    torch.testing.assert_close(torch.stack(pictures), encoder.encode_images(pixels), atol=1e-5, rtol=0)
    batched.close()


def test_what_arrives_while_a_batch_is_made_is_the_next_one():
    sizes: list[int] = []
    entered, go_on = threading.Event(), threading.Event()

    def encode(inputs: list[int]) -> np.ndarray:
        sizes.append(len(inputs))
        if len(sizes) == 1:
            entered.set()
            assert go_on.wait(10)
        return np.array(inputs, np.float32)[:, None]

    batcher = Batcher[int](encode, 4, 3.0, "numbers", lambda name, size: None)
    with ThreadPoolExecutor(7) as pool:
        first = pool.submit(batcher, [0])
        assert entered.wait(10)
        rest = [pool.submit(batcher, [number]) for number in range(1, 7)]
        deadline = time.monotonic() + 10
        while batcher._queue.qsize() < 6 and time.monotonic() < deadline:
            time.sleep(0.005)
        go_on.set()
        assert [int(one.result()[0, 0]) for one in (first, *rest)] == list(range(7))
    assert sizes == [1, 4, 2]
    batcher.close()


def test_without_gathering_each_request_is_a_batch_of_its_own():
    sizes: list[int] = []

    def encode(inputs: list[int]) -> np.ndarray:
        sizes.append(len(inputs))
        time.sleep(0.01)
        return np.zeros((len(inputs), 1), np.float32)

    batcher = Batcher[int](encode, 64, 0.0, "numbers")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: batcher([number]), range(6)))
    assert sizes == [1] * 6
    batcher.close()


def test_only_the_request_at_fault_fails():
    def encode(inputs: list[str]) -> np.ndarray:
        time.sleep(0.01)
        if "bad" in inputs:
            raise ValueError("this one")
        return np.ones((len(inputs), 1), np.float32)

    def ask(text: str) -> str:
        try:
            return str(batcher([text]).shape)
        except ValueError as error:
            return str(error)

    batcher = Batcher[str](encode, 64, 3.0, "texts")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, ["a", "bad", "b", "c", "d", "bad", "e", "f"]))
    assert found == ["(1, 1)", "this one", *["(1, 1)"] * 3, "this one", *["(1, 1)"] * 2]
    batcher.close()


def test_a_text_is_encoded_once_while_it_is_remembered(encoder):
    encoded: list[int] = []
    batched = BatchedEncoder(encoder, gather_ms=0.0, remembered=2, observe=lambda tower, size: encoded.append(size))
    for text in ("a", "b", "a", "c", "a", "b"):
        batched.encode_texts([text])
    assert len(encoded) == 4, "a, b, c, and b again, which was used longest ago when c came"
    assert batched.encode_texts([]).shape == (0, encoder.dim)
    batched.close()


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_vector_that_is_not_finite_is_an_error_and_not_remembered(encoder, monkeypatch, wrong: float):
    right = encoder.encode_texts

    def encode(texts: list[str]) -> torch.Tensor:
        vectors = right(texts)
        vectors[[text == "bad" for text in texts], 0] = wrong
        return vectors

    monkeypatch.setattr(encoder, "encode_texts", encode)
    monkeypatch.setattr(encoder, "encode_images", lambda pixels: torch.full((len(pixels), encoder.dim), wrong))
    batched = BatchedEncoder(encoder, gather_ms=3.0, remembered=10)
    for _ in range(2):
        with pytest.raises(ServiceError, match="the text tower gave a vector that is not finite"):
            batched.encode_texts(["good", "bad"])
    assert bool(batched.encode_texts(["good"]).isfinite().all())
    with pytest.raises(ServiceError, match="the image tower"):
        batched.encode_images(torch.rand(1, 3, encoder.preprocess.size, encoder.preprocess.size))
    batched.close()


@pytest.mark.parametrize("most", [0, 5, 1_000])
def test_what_is_remembered_stays_below_its_bound(most: int):
    kept: Remembered[int, bytes] = Remembered(most, len)
    for key in range(50):
        kept.put(key % 20, bytes(key % 7))
    assert sum(len(value) for key in range(20) if (value := kept.get(key)) is not None) <= most
