import errno
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import light
import pytest

from clipadapt.errors import StoreError
from clipadapt.store import Store

WRITER = """
import sys
from pathlib import Path
from clipadapt.store import Store
store = Store(sys.argv[1])
print("ready", flush=True)
for round in range(10_000):
    with store.write() as folder:
        for name in "abc":
            (folder / name).write_text(f"{round}" * 1000)
    store.prune(3)
"""


def put(store: Store, text: str) -> None:
    with store.write() as folder:
        (folder / "sub").mkdir()
        (folder / "a.txt").write_text(text)
        (folder / "sub" / "b.txt").write_text(text)


def read(store: Store) -> str:
    folder = store.current(verify=True)
    first, second = (folder / "a.txt").read_text(), (folder / "sub" / "b.txt").read_text()
    assert first == second
    return first


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_versions_follow_one_another_and_one_is_current(store: Store) -> None:
    assert not store.exists()
    assert store.versions() == []
    for text in ("one", "two", "three"):
        put(store, text)
        assert read(store) == text
    assert store.versions() == ["000001", "000002", "000003"]
    assert store.point_to("000001") == store.root / "versions" / "000001"
    assert read(store) == "one"
    put(store, "four")  # numbers are never used twice, even after going back
    assert store.version() == "000004"
    manifest = json.loads((store.current() / "manifest.json").read_text())
    assert sorted(manifest["files"]) == ["a.txt", "sub/b.txt"]
    assert sorted(path.name for path in store.root.iterdir()) == ["current", "lock", "versions"]


def test_prune_keeps_the_newest_and_the_current(store: Store) -> None:
    for text in "abcde":
        put(store, text)
    store.point_to("000002")
    assert store.prune(2) == ["000001", "000003"]
    assert store.versions() == ["000002", "000004", "000005"]
    assert store.prune(0) == ["000004", "000005"]
    assert store.prune(7) == []
    assert read(store) == "b"


def test_an_empty_store_says_so_and_reading_makes_nothing(store: Store) -> None:
    with pytest.raises(StoreError, match="nothing was written here yet"):
        store.current()
    assert not store.root.exists()
    with pytest.raises(StoreError, match="no version '000007'"):
        store.point_to("000007")


def test_an_exception_leaves_no_version_and_no_rest(store: Store) -> None:
    put(store, "old")
    with pytest.raises(ValueError, match="mine"), store.write() as folder:
        (folder / "half").write_text("x")
        raise ValueError("mine")
    assert store.versions() == ["000001"]
    assert sorted(path.name for path in store.root.iterdir()) == ["current", "lock", "versions"]
    assert read(store) == "old"


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_every_failing_call_leaves_the_old_version_or_the_new(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    calls: list[str] = []
    fail_at = -1

    def wrapped(name: str, real: Callable) -> Callable:
        def call(*args, **kwargs):
            calls.append(name)
            if len(calls) == fail_at:
                raise OSError(code, os.strerror(code))
            return real(*args, **kwargs)

        return call

    put(store, "old")
    for name in ("fsync", "write", "rename", "replace"):
        monkeypatch.setattr(os, name, wrapped(name, getattr(os, name)))
    put(store, "old")
    count = len(calls)
    assert calls.count("fsync") == 9  # manifest twice, two files, two folders, versions, pointer, root
    for number in range(1, count + 1):
        fail_at = -1
        store.prune(1)
        before = store.versions()
        calls.clear()
        fail_at = number
        with pytest.raises(StoreError, match="store"):
            put(store, "new")
        swapped = "replace" in calls[: number - 1]
        fail_at = -1
        assert read(store) == ("new" if swapped else "old"), calls
        assert (store.versions() == before) is not swapped
        assert sorted(path.name for path in store.root.iterdir()) == ["current", "lock", "versions"]
        put(store, "old")


def test_changed_files_are_named_all_at_once(store: Store) -> None:
    put(store, "old")
    put(store, "new")
    folder = store.current()
    (folder / "a.txt").write_text("longer than before")
    (folder / "sub" / "b.txt").unlink()
    with pytest.raises(StoreError, match=r"a\.txt has 18 bytes instead of 3; sub/b\.txt cannot be read.*000001"):
        store.current()
    store.point_to("000001")
    (store.current() / "a.txt").write_text("OLD")  # same size: seen only by reading it
    assert store.current()
    with pytest.raises(StoreError, match=r"a\.txt has another sha256"):
        store.current(verify=True)
    with pytest.raises(StoreError, match="another sha256"):
        store.point_to("000001")


def test_a_changed_manifest_is_seen_without_reading_files(store: Store) -> None:
    put(store, "old")
    manifest = store.current() / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"bytes": 3', '"bytes": 4'))
    with pytest.raises(StoreError, match=r"manifest\.json has another sha256 than the pointer says"):
        store.current()
    manifest.unlink()
    with pytest.raises(StoreError, match=r"manifest\.json cannot be read"):
        store.current()
    manifest.write_text("[]")
    with pytest.raises(StoreError, match="is not a list of files"):
        store.point_to("000001")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"version": "000001"}', '{"version": "../../etc", "manifest": "0"}', "\0\xff"]
)
def test_a_damaged_pointer_names_the_file_and_the_versions(store: Store, content: str) -> None:
    put(store, "old")
    (store.root / "current").write_text(content, encoding="latin-1")
    with pytest.raises(StoreError, match=r"current: .*000001"):
        store.current()
    store.point_to("000001")
    assert read(store) == "old"


def test_a_second_writer_is_refused_and_readers_are_not(store: Store) -> None:
    put(store, "old")
    with store.write() as folder:
        (folder / "a.txt").write_text("new")
        for attempt in (store.write().__enter__, lambda: store.prune(1), lambda: store.point_to("000001")):
            with pytest.raises(StoreError, match="another process is writing"):
                attempt()
        script = "import sys; from clipadapt.store import Store\nwith Store(sys.argv[1]).write(): pass"
        other = subprocess.run(light.command(script, store.root), capture_output=True, text=True)
        assert "another process is writing" in other.stderr
        assert read(store) == "old"
    assert store.version() == "000002"


def test_only_plain_files_are_kept(store: Store) -> None:
    with pytest.raises(StoreError, match="only plain files"), store.write() as folder:
        (folder / "link").symlink_to("/etc/hosts")
    assert not store.exists()


def test_killed_at_any_moment_the_store_is_whole(store: Store) -> None:
    """Twelve writers, each killed without warning a random while after its first version; the next goes on."""
    draw = random.Random(0)
    seen = set()
    for _ in range(12):
        before = store.version() if store.exists() else None
        writer = subprocess.Popen(light.command(WRITER, store.root), stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 30  # a busy machine may take seconds for what takes milliseconds alone
        while (store.version() if store.exists() else None) == before:
            assert time.monotonic() < deadline, "the writer gets nowhere"
            time.sleep(0.001)
        time.sleep(draw.uniform(0.0, 0.05))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        folder = store.current(verify=True)
        assert len({(folder / name).read_text() for name in "abc"}) == 1
        assert store.version() not in seen
        seen.add(store.version())
    put(store, "after")
    store.prune(1)
    assert read(store) == "after"
    assert store.versions() == [store.version()]
    assert sorted(path.name for path in store.root.iterdir()) == ["current", "lock", "versions"]


def test_readers_beside_a_writer_always_find_a_whole_version(store: Store) -> None:
    put(store, "0")
    script = WRITER.replace("10_000", "60").replace("store.prune(3)", "")
    writer = subprocess.Popen(light.command(script, store.root), stdout=subprocess.DEVNULL)
    versions = set()
    while writer.poll() is None:
        store.current(verify=True)
        versions.add(store.version())
    assert writer.returncode == 0
    assert len(versions) > 3


def test_a_version_shares_files_of_the_one_before_and_of_what_was_prepared(tmp_path: Path):
    store = Store(tmp_path / "index")
    with store.write() as staging:
        (staging / "big").write_text("big")
    with (
        store.prepare(lambda folder: _put(folder / "new", "new")) as prepared,
        store.write(prepared=prepared) as staging,
    ):
        store.keep(store.current(), ["big"], staging)
        store.keep(prepared, ["new"], staging)
        with pytest.raises(StoreError, match=r"lists no other; it was changed"):
            store.keep(prepared, ["other"], staging)
    first, second = (tmp_path / "index/versions" / name for name in ("000001", "000002"))
    assert (first / "big").stat().st_ino == (second / "big").stat().st_ino
    assert store.current(verify=True) == second
    assert store.written == store.pointer()
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == ["current", "lock", "versions"]


def test_a_damaged_current_version_can_be_written_over(tmp_path: Path):
    store = Store(tmp_path / "index")
    with store.write() as staging:
        _put(staging / "one", "1")
    (store.current() / "one").unlink()
    with store.write() as staging:
        _put(staging / "one", "2")
    assert (store.current(verify=True) / "one").read_text() == "2"


def _put(file: Path, text: str) -> None:
    file.write_text(text)
