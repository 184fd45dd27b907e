#!/usr/bin/env bash
# datasets 5.2.0, WebDataset shards: what does not occur in the first samples of the first shard is dropped from all others.
#
# Guessed before it was run: fields that come later are added, or the loader stops, as the JSON Lines loader does at a type it
# did not expect. Seen: the features are taken from the first five samples; a file ending (.txt) or a key of the .json that
# begins at the sixth or later is not in any row, streamed or not, and no warning is given; file endings that
# differ among the first five are an error. The JSON Lines loader keeps a key that begins at the ninth row of the same rows.
# It matters to catalogues whose attributes are filled in sparsely: an attribute that the first five items happen to lack
# is an attribute without a label. Write every key in every sample, with null where nothing is known, or name `features`.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pillow==13.0.0 pyarrow==26.0.1 numpy==2.4.6
cat > "$work/run.py" <<'PY'
import io
import json
import sys
import tarfile
import warnings
from pathlib import Path

import datasets
from PIL import Image

warnings.simplefilter("error")
datasets.disable_progress_bars()
work = Path(sys.argv[1])
picture = io.BytesIO()
Image.new("RGB", (8, 8)).save(picture, "PNG")


def labels(item, first):
    return {"colour": "red"} | ({"pattern": "striped"} if item >= first else {})


def shard(first):
    """Twelve items; pattern and a note in a .txt begin at item `first`."""
    path = work / f"from_{first}.tar"
    with tarfile.open(path, "w") as tar:
        for item in range(12):
            files = {"png": picture.getvalue(), "json": json.dumps(labels(item, first)).encode()}
            files |= {"txt": b"a note"} if item >= first else {}
            for ending, content in files.items():
                entry = tarfile.TarInfo(f"{item:04d}.{ending}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return str(path)


def kept(first, streaming):
    rows = list(datasets.load_dataset("webdataset", data_files=shard(first), split="train", streaming=streaming))
    return sum(row["json"].get("pattern") is not None for row in rows), sum(row.get("txt") is not None for row in rows)


seen = {}
for first in (0, 5, 8):
    for streaming in (False, True):
        seen[first, streaming] = kept(first, streaming)
        print(f"begins at item {first} of 12, streaming {streaming!s:5}: "
              f"of {12 - first} patterns and notes {seen[first, streaming]} are left")
lines = work / "items.jsonl"
lines.write_text("\n".join(json.dumps(labels(item, 8)) for item in range(12)))
rows = datasets.load_dataset("json", data_files=str(lines), split="train")
print("JSON Lines, begins at item 8 of 12:", len(rows.filter(lambda row: row["pattern"] is not None)), "patterns are left")
print("datasets", datasets.__version__)
for first, streaming in seen:
    assert seen[first, streaming] == ((0, 0) if first else (12, 12)), seen
assert sum(value is not None for value in rows["pattern"]) == 4
PY
HF_HOME="$work/hf" HF_HUB_OFFLINE=1 "$work/venv/bin/python" "$work/run.py" "$work"
