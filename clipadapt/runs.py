"""The run folder: everything one training leaves behind, readable without clipadapt.

    run = Run.create(config)         # a new folder, or the one this very config was stopped in
    run.log(step=12, loss=2.3)       # one JSON line in metrics.jsonl
    Run.open("runs/fashion").config

Knows the names of the files, not what is in an adapter or a report.
"""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from clipadapt.config import Config
from clipadapt.errors import ConfigError, StoreError
from clipadapt.store import atomic_write

_PACKAGES = (
    "clipadapt", "torch", "torchvision", "open_clip_torch", "timm", "peft", "transformers", "faiss-cpu", "datasets",
    "accelerate", "safetensors", "numpy", "pillow",
)  # fmt: skip


class Run:
    """A run folder and the config it was made with."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config

    @classmethod
    def create(cls, config: Config) -> Self:
        """The folder `config.output_dir`: new, or taken up again when it was left by an equal config.

        Raises:
            ConfigError: the folder holds something else, which is left as it is.
        """
        path = Path(config.output_dir)
        written = path / "config.yaml"
        if written.exists():
            changed = _differences(Config.load(written.absolute()), config)
            if changed:
                raise ConfigError(
                    f"{path}: holds a run of another config ({', '.join(changed)} differ); "
                    "give another output_dir, or remove that folder"
                )
            return cls(path, config)
        run = cls(path, config)
        atomic_write(path / "environment.json", json.dumps(environment(), indent=1) + "\n")
        atomic_write(written, config.to_yaml())
        return run

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """A run that is there.

        Raises:
            ConfigError: no config.yaml in it, or one that this version cannot read.
        """
        written = Path(path) / "config.yaml"
        if not written.is_file():
            raise ConfigError(f"{path}: not a run folder (no config.yaml in it)")
        return cls(Path(path), Config.load(written.absolute()))

    @property
    def adapter(self) -> Path:
        """peft's adapter_config.json and adapter_model.safetensors, of the best epoch."""
        return self.path / "adapter"

    @property
    def checkpoints(self) -> Path:
        """What a stopped run goes on from."""
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        """results.json, report.md and report.html."""
        return self.path / "report"

    @property
    def export(self) -> Path:
        """One folder per export format."""
        return self.path / "export"

    def log(self, **values: Any) -> None:
        """Appends one line to metrics.jsonl, flushed, so that a killed run keeps what it logged.

        Raises:
            StoreError: the disk refuses.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
        except OSError as error:
            raise StoreError(f"{self.path / 'metrics.jsonl'}: {error.strerror or error}") from error

    def metrics(self) -> list[dict[str, Any]]:
        """What was logged, in order; a last line cut short by a kill is left out."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = []
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                if number < len(lines):
                    raise StoreError(f"{path}: line {number} is not JSON; remove that line") from error
        return rows


def environment() -> dict[str, Any]:
    """Versions, machine and commit: what it takes to explain a figure later."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES if _installed(name)},
        "cuda_devices": _cuda_devices(),
        "commit": _commit(),
    }


def _cuda_devices() -> list[str]:
    torch = sys.modules.get("torch")  # no reason to load it for this alone
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit clipadapt runs from; None when it is installed rather than checked out, or git is not at hand."""
    try:
        here = Path(__file__).resolve().parents[1]
        answer = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if (here / ".git").exists() else None


def _differences(first: Config, second: Config) -> list[str]:
    """Dotted keys on which two configs differ."""

    def walk(left: Any, right: Any, place: str) -> list[str]:
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            keys = sorted(left.keys() | right.keys())
            return [d for key in keys for d in walk(left.get(key), right.get(key), f"{place}.{key}" if place else key)]
        return [] if left == right else [place]

    return walk(first.model_dump(mode="json"), second.model_dump(mode="json"), "")
