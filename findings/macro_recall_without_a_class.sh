#!/usr/bin/env bash
# Macro recall of six predictions, one of them wrong, where two of four classes do not occur in the sample: .83, .56, .42,
# no number or an error, by library, and in two of them by which wrong class was predicted.
#
# Guessed before it was run: absent classes are left out everywhere (.83), or count 0 everywhere (.42). Seen with
# scikit-learn 1.9.1, torchmetrics 1.9.0, pytorch-ignite 0.5.5, torcheval 0.0.7, pycm 4.6, torch 2.14.1:
#                                          wrong one goes to an absent class     to one that occurs
#   scikit-learn balanced_accuracy_score   .833                                  .833
#   scikit-learn recall_score, macro       .556                                  .833
#   torchmetrics multiclass_recall, macro  .556                                  .833
#   ignite Recall(average="macro")         .417                                  .417
#   torcheval multiclass_accuracy, macro   .833                                  .833
#   torcheval multiclass_recall, macro     RuntimeError about tensor sizes       the same
#   pycm TPR_Macro                         the text "None"                       .833
# Validation splits of rare values lack classes all the time, and the same model looks up to twice as good or bad.
# scikit-learn warns in the .556 case, the others are silent.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  scikit-learn==1.9.1 torchmetrics==1.9.0 pytorch-ignite==0.5.5 torcheval==0.0.7 pycm==4.6 torch==2.14.1 numpy==2.4.6
cat > "$work/run.py" <<'PY'
import warnings

import torch
import torcheval.metrics.functional as torcheval
from ignite.metrics import Recall
from pycm import ConfusionMatrix
from sklearn.metrics import balanced_accuracy_score, recall_score
from torchmetrics.functional.classification import multiclass_recall

warnings.simplefilter("ignore")
TRUTH, CLASSES = [0, 0, 0, 1, 1, 1], 4


def by_ignite(predicted):
    metric = Recall(average="macro")
    metric.update((torch.nn.functional.one_hot(torch.tensor(predicted), CLASSES).float(), torch.tensor(TRUTH)))
    return metric.compute()


def by_torcheval(function, predicted):
    try:
        return function(torch.tensor(predicted), torch.tensor(TRUTH), average="macro", num_classes=CLASSES)
    except RuntimeError:
        return "RuntimeError"


def figures(predicted):
    found = {
        "scikit-learn balanced": balanced_accuracy_score(TRUTH, predicted),
        "scikit-learn macro": recall_score(TRUTH, predicted, average="macro"),
        "torchmetrics macro": multiclass_recall(torch.tensor(predicted), torch.tensor(TRUTH), CLASSES, average="macro"),
        "ignite macro": by_ignite(predicted),
        "torcheval accuracy": by_torcheval(torcheval.multiclass_accuracy, predicted),
        "torcheval recall": by_torcheval(torcheval.multiclass_recall, predicted),
        "pycm": ConfusionMatrix(TRUTH, predicted).TPR_Macro,
    }
    return {name: value if isinstance(value, str) else round(float(value), 3) for name, value in found.items()}


absent, present = figures([0, 0, 2, 1, 1, 1]), figures([0, 0, 1, 1, 1, 1])
for name in absent:
    print(f"{name:22} {absent[name]!s:>12} {present[name]!s:>12}")
assert list(absent.values()) == [0.833, 0.556, 0.556, 0.417, 0.833, "RuntimeError", "None"], absent
assert list(present.values()) == [0.833, 0.833, 0.833, 0.417, 0.833, "RuntimeError", 0.833], present
PY
"$work/venv/bin/python" "$work/run.py"
