"""Shards are copied before they are read: by one thread, within the bound of the cache, and nothing else changes."""

import shutil
import threading
import time
from collections.abc import Generator

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from clipadapt import config
from clipadapt.data.augment import Augment
from clipadapt.data.batches import Batches
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.draws import WindowedDraws
from clipadapt.data.images import Preprocess
from clipadapt.data.sharded import folder
from clipadapt.data.sharded.ahead import NAME, Ahead
from clipadapt.data.sharded.cache import ShardCache
from clipadapt.data.sharding import write_shards
from clipadapt.data.sources import open_source
from clipadapt.errors import CatalogueError

ROOT = "memory://bucket/shop"
WINDOW, ROWS, SHARDS = 2, 4, 6


class Store:
    """Copies that are begun in the store, and pieces that come when the test lets them: by events, not by the clock."""

    def __init__(self) -> None:
        self.copied: list[tuple[str, str]] = []
        """Shard and thread."""
        self.gate: threading.Semaphore | None = None
        """A permit is taken for each piece that the thread ahead reads; None: any number."""
        self.waiting = threading.Event()
        self.files = MemoryFileSystem()

    def opened(self, path, file):
        thread = threading.current_thread().name
        self.copied.append((path.rpartition("/")[2], thread))
        return _Slow(self, file) if thread == NAME else file

    def by_reader(self):
        return [name for name, thread in self.copied if thread != NAME]


class _Slow:
    def __init__(self, store, file):
        self._store, self._file = store, file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def read(self, size):
        if self._store.gate is not None:
            self._store.waiting.set()
            assert self._store.gate.acquire(timeout=60)
        return self._file.read(size)


@pytest.fixture
def store(shop, monkeypatch):
    """Six shards of four items."""
    monkeypatch.setattr(folder, "_PIECE", 1_000)
    source, made, plain = open_source(shop), Store(), MemoryFileSystem.open
    write_shards(source, {"train": Catalogue.of(source, "train")}, ROOT, rows=ROWS)

    def opened(self, path, mode="rb", **more):
        file = plain(self, path, mode, **more)
        return made.opened(path, file) if "/data/" in path and mode == "rb" else file

    monkeypatch.setattr(MemoryFileSystem, "open", opened)
    yield made
    assert not [thread for thread in threading.enumerate() if thread.name == NAME]


def batches(source=ROOT, workers=0):
    """Of one shard's size, two to a window."""
    augment = Augment(config.Augment(), Preprocess(16), 0)
    options = config.Train(batch_size=ROWS, micro_batch=ROWS)
    return Batches(Catalogue.load(source), options, augment, 0, workers=workers, window=WINDOW)


def names(numbers):
    return {f"train-{number:05d}-of-{SHARDS:05d}.parquet" for number in numbers}


def windows():
    """The shards of each window, in the epoch's order."""
    draws = batches().draws(0)
    assert isinstance(draws, WindowedDraws)
    return [draws.shards_from(place)[:WINDOW] for place in range(0, SHARDS * ROWS, WINDOW * ROWS)]


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def kept():
    root = ShardCache.of_machine().root
    return {file.name for file in root.glob("*.parquet")} if root.exists() else set()


def test_while_a_window_is_read_the_next_is_copied_and_each_shard_once(store):
    order, reading = windows(), batches().epoch(0)
    for number in range(len(order)):
        there = min((number + 2) * WINDOW, SHARDS)
        next(reading)
        until(lambda there=there: len(kept()) == there + 1)  # and the row index
        assert set(store.by_reader()) <= names(order[0]), "what comes later is there before it is read"
        next(reading)
    assert next(reading, None) is None
    assert sorted(name for name, _ in store.copied) == sorted(names(range(SHARDS)))


@pytest.mark.parametrize("workers", [0, 1])
def test_order_and_content_are_as_without(store, monkeypatch, workers):
    found = read(batches(workers=workers))
    monkeypatch.setattr(Ahead, "want", lambda *_: None)
    shutil.rmtree(ShardCache.of_machine().root)
    plain = read(batches())
    assert [rows for rows, _ in found] == [rows for rows, _ in plain] and len(plain) == SHARDS
    assert all((one == other).all() for (_, one), (_, other) in zip(found, plain, strict=True))


def read(made):
    return [(micro.indices.tolist(), micro.stored.numpy()) for step in made.epoch(0) for micro in step]


@pytest.mark.parametrize("change", ["missing", "was changed since"])
def test_what_is_missing_or_changed_is_named_when_it_is_read(store, change):
    name = min(names(windows()[1]))
    lost = f"/bucket/shop/data/{name}"
    if change == "missing":
        store.files.rm_file(lost)
    else:
        store.files.pipe_file(lost, b"x" * store.files.size(lost))
    reading = batches().epoch(0)
    next(reading)
    until(lambda: len(kept()) == 2 * WINDOW)  # of two windows all but this one, and the row index
    next(reading)
    with pytest.raises(CatalogueError, match=rf"item '\d+', .*{ROOT}/data/{name}: {change}"):
        for _ in reading:
            pass
    assert not list(ShardCache.of_machine().root.glob("*.partial"))


@pytest.mark.parametrize("room", [1, 2, 3, 4])
def test_the_bound_is_kept_and_what_is_read_is_not_taken_away(store, monkeypatch, room):
    """Room for so many shards; with less than a window they are copied again and again, as without the thread."""
    sizes = [store.files.size(path) for path in store.files.find("/bucket/shop/data")]
    rows = store.files.size("/bucket/shop/rows/train.parquet")
    limit = max(room * max(sizes), rows)
    monkeypatch.setenv("CLIPADAPT_SHARDS_GB", str(limit / 1e9))
    order, reading, root = windows(), batches().epoch(0), ShardCache.of_machine().root
    for number, _ in enumerate(reading):
        window = number // WINDOW
        if room >= 2 * WINDOW and number % WINDOW == 0 and window + 1 < len(order):
            soon = names(order[window + 1])
            until(lambda soon=soon: soon <= {name for name, _ in store.copied})
        assert sum(size(file) for file in root.iterdir()) <= limit
    if room >= WINDOW:
        assert sorted(name for name, _ in store.copied) == sorted(names(range(SHARDS)))


def close(reading):
    """As a training does that ends within an epoch."""
    assert isinstance(reading, Generator)
    reading.close()


def size(file):
    try:
        return file.stat().st_size
    except FileNotFoundError:  # renamed or taken away meanwhile
        return 0


def test_what_is_closed_half_way_leaves_neither_thread_nor_file(store):
    reading = batches().epoch(0)
    next(reading)
    until(lambda: len(kept()) == 2 * WINDOW + 1)
    next(reading)
    store.gate = threading.Semaphore(2)  # the second window is read, and of the third two pieces come
    next(reading)
    until(lambda: store.waiting.is_set() and store.gate._value == 0)
    assert list(ShardCache.of_machine().root.glob("*.partial"))
    closing = threading.Thread(target=lambda: close(reading))
    closing.start()
    until(lambda: not store.gate.release() and not closing.is_alive())
    assert not list(ShardCache.of_machine().root.glob("*.partial"))
    assert len(kept()) == 2 * WINDOW + 1, "what was begun was given up"


def test_shards_of_this_machine_need_no_thread(shop, tmp_path):
    source = open_source(shop)
    write_shards(source, {"train": Catalogue.of(source, "train")}, tmp_path / "here", rows=ROWS)
    reading = batches(tmp_path / "here").epoch(0)
    next(reading)
    assert not [thread for thread in threading.enumerate() if thread.name == NAME]
    close(reading)
