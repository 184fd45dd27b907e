#!/usr/bin/env bash
# "Not silk", of three garments of which one is silk, one wool, and one has no fabric on record: whether the third is found
# depends on the store, and in two of them on how "not" is spelled.
#
# Guessed before it was run: a store has one rule, so that spellings which mean the same find the same. Seen:
#                                                 the wool one     the one that is not known
#   LanceDB 0.40.0       !=, not (=), not in      found            not found
#   Chroma 1.5.9         $ne, $nin                found            found
#   milvus-lite 3.2.2    !=, not (==)             found            not found
#   (pymilvus 3.0.2)     not in, not (in)         found            found
#   Qdrant's local mode  except                   found            not found
#   (client 1.20.0)      must_not                 found            found
# So a list of one value is not that value: `fabric != "silk"` and `fabric not in ["silk"]` differ by every item that lacks a
# fabric, and so do Qdrant's two ways; a program that writes `!=` for one value and `not in` for several finds more items
# when a second value is excluded. Say what is meant: `and fabric is not null` in Milvus, or
# `or fabric is null`; in Qdrant an IsEmptyCondition beside it; in Chroma store a value that says "unknown".
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  chromadb==1.5.9 lancedb==0.40.0 qdrant-client==1.20.0 pymilvus==3.0.2 milvus-lite==3.2.2 numpy==2.4.6 pyarrow==26.0.1
cat > "$work/run.py" <<'PY'
import sys
import tempfile

import chromadb
import lancedb
import pyarrow as pa
from pymilvus import DataType, MilvusClient
from qdrant_client import QdrantClient, models

GARMENTS = {"first": "silk", "second": "wool", "third": None}
VECTORS = [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]
folder = tempfile.mkdtemp(dir=sys.argv[1])
found = {}

chroma = chromadb.EphemeralClient(chromadb.Settings(anonymized_telemetry=False)).create_collection("garments")
chroma.add(ids=list(GARMENTS), embeddings=VECTORS, metadatas=[{"kind": "dress", **({"fabric": fabric} if fabric else {})}
                                                              for fabric in GARMENTS.values()])
for spelled, where in (("$ne", {"fabric": {"$ne": "silk"}}), ("$nin", {"fabric": {"$nin": ["silk"]}})):
    found["Chroma", spelled] = chroma.query(query_embeddings=[[1.0, 1.0]], n_results=3, where=where)["ids"][0]

columns = {"id": list(GARMENTS), "fabric": list(GARMENTS.values()), "vector": pa.array(VECTORS, pa.list_(pa.float32(), 2))}
table = lancedb.connect(folder).create_table("garments", pa.table(columns))
for where in ("fabric != 'silk'", "not (fabric = 'silk')", "fabric not in ('silk')"):
    found["LanceDB", where] = [row["id"] for row in table.search([1.0, 1.0]).where(where).limit(3).to_list()]

qdrant = QdrantClient(":memory:")
qdrant.create_collection("garments", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
points = [models.PointStruct(id=number, vector=vector, payload={"name": name, **({"fabric": fabric} if fabric else {})})
          for number, (vector, (name, fabric)) in enumerate(zip(VECTORS, GARMENTS.items(), strict=True))]
qdrant.upsert("garments", points)
silk = models.FieldCondition(key="fabric", match=models.MatchValue(value="silk"))
other = models.FieldCondition(key="fabric", match=models.MatchExcept(**{"except": ["silk"]}))
for spelled, conditions in (("must_not", models.Filter(must_not=[silk])), ("except", models.Filter(must=[other]))):
    hits = qdrant.query_points("garments", query=[1.0, 1.0], query_filter=conditions).points
    found["Qdrant", spelled] = [hit.payload["name"] for hit in hits]

milvus = MilvusClient(f"{folder}/garments.db")
schema = milvus.create_schema()
schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=16)
schema.add_field("fabric", DataType.VARCHAR, max_length=16, nullable=True)
schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
index = milvus.prepare_index_params()
index.add_index("vector", index_type="FLAT", metric_type="IP")
milvus.create_collection("garments", schema=schema, index_params=index)
milvus.insert("garments", [{"id": name, "fabric": fabric, "vector": vector}
                           for (name, fabric), vector in zip(GARMENTS.items(), VECTORS, strict=True)])
for where in ('fabric != "silk"', 'not (fabric == "silk")', 'fabric not in ["silk"]', 'not (fabric in ["silk"])'):
    hits = milvus.search("garments", data=[[1.0, 1.0]], limit=3, filter=where)[0]
    found["milvus-lite", where] = [hit["id"] for hit in hits]
milvus.close()

for (store, spelled), names in found.items():
    print(f"{store:12} {spelled:26} {', '.join(sorted(names))}")
assert all("second" in names and "first" not in names for names in found.values())
unknown = {key for key, names in found.items() if "third" in names}
assert unknown == {("Chroma", "$ne"), ("Chroma", "$nin"), ("Qdrant", "must_not"),
                   ("milvus-lite", 'fabric not in ["silk"]'), ("milvus-lite", 'not (fabric in ["silk"])')}, unknown
PY
"$work/venv/bin/python" "$work/run.py" "$work"
