import io
import os
import pty
import subprocess
import sys

import light
import pytest

from clipadapt import progress
from clipadapt.progress import bar, track

SCRIPT = """
import time
from clipadapt.progress import bar, track
assert list(track(range(3), 3, "encode", "images")) == [0, 1, 2]
with bar(10, "train", "images") as shown:
    for step in range(5):
        time.sleep(0.05)
        shown.advance(2, f"loss {step}.5")
print("result")
"""


def test_off_terminal_nothing_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(iter("abc"), label="x")) == ["a", "b", "c"]
    with bar(3, "x") as shown:
        shown.advance(2, "note")
    assert capsys.readouterr() == ("", "")


def test_off_the_main_process_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    assert progress.visible()
    monkeypatch.setenv("RANK", "1")
    assert not progress.visible()


def test_on_a_terminal_count_rate_and_note_go_to_stderr() -> None:
    main, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        light.command(SCRIPT), stdout=subprocess.PIPE, stderr=terminal, env=environment, text=True
    )
    os.close(terminal)
    drawn = b""
    while True:
        try:
            data = os.read(main, 4096)
        except OSError:  # Linux ends a closed terminal so
            break
        if not data:
            break
        drawn += data
    os.close(main)
    assert process.stdout is not None
    assert process.stdout.read() == "result\n"
    process.stdout.close()
    assert process.wait() == 0
    text = drawn.decode()
    for part in ("encode", "3/3", "train", "10/10", "images/s", "loss 4.5"):
        assert part in text
