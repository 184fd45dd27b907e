"""Releases promoted under load, and a service killed while they are: failed requests, restarts, and what the log lost.

    python eval/benchmarks/serve_promotions.py runs/quickstart/releases [--kills 50] [--promotions 12] [--quick]

Works on copies of the promoted release. First 32 clients search while releases are promoted in turn: every answer
counts, and memory after each switch shows whether it levels off. Then, at each of 50 moments spread over a promotion
and what follows it, `kill -9` takes the service under the load of 8 clients; it is started again on the same folders.
Every fifth promotion is of a release that is damaged at once, so that the last good one is another than the promoted
one. A lost answer is one that a client had received and the event log does not hold; its age, at most, is the time to
the kill from when the service had it, as the client knows, or from the last record that was kept, whichever is later;
at least, it is the time from when the client had it. The two are far apart where the service stood still in between.
Services are forked from a process that has imported everything, so that starts take a moment and not most of the
time; what they load they load anew. Writes eval/results/serve_promotions.json; --quick kills 3 times and writes no
file.
"""

import argparse
import asyncio
import contextlib
import datetime
import itertools
import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from http_load import Queries, Service, forked
from machine import publish

from clipadapt.deploy.event_log.parts import parts
from clipadapt.deploy.event_log.read import read
from clipadapt.deploy.lineage import ReleaseInfo
from clipadapt.deploy.loading import release_folder
from clipadapt.deploy.releases import Releases
from clipadapt.store import MANIFEST

KINDS = ("text", "repeated", "repeated", "repeated", "picture")
LATEST_KILL = 1.2
"""Times the longest that a promotion took, from its begin to the first answer of the new release, in the first part."""
DAMAGED_EVERY = 5
WHOLE, DAMAGED = ("000002", "000001"), "000003"


class Answer(NamedTuple):
    """What one request came to."""

    failed: str | None
    """Why it counts as failed; null: answered with 200."""
    release: str = ""
    query_id: str = ""
    sent: float = 0.0
    arrived: float = 0.0
    recorded: float = 0.0
    """When it was written down, at the earliest; all three by time.perf_counter."""


class Load(NamedTuple):
    """What clients got until the service was killed."""

    answers: list[Answer]
    began: float
    """The promotion."""
    killed: float
    killed_at: datetime.datetime


class Kill(NamedTuple):
    """One kill and the start after it."""

    after: float
    """Seconds from the begin of the promotion."""
    answered: int
    lost: int
    oldest_lost: float
    """Seconds before the kill, at most; 0 where none was lost."""
    oldest_lost_at_least: float
    failed_before: int
    """Requests that failed before the kill."""
    broken_lines: int
    served: str
    good: str
    """The release that the start should serve."""
    start_seconds: float
    """Without imports."""


def main() -> None:
    """Promotes, kills, writes eval/results/serve_promotions.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", help="folder of releases, of which one is promoted")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--clients", type=int, default=32, help="during the promotions without a kill")
    parser.add_argument("--promotions", type=int, default=12, help="of those")
    parser.add_argument("--quick", action="store_true", help="3 kills, no file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        releases = copies(release_folder(arguments.releases), Path(scratch) / "releases")
        calm = promotions(releases, arguments.clients, arguments.promotions)
        kills = 3 if arguments.quick else arguments.kills
        latest = LATEST_KILL * max(calm["seconds_to_switch"])
        found = killings(releases, Path(scratch) / "log", kills, latest)
    memory = calm["memory_mb"]
    headline = {
        "failed_requests": calm["failed"], "answered": calm["answered"], "kills": len(found),
        "started_on_the_last_good": sum(one.served == one.good for one in found),
        "broken_lines": sum(one.broken_lines for one in found), "lost": sum(one.lost for one in found),
        "oldest_lost_seconds": max(one.oldest_lost for one in found),
        "oldest_lost_seconds_at_least": max(one.oldest_lost_at_least for one in found),
        "failed_before_a_kill": sum(one.failed_before for one in found),
        "memory_growth_of_later_half": round(memory[-1] / memory[len(memory) // 2] - 1, 4),
    }  # fmt: skip
    if arguments.quick:
        print(json.dumps(headline))
        return
    publish("serve_promotions", headline, {"promotions": calm, "kills": [one._asdict() for one in found]})


def copies(release: Path, root: Path) -> Releases:
    """A folder of three copies of a release, the first promoted."""
    releases = Releases(root)
    info = ReleaseInfo.read(release).to_json()

    def fill(folder: Path) -> None:
        shutil.copytree(release, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        index = Path("index") / "versions"
        shutil.copytree(release / index, folder / index, dirs_exist_ok=True)  # whose manifests belong to it

    for _ in range(3):
        releases.store.add(fill, {"release": info})
    releases.promote("1")
    return releases


def promotions(releases: Releases, clients: int, count: int) -> dict[str, Any]:
    """All clients search while two releases are promoted in turn, each once the one before answers."""
    with forked(str(releases.root), []) as service:
        answers, seconds, memory = asyncio.run(_promoted_under_load(releases, service, clients, count))
    times = sorted(one.arrived - one.sent for one in answers if one.failed is None)
    return {
        "clients": clients, "promotions": count, "answered": len(times),
        "failed": sum(one.failed is not None for one in answers),
        "failures": dict(Counter(one.failed for one in answers if one.failed is not None)),
        "by_release": dict(Counter(one.release for one in answers if one.failed is None)),
        "seconds_to_switch": seconds, "p50_ms": round(1e3 * times[len(times) // 2], 1),
        "p99_ms": round(1e3 * times[int(0.99 * len(times))], 1), "longest_ms": round(1e3 * times[-1], 1),
        "memory_mb": memory,
    }  # fmt: skip


async def _promoted_under_load(
    releases: Releases, service: Service, clients: int, count: int
) -> tuple[list[Answer], list[float], list[float]]:
    """All answers; seconds until each promoted release answered; memory under load before, and a second after each."""
    answers: list[Answer] = []
    done = asyncio.Event()
    load = [asyncio.create_task(search(service, answers, done.is_set)) for _ in range(clients)]
    await asyncio.sleep(1.0)
    seconds, memory = [], [round(service.memory_mb(), 1)]
    for version in itertools.islice(itertools.cycle(WHOLE), count):
        started, seen = time.perf_counter(), len(answers)
        await asyncio.to_thread(releases.promote, version)
        while not any(one.release == version and one.sent > started for one in answers[seen:]):  # none from before
            if time.perf_counter() - started > 60:
                raise SystemExit(f"release {version} did not answer within a minute")
            await asyncio.sleep(0.02)
        seconds.append(round(time.perf_counter() - started, 2))
        await asyncio.sleep(1.0)
        memory.append(round(service.memory_mb(), 1))
    done.set()
    await asyncio.gather(*load)
    return answers, seconds, memory


def killings(releases: Releases, log: Path, kills: int, latest: float) -> list[Kill]:
    """Kills at moments in equal steps up to `latest` seconds; what is started after one is the next to be killed."""
    found: list[Kill] = []
    with contextlib.ExitStack() as running:

        def start() -> Service:
            return running.enter_context(forked(str(releases.root), ["--log", str(log)]))

        service = start()
        for number in range(kills):
            after = latest * (number + 0.5) / kills
            current = releases.store.version()
            damaged = number % DAMAGED_EVERY == DAMAGED_EVERY - 1
            target = DAMAGED if damaged else next(one for one in WHOLE if one != current)
            load = asyncio.run(_until_killed(releases, service, target, after))
            running.close()
            broken = _broken_lines(log)  # before a start cuts off what a crash left
            service = start()
            found.append(_judged(load, log, broken, service, current if damaged else target))
            print(json.dumps(found[-1]._asdict()), flush=True)
            if damaged:
                _flip(releases)
                releases.promote(current)
    return found


def _judged(load: Load, log: Path, broken: int, service: Service, good: str) -> Kill:
    records = read(log, "answers")
    kept = set(records.table.column("query_id").to_pylist())
    received = [one for one in load.answers if one.failed is None]
    lost = [one for one in received if one.query_id not in kept]
    # Records are written in order, so that what was lost is younger than the last that was kept.
    last = max(records.table.column("ts").to_pylist(), default=datetime.datetime.min.replace(tzinfo=datetime.UTC))
    since = (load.killed_at - last).total_seconds()
    return Kill(
        round(load.killed - load.began, 2), len(received), len(lost),
        round(max((min(load.killed - one.recorded, since) for one in lost), default=0.0), 3),
        round(max((load.killed - one.arrived for one in lost), default=0.0), 3),
        sum(one.failed is not None and one.arrived < load.killed for one in load.answers),
        broken + sum(records.faults.values()), service.get("/info")["current"]["release"], good,
        round(service.start_seconds, 2),
    )  # fmt: skip


async def _until_killed(releases: Releases, service: Service, target: str, after: float) -> Load:
    """Searches, promotes, and kills the service; a promotion that has begun goes on without it."""
    answers: list[Answer] = []
    ended = asyncio.Event()
    load = [asyncio.create_task(search(service, answers, ended.is_set)) for _ in range(8)]
    await asyncio.sleep(1.5)  # so that there is something older than a second to lose
    while len(answers) < 50:
        await asyncio.sleep(0.02)

    def promote() -> None:
        releases.promote(target)
        if target == DAMAGED:
            _flip(releases)

    began = time.perf_counter()
    promotion = asyncio.create_task(asyncio.to_thread(promote))
    await asyncio.sleep(after)
    killed = time.perf_counter()
    killed_at = datetime.datetime.now(datetime.UTC)
    os.kill(service.pid, signal.SIGKILL)
    ended.set()
    await asyncio.gather(*load)
    await promotion
    return Load(answers, began, killed, killed_at)


async def search(service: Service, answers: list[Answer], ended: Callable[[], bool]) -> None:
    """One client that asks until it is told to end or its connection breaks."""
    queries, kinds = Queries(service, None), itertools.cycle(KINDS)
    reader, writer = await asyncio.open_connection(service.host, service.port)
    while not ended():
        request, sent = queries.of(next(kinds)), time.perf_counter()
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.findall(rb"(?i)content-length: (\d+)", head)[0])
            body = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            answers.append(Answer(type(error).__name__, sent=sent, arrived=time.perf_counter()))
            break
        arrived, status = time.perf_counter(), int(head.split(b" ", 2)[1])
        if status != 200:
            answers.append(Answer(str(status), sent=sent, arrived=arrived))
            continue
        content = json.loads(body)
        recorded = sent + content["took_ms"] / 1e3
        answers.append(Answer(None, content["release"], content["query_id"], sent, arrived, recorded))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _broken_lines(log: Path) -> int:
    """Whole lines that are no JSON; half a line at the end is the writer's last, which the next start cuts off."""
    broken = 0
    for part in parts(log, "answers"):
        data = part.read_bytes()
        for line in data[: data.rfind(b"\n") + 1].splitlines():
            try:
                json.loads(line)
            except ValueError:
                broken += 1
    return broken


def _flip(releases: Releases) -> None:
    """Changes one byte of the model that is to be damaged; a second call changes it back."""
    file = releases.folder(DAMAGED) / "model" / "open_clip_model.safetensors"
    file.chmod(0o644)
    with file.open("r+b") as handle:
        handle.seek(-20, os.SEEK_END)
        byte = handle.read(1)[0]
        handle.seek(-20, os.SEEK_END)
        handle.write(bytes([byte ^ 0xFF]))


if __name__ == "__main__":
    main()
