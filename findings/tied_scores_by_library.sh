#!/usr/bin/env bash
# A model that has collapsed gives every item the same score. What libraries make of six such items, two of them relevant,
# lies between 0.00 and 1.00, by where or under which names the relevant ones happen to stand in the file.
#
# Guessed before it was run: each library has one rule for ties, and its figures agree with one another. Seen:
#   torchmetrics 1.9.0    nDCG shares a tie among all who are in it (0.675 anywhere); average precision and precision at 2
#                         of the same package follow the order of rows: 0.29 and 0.0 where the relevant rows come first,
#                         0.58 and 0.5 where they come last
#   pytrec_eval 0.5.11    every figure follows the names: the relevant items named last in the alphabet give a perfect
#   (terrier's build)     average precision, precision at 2 and nDCG of 1.0; named first, 0.27, 0.0 and 0.46
#   scikit-learn 1.9.1    average precision is the share of relevant items (0.33), nDCG shares the tie (0.675)
# So sorting a catalogue by class, or naming items by class, moves the figure of a model that knows nothing. Add a rule of
# your own for ties before a figure is believed: clipadapt's count every tie against the system.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  torchmetrics==1.9.0 torch==2.14.1 pytrec-eval-terrier==0.5.11 scikit-learn==1.9.1 numpy==2.4.6
cat > "$work/run.py" <<'PY'
import pytrec_eval
import torch
from sklearn.metrics import average_precision_score, ndcg_score
from torchmetrics.retrieval import RetrievalMAP, RetrievalNormalizedDCG, RetrievalPrecision

FIRST, LAST = [1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1]


def by_torchmetrics(relevant):
    given = (torch.ones(6), torch.tensor(relevant), torch.zeros(6, dtype=torch.long))
    metrics = (RetrievalMAP(), RetrievalPrecision(top_k=2), RetrievalNormalizedDCG())
    return [round(float(metric(*given)), 2) for metric in metrics]


def by_pytrec_eval(relevant):
    names = [f"item{number}" for number in range(6)]
    judged = {"query": dict(zip(names, relevant, strict=True))}
    figures = pytrec_eval.RelevanceEvaluator(judged, {"map", "P_2", "ndcg"}).evaluate({"query": dict.fromkeys(names, 1.0)})
    return [round(figures["query"][name], 2) for name in ("map", "P_2", "ndcg")]


def by_scikit_learn(relevant):
    return [round(average_precision_score(relevant, [1.0] * 6), 2), None, round(ndcg_score([relevant], [[1.0] * 6]), 2)]


print("average precision, precision at 2, nDCG of six items with one score; relevant rows or names first, and last")
seen = {}
for name, rule in (("torchmetrics", by_torchmetrics), ("pytrec_eval", by_pytrec_eval), ("scikit-learn", by_scikit_learn)):
    seen[name] = (rule(FIRST), rule(LAST))
    print(f"{name:14} {seen[name][0]}   {seen[name][1]}")
assert seen == {
    "torchmetrics": ([0.29, 0.0, 0.68], [0.58, 0.5, 0.68]),
    "pytrec_eval": ([0.27, 0.0, 0.46], [1.0, 1.0, 1.0]),
    "scikit-learn": ([0.33, None, 0.68], [0.33, None, 0.68]),
}
PY
"$work/venv/bin/python" "$work/run.py"
