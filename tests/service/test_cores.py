"""A batch gets one thread or all, by how long one thread would take."""

import pytest

from clipadapt.service.cores import SOON, Cores


class Machine:
    """Time passes as a model of `each` seconds an input takes it, whose threads share the work."""

    def __init__(self, each: float, most: int = 4) -> None:
        self.each, self.now, self.threads = each, 0.0, 0
        self.cores = Cores(most, self.limit, lambda: self.now)

    def limit(self, threads: int) -> None:
        self.threads = threads

    def batch(self, inputs: int, slower: float = 1.0) -> int:
        self.threads = 0
        with self.cores.of(inputs):
            self.now += slower * self.each * inputs / max(self.threads, 1)
        return self.threads


def test_few_inputs_of_a_small_model_get_one_thread_and_many_get_all() -> None:
    machine = Machine(each=SOON / 4)
    assert [machine.batch(1, slower=50), machine.batch(1), machine.batch(1)] == [1, 1, 1]
    assert [machine.batch(inputs) for inputs in (1, 3, 5, 16, 1)] == [1, 1, 4, 4, 1]


def test_a_large_model_gets_all_once_that_is_known() -> None:
    machine = Machine(each=2 * SOON)
    assert [machine.batch(1) for _ in range(6)] == [1, 1, 1, 4, 4, 4]


def test_what_was_slow_by_chance_at_first_is_seen_for_what_it_is() -> None:
    machine = Machine(each=SOON / 4)
    for _ in range(3):
        machine.batch(1, slower=20)
    assert [machine.batch(1), machine.batch(1)] == [4, 1]


@pytest.mark.parametrize("inputs", [1, 100])
def test_with_one_thread_there_is_nothing_to_choose(inputs: int) -> None:
    assert Machine(each=SOON, most=1).batch(inputs) == 0
