"""The run folder: what one training leaves behind.

    RUN/config.yaml         the resolved config, every default written out
        paths.json          where base, catalogue and suite lie, from here (see places)
        prompts.yaml        a copy of the prompts file
        learned_from.json   digests of the splits and prompts it learns from
        environment.json    for each start: versions, machine, commit, time, folder
        metrics.jsonl       one line per logged step
        adapter/            the best adapter; adapter.epoch-3 until a checkpoint says that it is
        thresholds.json     what tune says of tags; queries.safetensors: of values in typed queries
        cache/              tokens that enter the first trained block, while the run lasts (train.cache)
        checkpoints/  report/  export/

A folder belongs to one experiment and one training at a time: the same config continues in it; another one, or other
data or prompts, is refused once there is something to lose. It may be moved, copied and made read-only. Only the main
process writes. Nothing here knows what is in those folders.
"""

import contextlib
import functools
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import filelock

from clipadapt import places
from clipadapt.atomic import atomic_write
from clipadapt.config import Config
from clipadapt.errors import ConfigError, ModelError, StoreError, listing
from clipadapt.processes import is_main_process, world_size
from clipadapt.sections import locate

_PACKAGES = (
    "clipadapt",
    "torch",
    "torchvision",
    "open_clip_torch",
    "timm",
    "peft",
    "transformers",
    "accelerate",
    "datasets",
    "faiss-cpu",
    "numpy",
)
_WITHOUT_EFFECT = {
    "name",
    "output_dir",
    "export",
    "index",
    "model.checkpointing",
    "model.compile",
    "eval.suite",
    "eval.gate",
    "eval.show_pictures",
    "data.workers",
    "data.prepared",
    "data.label_audit",
    "data.label_error",
    "train.trackers",
    "train.micro_batch",
    "train.cache",
    "train.cache_dtype",
    "train.cache_folder",
    "train.checkpoint_every",
    "train.keep_checkpoints",
}
"""Keys that may change between starts of a run: none changes what is learnt, beyond rounding, or what is chosen."""


class Run:
    """A run folder; `Run(path)` alone touches nothing."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.prompts = self.path / "prompts.yaml"
        self.adapter = self.path / "adapter"
        self.cache = self.path / "cache"
        self.checkpoints = self.path / "checkpoints"
        self.report = self.path / "report"
        self.export = self.path / "export"
        self._log = self.path / "metrics.jsonl"

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @classmethod
    def create(cls, config: Config) -> Self:
        """Starts or continues the run of `config` in its output_dir.

        Raises:
            ConfigError: the folder holds results of a config that learns something else; names the keys that differ.
            StoreError: the folder cannot be written.
        """
        run = cls(config.output_dir)
        if not is_main_process():
            return run
        prompts_file = locate(config.prompts)
        prompts = prompts_file.read_bytes() if prompts_file.is_file() else None
        if run.has_learned and (run.path / "config.yaml").exists():
            run._refuse_another(config, prompts)
        atomic_write(run.path / "config.yaml", config.to_yaml())
        paths = places.paths_of(config.model_dump(mode="json"), run.path)
        if prompts is not None:
            atomic_write(run.prompts, prompts)
            paths["prompts"] = {"written": config.prompts, "path": config.prompts, "from_here": run.prompts.name}
        atomic_write(run.path / places.FILE, json.dumps({"schema_version": 1, "paths": paths}, indent=1) + "\n")
        atomic_write(
            run.path / "environment.json",
            json.dumps({"schema_version": 1, "starts": [*run._starts(), environment(config.seed)]}, indent=1) + "\n",
        )
        return run

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """A run that exists.

        Raises:
            ModelError: the folder is not there or is not a run.
        """
        run = cls(path)
        if not (run.path / "config.yaml").is_file():
            what = "holds no config.yaml, so it is no run" if run.path.is_dir() else "is no folder"
            raise ModelError(f"run {run.path}: {what}; name the output_dir of a training")
        return run

    @property
    def has_learned(self) -> bool:
        """Whether there is something to lose."""
        return self.adapter.exists() or self.checkpoints.exists()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Within: no other process trains into this folder or writes what follows a training; may be nested.

        The operating system gives the lock back when a process ends, however it ends.

        Raises:
            StoreError: another process is there already, or the folder cannot be written.
        """
        if not is_main_process():
            yield
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.path / ".lock", timeout=0, is_singleton=True)
            lock.acquire()
        except filelock.Timeout as error:
            raise StoreError(
                f"{self.path}: another process trains or writes there now; wait for it or stop it, or name another "
                "output_dir. Two launches, or nodes that do not meet, must not share one folder"
            ) from error
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written ({error}); name another output_dir") from error
        try:
            yield
        finally:
            lock.release()

    def learn_from(self, record: Mapping[str, Any], differences: Callable[[Any, Any], Sequence[str]]) -> None:
        """Keeps `record`, digests of the splits to learn from, or compares it with what was kept at an earlier start.

        `differences` of the earlier record and this one: what changed, a line each.

        Raises:
            ConfigError: the run has learned from something else.
        """
        file = self.path / "learned_from.json"
        if self.has_learned and file.is_file():
            try:
                then = json.loads(file.read_bytes())["splits"]
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(f"{file}: cannot be read ({error}); remove it if the data is as it was") from error
            if lines := differences(then, record):
                raise ConfigError(
                    f"the catalogue changed since run {self.path} learned from it, and going on would mix both; name "
                    f"another output_dir, or remove that folder:{listing(lines)}"
                )
        if is_main_process():
            atomic_write(file, json.dumps({"schema_version": 1, "splits": record}, indent=1) + "\n")

    @functools.cached_property
    def config(self) -> Config:
        """The resolved config, its paths as they are found now, its prompts the run's own copy.

        Raises:
            ConfigError: it is missing, or was changed into something that is none.
        """
        return Config.load(self.path / "config.yaml", old_keys=True)

    def log(self, step: int, **values: float | int | str | None) -> None:
        """Appends one line of metrics; NaN and infinities, which JSON cannot hold, are written as text."""
        if not is_main_process():
            return
        line = json.dumps({"step": step, **{name: _plain(value) for name, value in values.items()}})
        self.path.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab+") as file:
            # A killed process can leave half a line, which must not swallow the next one.
            if file.tell() and _last_byte(self._log) != b"\n":
                file.write(b"\n")
            file.write(line.encode() + b"\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All logged lines in order; half a line, left by a killed process, is passed over."""
        if not self._log.exists():
            return []
        lines = []
        for text in self._log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue
        return lines

    @property
    def logged(self) -> int:
        """Bytes of the log, for `forget_after`."""
        return self._log.stat().st_size if self._log.exists() else 0

    def forget_after(self, step: int, logged: int | None = None) -> None:
        """Drops what a run that continues from a checkpoint is going to log again.

        Args:
            step: the checkpoint's; lines of later ones are dropped.
            logged: bytes of the log when it was written, beyond which everything is dropped; None: not known.
        """
        if is_main_process() and self._log.exists():
            if logged is not None and logged < self.logged:
                atomic_write(self._log, self._log.read_bytes()[:logged])
            kept = [line for line in self.metrics() if line["step"] <= step]
            atomic_write(self._log, "".join(json.dumps(line) + "\n" for line in kept))

    def _starts(self) -> list[dict[str, Any]]:
        try:
            return json.loads((self.path / "environment.json").read_bytes())["starts"]
        except (OSError, ValueError, KeyError):
            return []

    def _refuse_another(self, config: Config, prompts: bytes | None) -> None:
        """`prompts`: the content of the prompts file that the config names."""
        file = self.path / "config.yaml"
        old, new = _flat(Config.load(file, old_keys=True, as_written=True)), _flat(config)
        here = _flat(self.config)
        copied = self.prompts.read_bytes() if self.prompts.is_file() else None
        same_prompts = copied is not None and copied == prompts
        differ = [
            f"{key}: {old.get(key)!r} there, {new.get(key)!r} now"
            for key in {**old, **new}
            if new.get(key) not in (old.get(key), here.get(key))
            and key not in _WITHOUT_EFFECT
            and not (key == "prompts" and same_prompts)
        ]
        if old["prompts"] == new["prompts"] and copied is not None and prompts is not None and not same_prompts:
            differ.append(f"prompts: {config.prompts} changed since; {self.prompts} is what the run learns from")
        if differ:
            raise ConfigError(
                f"output_dir {self.path} holds a run of another config, and would mix both; "
                f"name another output_dir, or remove that folder:{listing(differ)}"
            )


def environment(seed: int) -> dict[str, Any]:
    """Versions, machine and commit, as plain values; imports none of the packages it names."""
    torch = sys.modules.get("torch")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch is not None else []
    return {
        "directory": str(Path.cwd()),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "command": sys.argv,
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "gpus": gpus,
        },
        "processes": world_size(),
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's name; Linux tells it in a file, other systems through platform."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str | None:
    """The commit of the working folder, "+changes" when files differ from it; None outside a repository.

    What a benchmark wrote does not change what the next one measures.
    """
    measured = ("--", ":/", ":(top,exclude)eval/results")
    try:
        head, changes = (
            subprocess.run(["git", *command], capture_output=True, text=True, timeout=10, check=True).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no", *measured])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+changes" if changes else head


def _flat(config: Config) -> dict[str, Any]:
    """Dotted key -> value, down to what the config declares."""

    def walk(node: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.items():
            found |= walk(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        return found

    return walk(config.model_dump(mode="json"), "")


def _plain(value: float | int | str | None) -> float | int | str | None:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)
