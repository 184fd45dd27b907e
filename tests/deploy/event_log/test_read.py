"""A whole log, while it is written, as JSON Lines and as Parquet."""

import datetime
import json
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.deploy.event_log import read as module
from clipadapt.deploy.event_log.form import Kind, line, stamp
from clipadapt.deploy.event_log.parts import Part
from clipadapt.deploy.event_log.read import pack, read, write
from clipadapt.errors import StoreError, UsageError

NOW = datetime.datetime(2030, 1, 2, 3, 4, 5, 678_000, tzinfo=datetime.UTC)


def event(number: int, **change: object) -> dict:
    return {
        "ts": stamp(NOW), "user": None if number % 2 else "ab", "release": "000004", "arm": "current",
        "query_id": f"q{number}", "item": str(number), "position": number, "event": "click",
    } | change  # fmt: skip


def answer(number: int, **change: object) -> dict:
    return {
        "ts": stamp(NOW), "user": "ab", "release": "000004", "arm": "current", "query_id": f"q{number}",
        "mirrored": False, "items": ["1", "2"], "took_ms": 4.0, "kind": "text", "k": 24, "where": [], "query": None,
    } | change  # fmt: skip


def test_what_a_living_writer_has_ended_is_read_and_no_more(tmp_path):
    part = Part.new(tmp_path, "events", NOW)
    part.append(line(event(1)) + line(event(2)) + b'{"ts": "2030')
    log = read(tmp_path, "events")
    assert log.faults == {} and log.table.column("item").to_pylist() == ["1", "2"]
    assert log.table.column("ts").to_pylist() == [NOW, NOW]
    part.close()


def test_lines_that_are_no_record_are_counted_and_the_others_read(tmp_path):
    broken = [b"\x00\n", line(event(2, event="buy")), line({"ts": stamp(NOW)}), line({"ts": stamp(NOW)})]
    (tmp_path / "events-1.jsonl").write_bytes(line(event(1)) + b"".join(broken) + line(event(3)))
    log = read(tmp_path, "events")
    assert log.table.column("item").to_pylist() == ["1", "3"]
    assert log.faults == {"no JSON": 1, "event is 'buy'": 1, "no release": 2}
    assert log.notes() == [
        "1 line(s) left out: event is 'buy'", "1 line(s) left out: no JSON", "2 line(s) left out: no release",
    ]  # fmt: skip


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "ts": st.sampled_from([stamp(NOW), "2030-01-02T03:04:05+02:00", "2030-01-02", "no", None, 5]),
                "user": st.sampled_from(["ab", None, 5, ["x"]]),
                "release": st.sampled_from(["000004", None, 4]),
                "position": st.sampled_from([0, 1, 2**31, -1, 1.5, "1", True, None]),
                "event": st.sampled_from(["click", "impression", "buy", None]),
                "more": st.sampled_from([1, "x", [1], None]),
            },
        ),
        max_size=4,
    )
)
def test_the_quick_reader_gives_what_the_plain_one_gives(changes):
    lines = b"".join(line(event(number, **change)) for number, change in enumerate(changes))
    quick = module._by_arrow(lines, "events")
    plain, faults = module._by_line(lines, "events")
    if quick is not None:
        assert quick.to_pylist() == plain.to_pylist() and not faults


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "mirrored": st.sampled_from([True, False, 0, "no", None]),
                "items": st.sampled_from([[], ["1"], [1], [None], "1", None]),
                "took_ms": st.sampled_from([4, 4.5, -1.0, "4", True, None]),
                "k": st.sampled_from([0, 24, -1, 2**31, 2.0, True, None]),
                "where": st.sampled_from([[], ["Pattern"], [None], None]),
                "query": st.sampled_from(["midi", 4, None]),
            },
        ),
        max_size=3,
    )
)
def test_the_quick_reader_gives_what_the_plain_one_gives_of_answers(changes):
    lines = b"".join(line(answer(number, **change)) for number, change in enumerate(changes))
    quick = module._by_arrow(lines, "answers")
    plain, faults = module._by_line(lines, "answers")
    if quick is not None:
        assert quick.to_pylist() == plain.to_pylist() and not faults


@pytest.mark.parametrize(
    ("kind", "column", "value"),
    [("events", "position", -1), ("answers", "k", -1), ("answers", "items", ["1", None]), ("answers", "where", [None])],
)
def test_a_fault_that_arrow_would_take_is_a_fault(tmp_path, kind, column, value):
    record = event if kind == "events" else answer
    (tmp_path / f"{kind}-1.jsonl").write_bytes(line(record(1)) + line(record(2, **{column: value})))
    log = read(tmp_path, kind)
    assert log.table.num_rows == 1 and log.faults == {f"{column} is {str(value)!r}": 1}


def test_the_quick_reader_takes_plain_records():
    kinds: list[tuple[Kind, Callable[[int], dict]]] = [("events", event), ("answers", answer)]
    for kind, record in kinds:
        lines = b"".join(line(record(number)) for number in range(3))
        quick = module._by_arrow(lines, kind)
        assert quick is not None and quick.to_pylist() == module._by_line(lines, kind)[0].to_pylist()


@pytest.mark.parametrize("kind", ["events", "answers"])
@pytest.mark.parametrize("name", ["out.parquet", "out.jsonl"])
def test_it_is_written_as_one_file_and_comes_back(tmp_path, kind, name):
    record = event if kind == "events" else answer
    (tmp_path / f"{kind}-1.jsonl").write_bytes(b"".join(line(record(number)) for number in range(20)))
    whole = read(tmp_path, kind)
    write(whole.table, tmp_path / name)
    assert read(tmp_path / name, kind).table.equals(whole.table)
    if name == "out.jsonl":
        first = json.loads((tmp_path / name).read_text().splitlines()[0])
        assert first["ts"] == "2030-01-02T03:04:05.678Z" and first["query_id"] == "q0"
    else:
        assert pq.read_table(tmp_path / name).num_rows == 20


def test_packing_leaves_what_is_written_and_what_would_be_lost(tmp_path):
    part = Part.new(tmp_path, "events", NOW)
    part.append(line(event(1)))
    (tmp_path / "events-1.jsonl").write_bytes(line(event(2)))
    (tmp_path / "events-2.jsonl").write_bytes(line(event(3)) + b"broken\n")
    (tmp_path / "events-3.jsonl").write_bytes(line(event(4)) + b'{"half')
    before = read(tmp_path, "events")
    assert [path.name for path in pack(tmp_path)] == ["events-1.parquet"]
    assert not (tmp_path / "events-1.jsonl").exists() and part.path.exists()
    assert read(tmp_path, "events").table.equals(before.table)
    part.close()


def test_a_crash_between_writing_the_parquet_and_removing_its_part_repeats_nothing(tmp_path):
    (tmp_path / "events-1.jsonl").write_bytes(line(event(2)))
    write(read(tmp_path, "events").table, tmp_path / "events-1.parquet")
    assert read(tmp_path, "events").table.num_rows == 1


def test_no_log_at_all(tmp_path):
    with pytest.raises(UsageError, match="holds no events; name the folder"):
        read(tmp_path, "events")
    with pytest.raises(UsageError, match="is not there"):
        read(tmp_path / "none", "events")
    (tmp_path / "events-1.parquet").write_bytes(b"no parquet")
    with pytest.raises(StoreError, match="cannot be read"):
        read(tmp_path, "events")


def test_a_packed_log_of_before_a_column_was_added_is_read_with_nulls(tmp_path):
    (tmp_path / "answers-1.jsonl").write_bytes(line(answer(1, understood=["Pattern: Striped"])))
    packed = read(tmp_path, "answers").table
    (tmp_path / "answers-1.jsonl").unlink()
    pq.write_table(packed.drop_columns(["understood"]), tmp_path / "answers-1.parquet")
    (tmp_path / "answers-2.jsonl").write_bytes(line(answer(2, understood=["not Length: Mini"])) + line(answer(3)))
    assert read(tmp_path, "answers").table.column("understood").to_pylist() == [None, ["not Length: Mini"], None]
