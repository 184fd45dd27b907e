"""Adapt CLIP to your catalogue, prove the gain, ship it with no added latency.

    import clipadapt

    run = clipadapt.train("configs/mine.yaml")
    encoder = clipadapt.load(f"run:{run.path}")
    catalogue = clipadapt.Catalogue.load("my/catalogue", "validation", attributes=["Pattern"])
    results = clipadapt.evaluate(encoder, catalogue, "prompts/mine.yaml", "eval/attributes.yaml")
    index = clipadapt.Index.build(catalogue, "indexes/mine", encoder=encoder)
    hits = index.search("a striped shirt", k=3, where="Pattern=Striped")

The names of __all__ are public, and nothing else is; where one takes a Config, Prompts or Suite, the path of its file
will do. They are imported when first used. Importing clipadapt registers the
project's small EVA with timm, so that stock open_clip can load it afterwards; that imports timm and torch (2 to 4 s,
which every Python use pays anyway). Only the command line leaves it out, to answer `--help` at once: its verbs register
the model when they load one (towers.build).
"""

import importlib
import importlib.metadata
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipadapt.config import Config
    from clipadapt.data.catalogue import Catalogue
    from clipadapt.evaluation.evaluate import evaluate
    from clipadapt.evaluation.results import Results
    from clipadapt.evaluation.suite import Suite
    from clipadapt.export import export
    from clipadapt.prompts import Prompts
    from clipadapt.runs import Run
    from clipadapt.search.index import Index
    from clipadapt.towers.load import load
    from clipadapt.towers.packed import split_attention
    from clipadapt.training.trainer import train

    __version__: str

__all__ = [
    "Catalogue", "Config", "Index", "Prompts", "Results", "Run", "Suite",
    "__version__", "evaluate", "export", "load", "split_attention", "train",
]  # fmt: skip

_HOMES = {
    "Catalogue": "clipadapt.data.catalogue",
    "Config": "clipadapt.config",
    "Index": "clipadapt.search.index",
    "Prompts": "clipadapt.prompts",
    "Results": "clipadapt.evaluation.results",
    "Run": "clipadapt.runs",
    "Suite": "clipadapt.evaluation.suite",
    "evaluate": "clipadapt.evaluation.evaluate",
    "export": "clipadapt.export",
    "load": "clipadapt.towers.load",
    "split_attention": "clipadapt.towers.packed",
    "train": "clipadapt.training.trainer",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("clipadapt")
    if name not in _HOMES:
        raise AttributeError(f"module 'clipadapt' has no attribute {name!r}; public are {', '.join(__all__)}")
    module = importlib.import_module(_HOMES[name])
    value = module if _HOMES[name] == f"clipadapt.{name}" else getattr(module, name)  # the export package is callable
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def _is_command() -> bool:
    """Whether this process is `clipadapt ...` or `python -m clipadapt.cli ...`."""
    return "clipadapt.cli" in sys.orig_argv[:4] or Path(sys.argv[0] if sys.argv else "").stem == "clipadapt"


if not _is_command():
    importlib.import_module("clipadapt.towers.small")
