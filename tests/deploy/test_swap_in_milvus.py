"""What a swap does in Milvus alone: marks instead of locks, collections that are made and dropped, kills, addresses."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from swap_shop import Made, content, put, take

from clipadapt.cli import main
from clipadapt.deploy.bundle import gather
from clipadapt.deploy.creation import create
from clipadapt.deploy.releases import Releases
from clipadapt.deploy.swap import conduct, making, pair
from clipadapt.deploy.swap.pair import Pair
from clipadapt.deploy.swap.pictures import PicturesById
from clipadapt.deploy.swap.state import Workplace
from clipadapt.errors import SpaceError, StoreError
from clipadapt.evaluation.gate import Gate
from clipadapt.search import mirror
from clipadapt.search.addresses import FILE, address_in
from clipadapt.search.index import Index
from clipadapt.search.milvus.address import Address
from clipadapt.search.milvus.backend import Milvus
from clipadapt.search.milvus.server import Server
from clipadapt.search.milvus.versions import Versions
from clipadapt.store import Store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("swapped"))


@pytest.fixture
def releases(made: Made, tmp_path: Path, in_milvus: str) -> Releases:
    return made.releases(tmp_path, address=in_milvus)


def address_of(releases: Releases, version: str) -> str:
    kept = address_in(releases.folder(version) / "index")
    assert kept is not None
    return str(kept.address)


def collections_at(address: str) -> list[str]:
    """Of the index of that name and of those that were made beside it."""
    server = Server.connect(Address.parse(address))
    found = (one for one in server.call("list_collections") if not one.endswith("_queries"))
    return sorted(one for one in found if one.startswith(server.address.name))


def twin_of(address: str) -> str | None:
    return Versions(Server.connect(Address.parse(address))).current().twin


def test_a_release_names_its_index_and_promotion_moves_the_pointer_alone(
    made: Made, releases: Releases, in_milvus: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = releases.folder("000001") / "index"
    assert [path.name for path in folder.iterdir()] == [FILE]
    document = json.loads((folder / FILE).read_bytes())
    assert document["uri"].startswith("../../../../") and "made_by" not in document, "the path goes with the folder"
    run = made.runs["next"]
    Index.build(made.vectors(["0001", "0002"], made.encoders["next"].image_space), f"{in_milvus}_b")
    given = ["release", "create", str(releases.root), str(run.path), "--gate", str(made.gate), "--index"]
    assert main([*given, in_milvus]) == 2
    assert "build it again with this run" in capsys.readouterr().err
    assert main([*given, f"{in_milvus}_b", "--promote"]) == 0
    assert len(Index.open(releases.root)) == 2
    assert Index.open(releases.root).model.endswith("000002/model"), "queries are encoded by the release's own model"
    before = collections_at(in_milvus)
    assert main(["release", "rollback", str(releases.root)]) == 0
    assert main(["index", "remove", str(releases.root), "0003"]) == 0
    capsys.readouterr()
    assert main(["index", "search", str(releases.root), "--like", "0004", "-k", "3", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    assert (len(Index.open(releases.root)), collections_at(in_milvus)) == (39, before)
    Index.open(f"{in_milvus}_b").remove(["0001"])  # nobody swapped them: each takes changes, as folders do


def test_a_folder_of_releases_can_be_moved_and_copied(
    made: Made, releases: Releases, in_milvus: str, tmp_path: Path
) -> None:
    copied = Releases(shutil.copytree(releases.root, tmp_path / "copied"))
    assert len(Index.open(copied.root)) == 40
    deeper = Releases(shutil.copytree(releases.root, tmp_path / "too" / "deep"))
    with pytest.raises(StoreError, match=r"deep/versions/000001/index: stands for milvus:.* it was dropped, or a file"):
        Index.open(deeper.root)
    made.live(releases)
    new = address_of(releases, "000002")
    old = Releases(shutil.copytree(releases.root, tmp_path / "old copy"), clock=a_year_later)
    old.promote("1")
    assert twin_of(in_milvus) == "" and twin_of(new) == "000001"
    create(old, gather(made.runs["old"], Gate.load(made.gate), index=in_milvus))
    old.promote("3")
    create(old, gather(made.runs["old"], Gate.load(made.gate), index=in_milvus))
    old.promote("4")
    assert "000002" in old.purge()[0]
    assert content(made, releases, "000002"), "a copy drops nothing, for the other folder may need it"


def a_year_later() -> datetime:
    return datetime.now(UTC) + timedelta(days=365)


def test_what_cannot_be_served_is_not_promoted(
    made: Made, releases: Releases, in_milvus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again() -> str:
        return create(releases, gather(made.runs["old"], Gate.load(made.gate), index=f"{in_milvus}_x")).version

    Index.build(made.indexed["old"], f"{in_milvus}_x")
    other, dropped, away = again(), again(), again()
    Index.build(made.vectors(["0001"], made.encoders["next"].image_space), f"{in_milvus}_x")
    with pytest.raises(
        SpaceError, match=rf"{other}/index: what lies in Milvus is of image-.* now, the release of image-"
    ):
        releases.promote(other)
    Versions(Server.connect(Address.parse(f"{in_milvus}_x"))).drop_all()
    with pytest.raises(StoreError, match=r"stands for milvus:.* where no index lies"):
        releases.promote(dropped)
    monkeypatch.setenv("CLIPADAPT_MILVUS_TIMEOUT", "1")
    elsewhere = {"schema_version": 1, "uri": "http://127.0.0.1:9", "collection": "shop"}
    file = releases.folder(away) / "index" / FILE
    monkeypatch.setattr("clipadapt.deploy.releases.faults_of", lambda *_, **__: [])
    monkeypatch.setattr("clipadapt.store.faults_of", lambda *_, **__: [])
    file.write_text(json.dumps(elsewhere))
    with pytest.raises(StoreError, match=r"milvus:http://127.0.0.1:9/shop: no answer within 1 s .*check the address"):
        releases.promote(away)
    file.write_text("{}")
    with pytest.raises(StoreError, match=r"address.json: cannot be read as the address of an index"):
        releases.promote(away)
    assert releases.store.version() == "000001"


def test_a_server_that_is_away_stops_nobody_from_going_back(
    made: Made, releases: Releases, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.live(releases)
    kept = json.loads((releases.folder("000002") / "index" / FILE).read_bytes())
    monkeypatch.setenv("CLIPADAPT_MILVUS_TIMEOUT", "1")
    monkeypatch.setattr("clipadapt.store.faults_of", lambda *_, **__: [])
    file = releases.folder("000002") / "index" / FILE
    file.write_text(json.dumps(kept | {"uri": "http://127.0.0.1:9"}))
    assert main(["release", "rollback", str(releases.root), "--at-once"]) == 0
    assert "000002/index: was not marked" in capsys.readouterr().err
    Index.open(releases.root).remove(["0003"])
    file.write_text(json.dumps(kept))
    both = Pair.of(releases)
    assert both is not None
    both.step()
    with pytest.raises(StoreError, match="changes go to the index of 000001"):
        Index.open(address_of(releases, "000002")).remove(["0004"])
    assert "0003" not in content(made, releases, "000002")


def test_changes_go_to_the_live_index_alone_whatever_a_writer_names(
    made: Made, releases: Releases, in_milvus: str, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = Index.open(in_milvus)
    swap = made.swap(releases)
    ready = swap.prepare(swap.plan(sample=40))
    new = address_of(releases, "000002")
    assert new.startswith(f"{in_milvus}_swap_") and len(collections_at(new)) == 1, "the index in the making is gone"
    writer.remove(["0001"])
    early = Index.open(new)
    for change in (lambda: early.remove(["0002"]), early.rollback):
        with pytest.raises(StoreError, match="changes go to the index of 000001; nothing was changed"):
            change()
    swap.go_live(ready, 7)
    with pytest.raises(StoreError, match="changes go to the index of 000002"):
        writer.remove(["0002"])
    assert main(["index", "build", "--model", f"run:{made.runs['old'].path}", "--source", made.shop, "--split",
                 "train", "--out", in_milvus]) == 1  # fmt: skip
    assert "changes go to the index of 000002" in capsys.readouterr().err
    early.remove(["0002"])
    assert main(["index", "tune", str(releases.root)]) == 0
    ready.step()
    with pytest.raises(StoreError, match="changes go to the index of 000002"):
        writer.remove(["0003"])
    releases.rollback()
    writer.remove(["0003"])
    with pytest.raises(StoreError, match="changes go to the index of 000001"):
        Index.open(new).remove(["0003"])
    ready.step()
    assert content(made, releases, "000002").keys() == content(made, releases, "000001").keys()
    Workplace(releases).remove()
    releases.promote("2")
    with pytest.raises(StoreError, match="changes go to the index of 000002"):
        writer.remove(["0004"])


def test_a_change_between_the_last_look_and_the_freeze_is_not_lost(
    made: Made, releases: Releases, in_milvus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = made.swap(releases)
    ready = swap.prepare(swap.plan(sample=40))
    real, late = Milvus.frozen, iter(["0001", "0002"])

    def frozen(self: Milvus) -> Any:
        if (item := next(late, None)) is not None:
            Index.open(in_milvus).remove([item])
        return real(self)

    monkeypatch.setattr(Milvus, "frozen", frozen)
    swap.go_live(ready, 7)
    assert content(made, releases, "000002").keys().isdisjoint({"0001", "0002"})


def test_a_writer_that_never_rests_is_held_still_while_all_is_compared(
    made: Made, releases: Releases, in_milvus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = made.swap(releases)
    ready = swap.prepare(swap.plan(sample=40))
    real, late = Milvus.frozen, iter([f"{number:04d}" for number in range(30)])

    def frozen(self: Milvus) -> Any:
        Index.open(in_milvus).remove([next(late)])
        return real(self)

    monkeypatch.setattr(Milvus, "frozen", frozen)
    swap.go_live(ready, 7)
    assert sorted(content(made, releases, "000002"))[0] == next(late), "all that were removed until then"


class Killed(BaseException):
    """The process is gone."""


class Killer:
    """Ends a process at the n-th call of something: nothing reaches Milvus any more until it is begun again."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.dead, self._patch = False, patch
        real = Server.call

        def call(server: Server, method: str, *given: Any, **named: Any) -> Any:
            if self.dead:
                raise Killed
            return real(server, method, *given, **named)

        patch.setattr(Server, "call", call)

    def at(self, owner: Any, name: str, number: int, *, after: bool = False) -> None:
        """Before it does anything, or when it has done all."""
        real, calls = getattr(owner, name), iter(range(1, 1000))

        def call(*given: Any, **named: Any) -> Any:
            found = next(calls) == number
            if found and after:
                real(*given, **named)
            if found:
                self.dead = True
                raise Killed
            return real(*given, **named)

        self._patch.setattr(owner, name, staticmethod(call) if name == "build" else call)

    def killed(self, work: Callable[[], Any]) -> None:
        with pytest.raises(Killed):
            work()
        self.dead = False


SEAMS: dict[str, tuple[Any, str, int, bool]] = {
    "before the first batch is written": (Index, "build", 1, False),
    "when the first batch is written": (Index, "build", 1, True),
    "after the second batch": (making.Ledger, "add", 2, False),
    "before the index is whole": (Index, "build", 1, False),
    "when the index is whole": (Milvus, "drop_others", 1, False),
    "while the release is made": (conduct, "create", 1, False),
    "when it is made": (conduct, "create", 1, True),
    "before they are marked": (pair, "pair_index", 1, False),
    "between the two marks": (pair, "pair_index", 2, False),
    "when both are marked": (pair, "pair_index", 2, True),
    "when the old one is held still": (mirror.Mirror, "look_quickly", 3, False),
    "when the old one is marked": (Store, "swap", 1, False),
}


def test_killed_at_any_seam_the_same_command_goes_on(
    made: Made, releases: Releases, in_milvus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "BATCH", 16)
    monkeypatch.setattr(mirror, "BATCH", 16)
    writers = iter(range(20))
    for seam, (owner, name, number, after) in SEAMS.items():
        with monkeypatch.context() as patch:
            killer = Killer(patch)
            killer.at(owner, name, number, after=after)
            killer.killed(lambda: made.live(releases))
        assert releases.store.version() == "000001", seam
        assert len(Index.open(releases.root)), "it serves on"
        if seam.startswith("when the old one is"):  # refused rather than lost, until somebody mends it
            with pytest.raises(StoreError, match=r"keeps it from being changed"):
                Index.open(releases.root).remove(["0039"])
            both = Pair.of(releases)
            assert both is not None
            both.step()
        item = next(writers)
        put(made, releases, [f"{40 + item:04d}"], baseColour="Blue")
        take(made, releases, [f"{item:04d}"])
    encoded: list[str] = []
    real = PicturesById.vectors
    monkeypatch.setattr(PicturesById, "vectors", lambda self, ids, *more: encoded.extend(ids) or real(self, ids, *more))
    made.live(releases)
    monkeypatch.undo()
    found = content(made, releases, releases.store.version())
    count = len(SEAMS)
    assert found.keys() == {f"{number:04d}" for number in range(count, 40 + count)}
    assert set(encoded) <= {f"{40 + number:04d}" for number in range(count)}, "the rest was done before"
    new = address_of(releases, releases.store.version())
    assert len(collections_at(new)) == 1
    assert collections_at(in_milvus) == sorted([f"{Address.parse(in_milvus).name}_v000001", *collections_at(new)])


@pytest.mark.parametrize("way", ["forth", "back"])
def test_killed_after_the_pointer_moved_both_refuse_changes_until_it_is_mended(
    made: Made, releases: Releases, in_milvus: str, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "back":
        made.live(releases)
    old, new = ("000001", "000002") if way == "forth" else ("000002", "000001")
    with monkeypatch.context() as patch:
        killer = Killer(patch)
        killer.at(Store, "swap", 1, after=True)

        def work() -> None:
            if way == "forth":
                made.live(releases)
            else:
                both = Pair.of(releases)
                assert both is not None
                both.switch(releases.rollback)

        killer.killed(work)
    assert releases.store.version() == new
    for version, said in ((old, "keeps it from being changed"), (new, f"changes go to the index of {old}")):
        with pytest.raises(StoreError, match=said):
            Index.open(releases.folder(version) / "index").remove(["0005"])
    both = Pair.of(releases)
    assert both is not None
    both.step()
    take(made, releases, ["0005"])
    with pytest.raises(StoreError, match=f"changes go to the index of {new}"):
        Index.open(releases.folder(old) / "index").remove(["0006"])
    both.step()
    assert "0005" not in content(made, releases, old)


def test_a_pointer_that_cannot_be_moved_leaves_the_marks_as_they_were(
    made: Made, releases: Releases, in_milvus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = made.swap(releases)
    ready = swap.prepare(swap.plan(sample=40))
    monkeypatch.setattr(Store, "swap", lambda *_, **__: (_ for _ in ()).throw(StoreError("another was quicker")))
    with pytest.raises(StoreError, match="another was quicker"):
        swap.go_live(ready, 7)
    take(made, releases, ["0001"])
    assert (twin_of(in_milvus), twin_of(address_of(releases, "000002"))) == ("", "000001")


def test_giving_up_drops_what_no_release_names(
    made: Made, releases: Releases, in_milvus: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["release", "swap", str(releases.root), "--give-up"]
    before = collections_at(in_milvus)
    with monkeypatch.context() as patch:
        killer = Killer(patch)
        killer.at(conduct, "create", 1)
        killer.killed(lambda: made.live(releases))
    assert len(collections_at(in_milvus)) == 2
    shutil.copytree(releases.root, releases.root.parent / "copied")
    assert main(["release", "swap", str(releases.root.parent / "copied"), "--give-up"]) == 0
    assert "stays in Milvus, for no swap of these releases made it" in capsys.readouterr().err
    assert len(collections_at(in_milvus)) == 2
    assert main(given) == 0
    assert collections_at(in_milvus) == before
    swap = made.swap(releases)
    swap.prepare(swap.plan(sample=40))
    assert main(given) == 0
    assert "0001" in content(made, releases, "000002"), "the release stays, and its index with it"
    releases.promote("2")
    Index.open(releases.root).remove(["0001"])


def test_purge_drops_what_a_swap_made_and_nothing_else(
    made: Made, releases: Releases, in_milvus: str, caplog: pytest.LogCaptureFixture
) -> None:
    made.live(releases)
    Workplace(releases).remove()
    new = address_of(releases, "000002")
    gate = Gate.load(made.gate)
    shared = create(releases, gather(made.runs["next"], gate, index=releases.folder("000002") / "index")).version
    assert address_of(releases, shared) == new
    Index.build(made.indexed["old"], f"{in_milvus}_y")
    for _ in range(2):
        version = create(releases, gather(made.runs["old"], gate, index=f"{in_milvus}_y")).version
        releases.promote(version)
    later = Releases(releases.root, clock=a_year_later)
    assert later.purge(["1"])[0] == ["000001"]
    assert f"{in_milvus}: stays in Milvus, for no swap of these releases made it" in caplog.text
    assert len(Index.open(in_milvus)) == 40, "a person named it"
    assert later.purge(["2"])[0] == ["000002"]
    assert f"{new}: stays in Milvus, for release {shared} names it" in caplog.text
    assert len(content(made, later, shared)) == 40
    assert later.purge()[0] == [shared]
    assert collections_at(new) == [], "nobody names it any more"
    assert len(Index.open(releases.root)) == 40


def test_a_second_swap_makes_a_third_index_of_a_name_as_short(made: Made, releases: Releases, in_milvus: str) -> None:
    made.live(releases)
    Workplace(releases).remove()
    made.live(releases, "old")
    first, second = address_of(releases, "000002"), address_of(releases, "000003")
    assert len({in_milvus, first, second}) == 3 and len(second) == len(first)
    for address in (in_milvus, first):
        with pytest.raises(StoreError, match="changes go to the index of"):
            Index.open(address).remove(["0001"])
    take(made, releases, ["0001"])


def test_a_text_tower_shares_the_index_of_the_release_before(made: Made, tmp_path: Path, in_milvus: str) -> None:
    releases = made.releases(tmp_path, "words", in_milvus)
    before = collections_at(in_milvus)
    arguments = ["release", "swap", str(releases.root), str(made.runs["words2"].path), "--gate", str(made.gate)]
    arguments += ["--device", "cpu", "--compatibility-gate", str(made.root / "lax.yaml")]
    assert main(arguments) == 0, "it does not stay, for there is nothing to keep the same"
    assert releases.store.version() == "000002" and Workplace(releases).state() is None
    assert address_of(releases, "000002") == address_of(releases, "000001") == str(in_milvus)
    assert collections_at(in_milvus) == before and twin_of(in_milvus) is None
    Index.open(in_milvus).remove(["0001"])
    releases.rollback()
    assert not Index.open(releases.root).holds("0001")


def test_the_plan_counts_what_lies_on_a_server_apart(
    made: Made, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = made.swap(releases)
    lite = swap.plan(sample=40)
    monkeypatch.setattr(conduct, "located", lambda _: Address("http://10.0.0.7:19530", "shop"))
    server = swap.plan(sample=40)
    assert lite.milvus_bytes == 0 < server.milvus_bytes == lite.needed_bytes - server.needed_bytes
    assert "on the Milvus server for a while" in server.lines()[2]
