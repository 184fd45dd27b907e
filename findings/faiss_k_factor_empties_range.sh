#!/usr/bin/env bash
# faiss-cpu 1.15.1: k_factor, which makes a search with exact refinement (RFlat) find more, makes a range search by inner
# product find less, and from about 1 / radius on nothing at all, not even a vector's own copy.
#
# Guessed before it was run: k_factor has no effect on a range search, or widens it as it widens a search for the k nearest.
# Seen: the codes are searched with k_factor times the radius, and what passes is rescored and held against the radius itself.
# Squared distances are widened by that; a cosine of at least .85 becomes one of at least 8.5 with k_factor 10.
# Items of 40 clusters in SQ4 codes, 100 of them as queries, cosine .85 or more, share of the true pairs that is found:
#   k_factor          .9     1    1.1     2    10
#   inner product   1.00   .78    .10     0     0
#   L2               .33   .71    .97     1     1
# The k nearest are right at each. No error, no warning: a catalogue cleaned of near duplicates that way has none.
# Set k_factor below 1 before a range search by inner product, and above 1 by L2; SearchParameters that name one go first.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check faiss-cpu==1.15.1 numpy==2.4.6
cat > "$work/run.py" <<'PY'
import faiss
import numpy as np

COSINE = 0.85
random = np.random.default_rng(0)
centres = random.normal(size=(40, 64))
items = (centres[random.integers(0, 40, 4_000)] + 0.5 * random.normal(size=(4_000, 64))).astype(np.float32)
faiss.normalize_L2(items)
queries = items[:100]


def pairs(index, radius):
    limits, _, ids = index.range_search(queries, radius)
    rows = np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64)))
    return set(zip(rows.tolist(), ids.tolist(), strict=True))


seen = {}
for name, metric, radius in (
    ("inner product", faiss.METRIC_INNER_PRODUCT, COSINE),
    ("L2", faiss.METRIC_L2, 2 - 2 * COSINE),
):
    flat, index = faiss.index_factory(64, "Flat", metric), faiss.index_factory(64, "SQ4,RFlat", metric)
    index.train(items)
    flat.add(items)
    index.add(items)
    truth = pairs(flat, radius)
    for factor in (0.9, 1, 1.1, 2, 10):
        index.k_factor = factor
        found = pairs(index, radius)
        assert found <= truth
        copies = sum((row, row) in found for row in range(len(queries)))
        index.k_factor = max(factor, 1)  # a search for the k nearest refuses less
        nearest = int((index.search(queries, 1)[1][:, 0] == np.arange(len(queries))).sum())
        seen[name, factor] = (round(len(found) / len(truth), 2), copies, nearest)
        print(f"faiss-cpu {faiss.__version__} {name:14} k_factor {factor:4}: {seen[name, factor][0]:.2f} of {len(truth)} pairs, "
              f"{copies} own copies; nearest of k=1 is itself {nearest}")
shares = {name: [share for (metric, _), (share, _, _) in seen.items() if metric == name] for name, _ in seen}
assert shares["inner product"][0] == 1.0 and 0.7 < shares["inner product"][1] < 0.85, shares
assert shares["inner product"][2] < 0.2 and shares["inner product"][3:] == [0.0, 0.0], shares
assert shares["L2"] == sorted(shares["L2"]) and shares["L2"][0] < 0.5 and shares["L2"][3:] == [1.0, 1.0], shares
assert [copies for _, copies, _ in seen.values()] == [100, 100, 100, 0, 0, 100, 100, 100, 100, 100]
assert all(nearest == 100 for _, _, nearest in seen.values())
PY
"$work/venv/bin/python" "$work/run.py"
