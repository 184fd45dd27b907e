"""Every change that build, add, remove and compact make to the disk: failed, cut short, or the last before kill -9.

    python eval/benchmarks/index_faults.py [--quick]

The process preloads faults.c, which sees the writes, renames, links and flushes of every library, FAISS and Arrow
included. After each fault the index is opened with all checksums: it must hold the state before or the state after,
answer as that state does, and take the same change again. kill -9 comes before, within and after every moment of an
upsert and of compactions, and 20 moments of each other change. Needs Linux and a C compiler. --quick takes every fifth
moment and one kind of failure; --change NAME takes that change alone, and leaves what was measured of others in the
result. index_kills.py kills by the clock, with other changes beside.
"""

import argparse
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

HERE = Path(__file__).parent
FAILURES = {"no space": 1, "input/output error": 2, "cut short": 3}
KILLS = {"before": 4, "within": 5, "after": 6}
MOMENTS = 20
EVERY_MOMENT = ("update", "seal", "rebuild")


class State(NamedTuple):
    """What an index answers: its items, and ids and scores of one search. None: there is no index."""

    ids: tuple[str, ...]
    answer: tuple[tuple[str, float], ...]


def main() -> None:
    """Restarts itself with the library preloaded, runs all faults, writes eval/results/index_faults.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--change", help="build, add, update, remove, seal, ...; default: all")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside is None:
        with tempfile.TemporaryDirectory() as scratch:
            library = Path(scratch) / "faults.so"
            source = str(HERE / "faults.c")
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), source, "-ldl"], check=True)
            surroundings = os.environ | {"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, __file__, "--inside", str(library), *sys.argv[1:]]
            raise SystemExit(subprocess.run(command, env=surroundings).returncode)
    changes = run(ctypes.CDLL(str(arguments.inside)), quick=arguments.quick, alone=arguments.change)
    bad = [fault for change in changes.values() for fault in change["bad"]]
    print(*bad, sep="\n", end="\n" if bad else "")
    if arguments.quick:
        print(json.dumps(_totals(changes)))
    else:
        from machine import RESULTS, publish

        if arguments.change:
            changes = json.loads((RESULTS / "index_faults.json").read_text(encoding="utf-8"))["changes"] | changes
        publish("index_faults", _totals(changes), {"changes": changes})
    raise SystemExit(1 if bad else 0)


def _totals(changes: dict[str, dict[str, Any]]) -> dict[str, int]:
    counts = {key: sum(change[key] for change in changes.values()) for key in ("faults", "kills")}
    return counts | {"bad": sum(len(change["bad"]) for change in changes.values())}


def run(library: ctypes.CDLL, *, quick: bool, alone: str | None = None) -> dict[str, dict[str, Any]]:
    """All faults of all changes, or of one."""
    from clipadapt.search import compaction
    from clipadapt.search.index import Index

    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        base, place = Path(scratch) / "base", Path(scratch) / "index"
        Index.build(_vectors(0, 400), base, factory="IVF8,SQ8,RFlat")
        compaction.EXACT, compaction._small_factory = 20, lambda rows, dim: "IVF2,SQ8,RFlat"
        sealable, rebuildable = Path(scratch) / "sealable", Path(scratch) / "rebuildable"
        for copy, more in ((sealable, 60), (rebuildable, 150)):
            shutil.copytree(base, copy)
            Index.open(copy).add(_vectors(400, more))
        changes: dict[str, tuple[Path | None, Callable[[], object]]] = {
            "build": (None, lambda: Index.build(_vectors(0, 400), place, factory="IVF8,SQ8,RFlat")),
            "build over another": (base, lambda: Index.build(_vectors(400, 300), place, factory="Flat")),
            "add": (base, lambda: Index.open(place).add(_vectors(400, 60))),
            "update": (base, lambda: Index.open(place).update(_vectors(380, 40, seed=7))),
            "remove": (base, lambda: Index.open(place).remove(["3", "5", "8"])),
            "seal": (sealable, lambda: Index.open(place).compact()),
            "rebuild": (rebuildable, lambda: Index.open(place).compact()),
        }
        for name in [alone] if alone else changes:
            start, change = changes[name]
            killed = 4 if quick else 10_000 if name in EVERY_MOMENT else MOMENTS
            one = _one(library, start, place, change, killed=killed, quick=quick)
            found[name] = one
            counts = {key: value for key, value in one.items() if key != "bad"}
            print(f"{name}: {counts}, {len(one['bad'])} left neither state", flush=True)
    return found


def _one(
    library: ctypes.CDLL, start: Path | None, place: Path, change: Callable[[], object], *, killed: int, quick: bool
) -> dict[str, Any]:
    from clipadapt.errors import StoreError

    _restore(start, place)
    old = _state(place)
    library.arm(ctypes.c_long(-1), 1)
    change()
    moments = int(library.changes())
    library.arm(ctypes.c_long(0), 0)
    new = _state(place)
    counts: dict[str, Any] = {"moments": moments, "faults": 0, "kills": 0, "old": 0, "new": 0, "bad": []}

    def judge(what: str, expected: tuple[State | None, ...]) -> None:
        after = _state(place)
        if after not in expected:
            counts["bad"].append(f"{what}: {after}"[:200])
            return
        counts["old" if after == old else "new"] += 1
        if after == old and old != new:
            change()
            if _state(place) != new:
                counts["bad"].append(f"{what}: the same change did not succeed afterwards")

    failures = dict(list(FAILURES.items())[2:]) if quick else FAILURES
    for moment in range(1, moments + 1, 5 if quick else 1):
        for name, mode in failures.items():
            _restore(start, place)
            library.arm(ctypes.c_long(moment), mode)
            told = False
            try:
                change()
            except StoreError:
                told = True
            finally:
                library.arm(ctypes.c_long(0), 0)
            counts["faults"] += 1
            judge(f"change {moment} {name}", (old, new) if told else (new,))  # untold, the change must have been made
    for moment in sorted({round(at) for at in np.linspace(1, moments, min(killed, moments))}):
        for name, mode in list(KILLS.items())[1:2] if quick else KILLS.items():
            _restore(start, place)
            child = os.fork()
            if child == 0:
                library.arm(ctypes.c_long(moment), mode)
                change()
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
                counts["bad"].append(f"kill {name} change {moment}: the process ended by itself")
            counts["kills"] += 1
            judge(f"kill {name} change {moment}", (old, new))
    return counts


def _restore(start: Path | None, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    if start is not None:
        shutil.copytree(start, place)


def _state(place: Path) -> State | None:
    """The index as a reader finds it, every checksum compared; None when nothing was ever written there."""
    from clipadapt.search.index import Index
    from clipadapt.store import Store

    if not Store(place).exists():
        return None
    index = Index.open(place, verify=True)
    (hits,) = index.search(_vectors(0, 1).vectors[0], 5)
    return State(tuple(sorted(index.ids())), tuple((hit.id, round(hit.score, 5)) for hit in hits))


def _vectors(first: int, count: int, seed: int = 0) -> Any:  # Vectors
    from clipadapt.search.items import Items
    from clipadapt.search.vectors import Vectors

    rng = np.random.default_rng((seed, first))
    vectors = rng.standard_normal((count, 32)).astype(np.float32)
    table = pa.table({"id": [str(first + row) for row in range(count)], "price": rng.integers(1, 99, count)})
    return Vectors(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), Items.of(table), "synthetic", None)


if __name__ == "__main__":
    main()
