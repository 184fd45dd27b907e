"""Processes of their own for tests of the ground floor, without the seconds that importing torch takes."""

import sys
from pathlib import Path

import clipadapt

_PACKAGE = str(Path(clipadapt.__file__).parent)
_START = (
    f"import sys, types; sys.modules['clipadapt'] = p = types.ModuleType('clipadapt'); p.__path__ = [{_PACKAGE!r}]\n"
)


def command(script: str, *arguments: object) -> list[str]:
    """The command line that runs `script`, in which clipadapt is imported module by module, without its __init__."""
    return [sys.executable, "-c", _START + script, *map(str, arguments)]
