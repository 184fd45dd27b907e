"""The names that users may rely on, and what importing them costs."""

import importlib.metadata
import subprocess
import sys

import pytest

import clipadapt

PUBLIC = [
    "Catalogue", "Config", "Index", "Prompts", "Results", "Run", "Suite",
    "__version__", "evaluate", "export", "load", "split_attention", "train",
]  # fmt: skip


def test_the_list_is_held() -> None:
    assert clipadapt.__all__ == PUBLIC
    assert dir(clipadapt) == PUBLIC


def test_the_version_is_that_of_the_distribution() -> None:
    assert clipadapt.__version__ == importlib.metadata.version("clipadapt")


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_every_name_is_there_and_callable(name: str) -> None:
    assert callable(getattr(clipadapt, name))


def test_anything_else_is_refused_with_the_list() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'; public are Catalogue, Config"):
        _ = clipadapt.nothing


def _imported(*arguments: str) -> set[str]:
    """Which heavy modules a fresh interpreter has imported."""
    script = "import sys, clipadapt; print(*sorted({'torch', 'timm', 'open_clip'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, *arguments, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_registers_the_small_model_with_timm_and_loads_no_more() -> None:
    assert _imported() == {"torch", "timm"}


def test_the_command_line_answers_without_torch() -> None:
    script = (
        "import sys; sys.argv[0] = '/usr/bin/clipadapt'; import clipadapt; print('torch' in sys.modules);"
        "from clipadapt.towers.small import NAME; import timm; print(timm.is_model(NAME))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
