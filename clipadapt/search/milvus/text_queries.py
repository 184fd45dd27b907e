"""Text vectors that recall is measured with: a collection beside each version, so that `tune` finds them again.

    keep(server, "shop_v000002", texts);  read(server, "shop_v000002", 512)

Knows nothing of how recall is measured.
"""

import numpy as np
from jaxtyping import Float

from clipadapt.search.items import ID, VECTOR
from clipadapt.search.milvus.server import Server
from clipadapt.search.milvus.versions import PAGE


def keep(server: Server, collection: str, texts: Float[np.ndarray, "texts dim"]) -> None:
    """Writes them, where there are any.

    Raises:
        StoreError: the server refuses.
    """
    if not len(texts):
        return
    from pymilvus import DataType

    schema = server.client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field(ID, DataType.INT64, is_primary=True)
    schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=texts.shape[1])
    index = server.client.prepare_index_params()
    index.add_index(VECTOR, index_type="FLAT", metric_type="IP")
    name = f"{collection}_queries"
    server.call("create_collection", name, schema=schema, index_params=index, consistency_level="Strong")
    for start in range(0, len(texts), PAGE):
        part = texts[start : start + PAGE]
        rows = [{ID: start + row, VECTOR: vector} for row, vector in enumerate(np.asarray(part, np.float32))]
        server.call("insert", name, rows)


def read(server: Server, collection: str, dim: int) -> Float[np.ndarray, "texts dim"]:
    """What `keep` wrote; none where there were none.

    Raises:
        StoreError: the server refuses.
    """
    name = f"{collection}_queries"
    if name not in server.call("list_collections"):
        return np.empty((0, dim), np.float32)
    server.call("load_collection", name)
    rows = server.pages(name, "", [ID, VECTOR], PAGE)
    found = sorted(rows, key=lambda row: row[ID])
    return np.array([row[VECTOR] for row in found], np.float32).reshape(-1, dim)
