"""Results in order, few ahead of the reader, and a reader that leaves early."""

import gc
import os
import subprocess
import sys
import threading

import pytest

from clipadapt.threads import give_way, ordered, together


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


def test_parts_of_work_are_done_at_once_and_come_in_order():
    both = threading.Barrier(2, timeout=20)

    def meet(number):
        both.wait()
        return number, threading.get_ident()

    (first, here), (second, there) = together(meet, [1, 2])
    assert (first, second) == (1, 2) and here == threading.get_ident() != there
    assert together(str, [7]) == ["7"] and together(str, []) == []
    with pytest.raises(ZeroDivisionError):
        together(lambda number: 1 / number, [1, 0, 2])


def test_what_no_thread_begins_is_done_by_the_one_that_waits():
    begun, over = threading.Semaphore(0), threading.Event()

    def hold(number):
        begun.release()
        over.wait(20)

    cores = os.cpu_count() or 1
    busy = [threading.Thread(target=together, args=(hold, [0, 1])) for _ in range(cores)]
    for one in busy:
        one.start()
    for _ in range(2 * cores):
        assert begun.acquire(timeout=20)
    try:
        assert set(together(lambda _: threading.get_ident(), range(5))) == {threading.get_ident()}
    finally:
        over.set()
    for one in busy:
        one.join()


def test_threads_are_there_in_a_process_that_was_forked():
    assert together(str, [1, 2]) == ["1", "2"]
    child = os.fork()
    if child == 0:
        os._exit(0 if together(str, [1, 2, 3]) == ["1", "2", "3"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(("before", "after"), [(0, 10), (3, 10), (12, 12)])
def test_a_process_gives_way_with_all_its_threads_and_once_is_enough(before, after):
    script = """
import os, threading
from pathlib import Path
from clipadapt.threads import give_way

over = threading.Event()
threading.Thread(target=over.wait, daemon=True).start()
give_way()
give_way()
tasks = [int(task.name) for task in Path("/proc/self/task").glob("*")] or [0]
print(len(tasks), *{os.getpriority(os.PRIO_PROCESS, task) for task in tasks})
over.set()
"""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    command = ["nice", "-n", str(max(before - own, 0)), sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    threads, *niceness = map(int, done.stdout.split())
    assert niceness == [max(after, own)]
    assert threads > 1 or sys.platform != "linux"


def test_where_a_priority_may_not_be_changed_it_stays(monkeypatch):
    def refuses(*_):
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuses)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    give_way()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
