"""What `clipadapt data check` finds: faults with file, row and remedy, and a summary of what is there."""

from collections import Counter
from typing import Any, Literal, NamedTuple

Level = Literal["error", "warning", "info"]


class Fault(NamedTuple):
    """One finding. error: a run would stop, or its figures be wrong; warning: worth a look; info: good to know."""

    level: Level
    file: str
    row: int | None
    """As a text editor counts it where the file is text; None where the fault is of the whole file."""
    what: str
    remedy: str

    def __str__(self) -> str:
        place = self.file if self.row is None else f"{self.file}, row {self.row}"
        return f"{self.level}: {place}: {self.what}" + (f"; {self.remedy}" if self.remedy else "")


class Report(NamedTuple):
    """All findings of one pass, errors first."""

    faults: tuple[Fault, ...]
    splits: dict[str, dict[str, Any]]
    """Split -> items, products, pictures' modes and sizes, and per attribute the known share, values and counts."""

    @property
    def failed(self) -> bool:
        """Whether anything is an error."""
        return any(fault.level == "error" for fault in self.faults)

    def counts(self) -> dict[Level, int]:
        """Findings per level."""
        found = Counter(fault.level for fault in self.faults)
        return {"error": found["error"], "warning": found["warning"], "info": found["info"]}
