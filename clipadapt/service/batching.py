"""Vectors for many threads at once: what they hand in together is encoded in one call of the model.

    encoder = BatchedEncoder(load("onnx:export/onnx"), gather_ms=3.0, remembered=4_096)
    encoder.encode_texts(["red dress"])        blocks its thread; other threads' texts are in the same batch

A request that is alone is encoded at once. Where the last batch had several, the next waits up to `gather_ms` for more.
Vectors of recent texts are remembered, a bounded number of them. When a batch fails, each of its requests is encoded
again by itself, so that only the one at fault fails. Where OpenTelemetry is set up, each batch is a span that links to
those of its requests. Knows nothing of HTTP or of indexes.
"""

import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from opentelemetry import trace
from PIL import Image
from torch import Tensor

from clipadapt.errors import ServiceError
from clipadapt.service.cores import Cores
from clipadapt.towers.protocol import Encoder

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Input = TypeVar("Input")

_PICTURES, _TEXTS = 16, 64
"""Most that one batch takes; a larger request is a batch by itself."""


class Remembered(Generic[Key, Value]):
    """The last values by key, up to a total size; threads may share it."""

    def __init__(self, most: int, size: Callable[[Value], int] = lambda _: 1) -> None:
        self._most, self._size = most, size
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._total = 0
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Key, value: Value) -> None:
        with self._lock:
            if key in self._values:
                self._total -= self._size(self._values.pop(key))
            self._values[key] = value
            self._total += self._size(value)
            while self._total > self._most and self._values:
                self._total -= self._size(self._values.popitem(last=False)[1])

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class _Job(Generic[Input]):
    """What one thread handed in."""

    inputs: Sequence[Input]
    future: Future[np.ndarray]
    span: trace.Span


class Batcher(Generic[Input]):
    """One thread that calls `encode` with the inputs of several others."""

    def __init__(
        self,
        encode: Callable[[list[Input]], np.ndarray],
        most: int,
        gather_ms: float,
        name: str,
        observe: Callable[[str, int], None] | None = None,
    ) -> None:
        self._name, self._observe = name, observe
        self._tracer = trace.get_tracer(__name__)
        self._encode, self._most, self._gather = encode, most, gather_ms / 1000
        self._queue: queue.SimpleQueue[_Job[Input] | None] = queue.SimpleQueue()
        self._lock, self._closed = threading.Lock(), False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __call__(self, inputs: Sequence[Input]) -> np.ndarray:
        """Their vectors [inputs, dim]; raises what `encode` raises for them."""
        future: Future[np.ndarray] = Future()
        with self._lock:
            if self._closed:  # a request that took too long may still be at work when its release is gone
                raise RuntimeError("the encoder was closed")
            self._queue.put(_Job(inputs, future, trace.get_current_span()))
        return future.result()

    def close(self) -> None:
        """Ends the thread once what was handed in is done; does not wait for it."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)

    def _run(self) -> None:
        several = False
        while (first := self._queue.get()) is not None:
            jobs, last = self._gathered(first, wait=self._gather if several else 0.0)
            several = len(jobs) > 1
            self._answer(jobs)
            if last:
                return

    def _gathered(self, first: _Job[Input], wait: float) -> tuple[list[_Job[Input]], bool]:
        """The jobs of one batch, and whether the thread ends after it."""
        jobs, count, deadline = [first], len(first.inputs), time.monotonic() + wait
        while self._gather and count < self._most:
            left = deadline - time.monotonic()
            try:
                job = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
            count += len(job.inputs)
        return jobs, False

    def _answer(self, jobs: Sequence[_Job[Input]]) -> None:
        inputs = [one for job in jobs for one in job.inputs]
        if self._observe is not None:
            self._observe(self._name, len(inputs))
        try:
            with self._span(jobs, len(inputs)):
                vectors = self._encode(inputs)
        except Exception as error:  # whatever a model raises is the asking thread's
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
            else:
                for job in jobs:
                    self._answer([job])
            return
        start = 0
        for job in jobs:
            job.future.set_result(vectors[start : start + len(job.inputs)])
            start += len(job.inputs)

    @contextmanager
    def _span(self, jobs: Sequence[_Job[Input]], inputs: int) -> Iterator[None]:
        links = [trace.Link(context) for job in jobs if (context := job.span.get_span_context()).is_valid]
        counts = {"clipadapt.inputs": inputs, "clipadapt.requests": len(jobs)}
        with self._tracer.start_as_current_span(
            f"encode {self._name}",
            links=links,
            attributes=counts,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:  # its message may quote a query
                span.set_status(trace.StatusCode.ERROR, type(error).__name__)
                raise


class BatchedEncoder:
    """An encoder that threads share; itself an Encoder. `observe` is called with tower and size of every batch."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        gather_ms: float,
        remembered: int,
        observe: Callable[[str, int], None] | None = None,
    ) -> None:
        self.encoder = encoder
        self.name, self.dim, self.preprocess = encoder.name, encoder.dim, encoder.preprocess
        self.context_length, self.scale = encoder.context_length, encoder.scale
        self.image_space, self.text_space = encoder.image_space, encoder.text_space
        self.value_vectors = getattr(encoder, "value_vectors", None)
        self.texts = Batcher[str](self._texts, _TEXTS, gather_ms, "text", observe)
        self.images = Batcher[Tensor](self._images, _PICTURES, gather_ms, "image", observe)
        self._known: Remembered[str, np.ndarray] = Remembered(remembered)
        self._owners, self._lock = 1, threading.Lock()
        self._text_cores, self._image_cores = Cores(), Cores()

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """[t, dim], unit length."""
        known = {text: vector for text in texts if (vector := self._known.get(text)) is not None}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            for text, vector in zip(new, self.texts(new), strict=True):
                known[text] = vector.copy()
                self._known.put(text, known[text])
        return torch.from_numpy(np.stack([known[text] for text in texts]) if texts else np.empty((0, self.dim)))

    def encode_images(self, pictures: Sequence[Image.Image] | Tensor) -> Tensor:
        """[n, dim], unit length; each thread fits its own pictures to the tower."""
        pixels = list(pictures) if isinstance(pictures, Tensor) else [self.preprocess(one) for one in pictures]
        return torch.from_numpy(self.images(pixels).copy() if pixels else np.empty((0, self.dim)))

    def share(self) -> Self:
        """The same encoder for one more owner; it is closed when each has closed it.

        Raises:
            RuntimeError: it is closed already.
        """
        with self._lock:
            if not self._owners:
                raise RuntimeError("the encoder was closed")
            self._owners += 1
        return self

    def close(self) -> None:
        """Ends both threads once what was handed in is done, where no other owner is left; does not wait for them."""
        with self._lock:
            self._owners -= 1
            last = not self._owners
        if last:
            self.texts.close()
            self.images.close()

    def _texts(self, texts: list[str]) -> np.ndarray:
        with self._text_cores.of(len(texts)):
            return _finite(self.encoder.encode_texts(texts), "text")

    def _images(self, pixels: list[Tensor]) -> np.ndarray:
        with self._image_cores.of(len(pixels)):
            return _finite(self.encoder.encode_images(torch.stack(pixels)), "image")


def _finite(vectors: Any, tower: str) -> np.ndarray:
    """The vectors as an array.

    Raises:
        ServiceError: one is not finite. JSON would say null, a search that the query is at fault.
    """
    array = vectors if isinstance(vectors, np.ndarray) else vectors.cpu().numpy()
    if not np.isfinite(array).all():
        raise ServiceError(
            f"the {tower} tower gave a vector that is not finite; roll back to a release that does not, "
            "or export the model with more precision"
        )
    return array
