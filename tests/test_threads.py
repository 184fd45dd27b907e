"""Results in order, few ahead of the reader, and a reader that leaves early."""

import gc
import threading

import pytest

from clipadapt.threads import ordered


def test_it_is_map_with_few_results_waiting():
    started = []

    def square(number):
        started.append(number)
        return number * number

    results = ordered(square, range(1000), threads=2)
    assert next(results) == 0 and len(started) < 20
    assert list(results) == [n * n for n in range(1, 1000)]


@pytest.mark.parametrize("waiting", [0, 1, 7])
def test_it_starts_no_more_than_it_was_told(waiting):
    started = []
    results = ordered(started.append, range(50), threads=1, waiting=waiting)
    for read in range(1, 50):
        next(results)
        assert len(started) <= read + waiting


def test_it_stops_at_an_error():
    with pytest.raises(ZeroDivisionError):
        list(ordered(lambda n: 1 // (3 - n), range(100)))


def test_what_has_not_begun_is_left_when_the_reader_leaves():
    gate, begun = threading.Event(), []

    def wait(number):
        begun.append(number)
        if number:
            gate.wait()
        return number

    results = ordered(wait, range(1000), threads=1, waiting=100)
    assert next(results) == 0
    results.close()
    gate.set()
    assert len(begun) <= 2


def test_a_reader_that_leaves_may_be_collected_in_one_of_its_threads():
    # An error that stands in its own traceback keeps the reader until the garbage is collected, wherever that happens.
    last, gone = threading.Event(), threading.Event()

    def one(number):
        if number == 3:
            last.wait()
            gc.collect()
            gone.set()
        return number

    def read():
        errors = []
        results = ordered(one, range(4), threads=1, waiting=3)
        for number in results:
            errors.append(ValueError(number))
            raise errors[0]

    collecting = gc.isenabled()
    gc.disable()
    try:
        with pytest.raises(ValueError, match="0"):
            read()
        last.set()
        assert gone.wait(10)
    finally:
        if collecting:
            gc.enable()
