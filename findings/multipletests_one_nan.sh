#!/usr/bin/env bash
# statsmodels 0.15.0: one p-value that is nan among five, and what multipletests rejects is not what its own corrected
# p-values say.
#
# Guessed before it was run: the nan stays nan, and the others are corrected as if it were not there. Seen with p of
# .001, .01, nan, .02 and .5, at a level of .05:
#   fdr_bh, fdr_tsbh            rejects .001, .01, .02; every corrected p is nan, so `corrected < .05` rejects none
#   fdr_by, simes-hochberg      rejects one, two; every corrected p is nan
#   hommel                      rejects none, also not .001; without the nan it rejects three
#   bonferroni, holm            the nan counts as a test: .02 becomes .1 and .06, and is no longer rejected by holm
# SciPy's false_discovery_control refuses the nan. P-values of values with too few items are nan all the time: a report
# that prints the corrected p-values loses every value, one that prints the verdicts does not. Take nans out first.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  statsmodels==0.15.0 scipy==1.17.1 pandas==3.1.1 numpy==2.4.6
cat > "$work/run.py" <<'PY'
import warnings

import numpy as np
import scipy.stats
import statsmodels
from statsmodels.stats.multitest import multipletests

warnings.simplefilter("error")
P = np.array([0.001, 0.01, np.nan, 0.02, 0.5])


def figures(values, method):
    rejected, corrected = multipletests(values, alpha=0.05, method=method)[:2]
    return int(rejected.sum()), int((corrected < 0.05).sum()), int(np.isnan(corrected).sum())


print(f"statsmodels {statsmodels.__version__}: rejected, corrected p below .05, corrected p that are nan")
seen = {}
for method in ("bonferroni", "holm", "simes-hochberg", "hommel", "fdr_bh", "fdr_by", "fdr_tsbh"):
    seen[method] = (figures(P, method), figures(P[~np.isnan(P)], method))
    print(f"{method:15} with the nan {seen[method][0]}   without it {seen[method][1]}")
try:
    scipy.stats.false_discovery_control(P)
    refused = False
except ValueError:
    refused = True
assert refused
assert {method: with_nan for method, (with_nan, _) in seen.items()} == {
    "bonferroni": (2, 1, 1),
    "holm": (2, 2, 1),
    "simes-hochberg": (2, 0, 5),
    "hommel": (0, 0, 5),
    "fdr_bh": (3, 0, 5),
    "fdr_by": (1, 0, 5),
    "fdr_tsbh": (3, 0, 5),
}, seen
PY
"$work/venv/bin/python" "$work/run.py"
