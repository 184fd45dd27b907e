"""A swap in Milvus whose process ends at any moment: the same command goes on, nothing is lost or left behind."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from swap_shop import Made, address_of, collections_at, content, encoded_while, put, take

from clipadapt.cli import main
from clipadapt.deploy.releases import Releases
from clipadapt.deploy.swap import conduct, making, pair
from clipadapt.deploy.swap.pair import Pair
from clipadapt.errors import StoreError
from clipadapt.search import mirror
from clipadapt.search.index import Index
from clipadapt.search.milvus.address import Address
from clipadapt.search.milvus.backend import Milvus
from clipadapt.search.milvus.server import Server
from clipadapt.store import Store


@pytest.fixture
def releases(made: Made, tmp_path: Path, in_milvus: str) -> Releases:
    return made.releases(tmp_path, address=in_milvus)


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
    encoded = encoded_while(monkeypatch, lambda: made.live(releases))
    found = content(made, releases, releases.store.version())
    count = len(SEAMS)
    assert found.keys() == {f"{number:04d}" for number in range(count, 40 + count)}
    assert encoded <= {f"{40 + number:04d}" for number in range(count)}, "the rest was done before"
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


AGAIN = {
    "swap": ["swap", "{}", "--no-stay", "--device", "cpu", "--gate", "{gate}"],
    "promote": ["promote", "{}", "2"],
    "finish": ["swap", "{}", "--finish"],
    "rollback": ["rollback", "{}"],
}


@pytest.mark.parametrize("again", AGAIN)
def test_what_is_typed_next_mends_what_was_killed_after_the_pointer_moved(
    made: Made, releases: Releases, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    with monkeypatch.context() as patch:
        killer = Killer(patch)
        killer.at(Store, "swap", 1, after=True)
        killer.killed(lambda: made.live(releases))
    given = [one.format(releases.root, gate=made.gate) for one in AGAIN[again]]
    assert main(["release", *given]) == (2 if again == "promote" else 0), "which is the current release already"
    Index.open(releases.root).remove(["0005"])
    live, other = ("000001", "000002") if again == "rollback" else ("000002", "000001")
    assert releases.store.version() == live
    with pytest.raises(StoreError, match=rf"changes go to the index of {live}|keeps it from being changed"):
        Index.open(releases.folder(other) / "index").remove(["0006"])


def test_giving_up_mends_what_was_killed_before_the_pointer_moved(
    made: Made, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        killer = Killer(patch)
        killer.at(Store, "swap", 1)
        killer.killed(lambda: made.live(releases))
    assert main(["release", "swap", str(releases.root), "--give-up"]) == 0
    Index.open(releases.root).remove(["0005"])


@pytest.mark.parametrize("after", [False, True])
def test_a_promotion_without_a_swap_is_mended_when_it_is_typed_again(
    made: Made, releases: Releases, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    made.live(releases)
    assert main(["release", "swap", str(releases.root), "--finish"]) == 0
    with monkeypatch.context() as patch:
        killer = Killer(patch)
        killer.at(Store, "swap", 1, after=after)
        killer.killed(lambda: releases.promote("1"))
    with pytest.raises(StoreError, match="changes go to the index of"):
        Index.open(releases.root).remove(["0005"])
    assert main(["release", "promote", str(releases.root), "1"]) == (2 if after else 0)
    Index.open(releases.root).remove(["0005"])
    with pytest.raises(StoreError, match="changes go to the index of 000001"):
        Index.open(releases.folder("000002") / "index").remove(["0006"])


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
