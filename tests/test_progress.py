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


def test_off_terminal_what_is_short_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
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


class Clock:
    """Ten seconds a step."""

    now = 0.0

    def monotonic(self) -> float:
        self.now += 10.0
        return self.now


def test_off_terminal_a_line_a_minute_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "time", Clock())
    with bar(3000, "text warm-up", "steps") as shown:
        for step in range(18):
            shown.advance(10, f"loss {step}" if step % 5 == 0 else "")
    for _ in track(range(7), None, "encode", "images"):
        pass
    with bar(None, "read", "rows") as shown:
        for _ in range(6):
            shown.advance(2)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "text warm-up: 60 of 3,000 steps, 1.0 steps/s, about 49 min left, loss 5",
        "text warm-up: 120 of 3,000 steps, 1.0 steps/s, about 48 min left, loss 10",
        "text warm-up: 180 of 3,000 steps, 1.0 steps/s, about 47 min left, loss 15",
        "encode: 6 of 7 images, 0.1 images/s, about 10 s left",
        "read: 12 rows, 0.2 rows/s",
    ]


def test_off_terminal_another_process_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "time", Clock())
    monkeypatch.setenv("RANK", "1")
    with bar(100, "x") as shown:
        for _ in range(50):
            shown.advance()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("seconds", "said"), [(3, "3 s"), (119, "119 s"), (130, "2 min"), (7300, "2.0 h")])
def test_time_as_people_say_it(seconds: float, said: str) -> None:
    assert progress._spoken(seconds) == said
