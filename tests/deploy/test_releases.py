"""The store of releases points at a whole release, whatever fails, whoever races, however old the rest is."""

import errno
import importlib.util
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from failing_disk import FailingDisk
from runs_factory import write_run

from clipadapt import store as store_module
from clipadapt.deploy import creation as module
from clipadapt.deploy.bundle import Bundle, gather
from clipadapt.deploy.creation import create
from clipadapt.deploy.lineage import ReleaseInfo
from clipadapt.deploy.releases import Releases
from clipadapt.errors import ModelError, StoreError, UsageError
from clipadapt.evaluation.gate import Gate
from clipadapt.manifest import MANIFEST, check_manifest
from clipadapt.runs import Run
from clipadapt.search.index import Index
from clipadapt.towers.load import load

RACES = Path(__file__).parents[2] / "eval" / "benchmarks" / "release_races.py"
START = datetime(2030, 1, 1, tzinfo=UTC)


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(scope="module")
def bundle(first: Run, gate: Path) -> Bundle:
    return gather(first, Gate.load(gate))


@pytest.fixture
def few(bundle: Bundle) -> Bundle:
    """Enough files for each kind of copy, few enough to fail each in turn."""
    wanted = ("model/clipadapt.json", "prompts.yaml")
    files = tuple(file for file in bundle.files if file.target in wanted)
    assert bundle.indexed is not None
    card = tuple(file for file in bundle.indexed.files if file.target == "index.json")
    return bundle._replace(files=files, indexed=bundle.indexed._replace(files=card))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def releases(tmp_path: Path, clock: Clock) -> Releases:
    return Releases(tmp_path / "releases", clock=clock)


def whole(releases: Releases) -> str | None:
    """What is current, every checksum compared; and nothing half-written stands among the versions."""
    for version in releases.store.versions():
        assert check_manifest(releases.root / "versions" / version, verify=True) == []
        ReleaseInfo.read(releases.root / "versions" / version)
    if not releases.store.exists():
        return None
    releases.store.current(verify=True)
    return releases.store.version()


def test_a_release_outlives_its_run_and_works_where_it_is_moved_to(
    base: Path, gate: Path, releases: Releases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "runs" / "gone", base, 4)
    texts = ["a red shirt", "a striped shirt"]
    expected, space = load(f"run:{run.path}").encode_texts(texts), load(f"run:{run.path}").image_space
    made = create(releases, gather(run, Gate.load(gate)), note="first of all")
    assert (made.version, releases.store.exists()) == ("000001", False)
    with pytest.raises(StoreError, match="nothing was written here yet"):
        load(f"release:{releases.root}")
    releases.promote("000001")
    for path in run.path.rglob("*"):
        if path.is_file():
            path.write_bytes(b"edited")
    shutil.rmtree(run.path)
    for name in (f"release:{releases.root}", f"release:{made.folder}", str(made.folder)):
        encoder = load(name)
        assert (encoder.encode_texts(texts) - expected).abs().max() <= 1e-5
        assert encoder.image_space == space
        assert encoder.name.startswith("release:")
    index = Index.open(made.folder / "index")
    assert index.model == f"local-dir:{made.folder / 'model'}", "its own, and not the run's"
    assert len(index.search("a red shirt", 3)[0]) == 3
    document = json.loads((made.folder / MANIFEST).read_text())
    assert document["release"]["created"] == "2030-01-01T00:00:00+00:00"
    assert document["release"]["gates"][0]["passed"] is True
    assert document["release"]["note"] == "first of all"
    found = index.search(texts, 3)
    copied = shutil.copytree(made.folder, tmp_path / "elsewhere")
    releases.root.rename(tmp_path / "put away")
    for file in copied.rglob("*"):
        file.chmod(0o555 if file.is_dir() else 0o444)
    monkeypatch.chdir(tmp_path.parent)
    moved = Index.open(copied / "index")
    assert moved.search(texts, 3) == found
    speaking = [file for file in copied.rglob("*.json") if file.name != "environment.json"]
    assert not [file for file in speaking if str(tmp_path.parent) in file.read_text()]
    copied.chmod(0o755)
    assert load(f"release:{copied}").image_space == space
    (copied / "prompts.yaml").unlink()
    with pytest.raises(StoreError, match=r"prompts\.yaml cannot be read"):
        load(f"release:{copied}")
    with pytest.raises(ModelError, match="no such release"):
        load(f"release:{tmp_path}")


def test_a_release_made_from_another_names_it_as_parent(
    bundle: Bundle, base: Path, gate: Path, releases: Releases, tmp_path: Path, clock: Clock
) -> None:
    made = create(releases, bundle)
    run = write_run(tmp_path / "runs" / "child", made.folder / "model", 5)
    child = create(releases, gather(run, Gate.load(gate)))
    assert child.info is not None
    assert (child.info.parent, child.info.follows) == ("000001", None)
    releases.promote(child.version)
    clock.now += timedelta(days=100)
    with pytest.raises(StoreError, match="000001: 000002, which stays, was made from it"):
        releases.purge(["000001"])


def test_promote_and_rollback_walk_the_same_way_back(few: Bundle, releases: Releases) -> None:
    for _ in range(3):
        create(releases, few)
    with pytest.raises(StoreError, match="nothing to roll back to"):
        releases.rollback()
    for version in ("000001", "000002", "000003"):
        assert releases.promote(version).version == version
    with pytest.raises(UsageError, match="current release already"):
        releases.promote("000003")
    assert [(one.current, one.target) for one in releases.all()] == [(False, False), (False, True), (True, False)]
    assert releases.rollback().version == "000002"
    assert releases.rollback().version == "000001"
    with pytest.raises(StoreError, match="nothing to roll back to"):
        releases.rollback()
    assert whole(releases) == "000001"
    with pytest.raises(StoreError, match="no release '000009'"):
        releases.promote("000009")


def test_rollback_reads_no_file_of_the_release_and_copies_none(
    few: Bundle, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("000001", "000002"):
        create(releases, few)
        releases.promote(version)
    read: list[str] = []
    real = store_module.sha256_file
    monkeypatch.setattr(store_module, "sha256_file", lambda path: (read.append(Path(path).name), real(path))[1])
    faults = FailingDisk(monkeypatch, errno.EIO)
    releases.rollback()
    assert set(read) == {MANIFEST}
    assert "copyfile" not in faults.calls
    assert faults.calls.count("replace") == 1
    assert faults.calls.count("rename") == 0
    assert faults.calls.count("fsync") == 2  # the new pointer, and the folder it is in
    assert releases.store.version() == "000001"


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("verb", ["create", "promote", "rollback", "purge"])
def test_every_failing_call_leaves_a_whole_release_current(
    few: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, code: int
) -> None:
    clock = Clock()
    started = Releases(tmp_path / "started", clock=clock)
    for _ in range(5):
        create(started, few)
    for version in ("000002", "000003"):
        started.promote(version)
    clock.now += timedelta(days=31)
    place = tmp_path / "releases"
    releases = Releases(place, clock=clock)
    changes: dict[str, Callable[[], object]] = {
        "create": lambda: create(releases, few),
        "promote": lambda: releases.promote("000004"),
        "rollback": releases.rollback,
        "purge": releases.purge,
    }
    outcome = {"create": "000003", "promote": "000004", "rollback": "000002", "purge": "000003"}[verb]
    faults = FailingDisk(monkeypatch, code)
    shutil.copytree(started.root, place)
    faults.arm(-1)
    changes[verb]()
    count, after = len(faults.calls), releases.store.versions()
    assert count >= 2
    for number in range(1, count + 1):
        faults.arm(-1)
        shutil.rmtree(place)
        shutil.copytree(started.root, place)
        faults.arm(number)
        with pytest.raises(StoreError, match="releases"):
            changes[verb]()
        calls = list(faults.calls)
        faults.arm(-1)
        assert whole(releases) in ("000003", outcome), calls
        assert [path.name for path in place.iterdir() if path.name.startswith(".")] == [], calls
        changed = releases.store.version() != "000003" or releases.store.versions() != started.store.versions()
        if not changed:
            changes[verb]()
            assert releases.store.versions() == after
            assert whole(releases) == outcome


def test_of_two_promoters_one_wins_and_the_other_says_why(few: Bundle, releases: Releases) -> None:
    for _ in range(4):
        create(releases, few)
    spec = importlib.util.spec_from_file_location("release_races", RACES)
    assert spec is not None
    assert spec.loader is not None
    races = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(races)
    found = races.race(releases, 20)
    assert len(found) == 20
    for one in found:
        assert sorted(one.said) == ["lost", "won"]
        assert one.current == one.winner
        assert f"says {one.winner} (promoted " in one.reason
        assert "by process " in one.reason
        assert one.whole


def test_a_promotion_on_old_knowledge_is_refused(few: Bundle, releases: Releases) -> None:
    for _ in range(2):
        create(releases, few)
    seen = releases.store.pointer()
    releases.promote("000001")
    with pytest.raises(StoreError, match=r"the pointer said nothing and says 000001 \(promoted 2030") as caught:
        releases.promote("000002", seen=seen)
    assert caught.value.exit_code == 1


def test_changed_files_are_found_before_anything_points_to_them(few: Bundle, releases: Releases) -> None:
    for _ in range(2):
        create(releases, few)
    releases.promote("000001")
    file = releases.root / "versions" / "000002" / "prompts.yaml"
    content = file.read_text()
    file.write_text(content.swapcase())  # of the same size
    with pytest.raises(StoreError, match=r"prompts\.yaml has another sha256"):
        releases.promote("000002")
    assert whole_pointer(releases) == "000001"
    file.write_text(content)
    releases.promote("000002")
    (releases.root / "versions" / "000001" / "prompts.yaml").unlink()
    with pytest.raises(StoreError, match=r"prompts\.yaml cannot be read"):
        releases.rollback()
    assert whole_pointer(releases) == "000002"


def whole_pointer(releases: Releases) -> str:
    releases.store.current(verify=True)
    return releases.store.version()


def test_a_manifest_that_changed_after_promotion_is_not_rolled_back_to(few: Bundle, releases: Releases) -> None:
    for version in ("000001", "000002"):
        create(releases, few)
        releases.promote(version)
    manifest = releases.root / "versions" / "000001" / MANIFEST
    manifest.write_text(manifest.read_text().replace('"passed": true', '"passed": false'))
    with pytest.raises(StoreError, match="another sha256 than the pointer says"):
        releases.rollback()


def test_purge_goes_by_the_clock_that_is_handed_in(few: Bundle, releases: Releases, clock: Clock) -> None:
    for _ in range(5):
        create(releases, few)
    for version in ("000001", "000002", "000003"):
        releases.promote(version)
    clock.now = START + timedelta(days=30) - timedelta(seconds=1)
    assert releases.purge()[0] == []
    with pytest.raises(StoreError, match=r"000001: it is 29 day\(s\) old[\s\S]*000003: it is the current release"):
        releases.purge(["000001", "000003"])
    clock.now += timedelta(seconds=1)
    removed, stays = releases.purge()
    assert removed == ["000001", "000004"]
    assert stays == {
        "000002": "rollback returns to it",
        "000003": "it is the current release",
        "000005": "it is the newest, from which the next one's number is counted",
    }
    assert whole(releases) == "000003"
    assert releases.rollback().version == "000002"
    with pytest.raises(StoreError, match="nothing to roll back to"):
        releases.rollback()  # 000001 is purged
    with pytest.raises(StoreError, match="no release 000001"):
        releases.purge(["000001"])
    assert create(releases, few).version == "000006"


def test_too_little_disk_is_known_before_copying(
    few: Bundle, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(releases.root.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10 * 2**20))
    monkeypatch.setattr(module, "_copy", lambda *_: pytest.fail("nothing may be copied"))
    with pytest.raises(StoreError, match="and 10 MiB are free; nothing was written"):
        create(releases, few)
    assert not releases.root.exists()


def test_a_folder_of_something_else_is_refused(few: Bundle, releases: Releases) -> None:
    releases.root.mkdir()
    (releases.root / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"holds thesis\.tex and no releases"):
        create(releases, few)
    assert [path.name for path in releases.root.iterdir()] == ["thesis.tex"]


def test_a_part_that_changes_meanwhile_makes_no_release(few: Bundle, releases: Releases, tmp_path: Path) -> None:
    own = tmp_path / "prompts.yaml"
    shutil.copy(few.files[-1].source, own)
    moved = few._replace(files=(*few.files[:-1], few.files[-1]._replace(source=own)))
    own.write_text("# edited\n")
    with pytest.raises(StoreError, match="changed while the release was made"):
        create(releases, moved)
    own.unlink()
    with pytest.raises(StoreError, match="could not be copied"):
        create(releases, moved)
    assert releases.store.versions() == []


def test_others_may_promote_while_a_release_is_filled(
    few: Bundle, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        create(releases, few)
    real, done = module._copy, []

    def copy(*arguments) -> None:
        if not done:
            done.append(releases.promote("000001"))
            done.append(releases.promote("000002"))
            done.append(releases.rollback())
        real(*arguments)

    monkeypatch.setattr(module, "_copy", copy)
    assert create(releases, few).version == "000003"
    assert whole(releases) == "000001"
