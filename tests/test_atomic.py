import errno
import os
import stat
import subprocess
from pathlib import Path

import light
import pytest
from failing_disk import FailingDisk

from clipadapt import atomic
from clipadapt.atomic import atomic_folder, atomic_write, refuse_unwritable, sha256_file
from clipadapt.errors import StoreError


def visible(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def fill(folder: Path, text: str) -> None:
    (folder / "sub").mkdir()
    (folder / "a.txt").write_text(text)
    (folder / "sub" / "b.txt").write_text(text)


def test_a_file_is_replaced_whole_and_text_is_utf8(tmp_path: Path) -> None:
    atomic_write(tmp_path / "new" / "file", "café")
    atomic_write(tmp_path / "new" / "file", b"second")
    assert visible(tmp_path) == {"new/file": b"second"}
    atomic_write(tmp_path / "new" / "file", "café")
    assert visible(tmp_path) == {"new/file": "café".encode()}
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "new" / "file").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EACCES])
def test_every_failing_call_leaves_a_file_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    file = tmp_path / "file"
    atomic_write(file, "old")
    faults = FailingDisk(monkeypatch, code)
    atomic_write(file, "old")
    count = len(faults.calls)
    assert faults.calls.count("fsync") == 2
    for number in range(1, count + 1):
        faults.arm(number)
        with pytest.raises(StoreError, match="file"):
            atomic_write(file, "new")
        replaced = "replace" in faults.calls[: number - 1]
        assert visible(tmp_path) == {"file": b"new" if replaced else b"old"}
        faults.arm(-1)
        atomic_write(file, "old")


@pytest.mark.parametrize("exchange", [True, False])
def test_every_failing_call_leaves_a_folder_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(atomic.ctypes, "CDLL", lambda *_, **__: object())
    target = tmp_path / "out[1]"

    def write(text: str) -> None:
        with atomic_folder(target) as folder:
            fill(folder, text)

    def content(text: str) -> dict[str, bytes]:
        return {"out[1]/a.txt": text.encode(), "out[1]/sub/b.txt": text.encode()}

    write("old")
    faults = FailingDisk(monkeypatch)
    write("old")
    count = len(faults.calls)
    assert faults.calls.count("fsync") == 5
    for number in range(1, count + 1):
        faults.arm(number)
        with pytest.raises(StoreError, match="out"):
            write("new")
        assert visible(tmp_path) in (content("old"), content("new"))
        assert [path.name for path in tmp_path.iterdir()] == ["out[1]"]
        faults.arm(-1)
        write("old")
        assert visible(tmp_path) == content("old")


def test_a_folder_that_failed_to_fill_leaves_nothing_and_its_own_error(tmp_path: Path) -> None:
    for error in (ValueError("mine"), KeyboardInterrupt(), FileNotFoundError(errno.ENOENT, "gone", "elsewhere")):
        with pytest.raises(type(error)) as caught, atomic_folder(tmp_path / "out") as folder:
            fill(folder, "half")
            raise error
        assert caught.value is error
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("Error in fwrite: No space left on device")],
)
def test_a_full_disk_is_told_with_path_and_free_space(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(StoreError, match=r"out: no space left to write it \([\d,]+ MiB free\)"),
        atomic_folder(tmp_path / "out") as folder,
    ):
        fill(folder, "half")
        raise error
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_that_is_really_full(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match="no space left"),
        atomic_folder(tmp_path / "out"),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(StoreError, match="is a file where a folder"), atomic_folder(tmp_path / "out"):
        raise AssertionError("never reached")
    assert visible(tmp_path) == {"out": b"mine"}


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=r"file/below: could not be written"):
        atomic_write(tmp_path / "file" / "below", "x")
    with pytest.raises(StoreError, match=r"file/below: could not be written"), atomic_folder(tmp_path / "file/below"):
        raise AssertionError("never reached")


def test_a_linked_folder_is_replaced_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_folder(tmp_path / "link") as folder:
        fill(folder, "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "new"


def test_what_a_killed_writer_left_is_swept_but_a_living_one_is_spared(tmp_path: Path) -> None:
    (tmp_path / ".out.0123abcd.partial").mkdir()
    (tmp_path / ".out.0123abcd.partial" / "half").write_text("x")
    with atomic_folder(tmp_path / "out") as slow:
        fill(slow, "slow")
        with atomic_folder(tmp_path / "out") as quick:
            fill(quick, "quick")
        assert slow.exists()
        assert (tmp_path / "out" / "a.txt").read_text() == "quick"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "a.txt").read_text() == "slow"


def test_an_exchange_is_never_seen_half_done(tmp_path: Path) -> None:
    """A reader in a loop while another process replaces the folder 100 times."""
    script = (
        "import sys; from pathlib import Path; from clipadapt.store import atomic_folder\n"
        "for i in range(100):\n"
        "    with atomic_folder(sys.argv[1]) as f:\n"
        "        (f / 'one').write_text(str(i)); (f / 'two').write_text(str(i))\n"
    )
    out = tmp_path / "out"
    with atomic_folder(out) as folder:
        (folder / "one").write_text("-1")
        (folder / "two").write_text("-1")
    writer = subprocess.Popen(light.command(script, out))
    reads = 0
    while writer.poll() is None:
        handle = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
        try:
            names = set(os.listdir(handle))  # noqa: PTH208 - the folder that was opened, wherever it is by now
        finally:
            os.close(handle)
        # The old folder may be on its way out by now; a new one never lacks a file.
        assert out.exists()
        reads += names == {"one", "two"}
    assert writer.returncode == 0
    assert reads > 0


def test_digest_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("place", ["there", "there/not/yet", "file", "file/below"])
def test_a_place_is_looked_at_before_work_starts(tmp_path: Path, place: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    if place.startswith("there"):
        refuse_unwritable(tmp_path / place)
    else:
        with pytest.raises(StoreError, match=r"file: is a file where a folder is to be written"):
            refuse_unwritable(tmp_path / place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; tests/cli/test_read_only.py asks another user")
def test_a_read_only_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o555)
    with pytest.raises(StoreError, match=r"new: cannot be written, for .*shut is read-only for this user"):
        refuse_unwritable(tmp_path / "shut" / "new")
