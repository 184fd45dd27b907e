"""Recall that one version of faiss measured need not hold in an older one: there it is measured again.

Up to 1.12, inverted lists with 4-bit codes of residuals found fewer of the nearest vectors the more cells were
searched, without an error. pyproject.toml asks for a newer faiss, but an index may be copied to a machine that has an
older one. Knows nothing of the versions of an index.
"""

import logging
import re

import numpy as np

from clipadapt.errors import StoreError
from clipadapt.search.contents import Contents, Segment
from clipadapt.search.engine import FAISS
from clipadapt.search.meta import SHORTFALL
from clipadapt.search.tune import remeasure

log = logging.getLogger(__name__)


def check_faiss(contents: Contents, name: str, running: str = FAISS) -> None:
    """Measures those segments again that a newer faiss than the one running has measured.

    Raises:
        StoreError: recall is lower than what was measured; says what to do.
    """
    doubtful = [one for one in contents.segments if _measured_by_newer(one, running)]
    if not doubtful:
        return
    worse, start = [], 0
    for segment in contents.segments:
        live = np.flatnonzero(~contents.items.removed[start : start + segment.engine.count])
        start += segment.engine.count
        if any(segment is one for one in doubtful):
            worse += _worse(segment, contents.texts, live)
    meta = contents.meta
    if worse:
        raise StoreError(
            f"{name}: was measured with faiss {meta.faiss}, and the older {running} here finds less in it "
            f"({'; '.join(worse)}); pip install 'faiss-cpu>={meta.faiss}', or run clipadapt index tune {name}"
        )
    log.warning("%s: was measured with faiss %s; measured again with the older %s here: recall is as it was",
                name, meta.faiss, running)  # fmt: skip


def _measured_by_newer(segment: Segment, running: str) -> bool:
    measured = segment.about.faiss
    return measured is not None and _parts(running) < _parts(measured) and not segment.engine.exhaustive


def _worse(segment: Segment, texts: np.ndarray, live: np.ndarray) -> list[str]:
    about = segment.about
    now = remeasure(segment.engine, about.factory, about.search_params, texts, live)
    return [
        f"recall@10 of {kind} queries is {found.recall:.3f} and was measured as {about.measured[kind].recall:.3f}"
        for kind, found in now.items()
        if kind in about.measured and found.recall < about.measured[kind].recall - SHORTFALL
    ]


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
