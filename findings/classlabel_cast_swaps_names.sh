#!/usr/bin/env bash
# datasets 5.2.0: casting a class column to other class names gives its rows other names.
#
# Guessed before it was run: a cast maps by name, or refuses. Seen: numbers stay as they are, so that plain, striped, striped
# becomes checked, plain, plain where the target lists checked, plain, striped; a cast to text gives "0", "1", "1".
# The usual way there: two sources with a folder for each class, of which the second lacks a class, number their classes
# differently; concatenate_datasets refuses them and says which feature it expected; with second.cast(first.features) they
# are joined, every row of the second under a wrong label. No warning. align_labels_with_mapping() maps by name.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pyarrow==26.0.1 numpy==2.4.6
cat > "$work/run.py" <<'PY'
import warnings

import datasets
from datasets import ClassLabel, Features, Value

warnings.simplefilter("error")
datasets.disable_progress_bars()


def made(labels):
    """Rows with these labels, numbered as a folder of class folders is: by name, among those that occur."""
    names = sorted(set(labels))
    return datasets.Dataset.from_dict(
        {"label": [names.index(label) for label in labels]}, features=Features({"label": ClassLabel(names=names)})
    )


def named(rows):
    return [rows.features["label"].int2str(number) for number in rows["label"]]


first = made(["checked", "plain", "striped"])
second = made(["plain", "striped", "striped"])
try:
    datasets.concatenate_datasets([first, second])
    refused = False
except ValueError as error:
    refused = True
    print("concatenate_datasets:", str(error)[:100], "...")
cast, text = second.cast(first.features), second.cast_column("label", Value("string"))
aligned = second.align_labels_with_mapping({name: number for number, name in enumerate(first.features["label"].names)}, "label")
joined = datasets.concatenate_datasets([first, cast])
print(f"datasets {datasets.__version__} second, as it is:    {named(second)}")
print("second.cast(first.features):          ", named(cast), "joined:", len(joined), "rows")
print("cast to text:                         ", list(text["label"]))
print("align_labels_with_mapping:            ", named(aligned))
assert refused and len(joined) == 6
assert named(second) == named(aligned) == ["plain", "striped", "striped"]
assert named(cast) == ["checked", "plain", "plain"]
assert list(text["label"]) == ["0", "1", "1"]
PY
HF_HOME="$work/hf" HF_HUB_OFFLINE=1 "$work/venv/bin/python" "$work/run.py"
