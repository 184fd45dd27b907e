#!/usr/bin/env bash
# torchmetrics 1.9.0: two thresholds of one metric in a MetricCollection give one and the same figure for good, where the
# first batch happened to give both the same counts.
#
# Guessed before it was run: metrics of a collection share their state where class and arguments say that the state is the
# same. Seen: after the first update() the collection compares the numbers in the states; metrics whose numbers are equal
# keep one state between them from then on, that of the first named, also after reset(). Accuracy at .5 and at .7 over 20
# batches of 64, the first of them easy (all probabilities beyond .7 or below .3): both .775 where they are .775 and .652.
# With the first batch as hard as the rest they are right: .763 and .631. No warning.
# It matters where data come sorted (an easy class first), and where many thresholds are tried at once to choose one.
# compute_groups=False gives right figures, as does one metric a collection.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torchmetrics==1.9.0 torch==2.14.1 numpy==2.4.6
cat > "$work/run.py" <<'PY'
import warnings

import torch
import torchmetrics
from torchmetrics.classification import BinaryAccuracy

warnings.simplefilter("error")


def batches(first_is_easy):
    generator = torch.Generator().manual_seed(0)
    for number in range(20):
        truth = torch.randint(0, 2, (64,), generator=generator)
        margin = 5.0 if first_is_easy and number == 0 else 0.5
        yield torch.sigmoid((2 * truth - 1) * margin + 0.7 * torch.randn(64, generator=generator)), truth


def figures(first_is_easy, **options):
    metrics = torchmetrics.MetricCollection({"at_5": BinaryAccuracy(0.5), "at_7": BinaryAccuracy(0.7)}, **options)
    for batch in batches(first_is_easy):
        metrics.update(*batch)
    once = {name: round(float(value), 3) for name, value in metrics.compute().items()}
    metrics.reset()
    for batch in batches(first_is_easy=False):
        metrics.update(*batch)
    again = {name: round(float(value), 3) for name, value in metrics.compute().items()}
    return once, again


print(f"torchmetrics {torchmetrics.__version__}: accuracy at .5 and .7, then of other batches after reset()")
seen = {}
for easy, options in ((True, {}), (True, {"compute_groups": False}), (False, {})):
    once, again = seen[easy, bool(options)] = figures(easy, **options)
    print(f"first batch {'easy' if easy else 'hard'}   {options or 'as it comes'!s:26} {once}   {again}")
hard = {"at_5": 0.763, "at_7": 0.631}
assert seen == {
    (True, False): ({"at_5": 0.775, "at_7": 0.775}, {"at_5": 0.763, "at_7": 0.763}),
    (True, True): ({"at_5": 0.775, "at_7": 0.652}, hard),
    (False, False): (hard, hard),
}, seen
PY
"$work/venv/bin/python" "$work/run.py"
