"""A search service as one writes it first: a FAISS index behind FastAPI, a request at a time in each thread.

    python eval/benchmarks/plain_server.py FOLDER --index Flat|HNSW32 [--ef 64]

The reference for serve_rivals.py, after the way of clip-retrieval's back end: the index in memory, `index.search` in
the route, attributes from a table. FOLDER holds vectors.npy and items.parquet. Answers POST /search {"item", "k"} and
GET /readyz.
"""

import argparse
import socket
import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Query(BaseModel):
    """One search for items like another."""

    item: str
    k: int = 24


def app_of(index: faiss.Index, vectors: np.ndarray, columns: dict[str, list[Any]]) -> FastAPI:
    """The service."""
    app = FastAPI()
    rows = {item: row for row, item in enumerate(columns["id"])}
    names = [name for name in columns if name != "id"]

    @app.get("/readyz")
    def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/search")
    def search(query: Query) -> dict[str, Any]:
        row = rows[query.item]
        scores, found = index.search(vectors[row : row + 1], query.k + 1)
        pairs = [(one, score) for one, score in zip(found[0], scores[0], strict=True) if one != row][: query.k]
        hits = []
        for one, score in pairs:
            attributes = {name: columns[name][one] for name in names}
            hits.append({"id": columns["id"][one], "score": float(score), "attributes": attributes})
        return {"hits": hits}

    return app


def built(vectors: np.ndarray, kind: str) -> faiss.Index:
    """The index in memory."""
    index = faiss.index_factory(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)  # pyright: ignore[reportCallIssue]
    return index


def set_effort(index: faiss.Index, ef: int) -> None:
    """efSearch of an HNSW index."""
    faiss.ParameterSpace().set_index_parameter(index, "efSearch", ef)


def main() -> None:
    """Builds or reads the index, opens a port, says which, and serves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--index", default="Flat")
    parser.add_argument("--ef", type=int, default=64, help="of HNSW")
    arguments = parser.parse_args()
    folder = arguments.folder
    vectors = np.load(folder / "vectors.npy")
    file = folder / f"{arguments.index}.faiss"
    index = faiss.read_index(str(file)) if file.exists() else built(vectors, arguments.index)
    if arguments.index.startswith("HNSW"):
        set_effort(index, arguments.ef)
    app = app_of(index, vectors, pq.read_table(folder / "items.parquet").to_pydict())
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # so that neither server waits for acknowledgements
    print(f"open http://127.0.0.1:{listening.getsockname()[1]}", file=sys.stderr, flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False)).run(sockets=[listening])


if __name__ == "__main__":
    main()
