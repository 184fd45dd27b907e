#!/usr/bin/env bash
# ranx 0.3.21: a search by words that finds exactly one item, fused with a search by pictures: that item comes last.
#
# Guessed before it was run: the only hit of a list is its best one, and so gets the best score, 1. Seen: fuse() brings
# scores to one scale by min-max unless it is told otherwise, and of a list of one (or of equal scores) the best is also
# the worst: 0, the same as not having been found. Where "exact" is the one hit by words, beside three by pictures:
#   norm="min-max" (as it is), "sum"             0: with the last of the pictures, whatever the method does with it
#   the same with a weight of .9 for words       0: nothing times .9
#   norm="zmuv"                                  0: with the second of the pictures, which have 1.2, 0 and -1.2
#   norm="max", "rank", or method="rrf"          beside the first of the pictures
# The sharper a search by words is (an article's number, a rare name), the likelier it finds one item, and the less that
# counts; weights that were chosen on queries with many hits do not help. The fusion by distributions of Qdrant's local
# mode (client 1.20.0) gives such a hit the middle, .5. Fuse by ranks, or normalise by the maximum.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check ranx==0.3.21 qdrant-client==1.20.0 numpy==2.4.6 numba==0.68.1
cat > "$work/run.py" <<'PY'
import warnings

from qdrant_client import QdrantClient, models
from ranx import Run, fuse

warnings.simplefilter("ignore")


def by_ranx(**how):
    words, pictures = Run({"q": {"exact": 9.0}}), Run({"q": {"looks1": 0.5, "looks2": 0.4, "looks3": 0.3}})
    scores = {name: round(float(score), 3) for name, score in fuse([words, pictures], **how).run["q"].items()}
    return scores, 1 + sum(score > scores["exact"] for score in scores.values())


def by_qdrant():
    client = QdrantClient(":memory:")
    client.create_collection(
        "shop", vectors_config={"image": models.VectorParams(size=2, distance=models.Distance.DOT)},
        sparse_vectors_config={"words": models.SparseVectorParams()},
    )
    looks = [models.PointStruct(id=number, payload={"name": f"looks{number}"}, vector={"image": [score, 0.0]})
             for number, score in ((1, 0.5), (2, 0.4), (3, 0.3))]
    article = models.SparseVector(indices=[7], values=[9.0])
    client.upsert("shop", [*looks, models.PointStruct(id=4, payload={"name": "exact"}, vector={"words": article})])
    lists = [models.Prefetch(query=[1.0, 0.0], using="image"),
             models.Prefetch(query=models.SparseVector(indices=[7], values=[1.0]), using="words")]
    found = client.query_points("shop", prefetch=lists, query=models.FusionQuery(fusion=models.Fusion.DBSF)).points
    return {hit.payload["name"]: round(hit.score, 3) for hit in found}["exact"]


seen = {}
for how in ({}, {"norm": "sum"}, {"norm": "zmuv"}, {"method": "mnz"}, {"method": "max"},
            {"method": "wsum", "params": {"weights": (0.9, 0.1)}},
            {"norm": "max"}, {"norm": "rank"}, {"method": "rrf"}):
    scores, place = by_ranx(**({"method": "sum"} | how))
    name = ", ".join(f"{key}={value}" for key, value in how.items()) or "as it is"
    seen[name] = (scores["exact"], place)
    print(f"ranx {name:44} 'exact' has {scores['exact']:.3f}, {place - 1} items before it: {scores}")
print("Qdrant's local mode, DBSF: 'exact' has", by_qdrant())
by_mean = seen.pop("norm=zmuv")
*others, by_maximum, by_rank, fused_ranks = seen.values()
assert by_mean == (0.0, 2) and set(others) == {(0.0, 3)}, seen
assert by_maximum == by_rank == (1.0, 1) and fused_ranks[1] == 1, seen
assert by_qdrant() == 0.5
PY
"$work/venv/bin/python" "$work/run.py"
