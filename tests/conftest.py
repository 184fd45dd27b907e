"""Settings that all tests share."""

import os
import random
import signal

import numpy as np
import pytest
import torch
from hypothesis import settings
from lite_file import in_milvus, milvus_file  # noqa: F401 - fixtures
from pages import browser  # noqa: F401 - a fixture
from swap_shop import made  # noqa: F401 - a fixture

# A shared machine makes any deadline a matter of luck; a gate has to give the same answer twice.
settings.register_profile("clipadapt", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("clipadapt")


# A script's background job ignores Ctrl-C, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a slow test come first: at the end no worker is left alone with one while the other has nothing."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="module")
def same_start_of_a_file() -> None:
    """What a file's shared fixtures draw is the same in every run."""
    _seed()


@pytest.fixture(autouse=True)
def same_start() -> None:
    """A test's random numbers depend on nothing that ran before it."""
    _seed()


@pytest.fixture(autouse=True)
def priority_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that gives way to other processes does so for good, and here it shares its process with all tests."""
    monkeypatch.setattr("clipadapt.threads.give_way", lambda: None)


def _seed() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - what the libraries draw comes from there
    torch.manual_seed(0)
