"""A log -> tables, whether or not it is being written just now.

    log = read("logs", "events")
    log.table             pyarrow.Table, oldest part first
    log.faults            ("3 line(s) without user", ...): lines that are left out, counted
    write(log.table, "events.parquet")

A line that its writer has not ended yet is not read, nor is one that is no record; the latter are counted by what is
wrong with them. A part without faults is read by Arrow, any other line by line; both give the same. The trade: a log is
read whole, about 100 bytes of memory per event. Nothing here judges what people did.
"""

import datetime
import io
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute
import pyarrow.json
import pyarrow.parquet as pq

from clipadapt.atomic import Guard, atomic_write
from clipadapt.deploy.event_log.form import SCHEMAS, Kind, line, parsed, stamp
from clipadapt.deploy.event_log.parts import closed, parts
from clipadapt.errors import StoreError, UsageError

pc: Any = pyarrow.compute  # its functions are made on import
_AHEAD = datetime.timedelta(hours=1)
"""How far the clock of one server may be ahead of this one's."""
_STAMP = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$"


class Log(NamedTuple):
    """What was read."""

    table: pa.Table
    faults: dict[str, int]
    """What is wrong with lines that were left out -> how many."""

    def notes(self) -> list[str]:
        """The faults in words, a line each."""
        return [f"{count:,} line(s) left out: {fault}" for fault, count in sorted(self.faults.items())]


def read(folder: str | Path, kind: Kind) -> Log:
    """Every record of a kind; `folder` may also be one JSON Lines or Parquet file.

    Raises:
        UsageError: no such folder or file, or nothing of that kind in it.
        StoreError: a part cannot be read.
    """
    root = Path(folder)
    files = [root] if root.is_file() else parts(root, kind)
    if not files:
        there = "holds no" if root.is_dir() else "is not there, so it holds no"
        raise UsageError(f"{root}: {there} {kind}; name the folder that was given to clipadapt serve --log")
    tables, faults = [], Counter()
    for file in files:
        table, broken = _part(file, kind)
        tables.append(table)
        faults.update(broken)
    return Log(pa.concat_tables(tables), dict(faults))


def past(table: pa.Table, what: str, now: datetime.datetime | None = None) -> tuple[pa.Table, list[str]]:
    """Records up to now, and a note of those that a wrong clock dates later; `what` is what a record is."""
    latest = pa.scalar((now or datetime.datetime.now(datetime.UTC)) + _AHEAD, SCHEMAS["events"].field("ts").type)
    kept = table.filter(pc.less_equal(table.column("ts"), latest))
    lost = table.num_rows - kept.num_rows
    return kept, [f"{lost:,} {what}(s) left out: from the future: a clock is wrong"] if lost else []


def write(table: pa.Table, path: str | Path) -> None:
    """One file: Parquet where its name says so, else JSON Lines.

    Raises:
        StoreError: no space, or it cannot be written.
    """
    file = Path(path)
    buffer = io.BytesIO()
    if file.suffix == ".parquet":
        pq.write_table(table, buffer, compression="zstd")
    else:
        for batch in table.to_batches(max_chunksize=10_000):
            for record in batch.to_pylist():
                buffer.write(line(_plain(record)))
    atomic_write(file, buffer.getbuffer())


def pack(folder: str | Path) -> list[Path]:
    """Turns every part that nobody writes to any more into Parquet, a tenth of its size; gives the new files.

    A part with a line that is no record stays as it is, for packing would lose that line.

    Raises:
        StoreError: no space, or the folder cannot be written.
    """
    made = []
    for kind in SCHEMAS:
        for part in parts(Path(folder), kind):
            if part.suffix != ".jsonl" or not closed(part):
                continue
            table, broken = _part(part, kind)
            if not broken and not _ends_in_half_a_line(part):
                write(table, part.with_suffix(".parquet"))  # from here on, readers take the Parquet
                with Guard(part):
                    part.unlink()
                made.append(part.with_suffix(".parquet"))
    return made


def _part(file: Path, kind: Kind) -> tuple[pa.Table, Counter[str]]:
    schema = SCHEMAS[kind]
    try:
        if file.suffix == ".parquet":
            return pq.read_table(file, schema=schema), Counter()
        data = file.read_bytes()
    except FileNotFoundError:  # packed, or removed as empty, since the folder was listed
        packed = file.with_suffix(".parquet")
        return _part(packed, kind) if packed != file and packed.is_file() else (schema.empty_table(), Counter())
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(f"{file}: cannot be read: {error}") from error
    whole = data[: data.rfind(b"\n") + 1]
    quick = _by_arrow(whole, kind)
    return (quick, Counter()) if quick is not None else _by_line(whole, kind)


def _by_arrow(lines: bytes, kind: Kind) -> pa.Table | None:
    """None where anything is not as the form wants it."""
    schema = SCHEMAS[kind]
    if not lines:
        return schema.empty_table()
    lenient = [field.with_nullable(True) for field in schema if field.name != "ts"]
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(lines),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=pa.schema([pa.field("ts", pa.string()), *lenient]), unexpected_field_behavior="ignore"
            ),
        )
        if not pc.all(pc.match_substring_regex(table.column("ts"), _STAMP)).as_py():
            return None
        table = table.set_column(0, schema.field("ts"), table.column("ts").cast(schema.field("ts").type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    if any(table.column(field.name).null_count for field in schema if not field.nullable):
        return None
    if kind == "events" and not pc.all(pc.is_in(table.column("event"), pa.array(["impression", "click"]))).as_py():
        return None
    counts = [table.column(field.name) for field in schema if field.type == pa.int32()]
    if any(pc.any(pc.less(column, 0)).as_py() for column in counts):  # a negative count is a fault
        return None
    lists = [table.column(field.name) for field in schema if pa.types.is_list(field.type)]
    if any(pc.list_flatten(column).null_count for column in lists):
        return None
    if table.num_rows != lines.count(b"\n"):
        return None
    return table.select(schema.names).cast(schema)


def _by_line(lines: bytes, kind: Kind) -> tuple[pa.Table, Counter[str]]:
    records: list[dict[str, Any]] = []
    faults: Counter[str] = Counter()
    for text in lines.splitlines():
        record = parsed(kind, text)
        if isinstance(record, str):
            faults[record] += 1
        else:
            records.append(record)
    return pa.Table.from_pylist(records, schema=SCHEMAS[kind]), faults


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    return record | {"ts": stamp(record["ts"])}


def _ends_in_half_a_line(file: Path) -> bool:
    data = file.read_bytes()
    return bool(data) and not data.endswith(b"\n")
