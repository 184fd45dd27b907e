"""The flag: which share of the users a candidate gets, in a YAML file that is read again when it changes.

    share: 5%            # or 0.05
    mode: split          # split: these users are answered by the candidate
                         # shadow: they are answered by the current release; the candidate's answer is only logged
    salt: autumn         # a new salt gives the candidate other users

    watched = FlagFile("flag.yaml")
    watched.flag.arm_of("user 17")          # "current" or "candidate"
    watched.error                           # what is wrong with the file now, while the last good one is in force

A user's place is a salted hash of the id, a number in [0, 1): those below the share get the candidate. So nobody who
has the candidate loses it while the share grows, and no process has to remember anybody. The trade: to try something
else on other users, the salt has to be changed by hand. Nothing here knows what the two answer.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from clipadapt import keyed
from clipadapt.errors import ConfigError
from clipadapt.sections import FileSection, Fraction, as_fraction, locate

Arm = Literal["current", "candidate"]
Mode = Literal["split", "shadow"]
LOOK_AGAIN = 1.0
"""Seconds between two looks at the file."""


class Flag(FileSection):
    """A flag file."""

    share: Fraction
    """Of users; written as 5% or as 0.05."""
    mode: Mode = "split"
    salt: str = Field(min_length=1)
    """Mixed into the hash of a user's id."""

    @field_validator("share", mode="before")
    @classmethod
    def _percent(cls, share: object) -> object:
        return as_fraction(share)

    def chosen(self, user: str) -> bool:
        """Whether the user is among the share."""
        return place(self.salt, user) < self.share

    def arm_of(self, user: str) -> Arm:
        """Who answers the user."""
        return "candidate" if self.mode == "split" and self.chosen(user) else "current"


def place(salt: str, user: str) -> float:
    """A user's place in [0, 1), the same everywhere and uniform over users; 15 us."""
    return keyed.integer(salt, "share", user) / 2**64


class FlagFile:
    """A flag that follows its file; safe to use from several threads."""

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads the file.

        Raises:
            ConfigError: no such file, or any fault in it: a service does not start on a faulty flag.
        """
        self.path = Path(path)
        self.error: str | None = None
        """What is wrong with the file as it is now; the flag is that of its last good state."""
        self._seen = self._signature()
        self._flag = Flag.load(path)
        self._clock = clock
        self._next = clock() + LOOK_AGAIN
        self._lock = threading.Lock()

    @property
    def flag(self) -> Flag:
        """What is in force; looks at the file at most once a second."""
        if self._clock() >= self._next and self._lock.acquire(blocking=False):
            try:
                self._look()
                self._next = self._clock() + LOOK_AGAIN
            finally:
                self._lock.release()
        return self._flag

    def _look(self) -> None:
        signature = self._signature()
        if signature == self._seen:
            return
        self._seen = signature  # before reading: what is written meanwhile is another state, looked at next time
        try:
            self._flag, self.error = Flag.load(self.path), None
        except ConfigError as error:
            self.error = f"{error}; the flag as it was before stays in force"

    def _signature(self) -> tuple[int, int, int] | None:
        """What changes with the file's content, whether it was edited in place or replaced."""
        try:
            state = locate(self.path).stat()
        except OSError:
            return None
        return state.st_mtime_ns, state.st_size, state.st_ino
