"""Verbs that answer without torch: what they import decides how long a person waits."""

import subprocess
import sys
from pathlib import Path

import pytest
from data_factory import write_catalogue
from runs_factory import write_index

HEAVY = ("torch", "transformers", "open_clip", "timm", "peft", "accelerate", "datasets", "sklearn")
SCRIPT = """
import sys
sys.argv[0] = "clipadapt"
from clipadapt.cli import main
code = main(sys.argv[1:])
print("imported:", *[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["data", "check", "{shop}"],
        ["prompts", "lint", "prompts/fashion.yaml", "--source", "{shop}"],
        ["prompts", "preview", "prompts/generic.yaml", "--source", "{shop}", "-n", "2"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_light_verb_imports_nothing_heavy(tmp_path: Path, arguments: list[str]):
    shop = write_catalogue(tmp_path / "shop")
    script = SCRIPT.format(heavy=HEAVY)
    given = [argument.format(shop=shop) for argument in arguments]
    done = subprocess.run([sys.executable, "-c", script, *given], capture_output=True, text=True, timeout=120)
    assert done.stderr.splitlines()[-1] == "imported:", done.stderr
    assert done.stdout


def test_what_is_known_of_an_index_is_read_without_what_searches_by_words(tmp_path: Path):
    """scipy too: it took two thirds of the time."""
    write_index(tmp_path / "index", "image-0", 8)
    script = SCRIPT.format(heavy=(*HEAVY, "scipy"))
    command = [sys.executable, "-c", script, "index", "info", str(tmp_path / "index")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr.splitlines()[-1] == "imported:", done.stderr
    assert "40" in done.stdout


def test_a_release_is_opened_without_what_only_adapters_need():
    """peft took a second of each start."""
    script = "import sys, clipadapt.service.opening, clipadapt.towers.load; print('peft' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["False"]
