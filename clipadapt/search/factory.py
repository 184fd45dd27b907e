"""Which FAISS factories are used, which one suits a catalogue, and what is refused before a factory is tried.

Only kinds that keep the exact vectors are admitted: as Flat, or behind a quantiser as RFlat or Refine(SQfp16), which is
exact of vectors that come in half precision.
Knows nothing of FAISS itself: strings and counts in, strings out.
"""

import re

import numpy as np

from clipadapt.errors import UsageError

FACTORY = re.compile(
    r"(?:(?P<cells>IVF(?P<count>[1-9]\d*)(?:_HNSW[1-9]\d*)?)|(?P<graph>HNSW[1-9]\d*))?,?"
    r"(?P<codec>Flat|SQ8|SQ4|SQfp16|PQ[1-9]\d*(?:x4fsr?|x\d+)?)(?P<refine>,RFlat|,Refine\(SQfp16\))?"
)
_FORMS = (
    "Flat, IVF1024,Flat, HNSW32,Flat, or quantised with its exact vectors behind: IVF1024,SQ8,RFlat, PQ64,RFlat, "
    "in half precision: IVF1024,SQ8,Refine(SQfp16)"
)
_WALKED = 8_192
"""Cells from which a vector that is added finds its own through a graph: to compare it with each takes ten times as
long as its codes. Source: eval/benchmarks/growth.py."""


def choose_factory(count: int, dim: int, *, half: bool = False) -> str:
    """What `auto` means: scanning 20,000 vectors takes a few milliseconds; cells then grow with the root of the count.

    Inside a cell, 4-bit codes of two dimensions each are compared 32 at a time in registers (FAISS's fast scan), and
    the best are scored again exactly: a quarter of SQ8's memory, and five times as fast at a recall of 0.99 where that
    takes an eighth of the cells. Source: eval/benchmarks/index_speed.py.

    Args:
        half: the vectors come in half precision, and are kept so.
    """
    if count < 20_000:
        return "Flat"
    cells = 2 ** round(np.log2(4 * np.sqrt(count)))
    walk = "_HNSW32" if cells >= _WALKED else ""
    codes = "SQ8" if dim % 2 else f"PQ{dim // 2}x4fsr"
    return f"IVF{cells}{walk},{codes},{'Refine(SQfp16)' if half else 'RFlat'}"


def cells_of(factory: str) -> int:
    """How many cells a factory has; 0: none."""
    parts = FACTORY.fullmatch(factory)
    return int(parts["count"] or 0) if parts is not None else 0


def keeps_halves(factory: str) -> bool:
    """Whether a factory keeps its exact vectors in half precision."""
    return factory.endswith("Refine(SQfp16)")


def walks_to_cells(factory: str) -> bool:
    """Whether the nearest of a factory's cells are found in a graph."""
    return "_HNSW" in factory


def check_factory(factory: str, count: int, dim: int) -> None:
    """Refuses what would lose the exact vectors, or cannot be trained on so few.

    Raises:
        UsageError: says what to write instead.
    """
    parts = FACTORY.fullmatch(factory)
    if parts is None or ((parts["cells"] or parts["graph"]) and f",{parts['codec']}" not in factory):
        raise UsageError(f"factory {factory!r}: not one of the kinds used here; write auto, {_FORMS}")
    if (parts["codec"] == "Flat") == bool(parts["refine"]):
        raise UsageError(f"factory {factory!r}: exact vectors are kept once, no more and no less; write {_FORMS}")
    if parts["cells"] and count < int(parts["count"]):
        raise UsageError(f"factory {factory!r}: {count} vectors cannot fill {parts['count']} cells; write Flat, "
                         f"or at most IVF{max(1, count // 39)}")  # fmt: skip
    if parts["codec"].startswith("PQ"):
        pieces, _, bits = parts["codec"][2:].partition("x")
        codes = 2 ** int(bits.rstrip("fsr") or 8)
        if dim % int(pieces) or count < codes:
            raise UsageError(
                f"factory {factory!r}: product quantisation cuts {dim} dimensions into equal pieces and learns {codes} "
                f"codes for each: {pieces} does not divide it, or {count} vectors are too few"
            )
