#!/usr/bin/env bash
# torchmetrics 1.9.0: average precision and ROC AUC of the same cosines depend on how they were cut into batches.
#
# Guessed before it was run: metrics that only rank take scores of any range, and update() in batches gives what one
# update gives, bit for bit. Seen: each update() looks at its own scores; where one lies outside 0 to 1, all of that batch
# go through a sigmoid (they are taken for logits), and where none does, none do. Cosines of CLIP's kind are mostly
# positive, so some batches are squashed to about 0.5 and others are left at 0.2, and the two are ranked together.
# With 4,096 pairs of one query, positives at cosine 0.30 and negatives at 0.20, both with a spread of 0.10: ROC AUC is
# 0.737 at once and 0.611 in batches of 32, average precision 0.455 and 0.311, with no warning. Moved into 0 to 1 first,
# as (1 + cosine) / 2, the same pairs give the same figure however they are cut. Do so before cosines go to any
# classification metric.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torchmetrics==1.9.0 torch==2.14.1 numpy==2.4.6
cat > "$work/run.py" <<'PY'
import torch
import torchmetrics
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

generator = torch.Generator().manual_seed(0)
truth = (torch.rand(4096, generator=generator) < 0.2).long()
cosines = 0.2 + 0.1 * truth + 0.1 * torch.randn(4096, generator=generator)


def figure(kind, scores, size):
    metric = kind()
    for start in range(0, len(scores), size):
        metric.update(scores[start : start + size], truth[start : start + size])
    return round(float(metric.compute()), 3)


print(f"torchmetrics {torchmetrics.__version__}, {int((cosines < 0).sum())} of {len(cosines)} cosines below 0")
for kind in (BinaryAUROC, BinaryAveragePrecision):
    raw = {size: figure(kind, cosines, size) for size in (4096, 256, 32, 8)}
    moved = {size: figure(kind, (1 + cosines) / 2, size) for size in raw}
    print(f"{kind.__name__:24} by size of batch: cosines {raw}   (1 + cosine) / 2 {moved}")
    assert len(set(moved.values())) == 1 and raw[4096] == moved[4096]
    assert raw[4096] - raw[32] > 0.05, raw
PY
"$work/venv/bin/python" "$work/run.py"
