"""Label error as it is kept, and the warning before training that it may call for.

    LabelError.load("audit/label_error.json").warning(train, 0.05)     # "" where all is well

A config names the file with data.label_audit. Figures of a catalogue that has changed since still say something, so
they are quoted with a note of that, not refused. Nothing here measures.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from clipadapt import places
from clipadapt.atomic import atomic_write
from clipadapt.audit.answers import Answers
from clipadapt.audit.estimate import ALL, Estimate
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import ConfigError


class LabelError(NamedTuple):
    """label_error.json."""

    about: dict[str, Any]
    """audit, source, split, fingerprint, share, seed and seconds of marking."""
    rows: list[dict[str, Any]]
    """An Estimate each, its interval as error, low and high."""

    @classmethod
    def of(cls, catalogue: Catalogue, answers: Answers, found: Sequence[Estimate]) -> Self:
        """What `finish` keeps."""
        about = answers.model_dump(include={"audit", "split", "share", "seed", "seconds"})
        about |= {"source": places.public(catalogue.source), "fingerprint": catalogue.fingerprint}
        rows = []
        for one in found:
            figures = one.error._asdict() if one.error is not None else dict.fromkeys(("mean", "low", "high"))
            rows.append({**one._asdict(), "error": figures["mean"], "low": figures["low"], "high": figures["high"]})
        return cls(about, rows)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads label_error.json.

        Raises:
            ConfigError: it is not there, or is something else.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            about = {key: value for key, value in document.items() if key != "rows"}
            rows = [{key: row[key] for key in (*Estimate._fields, "low", "high")} for row in document["rows"]]
            str(about["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{path}: not the label_error.json that `clipadapt data audit --answers` writes ({error!r})"
            ) from error
        return cls(about, rows)

    def save(self, path: Path) -> None:
        """Writes it whole."""
        document = {"schema_version": 1, **self.about, "rows": self.rows}
        atomic_write(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")

    def warning(self, catalogue: Catalogue, bound: float) -> str:
        """A sentence where the label error of all attributes, or of one, is above a bound; else "".

        Args:
            catalogue: the whole split that training takes its items from.
            bound: as a fraction; the estimate itself is compared, its interval is quoted.
        """
        above = [row for row in self.rows if row["value"] is None and row["error"] is not None and row["error"] > bound]
        if not above:
            return ""
        above.sort(key=lambda row: (row["attribute"] != ALL, -row["error"]))
        parts = [
            f"{row['attribute']} {100 * row['error']:.1f}% [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
            for row in above
        ]
        changed = (
            " (audited before the catalogue changed)" if self.about["fingerprint"] != catalogue.fingerprint else ""
        )
        return (
            f"label error is above data.label_error {bound:.0%}: {'; '.join(parts)}{changed}; correct the likeliest "
            "errors first, suspects.csv beside the audit lists them"
        )
