"""What a swap does in Milvus alone: marks instead of locks, collections that are made and dropped, addresses."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from swap_shop import Made, address_of, collections_at, content, take

from clipadapt.cli import main
from clipadapt.deploy.bundle import PROMPTS, gather
from clipadapt.deploy.creation import create
from clipadapt.deploy.releases import Releases
from clipadapt.deploy.swap import conduct
from clipadapt.deploy.swap.pair import Pair
from clipadapt.deploy.swap.state import Workplace
from clipadapt.errors import SpaceError, StoreError
from clipadapt.evaluation.gate import Gate
from clipadapt.search.addresses import FILE
from clipadapt.search.index import Index
from clipadapt.search.milvus.address import Address
from clipadapt.search.milvus.backend import Milvus
from clipadapt.search.milvus.server import Server
from clipadapt.search.milvus.versions import Versions
from clipadapt.store import Store


@pytest.fixture
def releases(made: Made, tmp_path: Path, in_milvus: str) -> Releases:
    return made.releases(tmp_path, address=in_milvus)


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
    kept = releases.folder("000001") / PROMPTS
    kept.write_text(
        kept.read_text() + 'attributes: {baseColour: {templates: ["a {value} shirt"], values: {Red: [crimson]}}}\n'
    )
    assert main(["index", "search", str(releases.root), "--text", "crimson", "--json"]) == 0
    found = capsys.readouterr()
    assert "understood: baseColour: Red" in found.err, "the release's own prompts file says what a word means"


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
    assert main(["release", "rollback", str(releases.root)]) == 1
    assert "no answer within 1 s" in (said := capsys.readouterr().err) and said.endswith("these changes: --at-once\n")
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


def test_of_two_operators_who_go_back_at_once_one_changes_the_marks(
    made: Made, releases: Releases, in_milvus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.live(releases)
    Workplace(releases).remove()
    real, others = Store.swap, iter([Releases(releases.root)])

    def swap(*given: Any, **named: Any) -> Any:
        """Another one is quicker, after this one has marked what it is about to leave."""
        if (other := next(others, None)) is not None:
            other.rollback()
        return real(*given, **named)

    monkeypatch.setattr(Store, "swap", swap)
    with pytest.raises(StoreError, match="another process was quicker"):
        releases.rollback()
    assert releases.store.version() == "000001"
    assert (twin_of(in_milvus), twin_of(address_of(releases, "000002"))) == ("", "000001")


def test_a_mark_that_another_moves_meanwhile_is_that_of_the_pointer_in_the_end(
    made: Made, releases: Releases, in_milvus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`rollback --at-once` waits for nobody, least of all for who keeps both the same."""
    kept = made.live(releases)
    real, others = Versions.mark, iter([Releases(releases.root)])

    def mark(self: Versions, twin: str) -> None:
        if (other := next(others, None)) is not None:
            other.rollback()
        real(self, twin)

    monkeypatch.setattr(Versions, "mark", mark)
    kept.mend()
    assert (twin_of(in_milvus), twin_of(address_of(releases, "000002"))) == ("", "000001")


def test_what_is_live_in_a_new_folder_of_releases_takes_changes(
    made: Made, releases: Releases, in_milvus: str, tmp_path: Path
) -> None:
    made.live(releases)
    Workplace(releases).remove()
    shutil.rmtree(releases.root)  # lost, and made again with the index that a person had named
    again = Releases(tmp_path / "again")
    create(again, gather(made.runs["old"], Gate.load(made.gate), index=in_milvus))
    again.promote("1")
    Index.open(again.root).remove(["0001"])


def test_a_swap_whose_index_cannot_be_read_is_given_up_by_hand(
    made: Made, releases: Releases, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conduct, "create", lambda *_, **__: (_ for _ in ()).throw(StoreError("stopped")))
    with pytest.raises(StoreError, match="stopped"):
        made.live(releases)
    file = releases.root / "swap" / "swap.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | {"index": {"schema_version": 1, "uri": "x"}}))
    assert main(["release", "swap", str(releases.root), "--give-up"]) == 1
    assert f"remove {releases.root}/swap to give the swap up, and drop" in capsys.readouterr().err


def test_a_mark_of_releases_that_are_gone_is_taken_away_as_the_documentation_says(
    made: Made, releases: Releases, in_milvus: str
) -> None:
    made.live(releases)
    shutil.rmtree(releases.root)
    with pytest.raises(StoreError, match="changes go to the index of 000002"):
        Index.open(in_milvus).remove(["0001"])
    server = Server.connect(Address.parse(in_milvus))
    client, collection = server.client, f"{server.address.name}_v000001"
    client.alter_collection_properties(collection, {"clipadapt.changes_go_to": ""})
    Index.open(in_milvus).remove(["0001"])


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
    made.live(releases, "words2")  # who has measured nothing
    assert address_of(releases, "000003") == str(in_milvus)


def test_the_plan_counts_what_lies_on_a_server_apart(
    made: Made, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = made.swap(releases)
    lite = swap.plan(sample=40)
    monkeypatch.setattr(conduct, "located", lambda _: Address("http://10.0.0.7:19530", "shop"))
    server = swap.plan(sample=40)
    assert lite.milvus_bytes == 0 < server.milvus_bytes == lite.needed_bytes - server.needed_bytes
    assert "on the Milvus server for a while" in server.lines()[2]
