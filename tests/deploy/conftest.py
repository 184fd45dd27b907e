"""A base and runs on it, made once; releases that tests promote, copied from ones made once."""

import importlib.util
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("runs_factory", Path(__file__).parent / "runs_factory.py")
assert _spec is not None
assert _spec.loader is not None
factory = sys.modules.setdefault("runs_factory", importlib.util.module_from_spec(_spec))
_spec.loader.exec_module(factory)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_models import OPEN_CLIP, write_open_clip

    folder = tmp_path_factory.mktemp("base") / "tiny"
    write_open_clip(folder, OPEN_CLIP["clip"])
    return folder


@pytest.fixture(scope="session")
def first(base: Path, tmp_path_factory: pytest.TempPathFactory):
    return factory.write_run(tmp_path_factory.mktemp("runs") / "first", base, 1)


@pytest.fixture(scope="session")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factory.write_gate(tmp_path_factory.mktemp("gates"))
