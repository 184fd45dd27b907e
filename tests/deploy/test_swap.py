"""Another model goes live while the catalogue changes: nothing is lost or encoded in vain, whatever is killed."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from data_factory import write_catalogue, write_table
from swap_shop import Made, content, encoded_while, kill, put, take

from clipadapt.cli import main
from clipadapt.deploy.bundle import gather
from clipadapt.deploy.creation import create
from clipadapt.deploy.releases import Releases
from clipadapt.deploy.swap import conduct, making, pair, plan
from clipadapt.deploy.swap.state import Workplace
from clipadapt.errors import CatalogueError, StoreError, UsageError
from clipadapt.evaluation.gate import Gate
from clipadapt.inputs import resolve
from clipadapt.runs import Run
from clipadapt.search import mirror
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.opening import folder_of
from clipadapt.search.shown import catalogue_of
from clipadapt.search.vectors import Vectors


@pytest.fixture(params=["folder", "milvus"])
def address(request: pytest.FixtureRequest) -> str | None:
    """Where the live index lies; None: in its release."""
    return request.getfixturevalue("in_milvus") if request.param == "milvus" else None


@pytest.fixture
def releases(made: Made, tmp_path: Path, address: str | None) -> Releases:
    return made.releases(tmp_path, address=address)


@pytest.fixture
def in_folder(made: Made, tmp_path: Path) -> Releases:
    return made.releases(tmp_path)


def test_the_plan_says_what_it_costs_and_changes_nothing(
    made: Made, in_folder: Releases, capsys: pytest.CaptureFixture[str]
) -> None:
    releases = in_folder
    before = sorted(path for path in releases.root.rglob("*"))
    arguments = ["release", "swap", str(releases.root), str(made.runs["next"].path), "--gate", str(made.gate)]
    arguments += ["--rate", "36", "--sample", "40", "--dry-run", "--device", "cpu"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["old"], found["items"], found["encode"], found["absent"]) == ("000001", 40, 40, 0)
    assert found["hours"] == pytest.approx(40 / found["images_per_second"] / 3600)
    assert found["money"] == pytest.approx(36 * found["hours"])
    assert 0 < found["needed_bytes"] < found["free_bytes"]
    score = found["score"]
    assert 0 <= score["low"] <= score["neighbours"] <= score["high"] <= 1
    assert (score["items"], score["products"]) == (40, 20)
    assert main(arguments) == 0
    assert "40 items of release 000001, 40 pictures to encode" in capsys.readouterr().out
    assert sorted(path for path in releases.root.rglob("*")) == before


def test_neighbours_that_stay_are_counted_among_other_products() -> None:
    old = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2]] + 0.1
    products = np.array(["a", "a", "b", "c", "d"])
    assert plan.neighbours_kept(old, old, products, 1).tolist() == [1] * 5
    new = old[:, [2, 1, 0, 3]]  # item 4 changes places with items 0 and 1, and all but b and c are alike
    assert plan.neighbours_kept(old, new, products, 1).tolist()[2:4] == [1, 1]
    turned = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    kept = plan.neighbours_kept(turned, turned @ np.linalg.qr(turned[:16])[0], np.arange(200).astype(str))
    assert kept.mean() > 0.99, "a rotation changes nothing"
    other = np.random.default_rng(1).standard_normal((200, 16)).astype(np.float32)
    assert plan.neighbours_kept(turned, other, np.arange(200).astype(str)).mean() < 0.1


def test_a_text_tower_is_swapped_without_encoding_a_picture(
    made: Made, tmp_path: Path, address: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    releases = made.releases(tmp_path, "words", address)
    arguments = ["release", "swap", str(releases.root), str(made.runs["words2"].path), "--gate", str(made.gate)]
    arguments += ["--no-stay", "--device", "cpu", "--rate", "5", "--compatibility-gate"]
    assert main([*arguments, str(made.root / "strict.yaml")]) == 3
    assert releases.store.version() == "000001"
    capsys.readouterr()
    real, changes = conduct.create, iter([lambda: put(made, releases, ["0040"], baseColour="Red")])

    def create_meanwhile(*given: Any, **named: Any) -> Any:
        result = real(*given, **named)
        next(changes)()
        take(made, releases, ["0001", "0002"])
        monkeypatch.setattr("clipadapt.search.embed.embed_pictures", lambda *_, **__: pytest.fail("encoded"))
        return result

    monkeypatch.setattr(conduct, "create", create_meanwhile)
    assert main([*arguments, str(made.root / "lax.yaml")]) == 0
    out, err = capsys.readouterr()
    assert out == "000002\n"
    assert "nothing is encoded" in err
    first, second = (Index.open(releases.folder(version) / "index") for version in ("000001", "000002"))
    ids = sorted(first.ids())
    assert ids == sorted(second.ids()) and "0040" in ids and "0001" not in ids
    assert np.array_equal(first.backend.vectors(ids), second.backend.vectors(ids))
    assert [gate.gate for gate in releases.all()[1].info.gates] == ["shop", "lax"]  # pyright: ignore[reportOptionalMemberAccess]
    take(made, releases, ["0003"])
    assert main(["release", "rollback", str(releases.root)]) == 0
    assert not Index.open(releases.root).holds("0003")


def test_changes_that_are_made_meanwhile_reach_the_new_index(made: Made, releases: Releases) -> None:
    """A writer never stops; at the end the new index has exactly what was acknowledged."""
    expected = content(made, releases, "000001")
    ended, faults = threading.Event(), []
    rng = np.random.default_rng(0)
    new = [f"{number:04d}" for number in range(40, 60)]

    def write() -> None:
        try:
            while not ended.is_set():
                kind = rng.integers(3)
                if kind == 0 and len(expected) > 20:
                    gone = sorted(expected)[int(rng.integers(len(expected)))]
                    take(made, releases, [gone])
                    del expected[gone]
                else:
                    item = str(rng.choice(new if kind == 1 else sorted(expected)))
                    cells = {"baseColour": "Red", "stock": int(rng.integers(100))}
                    put(made, releases, [item], **cells)
                    expected[item] = cells
        except BaseException as error:
            faults.append(error)
            raise

    writer = threading.Thread(target=write)
    writer.start()
    try:
        kept = made.live(releases)
    finally:
        ended.set()
        writer.join(60)
    assert not faults and releases.store.version() == "000002"
    assert content(made, releases, "000002") == expected
    kept.step()
    assert content(made, releases, "000001") == expected, "and the old one has what came after"


def test_the_way_back_keeps_every_change_and_so_does_the_way_forth(
    made: Made, releases: Releases, address: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    made.live(releases)
    first = Path(made.root / "releases of old") if address is None else releases.root  # the other is a copy of it
    for folder in (first / "versions/000001/index", releases.folder("000002") / "index"):
        shown = catalogue_of(Index.open(folder).meta.catalogue, folder_of(folder))
        assert shown is not None and Path(shown.source).samefile(made.shop), "found from where the release lies"
    put(made, releases, ["0041", "0003"], baseColour="Blue")
    take(made, releases, ["0005"])
    expected = content(made, releases, "000002")
    assert len(expected) == 40
    assert main(["release", "rollback", str(releases.root)]) == 0
    assert capsys.readouterr().out == "000001\n"
    assert content(made, releases, "000001") == expected
    put(made, releases, ["0042"], baseColour="Green")
    take(made, releases, ["0041"])
    with pytest.raises(StoreError, match="changes go to the index of 000001"):
        Index.open(releases.folder("000002") / "index").remove(["0042"])
    assert main(["release", "promote", str(releases.root), "2"]) == 0
    assert content(made, releases, "000002").keys() == {*expected, "0042"} - {"0041"}
    take(made, releases, ["0042"])
    assert main(["release", "rollback", str(releases.root), "--at-once"]) == 0
    assert "0042" in content(made, releases, "000001"), "at once, so this change is not there"


def test_who_stays_keeps_both_the_same_until_the_swap_ends(made: Made, releases: Releases) -> None:
    kept = made.live(releases)
    lines: list[str] = []
    put(made, releases, ["0043"], baseColour="Blue")
    work = Workplace(releases)

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) == 1:
            take(made, releases, ["0043", "0007"])
        else:
            work.remove()

    until = releases.clock().replace(year=2200)
    assert not kept.stay(until, 0.01, say), "the swap was ended"
    assert lines == [
        "1 changed and 0 removed items reached release 000001",
        "0 changed and 2 removed items reached release 000001",
    ]
    assert content(made, releases, "000001").keys() == content(made, releases, "000002").keys()


def test_going_back_at_once_stops_what_is_being_copied_the_other_way(
    made: Made, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = made.live(releases)
    put(made, releases, ["0003"], baseColour="Blue")
    real, moments = mirror.Mirror.run, iter([releases.rollback])

    def run(self: mirror.Mirror, *given: Any) -> bool:
        """What is to be copied is known, and then the index that it is copied into takes changes itself."""
        if (moment := next(moments, None)) is not None:
            moment()
            put(made, releases, ["0003"], baseColour="Green")
        return real(self, *given)

    monkeypatch.setattr(mirror.Mirror, "run", run)
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        Workplace(releases).remove()

    assert not kept.stay(releases.clock().replace(year=2200), 0.01, say)
    assert lines == ["1 changed and 0 removed items reached release 000002"]
    for version in ("000001", "000002"):
        assert content(made, releases, version)["0003"] == {"baseColour": "Green"}


def test_a_swap_that_another_moved_the_pointer_under_moves_it_no_further(
    made: Made, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(releases, gather(made.runs["next"], Gate.load(made.gate), indexed=False))
    releases.promote("2")
    releases.promote("1")
    made.live(releases)
    kept = pair.Pair.of(releases)
    assert kept is not None
    real, moments = mirror.Mirror.run, iter([releases.rollback])

    def run(self: mirror.Mirror, *given: Any) -> bool:
        found = real(self, *given)
        if (moment := next(moments, None)) is not None:
            moment()
        return found

    monkeypatch.setattr(mirror.Mirror, "run", run)
    with pytest.raises(StoreError, match="000001 became live in place of 000003"):
        kept.switch(releases.rollback)
    assert releases.store.version() == "000001", "two who go back go one step"


def test_a_release_that_is_ready_goes_live_by_promote(
    made: Made, releases: Releases, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["release", "swap", str(releases.root)]
    first = [*given, str(made.runs["next"].path), "--gate", str(made.gate), "--hold", "--no-stay", "--device", "cpu"]
    assert main(first) == 0
    assert releases.store.version() == "000001"
    take(made, releases, ["0000"])
    assert main([*given, "--finish"]) == 2
    assert "000001 is live, which was to be replaced" in capsys.readouterr().err
    assert main(["release", "promote", str(releases.root), "2"]) == 0
    assert "0000" not in content(made, releases, "000002")
    assert main([*given, "--give-up"]) == 2
    assert "000002 is live already" in capsys.readouterr().err
    assert main([*given, "--finish"]) == 0
    assert main([*given, "--finish"]) == 2
    assert "no swap is going on" in capsys.readouterr().err
    assert not (releases.root / "swap").exists()
    put(made, releases, ["0044"], baseColour="Blue")
    assert "0044" in content(made, releases, "000002")


MOMENTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "before the first batch is written": lambda patch: kill(patch, Index, "build", 1),
    "after the second batch": lambda patch: kill(patch, making.Ledger, "add", 2),
    "before the index is built whole": lambda patch: kill(patch, Index, "build", 1),
    "while the release is made": lambda patch: kill(patch, conduct, "create", 1),
    "after it was made": lambda patch: kill(patch, pair, "pair_index", 1),
    "between the two indexes": lambda patch: kill(patch, pair, "pair_index", 2),
    "before it goes live": lambda patch: kill(patch, Releases, "promote", 1),
}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # of Python 3.12
def test_killed_at_any_moment_the_old_release_serves_on_and_the_swap_goes_on(
    made: Made, in_folder: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases = in_folder
    monkeypatch.setattr(making, "BATCH", 16)
    monkeypatch.setattr("clipadapt.search.mirror.BATCH", 16)
    for number, (moment, patch) in enumerate(MOMENTS.items()):
        child = os.fork()
        if not child:
            patch(monkeypatch)
            made.live(releases)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, moment
        assert releases.store.version() == "000001", moment
        releases.store.current(verify=True)
        put(made, releases, [f"{40 + number:04d}"], baseColour="Blue")
        take(made, releases, [f"{number:04d}"])
    encoded = encoded_while(monkeypatch, lambda: made.live(releases))
    found = content(made, releases, releases.store.version())
    assert found.keys() == {f"{number:04d}" for number in range(len(MOMENTS), 40 + len(MOMENTS))}
    assert encoded <= {f"{40 + number:04d}" for number in range(len(MOMENTS))}, "the rest was done before"
    assert not (releases.root / "swap" / "index").exists()


def test_what_cannot_be_swapped_is_refused(made: Made, in_folder: Releases, tmp_path: Path) -> None:
    releases = in_folder
    with pytest.raises(UsageError, match="no release is live"):
        made.swap(Releases(tmp_path / "none"))
    with pytest.raises(UsageError, match="is the model of release 000001 already"):
        made.swap(releases, "old")
    other = resolve(source=str(write_catalogue(tmp_path / "other", items=8))).data
    rows = [{"file_name": f"x{number}.png", "id": f"x{number}", "baseColour": "Red"} for number in range(4)]
    write_table(tmp_path / "strangers" / "train", rows)
    strangers = resolve(source=str(tmp_path / "strangers")).data
    with pytest.raises(CatalogueError, match=r"not one of 40 sampled items .*--source"):
        made.swap(releases, data=strangers).plan(sample=64)
    bare = made.releases(tmp_path / "bare")
    shutil.rmtree(bare.folder("000001") / "index")
    with pytest.raises(UsageError, match="a release without an index has none to swap"):
        made.swap(bare)
    swap = made.swap(releases)
    with pytest.raises(StoreError, match="MiB for a while and 0 MiB are free"):
        swap.prepare(swap.plan(sample=8)._replace(free_bytes=0))
    assert not (releases.root / "swap").exists()
    with swap.work.lock(), pytest.raises(StoreError, match="another process is at work on this swap"), swap.work.lock():
        pass
    with pytest.raises(CatalogueError, match=r"32 item\(s\) of .* have no picture to encode"):
        few = made.swap(releases, data=other)
        few.prepare(few.plan(sample=40))
    with pytest.raises(UsageError, match=r"a swap to .*next is going on"):
        made.swap(releases, "words")


def test_items_without_a_picture_stop_it_unless_they_may_be_left_out(made: Made, in_folder: Releases) -> None:
    releases = in_folder
    item = Items.of(pa.table({"id": ["elsewhere"]}))
    index = Index.open(releases.root)
    index.add(Vectors(index.vector("0000")[None], item, index.meta.image_space, None))
    swap = made.swap(releases)
    found = swap.plan(sample=40)
    assert (found.items, found.absent) == (41, 1)
    with pytest.raises(CatalogueError, match=r"1 item\(s\).*\n.*elsewhere: not in .*\n.*--most-missing"):
        swap.prepare(found)
    assert releases.store.version() == "000001"
    made.live(releases, most_missing=1)
    assert len(content(made, releases, "000002")) == 40


def test_items_without_a_picture_may_be_left_out_when_the_release_is_made_already(
    made: Made, in_folder: Releases, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    releases = in_folder
    given = ["release", "swap", str(releases.root), str(made.runs["next"].path), "--gate", str(made.gate)]
    given += ["--device", "cpu", "--no-stay"]
    assert main([*given, "--hold"]) == 0
    index = Index.open(releases.root)
    index.add(Vectors(index.vector("0000")[None], Items.of(pa.table({"id": ["x"]})), index.meta.image_space, None))
    assert main(given) == 2
    assert "or allow so many to be left out with --most-missing" in capsys.readouterr().err
    moved = shutil.copytree(made.shop, tmp_path / "moved")
    assert main([*given, "--hold", "--most-missing", "1", "--source", str(moved)]) == 0
    state = Workplace(releases).state()
    assert state is not None and state.most_missing == 1
    assert Path(Workplace(releases).data_of(state).source) == moved
    assert main(given) == 0, "it is remembered"
    assert len(content(made, releases, "000002")) == 40
    assert main([*given, "--most-missing", "2"]) == 0
    state = Workplace(releases).state()
    assert state is not None and state.most_missing == 2, "for the way back, too"


def test_what_a_swap_left_that_ended_does_not_reach_the_next_one(
    made: Made, in_folder: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases = in_folder
    with monkeypatch.context() as patch:
        patch.setattr(conduct, "create", lambda *_, **__: (_ for _ in ()).throw(StoreError("stopped")))
        with pytest.raises(StoreError, match="stopped"):
            made.live(releases)
    (releases.root / "swap" / "swap.json").unlink()  # killed in --give-up
    assert made.swap(releases, "words").plan(sample=40).encode == 40
    made.live(releases, "words")
    assert len(content(made, releases, "000002")) == 40, "of the right model"


def test_a_writer_that_is_too_quick_leaves_the_old_one_live(
    made: Made, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = made.swap(releases)
    ready = swap.prepare(swap.plan(sample=8))
    monkeypatch.setattr(pair, "_CELLS", -1)
    with pytest.raises(StoreError, match=r"000001 stays live, for its index changes faster"):
        swap.go_live(ready, 7)
    assert releases.store.version() == "000001"
    state = ready.work.state()
    assert state is not None and replace(state, until=None) == replace(ready.state, until=None)
    Run.open(ready.work.path_of(state))
