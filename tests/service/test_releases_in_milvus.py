"""A folder of releases whose indexes lie in Milvus: served, followed through a swap, and back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from swap_shop import Made, put, take

from clipadapt.cli import main
from clipadapt.deploy.releases import Releases
from clipadapt.search.addresses import address_in
from clipadapt.search.milvus.address import Address
from clipadapt.search.milvus.server import Server
from clipadapt.search.milvus.versions import Versions
from clipadapt.service.app import create_app
from clipadapt.service.following import Follower
from clipadapt.service.opening import Opener, find
from clipadapt.service.serving import Serving
from clipadapt.service.settings import Settings


@pytest.fixture
def releases(made: Made, tmp_path: Path, in_milvus: str) -> Releases:
    return made.releases(tmp_path, address=in_milvus)


@pytest.fixture
def serving() -> Iterator[Serving]:
    serving = Serving(Settings(), "shop")
    yield serving
    serving.close()


@pytest.fixture
def follower(serving: Serving, releases: Releases) -> Follower:
    opener = Opener(serving)
    follower = Follower(
        serving, releases.root, lambda folder: opener.open(find(str(folder))),
        renew=lambda one: opener.renewed(one, lambda: find(str(releases.folder(one.name)))),
    )  # fmt: skip
    follower.load()
    return follower


def test_a_service_of_releases_follows_changes_and_swaps(
    made: Made, releases: Releases, serving: Serving, follower: Follower
) -> None:
    with TestClient(create_app(serving), base_url="http://127.0.0.1") as client:

        def answered() -> tuple[str, set[str]]:
            found = client.post("/search", json={"text": "a red shirt", "k": 60}).json()
            return found["release"], {hit["id"] for hit in found["hits"]}

        release, before = answered()
        assert release == "000001" and before
        pictures = [item for item in before if client.get(f"/items/{item}/picture").status_code == 200]
        assert pictures, "the catalogue that the index remembers is found from where Milvus keeps it"
        gone = sorted(before)[0]
        take(made, releases, [gone])
        assert follower.look() and gone not in answered()[1]
        kept = made.live(releases)
        assert follower.look() and answered()[0] == "000002"
        take(made, releases, [sorted(answered()[1])[0]])
        put(made, releases, ["0041"], baseColour="Red")
        assert follower.look()
        expected = serving.current.index.ids() if serving.current else []
        assert "0041" in expected
        kept.switch(releases.rollback)
        assert follower.look() and answered()[0] == "000001"
        assert serving.current is not None and sorted(serving.current.index.ids()) == sorted(expected)


def test_an_index_that_is_gone_is_refused_and_what_serves_goes_on(
    made: Made, releases: Releases, serving: Serving, follower: Follower, in_milvus: str
) -> None:
    made.live(releases)
    found = address_in(releases.folder("000002") / "index")
    assert found is not None
    versions = Versions(Server.connect(found.address))
    versions.mark("000001")
    assert versions.drop_all()
    assert not follower.look(), "the release before answers on"
    (fault,) = [one for one in serving.faults if "000002" in one]
    assert f"stands for {found.address.name}, where no index lies" in fault
    assert str(releases.root) not in fault and ".db" not in fault, "clients need not know where it lies"


def test_one_process_serves_a_file_of_milvus_lite(
    releases: Releases, in_milvus: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Address.parse(in_milvus).lite
    assert main(["serve", str(releases.root), "--workers", "2"]) == 2
    assert "one process at a time opens a file of milvus-lite" in capsys.readouterr().err
    assert main(["serve", str(releases.root), "--check"]) == 0
    assert "ready: 40 items of 000001, FLAT" in capsys.readouterr().out
    assert main(["serve", str(releases.folder("000001") / "index"), "--check"]) == 0
    assert "ready: 40 items" in capsys.readouterr().out
