"""Two processes that promote at once, round after round: one wins, the other says why, what is current is whole.

    python eval/benchmarks/release_races.py [--rounds 100] [--quick]

Both processes read the pointer, wait for the same word, then promote different releases. Writes
eval/results/release_races.json. --quick runs 10 rounds and writes no file.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from clipadapt.deploy.lineage import ReleaseInfo
from clipadapt.deploy.releases import Releases
from clipadapt.errors import StoreError

_PROMOTER = """
import sys
from clipadapt.deploy.releases import Releases
from clipadapt.errors import StoreError
print("ready", flush=True)
for line in sys.stdin:
    root, version = line.split()
    releases = Releases(root)
    seen = releases.store.pointer()
    print("seen", flush=True)
    sys.stdin.readline()
    try:
        releases.promote(version, seen=seen)
        print("won", flush=True)
    except StoreError as error:
        print(f"lost {error}", flush=True)
"""


class Round(NamedTuple):
    """What became of one race."""

    said: tuple[str, ...]
    """won or lost, by process."""
    winner: str
    current: str
    reason: str
    """What the loser said."""
    whole: bool
    """Whether every checksum of the current release held."""


def race(releases: Releases, rounds: int) -> list[Round]:
    """Two processes promote among the first four releases, of which there must be as many."""
    releases.promote("000002")
    both = [
        subprocess.Popen([sys.executable, "-c", _PROMOTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        assert {_hear(one) for one in both} == {"ready"}
        return [
            _round(releases, both, ("000002", "000003") if at % 2 else ("000004", "000001")) for at in range(rounds)
        ]
    finally:
        for one in both:
            one.communicate()


def _round(releases: Releases, both: list[subprocess.Popen[str]], versions: tuple[str, str]) -> Round:
    for one, version in zip(both, versions, strict=True):
        _say(one, f"{releases.root} {version}")
    assert {_hear(one) for one in both} == {"seen"}
    for one in both:
        _say(one, "go")
    lines = [_hear(one) for one in both]
    said = tuple(line.split(" ")[0] for line in lines)
    winner = versions[said.index("won")] if "won" in said else "none"
    reason = next((line for line in lines if line.startswith("lost")), "")
    try:
        releases.store.current(verify=True)
        whole = True
    except StoreError:
        whole = False
    return Round(said, winner, releases.store.version(), reason, whole)


def _say(one: subprocess.Popen[str], line: str) -> None:
    assert one.stdin is not None, "has a pipe"
    print(line, file=one.stdin, flush=True)


def _hear(one: subprocess.Popen[str]) -> str:
    assert one.stdout is not None, "has a pipe"
    return one.stdout.readline().strip()


def _weights(folder: Path) -> None:
    (folder / "weights").write_bytes(bytes(2**20))


def main() -> None:
    from machine import publish

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="10 rounds, no file")
    arguments = parser.parse_args()
    rounds = 10 if arguments.quick else arguments.rounds
    with tempfile.TemporaryDirectory() as folder:
        releases = Releases(Path(folder) / "releases")
        for number in range(4):
            info = ReleaseInfo(
                datetime.now(UTC), f"race {number}", "none", None, None, "image", "text", {}, (), {}, "", "0"
            )
            releases.store.add(_weights, {"release": info.to_json()})
        found = race(releases, rounds)
    one_won = sum(sorted(one.said) == ["lost", "won"] for one in found)
    told = sum(one.winner in one.reason for one in found)
    whole = sum(one.whole and one.current == one.winner for one in found)
    wins = Counter(one.said.index("won") for one in found if "won" in one.said)
    headline = {"rounds": rounds, "one_won": one_won, "loser_named_the_winner": told, "whole_and_the_winners": whole}
    if arguments.quick:
        print(json.dumps(headline))
        return
    publish(
        "release_races",
        headline,
        {"wins_by_process": [wins[0], wins[1]], "example": found[-1].reason.split(": ", 1)[1]},
    )


if __name__ == "__main__":
    main()
