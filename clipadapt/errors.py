"""Every error clipadapt raises on purpose, and the exit code each one ends a command with.

    ClipadaptError            1  failure
    ├── UsageError            2  what was asked for cannot be done as asked
    │   ├── ConfigError          a config, suite or gate file
    │   ├── CatalogueError       a source, a column, a picture
    │   ├── PromptError          a prompts file or a template in it
    │   ├── ModelError           a MODEL string, or files it points to
    │   └── SpaceError           vectors, index and model that do not speak of the same space
    ├── AdapterError          1  an adapter that is missing, gets no gradient, or does not fit its base
    ├── StoreError            1  a versioned folder: no space, a wrong checksum, a lost race
    ├── TrainingError         1  a run that cannot go on: NaN, a collapsed loss, a lost rank
    ├── ExportError           1  a model that a format cannot hold
    ├── ParityError           1  an export that does not equal what was measured
    ├── ServiceError          1  a search service that refused, or did not answer
    └── GateError             3  a gate that was not passed, or a drift alarm

A message names the thing, the place and the remedy. Bugs are not in this tree: they keep Python's own exceptions.
"""

from collections.abc import Sequence


class ClipadaptError(Exception):
    """Base of the tree; commands print its message without a traceback and exit with `exit_code`."""

    exit_code = 1


class UsageError(ClipadaptError):
    """The request itself is at fault: a wrong argument, file or value."""

    exit_code = 2


class ConfigError(UsageError):
    """A config, suite or gate file holds a fault; all faults of a file are in one message."""


class CatalogueError(UsageError):
    """A source, split, column or picture cannot be used."""


class PromptError(UsageError):
    """A prompts file, a template in it, or a text made from it is at fault."""


class ModelError(UsageError):
    """A MODEL string names nothing that can be loaded."""


class SpaceError(UsageError):
    """Two things that were to be compared hold vectors of different meaning."""


class AdapterError(ClipadaptError):
    """An adapter is missing, does not fit its base, or is not reached by the gradient."""


class StoreError(ClipadaptError):
    """A versioned folder could not be read or written whole."""


class TrainingError(ClipadaptError):
    """A run stopped because going on would waste it; the last good checkpoint is kept."""


class ExportError(ClipadaptError):
    """A format cannot hold this model: an operator that it lacks, a tokenizer that it cannot say."""


class ParityError(ClipadaptError):
    """What was written does not equal what was measured."""


class ServiceError(ClipadaptError):
    """A search service refused a request, or did not answer."""

    def __init__(
        self, message: str, *, status: int | None = None, code: str | None = None, request_id: str = ""
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.request_id = status, code, request_id


class GateError(ClipadaptError):
    """A measured figure is on the wrong side of its bound."""

    exit_code = 3


def listing(faults: Sequence[str], shown: int | None = None) -> str:
    """One fault per line, indented, so that a message can hold all of them at once; or the first few and a count."""
    lines = list(faults[:shown])
    if len(faults) > len(lines):
        lines.append(f"and {len(faults) - len(lines)} more")
    return "".join(f"\n  - {line}" for line in lines)


def brief(text: str, most: int = 100) -> str:
    """What somebody wrote as a message quotes it: whole, or the beginning of what is long and how long it is."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"
