"""A prompts file each time it is saved; a file at fault, or half written, is reported and the last good one stays.

Polls, for editors save in a dozen ways that change notices of file systems miss; ten looks a second cost nothing. A
save is taken up once the file has stood still for one look, so that it is rarely met half written. Nothing here scores.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from clipadapt.errors import PromptError
from clipadapt.prompts import Prompts

EVERY = 0.1
"""Seconds between looks."""


def saves(path: Path, *, wait: Callable[[float], object] = time.sleep) -> Iterator[Prompts | PromptError]:
    """Every new state of the file from now on: what it says, or what is wrong with it. Never ends by itself."""
    taken = _stamp(path)
    digest = _digest(path)
    seen = taken
    while True:
        wait(EVERY)
        now = _stamp(path)
        if now == taken or now != seen:
            seen = now
            continue
        taken = now
        try:
            prompts = Prompts.load(path)
        except PromptError as error:
            digest = ""
            yield error
            continue
        if prompts.digest != digest:
            digest = prompts.digest
            yield prompts


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size


def _digest(path: Path) -> str:
    try:
        return Prompts.load(path).digest
    except PromptError:
        return ""
