"""What benchmarks wrote and is kept names no folder of the machine that made it."""

import re
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[1] / "eval" / "results"
ABSOLUTE = re.compile(r"""["'\s:=(](/(?:home|root|work|tmp|mnt|data|Users|opt|srv|var)/[^"'\s]*|[A-Z]:\\\\[^"'\s]*)""")


@pytest.mark.parametrize(
    "file", sorted(path for path in RESULTS.rglob("*") if path.suffix in (".json", ".svg", ".md")), ids=lambda p: p.name
)
def test_no_absolute_path(file: Path) -> None:
    assert not ABSOLUTE.findall(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", ['"local-dir:/srv/a/b"', "made in /tmp/x", '"C:\\\\users"'])
def test_the_pattern_finds_some(text: str) -> None:
    assert ABSOLUTE.search(text)


@pytest.mark.parametrize("text", ['"a/b/c"', '"hf-hub:org/name"', '"images/s"', '"../../base"'])
def test_the_pattern_leaves_others(text: str) -> None:
    assert not ABSOLUTE.search(text)
