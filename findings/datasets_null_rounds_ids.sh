#!/usr/bin/env bash
# datasets 5.2.0: one empty cell in a column of whole numbers, and the other numbers of its batch are no longer themselves.
#
# Guessed before it was run: under with_format("torch") or ("numpy") a whole number stays one, and an empty cell is None or
# an error, or at worst makes the batch float64, which is exact to 2**53. Seen: the batch becomes float32, which is exact to
# 16,777,216. Of 1,000 article numbers of eight digits in a row, of which one row of the table lacks its own:
#   row by row                                     all as they are; the empty one is nan
#   in batches of 100, numpy or torch, iter()      nine batches as they are (int64); in the tenth 99 numbers become 26
#   the same by map(batched=True)                  the same, and what it returns is stored
#   formats pandas (float64), arrow, none          all as they are
# No warning. Products whose numbers lie next to each other are one product from then on, which joins, splits by product
# and removal of duplicates take at its word; another batch size, or an order drawn anew, rounds other rows.
# Keep such numbers as text, or read them with the arrow format.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  datasets==5.2.0 torch==2.14.1 pyarrow==26.0.1 numpy==2.4.6 pandas==3.1.1
cat > "$work/run.py" <<'PY'
import datasets

FIRST = 40_000_001
numbers = [FIRST + row for row in range(1_000)]
numbers[550] = None
features = datasets.Features({"article": datasets.Value("int64")})
table = datasets.Dataset.from_dict({"article": numbers}, features=features)
true = {number for number in numbers if number is not None}


def whole(values):
    return [int(value) for value in values if value is not None and value == value]


def by_map(batch):
    return {"copy": [None if value != value else int(value) for value in batch["article"]]}


seen = {}
for kind in ("numpy", "torch"):
    rows = table.with_format(kind)
    seen[kind, "row by row"] = whole(rows[place]["article"] for place in range(len(rows)))
    batches = [batch["article"] for batch in rows.iter(batch_size=100)]
    seen[kind, "batches"] = [number for batch in batches for number in whole(batch)]
    print(kind, "types of ten batches:", [str(batch.dtype) for batch in batches])
    assert sum("int64" in str(batch.dtype) for batch in batches) == 9 and "float32" in str(batches[5].dtype)
    assert len(set(whole(batches[5]))) == 26
    stored = rows.map(by_map, batched=True, batch_size=100).with_format(None)["copy"]
    seen[kind, "map"] = whole(stored)
seen["pandas", "batches"] = [n for batch in table.with_format("pandas").iter(batch_size=100) for n in whole(batch["article"])]
seen["arrow", "batches"] = [
    n for batch in table.with_format("arrow").iter(batch_size=100) for n in whole(batch["article"].to_pylist())]
seen["none", "batches"] = [n for batch in table.iter(batch_size=100) for n in whole(batch["article"])]
for (kind, way), found in seen.items():
    print(f"datasets {datasets.__version__} {kind:7} {way:11} {len(found)} numbers, {len(set(found))} different, "
          f"{len(set(found) & true)} of the table's own")
for kind in ("numpy", "torch"):
    assert seen[kind, "map"] == seen[kind, "batches"]
    assert len(set(seen[kind, "map"]) & true) == 999 - 74
for (kind, way), found in seen.items():
    exact = sorted(found) == sorted(true)
    assert exact == (kind not in ("numpy", "torch") or way == "row by row"), (kind, way)
PY
HF_HOME="$work/home" "$work/venv/bin/python" "$work/run.py"
