"""What is kept of a swap between two commands: RELEASES/swap, there for as long as the swap lasts.

    RELEASES/swap/swap.json    {"schema_version": 1, "old": "000001", "run": "../runs/next", "new": null, ...}
                  index/       the new index before its release is made, where Milvus does not keep it
                  pairs/       which vector was made for which (search/ledger.py)
                  lock         held by the one process that works on it

Which of the two releases is live stands in the pointer of the releases alone, so it cannot differ from what is written
here. Nothing here imports torch.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
from pydantic import ValidationError

from clipadapt import places
from clipadapt.atomic import atomic_write
from clipadapt.config import Data
from clipadapt.deploy.releases import Releases
from clipadapt.errors import ConfigError, StoreError, UsageError
from clipadapt.search.addresses import Reference
from clipadapt.search.shown import remembered_catalogue

_PATHS = ("source", "policy")


@dataclass(frozen=True)
class State:
    """One swap."""

    old: str
    """The release that is replaced."""
    run: str
    """What the new one is made from; a path from the folder of swap.json."""
    image_space: str
    text_space: str | None
    catalogue: Mapping[str, Any]
    """Data section of the pictures, as an index remembers it."""
    most_missing: int
    """Items that may be left out, for they have no picture any more."""
    started: str
    new: str | None = None
    """The new release, once it is made."""
    until: str | None = None
    """When both no longer get changes; null: it was never live."""
    index: Mapping[str, Any] | None = None
    """Where Milvus keeps the new index, as address.json says it; null: in a folder, or the old release's stays."""


class Workplace:
    """RELEASES/swap."""

    def __init__(self, releases: Releases) -> None:
        self.root = releases.root / "swap"
        self.index, self.pairs, self.snapshot = (self.root / name for name in ("index", "pairs", "snapshot"))
        self._file = self.root / "swap.json"

    def state(self) -> State | None:
        """None: there is no swap.

        Raises:
            StoreError: it cannot be read.
        """
        try:
            document = json.loads(self._file.read_bytes())
            del document["schema_version"]
            return State(**document)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self._file}: cannot be read ({error!r}); remove {self.root} to give the swap up"
            ) from error

    def write(self, state: State) -> None:
        """Keeps it, flushed to the disk.

        Raises:
            StoreError: the disk refuses.
        """
        atomic_write(self._file, json.dumps({"schema_version": 1, **asdict(state)}, indent=1) + "\n")

    def run_of(self, run: Path) -> str:
        """A run as a State names it."""
        return places.portable(str(run.resolve()), self.root)

    def path_of(self, state: State) -> Path:
        """Where the run of a State lies."""
        return Path(places.from_folder(state.run, self.root))

    def reference(self, state: State) -> Reference | None:
        """Where Milvus keeps the new index of a State.

        Raises:
            StoreError: it is no address.
        """
        try:
            return None if state.index is None else Reference.from_json(state.index, self.root)
        except (ValueError, KeyError, TypeError, UsageError) as error:
            raise StoreError(
                f"{self._file}: its index cannot be read ({error}); remove {self.root} to give the swap up, and drop "
                "what it made in Milvus by hand: collections with _swap_ in their names that no release names"
            ) from error

    def remembered(self, data: Data) -> dict[str, Any]:
        """A catalogue as a State names it."""
        return remembered_catalogue(data, self.root)

    def data_of(self, state: State) -> Data:
        """The catalogue of a State.

        Raises:
            ConfigError: it is no data section.
        """
        named = state.catalogue.items()
        try:
            return Data.model_validate(
                {key: places.from_folder(value, self.root) if key in _PATHS else value for key, value in named}
            )
        except ValidationError as error:
            raise ConfigError(f"{self._file}: its catalogue cannot be used: {error}") from error

    @contextlib.contextmanager
    def lock(self, patience: float = 0.0) -> Iterator[None]:
        """One process works within the block; one that was killed holds nothing.

        Raises:
            StoreError: another one does.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.root / "lock", timeout=patience):
                yield
        except filelock.Timeout as error:
            raise StoreError(
                f"{self.root}: another process is at work on this swap; wait for it to end, or stop it"
            ) from error

    def clear(self) -> None:
        """Takes away what is left of a swap that ended: its vectors say nothing about another model.

        Raises:
            StoreError: the disk refuses.
        """
        for folder in (self.index, self.snapshot, self.pairs):
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreError(f"{folder}: is left of an earlier swap; remove it ({error.strerror})") from error

    def tidy(self) -> None:
        """Takes away what is of no use once the new release is there."""
        for folder in (self.index, self.snapshot):
            shutil.rmtree(folder, ignore_errors=True)

    def remove(self) -> None:
        """Ends the swap: from then on there is none, whatever moment this is killed at."""
        self._file.unlink(missing_ok=True)
        shutil.rmtree(self.root, ignore_errors=True)
