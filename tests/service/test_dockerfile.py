"""What can be said of the image without building it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()


def test_what_is_copied_is_there():
    copied = [line.split()[1:-1] for line in LINES if line.startswith("COPY ") and "--from" not in line]
    names = [name for names in copied for name in names]
    assert {"clipadapt", "pyproject.toml", "prompts"} <= set(names)
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_it_runs_as_a_user_without_rights_and_is_watched():
    users = [line.split()[1] for line in LINES if line.startswith("USER ")]
    assert re.fullmatch("[1-9][0-9]+", users[-1])
    assert any(line.startswith("HEALTHCHECK ") for line in LINES)
    assert not [line for line in LINES if "TOKEN=" in line and not line.startswith("#")]
