"""A disk that fails at one call, for tests of what is left of a file then."""

import errno
import os
import shutil
from collections.abc import Callable

import pytest

_CALLS = ((os, "fsync"), (os, "write"), (os, "rename"), (os, "replace"), (shutil, "copyfile"))


class FailingDisk:
    """Counts calls that reach the disk, and makes the one that was chosen by `arm` fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int = errno.EIO) -> None:
        self.calls: list[str] = []
        self.fail_at = -1
        self.code = code
        for module, name in _CALLS:
            monkeypatch.setattr(module, name, self._wrapped(name, getattr(module, name)))

    def _wrapped(self, name: str, real: Callable) -> Callable:
        def call(*args, **kwargs):
            self.calls.append(name)
            if len(self.calls) == self.fail_at:
                raise OSError(self.code, os.strerror(self.code))
            return real(*args, **kwargs)

        return call

    def arm(self, number: int) -> None:
        """The call that fails, counted from 1 from now on."""
        self.calls.clear()
        self.fail_at = number
