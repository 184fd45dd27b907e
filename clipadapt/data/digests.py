"""What a run learned from, as digests: enough to know whether it is still there, and to name what changed.

    then = digests({"train": train, "tune": tune}, columns)      # plain values, kept as JSON
    changes(then, digests(...))                                  # ["train: column 'Pattern' differs", ...]

Picture contents are not read: their sizes in bytes stand for them. Nothing here knows of runs.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clipadapt.data.catalogue import Catalogue


def digests(splits: Mapping[str, Catalogue], columns: Sequence[str]) -> dict[str, Any]:
    """Split -> its items and products, and a digest of the rows, of their pictures and of each of `columns`."""
    return {name: _of(catalogue, columns) for name, catalogue in splits.items()}


def changes(then: Mapping[str, Any], now: Mapping[str, Any], splits: Sequence[str]) -> list[str]:
    """What differs in `splits` between two `digests`, a line each; empty where nothing does."""
    lines = []
    for name in splits:
        old, new = then[name], now[name]
        counts = [
            f"{old[what]:,} {what} then, {new[what]:,} now" for what in ("items", "products") if old[what] != new[what]
        ]
        if counts:
            lines.append(f"{name}: {', '.join(counts)}")
            continue  # every digest differs with them
        lines += [f"{name}: other {what}" for what in ("rows", "pictures") if old[what] != new[what]]
        columns = {**old["columns"], **new["columns"]}
        lines += [f"{name}: column {c!r} differs" for c in columns if old["columns"].get(c) != new["columns"].get(c)]
    return lines


def _of(catalogue: Catalogue, columns: Sequence[str]) -> dict[str, Any]:
    table = catalogue.table()
    names = [name for name in dict.fromkeys(columns) if name in catalogue.columns]
    return {
        "items": len(catalogue),
        "products": len(set(catalogue.products.tolist())),
        "rows": text_digest([*catalogue.ids, *catalogue.products.tolist()]),
        "pictures": hashlib.sha256(catalogue.pictures.sizes().tobytes()).hexdigest(),
        "columns": {name: text_digest(table.column(name).to_pylist()) for name in names if name in table.column_names},
    }


def text_digest(texts: Iterable[str]) -> str:
    """sha256 over texts and where each ends."""
    hasher = hashlib.sha256()
    for text in texts:
        hasher.update(len(encoded := text.encode()).to_bytes(8, "little") + encoded)
    return hasher.hexdigest()
