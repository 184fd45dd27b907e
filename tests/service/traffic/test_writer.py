"""One thread that appends: nothing promised is lost, nothing waits for the disk."""

import datetime
import json
import logging
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clipadapt.deploy.event_log.form import Kind
from clipadapt.deploy.event_log.parts import parts, seal
from clipadapt.errors import StoreError
from clipadapt.service.traffic.writer import APPEND_SECONDS, Writer

RUNS = 12


def records(folder: Path, kind: Kind) -> list[dict]:
    return [json.loads(text) for part in parts(folder, kind) for text in part.read_bytes().splitlines()]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def test_kill_9_loses_nothing_that_was_flushed_and_breaks_no_line(tmp_path):
    script = Path(__file__).with_name("kill_writer.py")
    done = subprocess.run([sys.executable, script, tmp_path, str(RUNS)], capture_output=True, text=True, check=True)
    promised = json.loads(done.stdout)
    seal(tmp_path)
    found = records(tmp_path, "events") + records(tmp_path, "answers")  # every line is JSON, or this raises
    for run, (put, written) in enumerate(promised):
        numbers = sorted(record["number"] for record in found if record["run"] == run)
        assert len(numbers) >= written > 0, "what the writer called written is there"
        assert len(numbers) <= put + 1 and len(set(numbers)) == len(numbers), "and nothing twice"
        for kind in (0, 1):
            own = [number for number in numbers if number % 2 == kind]
            assert own == list(range(kind, kind + 2 * len(own), 2)), "what is lost are the last ones alone"
    assert APPEND_SECONDS <= 0.1, "with the wait for a processor, far below a second is lost"


def test_a_disk_that_takes_its_time_keeps_no_record_from_the_system(tmp_path, monkeypatch):
    flushing, over = threading.Event(), threading.Event()
    real = os.fdatasync

    def slow(handle: int) -> None:
        flushing.set()
        assert over.wait(60)
        real(handle)

    monkeypatch.setattr("os.fdatasync", slow)
    writer = Writer(tmp_path, append_seconds=0.01, flush_seconds=0.01)
    writer.put("events", {"number": 0})
    assert flushing.wait(60)
    writer.put("events", {"number": 1})
    wait_for(lambda: len(records(tmp_path, "events")) == 2)  # what others read there, a kill -9 leaves there
    assert writer.waiting == 2 and writer.written == 0, "the disk has neither yet"
    over.set()
    wait_for(lambda: writer.written == 2 and writer.waiting == 0)
    writer.close()
    assert [record["number"] for record in records(tmp_path, "events")] == [0, 1]


@pytest.mark.parametrize("failing", [1, 3])
def test_a_flush_that_fails_loses_nothing_and_repeats_nothing(tmp_path, monkeypatch, caplog, failing):
    left, real = [failing], os.fdatasync

    def refuse(handle: int) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(5, "Input/output error")
        real(handle)

    monkeypatch.setattr("os.fdatasync", refuse)
    writer = Writer(tmp_path, append_seconds=0.001, flush_seconds=0.01)
    for number in range(400):
        assert writer.put(("events", "answers")[number % 3 == 0], {"number": number})
        time.sleep(0.0002)
    wait_for(lambda: writer.waiting == 0 and writer.fault is None)
    assert not left[0]
    writer.close()
    assert [record["number"] for record in records(tmp_path, "answers")] == list(range(0, 400, 3))
    assert [record["number"] for record in records(tmp_path, "events")] == [one for one in range(400) if one % 3]
    assert writer.written == 400
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING], "said once, and its end"


def test_records_of_many_threads_arrive_whole_and_in_the_order_of_each(tmp_path):
    writer = Writer(tmp_path, append_seconds=0.01, flush_seconds=0.01, most_bytes=20_000)

    def put(thread: int) -> None:
        for number in range(500):
            assert writer.put("events", {"thread": thread, "number": number})

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(lambda: writer.waiting == 0)
    put(4)
    writer.close()
    found = records(tmp_path, "events")
    for thread in range(5):
        assert [one["number"] for one in found if one["thread"] == thread] == list(range(500))
    assert writer.written == 2_500 and writer.dropped == 0 and writer.waiting == 0
    assert len(parts(tmp_path, "events")) > 1 and parts(tmp_path, "answers") == []


def test_a_new_day_is_a_new_part(tmp_path):
    now = [datetime.datetime(2030, 1, 2, 23, 59, tzinfo=datetime.UTC)]
    writer = Writer(tmp_path, append_seconds=0.01, flush_seconds=0.01, clock=lambda: now[0])
    writer.put("events", {"day": 1})
    wait_for(lambda: writer.waiting == 0)
    now[0] += datetime.timedelta(minutes=2)
    writer.put("events", {"day": 2})
    writer.close()
    assert [part.name[:15] for part in parts(tmp_path, "events")] == ["events-20300102", "events-20300103"]
    assert [record["day"] for record in records(tmp_path, "events")] == [1, 2]


def test_a_full_disk_is_said_loses_only_what_does_not_fit_and_is_over_when_there_is_room(tmp_path, caplog):
    writer = Writer(tmp_path, append_seconds=0.01, flush_seconds=0.01, most_waiting=10_000)
    writer.put("events", {"number": 0})
    wait_for(lambda: writer.waiting == 0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))  # no file may grow beyond
    try:
        kept = [number for number in range(1, 1_000) if writer.put("events", {"number": number, "filling": "x" * 50})]
        wait_for(lambda: writer.fault is not None)
        assert "cannot be written: File too large" in (writer.fault or "") and "Make room" in (writer.fault or "")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    wait_for(lambda: writer.fault is None)
    assert writer.put("events", {"number": 5_000})
    writer.close()
    assert [record["number"] for record in records(tmp_path, "events")] == [0, *kept, 5_000]
    assert writer.dropped == 999 - len(kept) > 0
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING], "said once, and its end"


def test_a_part_that_somebody_removed_is_not_written_into_the_void(tmp_path):
    writer = Writer(tmp_path, append_seconds=0.01, flush_seconds=0.01)
    writer.put("events", {"number": 0})
    wait_for(lambda: writer.waiting == 0)
    for part in parts(tmp_path, "events"):
        part.unlink()
    writer.put("events", {"number": 1})
    writer.close()
    assert records(tmp_path, "events") == [{"number": 1}]


def test_two_writers_share_a_folder_and_neither_seals_the_other(tmp_path):
    one = Writer(tmp_path, append_seconds=0.01, flush_seconds=0.01)
    one.put("events", {"writer": 1})
    other = Writer(tmp_path, append_seconds=0.01, flush_seconds=0.01)
    other.put("events", {"writer": 2})
    one.put("events", {"writer": 1})
    one.close()
    other.close()
    assert sorted(record["writer"] for record in records(tmp_path, "events")) == [1, 1, 2]


def test_what_a_crash_left_is_sealed_and_counted_at_the_start(tmp_path, caplog):
    (tmp_path / "events-1.jsonl").write_bytes(b'{"number": 0}\n{"num')
    writer = Writer(tmp_path)
    assert writer.sealed == (1, 5) and "half a last line" in caplog.text
    writer.close()
    assert records(tmp_path, "events") == [{"number": 0}]


def test_closing_twice_and_putting_afterwards(tmp_path):
    writer = Writer(tmp_path)
    writer.close()
    writer.close()
    assert not writer.put("events", {"number": 1}) and writer.dropped == 1
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_written_at_the_end_is_an_error(tmp_path, monkeypatch):
    writer = Writer(tmp_path, append_seconds=30, flush_seconds=30)
    writer.put("events", {"number": 1})
    monkeypatch.setattr("os.fdatasync", lambda handle: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(StoreError, match=r"1 record.s. were not written: .*Input/output error"):
        writer.close()


def test_a_folder_that_is_a_file_is_said_before_anything_is_served(tmp_path):
    (tmp_path / "log").touch()
    with pytest.raises(StoreError, match="event log cannot be written"):
        Writer(tmp_path / "log")
