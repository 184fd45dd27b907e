"""What README.md and docs/ tell people to type, taken out of its text: a test that runs it keeps the text true."""

import re
import shlex
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
OPERATIONS = README.parent / "docs" / "operations.md"
SWAP = README.parent / "docs" / "swap.md"
_TYPED = ("clipadapt ", "accelerate ", "open_clip.", "echo ")


def section(title: str) -> str:
    """The text of one `## title`, up to the next heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README.read_text(encoding="utf-8"), re.M | re.S)
    assert found, f"README.md has no section {title!r}"
    return found[1]


def typed(title: str) -> list[str]:
    """The indented lines of a section that a reader types, in order; a line that ends in a backslash goes on."""
    return commands(section(title))


def commands(text: str) -> list[str]:
    """The same of any text."""
    lines = re.sub(r" *\\\n\s*", " ", text).splitlines()
    return [line.strip() for line in lines if line.startswith("    ") and line.strip().startswith(_TYPED)]


def words(command: str) -> list[str]:
    """A shell line as the program's arguments."""
    return shlex.split(command, comments=True)
