"""The files of a log: whole lines or none, and what a crash leaves."""

import datetime
import os
from pathlib import Path

import pytest

from clipadapt.deploy.event_log.parts import Part, closed, parts, seal

NOW = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def test_a_part_is_named_by_its_kind_and_hour_and_readable_at_once(tmp_path):
    part = Part.new(tmp_path, "events", NOW)
    part.append(b"{}\n")
    assert part.path.name.startswith("events-20300102T030405000-") and part.path.read_bytes() == b"{}\n"
    assert parts(tmp_path, "events") == [part.path] and parts(tmp_path, "answers") == []
    part.close()


def test_a_part_ends_with_its_day_its_size_and_its_file(tmp_path):
    part = Part.new(tmp_path, "events", NOW)
    part.append(b"x" * 9 + b"\n")
    assert part.fits(NOW, 11) and not part.fits(NOW, 10)
    assert part.fits(NOW + datetime.timedelta(hours=20)) and not part.fits(NOW + datetime.timedelta(hours=21))
    part.path.unlink()
    assert not part.fits(NOW), "what is appended now nobody would ever see"
    part.close()


def test_half_a_last_line_of_a_dead_writer_is_cut_off_and_nothing_else(tmp_path):
    whole, half = b'{"a": 1}\n' * 3, b'{"a"'
    for name, content in (("events-1.jsonl", whole + half), ("answers-1.jsonl", whole), ("events-2.jsonl", half)):
        (tmp_path / name).write_bytes(content)
    living = Part.new(tmp_path, "events", NOW)
    os.write(living._handle, half)  # its writer is in the middle of a line
    found = seal(tmp_path)
    assert found == (2, 2 * len(half))
    assert (tmp_path / "events-1.jsonl").read_bytes() == whole == (tmp_path / "answers-1.jsonl").read_bytes()
    assert (tmp_path / "events-2.jsonl").read_bytes() == b"" and living.path.read_bytes() == half
    assert seal(tmp_path) == (0, 0)
    living.close()


def test_half_a_line_longer_than_a_block_is_cut_off_whole(tmp_path):
    (tmp_path / "events-1.jsonl").write_bytes(b"{}\n" + b"x" * 200_000)
    assert seal(tmp_path) == (1, 200_000) and (tmp_path / "events-1.jsonl").read_bytes() == b"{}\n"


def test_a_part_is_closed_once_nobody_holds_it(tmp_path):
    part = Part.new(tmp_path, "events", NOW)
    part.append(b"{}\n")
    assert not closed(part.path)
    part.close()
    assert closed(part.path)


def test_an_empty_part_leaves_no_file_and_one_never_named_is_swept(tmp_path):
    Part.new(tmp_path, "events", NOW).close()
    (tmp_path / ".events-20300102T030405-aaaaaa.jsonl").touch()
    seal(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at", [0, 1, 5])
def test_a_full_disk_leaves_no_broken_line(tmp_path, monkeypatch, at):
    part = Part.new(tmp_path, "events", NOW)
    part.append(b'{"a": 1}\n')
    real = os.write

    def full(handle: int, data: bytes) -> int:
        if at:
            real(handle, bytes(data[:at]))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        part.append(b'{"a": 2}\n')
    monkeypatch.undo()
    part.append(b'{"a": 3}\n')
    assert part.path.read_bytes() == b'{"a": 1}\n{"a": 3}\n'
    part.flush()
    part.cut(len(b'{"a": 1}\n'))
    part.append(b'{"a": 4}\n')
    assert part.path.read_bytes() == b'{"a": 1}\n{"a": 4}\n' and part.bytes == 18
    part.close()


def test_parquet_takes_the_place_of_its_part(tmp_path: Path):
    for name in ("events-2.jsonl", "events-1.jsonl", "events-1.parquet", "answers-1.jsonl"):
        (tmp_path / name).touch()
    assert [path.name for path in parts(tmp_path, "events")] == ["events-1.parquet", "events-2.jsonl"]
