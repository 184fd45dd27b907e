#!/usr/bin/env bash
# One item whose vector is all zeros, as failed or blank pictures leave behind, and a search by cosine for the nearest of
# four: it comes first, third, last or not at all, and no engine says a word.
#
# Guessed before it was run: usearch and voyager put it in the middle (similarity 0); DuckDB first by similarity; LanceDB
# last. Seen with DuckDB 2.0.1, LanceDB 0.40.0, usearch 2.26.6, voyager 2.2.3, qdrant-client 1.20.0 (local mode):
#   DuckDB, `order by list_cosine_similarity(...) desc`   first, its score is nan
#   DuckDB, `order by array_cosine_distance(...)`         last, its distance is nan
#   LanceDB, four asked of four rows                      three rows; the item cannot be found by any query, and is counted
#   usearch, voyager, Qdrant's local mode                 third, as an item at a right angle to the query
# So the same two columns in DuckDB give a blank picture as the best or as the worst hit of every query, by which of two
# equivalent functions was chosen, and LanceDB returns fewer rows than it was asked for. Refuse zero vectors on the way in.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  duckdb==2.0.1 lancedb==0.40.0 usearch==2.26.6 voyager==2.2.3 qdrant-client==1.20.0 numpy==2.4.6
cat > "$work/run.py" <<'PY'
import sys

import duckdb
import lancedb
import numpy as np
from qdrant_client import QdrantClient, models
from usearch.index import Index as Usearch
from voyager import Index as Voyager
from voyager import Space

ROWS = [("near", [1.0, 0.0]), ("zero", [0.0, 0.0]), ("side", [0.0, 1.0]), ("far", [-1.0, 0.0])]
QUERY = [1.0, 0.1]
names = [name for name, _ in ROWS]
vectors = np.array([vector for _, vector in ROWS], np.float32)


def by_duckdb(order):
    connection = duckdb.connect()
    connection.execute("create table items (name varchar, vector float[2])")
    connection.executemany("insert into items values (?, ?)", [list(row) for row in ROWS])
    return [name for (name,) in connection.execute(f"select name from items order by {order}", [QUERY]).fetchall()]


def by_lancedb():
    table = lancedb.connect(sys.argv[1]).create_table("items", [{"name": n, "vector": v} for n, v in ROWS])
    assert table.count_rows() == 4
    return [row["name"] for row in table.search(QUERY).distance_type("cosine").limit(4).to_list()]


def by_usearch():
    index = Usearch(ndim=2, metric="cos", dtype="f32")
    index.add(np.arange(4), vectors)
    return [names[int(key)] for key in index.search(np.array(QUERY, np.float32), 4, exact=True).keys]


def by_voyager():
    index = Voyager(Space.Cosine, num_dimensions=2)
    index.add_items(vectors)
    return [names[int(key)] for key in index.query(np.array(QUERY, np.float32), 4)[0]]


def by_qdrant():
    client = QdrantClient(":memory:")
    client.create_collection("items", vectors_config=models.VectorParams(size=2, distance=models.Distance.COSINE))
    client.upsert("items", [models.PointStruct(id=i, vector=v, payload={"name": n}) for i, (n, v) in enumerate(ROWS)])
    return [point.payload["name"] for point in client.query_points("items", query=QUERY, limit=4).points]


seen = {
    "DuckDB, similarity": by_duckdb("list_cosine_similarity(vector::float[], ?::float[]) desc"),
    "DuckDB, distance": by_duckdb("array_cosine_distance(vector, ?::float[2])"),
    "LanceDB": by_lancedb(),
    "usearch": by_usearch(),
    "voyager": by_voyager(),
    "Qdrant, local": by_qdrant(),
}
for engine, order in seen.items():
    print(f"{engine:20} {' '.join(order)}")
middle = ["near", "side", "zero", "far"]
assert seen == {
    "DuckDB, similarity": ["zero", "near", "side", "far"],
    "DuckDB, distance": ["near", "side", "far", "zero"],
    "LanceDB": ["near", "side", "far"],
    "usearch": middle,
    "voyager": middle,
    "Qdrant, local": middle,
}
PY
"$work/venv/bin/python" "$work/run.py" "$work/lance"
