import errno
import hashlib
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.sharded.cache import ShardCache
from clipadapt.data.sharded.folder import Folder
from clipadapt.data.sharded.index import Shard
from clipadapt.errors import CatalogueError, ConfigError, StoreError


def remote(count=6, size=1000, where="memory://store"):
    """Files of `size` bytes there, as shards."""
    folder = Folder(where)
    shards = []
    for number in range(count):
        data = bytes([number]) * size
        folder.write(f"data/{number}.parquet", data)
        shards.append(Shard(f"data/{number}.parquet", 1, size, hashlib.sha256(data).hexdigest(), ""))
    return folder, shards


def content(path: Path) -> bytes:
    return path.read_bytes()


def kept(root):
    return {file.name.partition(".")[0] for file in root.glob("*.parquet")}


def test_the_least_recently_used_go(tmp_path):
    folder, shards = remote()
    cache = ShardCache(tmp_path / "c", 3500)
    for number in (0, 1, 2, 0, 3):
        assert cache.opened(folder, shards[number], content) == bytes([number]) * 1000
        time.sleep(0.01)
    assert kept(cache.root) == {shards[n].sha256 for n in (0, 2, 3)}


@given(asked=st.lists(st.integers(0, 5), max_size=30), limit=st.integers(1000, 7000))
@settings(deadline=None, max_examples=30)
def test_never_more_than_the_bound_and_always_the_right_content(tmp_path_factory, asked, limit):
    folder, shards = remote()
    cache = ShardCache(tmp_path_factory.mktemp("c"), limit)
    for number in asked:
        assert cache.opened(folder, shards[number], content) == bytes([number]) * 1000
        assert sum(file.stat().st_size for file in cache.root.iterdir()) <= limit
    assert not list(cache.root.glob("*.partial"))


def test_a_copy_is_made_once(tmp_path, monkeypatch):
    folder, shards = remote()
    fetched = []
    real = Folder.fetch
    monkeypatch.setattr(Folder, "fetch", lambda self, name, *more: fetched.append(name) or real(self, name, *more))
    cache = ShardCache(tmp_path / "c", 10_000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: cache.opened(folder, shards[n % 3], content), range(60)))
    assert sorted(fetched) == [f"data/{n}.parquet" for n in range(3)]


def _ask(root, where, limit, start, failures):
    folder = Folder(where)
    shards = [Shard(f"data/{n}.parquet", 1, 1000, hashlib.sha256(bytes([n]) * 1000).hexdigest(), "") for n in range(6)]
    cache = ShardCache(root, limit)
    for turn in range(40):
        number = (start + turn * 5) % 6
        if cache.opened(folder, shards[number], content) != bytes([number]) * 1000:
            failures.put(number)


def test_four_processes_share_a_cache_that_is_too_small_for_all(tmp_path):
    where = str(tmp_path / "store")
    remote(where=where)
    context = multiprocessing.get_context("spawn")
    failures = context.Queue()
    jobs = [context.Process(target=_ask, args=(tmp_path / "c", where, 4_500, start, failures)) for start in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(120)
    assert [job.exitcode for job in jobs] == [0] * 4 and failures.empty()
    assert sum(file.stat().st_size for file in (tmp_path / "c").iterdir()) <= 4_500


def test_what_a_dead_process_left_is_swept(tmp_path):
    folder, shards = remote()
    cache = ShardCache(tmp_path / "c", 1500)
    cache.root.mkdir()
    left = cache.root / f"{shards[0].sha256}.1000.partial"
    left.write_bytes(b"half")
    assert cache.opened(folder, shards[1], content) == b"\1" * 1000
    assert not left.exists()


def test_a_remote_shard_that_is_missing_or_changed(tmp_path):
    folder, shards = remote()
    cache = ShardCache(tmp_path / "c", 10_000)
    folder.write("data/0.parquet", b"x" * 1000)
    folder.write("data/1.parquet", b"x")
    folder.remove("data/2.parquet")
    for number, message in ((0, "was changed since"), (1, "was changed since"), (2, "missing; restore it")):
        with pytest.raises(CatalogueError, match=rf"memory://store/data/{number}.parquet: {message}"):
            cache.path(folder, shards[number])
    assert not [file for file in cache.root.iterdir() if file.suffix != ".lock" and file.name != "lock"]


def test_a_full_disk_is_said_with_both_remedies(tmp_path, monkeypatch):
    folder, shards = remote()
    cache = ShardCache(tmp_path / "c", 10_000)

    def full(self, name):
        yield b"half"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Folder, "_pieces", full)
    with pytest.raises(StoreError) as caught:
        cache.path(folder, shards[0])
    for part in (
        "no space left",
        "MiB free",
        "memory://store/data/0.parquet",
        "CLIPADAPT_CACHE",
        "CLIPADAPT_SHARDS_GB",
    ):
        assert part in str(caught.value)
    assert not list(cache.root.glob("*.partial"))


def test_a_shard_larger_than_the_bound(tmp_path):
    folder, shards = remote()
    with pytest.raises(StoreError, match=r"do not fit into the .* raise CLIPADAPT_SHARDS_GB, or write smaller shards"):
        ShardCache(tmp_path / "c", 999).path(folder, shards[0])


def test_copies_that_vanish_before_they_are_opened(tmp_path):
    folder, shards = remote()

    def vanished(path):
        raise FileNotFoundError(path)

    with pytest.raises(StoreError, match="taken away before they are read"):
        ShardCache(tmp_path / "c", 10_000).opened(folder, shards[0], vanished)


@pytest.mark.parametrize("text", ["0", "-1", "much", "nan"])
def test_a_bound_that_is_none(monkeypatch, text):
    monkeypatch.setenv("CLIPADAPT_SHARDS_GB", text)
    with pytest.raises(ConfigError, match="set it to gigabytes, such as 20"):
        ShardCache.of_machine()


def test_pictures_of_a_url_are_read_through_the_bounded_cache(shop, tmp_path, monkeypatch):
    from clipadapt.data.sharding import write_shards
    from clipadapt.data.sources import open_source

    source = open_source(shop)
    write_shards(source, {"train": Catalogue.of(source)}, "memory://bucket/shop", rows=4)
    monkeypatch.setenv("CLIPADAPT_SHARDS_GB", "0.00003")
    catalogue, whole = Catalogue.load("memory://bucket/shop"), Catalogue.load(shop)
    folder = tmp_path / "machine/shards"
    for item in (0, 23, 5, 11, 17, 2, 20):
        assert catalogue.picture_bytes(item) == whole.picture_bytes(item)
        assert sum(file.stat().st_size for file in folder.iterdir()) <= 30_000
        if (maps := Path("/proc/self/maps")).exists():  # what is mapped stays on the disk though its name is gone
            assert str(folder) not in maps.read_text()
    fsspec.filesystem("memory").store.clear()
    assert catalogue.picture_bytes(20) == whole.picture_bytes(20)  # the last one is still here
