"""What a release is and where it comes from: the part of its manifest.json that is not a list of files.

    {"schema_version": 1,
     "release": {"created": "2030-01-02T03:04:05+00:00", "name": "fashion", "base": "EVA02-B-16:merged2b_s8b_b131k",
                 "parent": "000003", "follows": "000004", "image_space": "image-...", "text_space": "text-...",
                 "strength": {"image": 1.0, "text": 1.0}, "gates": [...], "parts": {"model": "...", "index": "..."},
                 "note": "", "clipadapt": "0.1.0"},
     "files": {"model/open_clip_model.safetensors": {"bytes": ..., "sha256": ...}, ...}}

The manifest is written once, and the store's pointer holds its sha256, so nothing here can change after a release was
promoted. Nothing here knows how a release comes about.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from clipadapt.errors import StoreError
from clipadapt.store import MANIFEST

if TYPE_CHECKING:
    from clipadapt.evaluation.gate import Gate, Outcome


class Verdict(NamedTuple):
    """What a gate said, one reason per condition, each with its figures."""

    gate: str
    passed: bool
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, gate: "Gate", outcomes: "Sequence[Outcome]") -> Self:
        """The verdict of a gate that was compared with rows."""
        return cls(gate.name, all(one.passed for one in outcomes), tuple(one.reason for one in outcomes))


@dataclass(frozen=True)
class ReleaseInfo:
    """A release's own words."""

    created: datetime
    """With a time zone."""
    name: str
    """Of the run's config."""
    base: str
    """The MODEL string that its adapter belongs to; of a folder, its name alone."""
    parent: str | None
    """The release it was made from, by its base or by the index that was kept; it is needed as long as this one is."""
    follows: str | None
    """What was current when it was created."""
    image_space: str
    text_space: str | None
    strength: Mapping[str, float]
    gates: tuple[Verdict, ...]
    parts: Mapping[str, str]
    """Part -> what it is, in words."""
    note: str
    clipadapt: str
    """The version that created it."""

    def to_json(self) -> dict[str, Any]:
        """As manifest.json has it, under "release"."""
        document = asdict(self)
        document["created"] = self.created.isoformat(timespec="seconds")
        document["gates"] = [verdict._asdict() for verdict in self.gates]
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse; raises KeyError, TypeError and ValueError."""
        verdicts = [Verdict(one["gate"], one["passed"], tuple(one["reasons"])) for one in document["gates"]]
        created = datetime.fromisoformat(document["created"])
        if created.tzinfo is None:
            raise ValueError("created has no time zone")
        return cls(**{**document, "created": created, "gates": tuple(verdicts)})

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Of a release folder.

        Raises:
            StoreError: the folder holds no manifest.json of a release.
        """
        file = Path(folder, MANIFEST)
        try:
            return cls.from_json(json.loads(file.read_bytes())["release"])
        except OSError as error:
            raise StoreError(
                f"{folder}: is no release, for its {MANIFEST} cannot be read ({error.strerror})"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{file}: is not that of a release ({error!r}); name a folder that `clipadapt release create` wrote"
            ) from error
