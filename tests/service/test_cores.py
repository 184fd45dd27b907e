"""A batch gets one thread or all, by how long one thread would take."""

import contextlib
import threading
from collections.abc import Iterator

import pytest
import torch

from clipadapt.service.cores import SOON, Cores


class Machine:
    """Time passes as a model of `each` seconds an input takes it, whose threads share the work."""

    def __init__(self, each: float, most: int = 4) -> None:
        self.each, self.now, self.threads, self.most = each, 0.0, most, most
        self.cores = Cores(most, self.alone, lambda: self.now)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        self.threads = 1
        yield
        self.threads = self.most

    def batch(self, inputs: int, slower: float = 1.0) -> int:
        with self.cores.of(inputs):
            threads = self.threads
            self.now += slower * self.each * inputs / threads
        return threads


def test_few_inputs_of_a_small_model_get_one_thread_and_many_get_all() -> None:
    machine = Machine(each=SOON / 4)
    assert [machine.batch(1, slower=50), machine.batch(1), machine.batch(1)] == [1, 1, 1]
    assert [machine.batch(inputs) for inputs in (1, 3, 5, 16, 1)] == [1, 1, 4, 4, 1]


def test_a_large_model_gets_all_once_that_is_known() -> None:
    machine = Machine(each=2 * SOON)
    assert [machine.batch(1) for _ in range(6)] == [1, 1, 1, 4, 4, 4]


def test_a_large_batch_gets_all_from_the_first() -> None:
    assert [Machine(each=2 * SOON).batch(16) for _ in range(2)] == [4, 4]


def test_what_was_slow_by_chance_at_first_is_seen_for_what_it_is() -> None:
    machine = Machine(each=SOON / 4)
    for _ in range(3):
        machine.batch(1, slower=20)
    assert [machine.batch(1), machine.batch(1)] == [4, 1]


def test_short_texts_say_nothing_of_long_ones() -> None:
    machine = Machine(each=SOON / 16)
    for _ in range(4):
        machine.batch(1)
    machine.each = SOON / 2
    assert [machine.batch(12), machine.batch(12), machine.batch(1)] == [1, 4, 1]


@pytest.mark.parametrize("inputs", [1, 100])
def test_with_one_thread_there_is_nothing_to_choose(inputs: int) -> None:
    assert Machine(each=SOON, most=1).batch(inputs) == 1


def test_the_limit_is_of_the_calling_thread_alone() -> None:
    """What is set for all would be taken over by a model that is loaded meanwhile."""
    before, others = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        with Cores(2).of(1):
            assert torch.get_num_threads() == 1
            other = threading.Thread(target=lambda: others.append(torch.get_num_threads()))
            other.start()
            other.join()
        assert (torch.get_num_threads(), others) == (2, [2])
    finally:
        torch.set_num_threads(before)
