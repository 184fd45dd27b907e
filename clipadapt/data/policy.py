"""Which licences may be learned from, indexed and shown: a file that says so, and the items that it keeps out.

    # policy.yaml, named by data.policy
    column: licence
    licences:
      CC0-1.0: [train, index, show]
      In-house: [train]
    unknown: []                       # what items with an empty cell may be used for; default: nothing

    Policy.load("policy.yaml").permits(catalogue.texts("licence"), "index")     # bool[n]

train: weights and choices are fitted on it. index: it can be found by a search. show: its picture or text is in a
report, a page, tags or captions. A licence that the file does not name may be used for nothing. Case and spaces do not
matter. Whoever uses items asks for those it may use (`Catalogue.permitted`), so that none gets around it.
Nothing here knows what a licence demands.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool
from pydantic import field_validator

from clipadapt.data.spelling import folded
from clipadapt.sections import FileSection

Use = Literal["train", "index", "show"]
_SHOWN = 5


class Policy(FileSection):
    """A policy file."""

    column: str
    """Of licences."""
    licences: dict[str, tuple[Use, ...]]
    """Licence -> what its items may be used for."""
    unknown: tuple[Use, ...] = ()
    """What items without a licence may be used for."""

    @field_validator("licences")
    @classmethod
    def _named_once(cls, licences: dict[str, tuple[Use, ...]]) -> dict[str, tuple[Use, ...]]:
        twice = [name for name, times in Counter(folded(name, "case") for name in licences).items() if times > 1]
        if twice:
            raise ValueError(f"{', '.join(twice)}: named twice, for case and spaces do not matter; keep one")
        if any(not folded(name, "case") for name in licences):
            raise ValueError("an empty name; what items without a licence may be used for stands under `unknown`")
        return licences

    def permits(self, licences: Sequence[str], use: Use) -> Bool[np.ndarray, " items"]:
        """Which items may be used so."""
        known = {folded(name, "case"): use in uses for name, uses in self.licences.items()}
        known[""] = use in self.unknown
        return np.array([known.get(folded(licence, "case"), False) for licence in licences], bool)

    def kept_out(self, licences: Sequence[str], use: Use) -> str:
        """What `permits` refuses, counted by licence, in words; "" where that is nothing."""
        refused = ~self.permits(licences, use)
        counts = Counter(licence for licence, out in zip(licences, refused.tolist(), strict=True) if out)
        if not counts:
            return ""
        shown = [f"{licence or 'none named'} {count}" for licence, count in counts.most_common(_SHOWN)]
        more = f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
        return (
            f"{int(refused.sum())} of {len(licences)} items kept out: their licence does not allow {use!r} "
            f"({', '.join(shown)}{more})"
        )
