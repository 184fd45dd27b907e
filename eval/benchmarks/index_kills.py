"""kill -9 by the clock, of a process that changes an index and of one that compacts it beside.

    python eval/benchmarks/index_kills.py [--kills 200]

A writer replaces, adds and removes items and says when each change begins and has returned; another process seals and
rebuilds whenever that is due. At a random moment one of them is killed; the other goes on until it is through with what
it does. Then the index is opened with all checksums: every change that had returned must be there, item by item and
vector by vector, and one that was cut off wholly or not at all. It goes on from there, so what a kill leaves lying
stays. index_faults.py kills at each change of the disk instead. Needs Linux.
"""

import argparse
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from machine import publish

from clipadapt.errors import StoreError
from clipadapt.search import compaction
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.meta import Target
from clipadapt.search.vectors import Vectors

DIM, ITEMS, LONGEST = 32, 400, 0.3
BEGINS, ENDS = b"b", b"e"
State = dict[str, int]
"""Item -> the change that its vector is of."""


class Child(NamedTuple):
    """A process, and the end of its pipe that says what it does."""

    process: int
    says: int


def main() -> None:
    """Kills, checks, writes eval/results/index_kills.json and prints the headline; exits with 1 where one was bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    kills, rng = parser.parse_args().kills, random.Random(0)
    compaction.EXACT, compaction._small_factory = 20, lambda rows, dim: "IVF2,SQ8,RFlat"
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "index"
        state = dict.fromkeys(map(str, range(ITEMS)), -1)
        Index.build(_vectors(state), place, factory="IVF8,SQ8,RFlat", target=Target(recall=0.5))
        counts = {"kills": 0, "within_upserts": 0, "within_compactions": 0, "begun": 0,
                  "acknowledged": 0, "compactions": 0}  # fmt: skip
        bad: list[str] = []
        while counts["kills"] < kills and not bad:
            victim = ("writer", "compactor")[counts["kills"] % 2]
            said = _round(place, state, counts["begun"], victim, rng)
            begun, acknowledged = said["writer"].count(BEGINS), said["writer"].count(ENDS)
            for number in range(counts["begun"], counts["begun"] + acknowledged):
                state = changed(state, number)
            counts["begun"] += begun
            counts["acknowledged"] += acknowledged
            counts["compactions"] += said["compactor"].count(ENDS)
            counts["kills"] += 1
            counts[f"within_{'upserts' if victim == 'writer' else 'compactions'}"] += said[victim].endswith(BEGINS)
            possible = [state, changed(state, counts["begun"] - 1)][: 1 + begun - acknowledged]
            faults = [_fault(place, one) for one in possible]
            if all(faults):
                bad.append(f"kill {counts['kills']} of the {victim}: {faults[0]}")
            else:
                state = possible[faults.index("")]
            if counts["kills"] % 20 == 0:
                print(counts, flush=True)
    print(*bad, sep="\n", end="\n" if bad else "")
    publish("index_kills", {**counts, "bad": len(bad)}, {"bad": bad})
    raise SystemExit(1 if bad else 0)


def changed(state: State, number: int) -> State:
    """The items after a change: ten replaced and two new, or every third time four fewer."""
    ids, rng = sorted(state, key=int), random.Random(number)
    if number % 3 == 0 and len(ids) > ITEMS:
        gone = set(rng.sample(ids, 6))
        return {item: of for item, of in state.items() if item not in gone}
    new = [str(int(ids[-1]) + 1 + place) for place in range(2)]
    return state | dict.fromkeys([*rng.sample(ids, 10), *new], number)


def _round(place: Path, state: State, first: int, victim: str, rng: random.Random) -> dict[str, bytes]:
    """Both processes until one is killed, and what each said."""
    children = {"writer": _start(lambda says, stop: _write(place, state, first, says, stop)),
                "compactor": _start(lambda says, stop: _compact(place, says, stop))}  # fmt: skip
    begun = os.read(children[victim].says, 1)  # it has begun with something
    time.sleep(rng.uniform(0, LONGEST))
    os.kill(children[victim].process, signal.SIGKILL)
    time.sleep(rng.uniform(0, 0.1))  # the other goes on alone
    said = {victim: begun}
    for name, child in children.items():
        if name != victim:
            os.kill(child.process, signal.SIGTERM)
        said[name] = said.get(name, b"") + _everything(child.says)
        _, status = os.waitpid(child.process, 0)
        ended = -signal.SIGKILL if name == victim else 0
        assert os.waitstatus_to_exitcode(status) == ended, f"the {name} ended with {status}"
    return said


def _start(work: Callable[[Callable[[bytes], object], Callable[[], bool]], None]) -> Child:
    """A child that works until it is asked to stop."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child:
        os.close(theirs)
        return Child(child, ours)
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    status = 1
    try:
        signal.signal(signal.SIGTERM, stop)
        work(lambda what: os.write(theirs, what), lambda: stopped)
        status = 0
    finally:
        os._exit(status)


def _write(place: Path, state: State, number: int, says: Callable[[bytes], object], stop: Callable[[], bool]) -> None:
    index = Index.open(place, verify=False)
    while not stop():
        after = changed(state, number)
        says(BEGINS)
        if gone := sorted(state.keys() - after.keys()):
            index.remove(gone)
        else:
            index.update(_vectors({item: of for item, of in after.items() if of == number}))
        says(ENDS)
        state, number = after, number + 1


def _compact(place: Path, says: Callable[[bytes], object], stop: Callable[[], bool]) -> None:
    index = Index.open(place, verify=False)
    while not stop():
        index.refresh()
        if index.backend.compaction_due():
            says(BEGINS)
            try:
                index.compact()
            except StoreError as error:
                if "compact it again" not in str(error):
                    raise
            says(ENDS)
        time.sleep(0.005)


def _everything(pipe: int) -> bytes:
    with os.fdopen(pipe, "rb") as file:
        return file.read()


def _fault(place: Path, state: State) -> str:
    """What an index lacks of a state, or has beside it; nothing where it is in that state."""
    try:
        index = Index.open(place, verify=True)
    except StoreError as error:
        return str(error)
    ids = index.ids()
    if set(ids) != state.keys() or len(ids) != len(state):
        return f"lacks {sorted(state.keys() - set(ids))}, has {sorted(set(ids) - state.keys())} beside"
    right = np.stack([_vector(item, state[item]) for item in ids])
    wrong = np.flatnonzero(np.abs(index.backend.vectors(ids) - right).max(axis=1) > 1e-6)
    (hits,) = index.search(right[0], 1, collapse=False)
    if len(wrong) or hits[0].id != ids[0]:
        return f"another vector than was acknowledged: {[ids[row] for row in wrong]}; a search gives {hits[0].id}"
    return ""


def _vector(item: str, number: int) -> np.ndarray:
    vector = np.random.default_rng((int(item), number + 1)).standard_normal(DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


def _vectors(state: State) -> Vectors:
    made = np.stack([_vector(item, number) for item, number in state.items()])
    table = pa.table({"id": list(state), "change": list(state.values())})
    return Vectors(made, Items.of(table), "synthetic", None)


if __name__ == "__main__":
    main()
