#!/usr/bin/env bash
# datasets 5.2.0: what map() drew on a picture or shrank in place is gone afterwards, where the picture came from a file.
#
# Guessed before it was run: map() keeps what its function returns. Seen: a picture that still bears the name of the file it
# was opened from is stored as that name, and read from there again; Pillow's methods that work in place (thumbnail,
# paste, putalpha, ImageDraw) leave the name on it. So the same function over the same pictures
#   from a folder, map()                         does nothing: the original comes back
#   from a folder, map() of the stream           works
#   from Parquet with the bytes inside, map()    works
#   from a folder, on a copy of the picture      works
# and a run of hours that masked backgrounds or cut the pictures to size trains on the originals. Nothing is said.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pillow==13.0.0 pyarrow==26.0.1 numpy==2.4.6
cat > "$work/run.py" <<'PY'
import sys
import warnings
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
from PIL import Image

warnings.simplefilter("error")
datasets.disable_progress_bars()
work = Path(sys.argv[1])
(work / "photos").mkdir()
Image.fromarray(np.full((200, 300, 3), 255, np.uint8)).save(work / "photos" / "white.png")
packed = {"bytes": (work / "photos" / "white.png").read_bytes(), "path": None}
pa.parquet.write_table(pa.table({"image": [packed]}), work / "photos.parquet")


def shrunk(row):
    row["image"].thumbnail((64, 64))
    return {"image": row["image"]}


def blackened(row):
    row["image"].paste((0, 0, 0), (0, 0, 300, 200))
    return row


def shrunk_copy(row):
    return shrunk({"image": row["image"].copy()})


def blackened_copy(row):
    return blackened({"image": row["image"].copy()})


folder = datasets.load_dataset("imagefolder", data_dir=work / "photos", split="train", cache_dir=work / "cache")
parquet = datasets.load_dataset("parquet", data_files=str(work / "photos.parquet"), split="train", cache_dir=work / "cache")
parquet = parquet.cast_column("image", datasets.Image())
seen = {}
for name, source, functions in (
    ("folder", folder, (shrunk, blackened)),
    ("folder, streamed", folder.to_iterable_dataset(), (shrunk, blackened)),
    ("Parquet", parquet, (shrunk, blackened)),
    ("folder, copied", folder, (shrunk_copy, blackened_copy)),
):
    small, dark = (next(iter(source.map(function)))["image"] for function in functions)
    seen[name] = (small.size, int(np.asarray(dark).mean()))
    print(f"datasets {datasets.__version__} {name:17} made 64 wide: {small.size}   painted black: mean {seen[name][1]}")
works = ((64, 43), 0)
assert seen == {
    "folder": ((300, 200), 255),
    "folder, streamed": works,
    "Parquet": works,
    "folder, copied": works,
}, seen
PY
HF_HOME="$work/hf" HF_HUB_OFFLINE=1 "$work/venv/bin/python" "$work/run.py" "$work"
