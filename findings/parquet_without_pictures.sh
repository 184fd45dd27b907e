#!/usr/bin/env bash
# datasets 5.2.0: the Parquet file that to_parquet() makes of a folder of pictures holds no picture.
#
# Guessed before it was run: the bytes are inside, as they are after save_to_disk() and push_to_hub() and in Parquet files on
# the hub. Seen: each cell is the absolute path of the file and a null in place of its bytes. On the machine that wrote it
# the file opens and shows every picture, so that no check there finds anything; once the folder is cleared away, or anywhere
# else, each row raises FileNotFoundError when its picture is first looked at. Pictures that map() made anew are inside.
# Where a file under one of those names was replaced meanwhile, the table shows the new one beside the old labels.
# Write save_to_disk(), or map the rows with datasets.table.embed_table_storage in the format "arrow" before to_parquet().
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pillow==13.0.0 pyarrow==26.0.1 numpy==2.4.6
cat > "$work/run.py" <<'PY'
import sys
import warnings
from pathlib import Path

import datasets
import pyarrow.parquet
from datasets.table import embed_table_storage
from PIL import Image

warnings.simplefilter("error")
datasets.disable_progress_bars()
work = Path(sys.argv[1])
photo = work / "photos" / "red.png"
photo.parent.mkdir()
Image.new("RGB", (30, 20), (255, 0, 0)).save(photo)
rows = datasets.load_dataset("imagefolder", data_dir=work / "photos", split="train", cache_dir=work / "cache")


def first(kept):
    """The colour of the first picture, or the name of the error."""
    try:
        return kept[0]["image"].getpixel((0, 0))
    except FileNotFoundError as error:
        return type(error).__name__


written = {
    "plain": rows,
    "resized": rows.map(lambda row: {"image": row["image"].resize((15, 10))}),
    "embedded": rows.with_format("arrow").map(embed_table_storage, batched=True).with_format(None),
}
holds = {}
for name, source in written.items():
    source.to_parquet(work / f"{name}.parquet")
    cell = pyarrow.parquet.read_table(work / f"{name}.parquet").to_pylist()[0]["image"]
    holds[name] = cell["bytes"] is not None
    print(f"datasets {datasets.__version__} to_parquet of {name:9} holds bytes: {holds[name]}   names {cell['path']}")
rows.save_to_disk(work / "disk")
opened = {
    name: datasets.load_dataset("parquet", data_files=str(work / f"{name}.parquet"), split="train", cache_dir=work / name)
    for name in written
}
opened["save_to_disk"] = datasets.load_from_disk(work / "disk")
seen = [{name: first(kept) for name, kept in opened.items()}]
Image.new("RGB", (30, 20), (0, 0, 255)).save(photo)
seen.append({name: first(kept) for name, kept in opened.items()})
photo.unlink()
seen.append({name: first(kept) for name, kept in opened.items()})
for state, colours in zip(("the red picture is there:", "a blue one in its place:", "the folder is cleared:"), seen, strict=True):
    print(f"{state:26} {colours}")
red, blue = (255, 0, 0), (0, 0, 255)
inside = {"resized": red, "embedded": red, "save_to_disk": red}
assert holds == {"plain": False, "resized": True, "embedded": True}, holds
assert seen == [{"plain": plain, **inside} for plain in (red, blue, "FileNotFoundError")], seen
PY
HF_HOME="$work/hf" HF_HUB_OFFLINE=1 "$work/venv/bin/python" "$work/run.py" "$work"
