"""The promoted release answers; what cannot be served is refused and the last good one answers on."""

import threading
import time
import weakref
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from runs_factory import write_gate, write_run

from clipadapt.deploy.bundle import gather
from clipadapt.deploy.creation import create
from clipadapt.deploy.releases import Releases
from clipadapt.errors import StoreError
from clipadapt.evaluation.gate import Gate
from clipadapt.search.index import Index
from clipadapt.service.app import create_app
from clipadapt.service.following import Follower
from clipadapt.service.opening import Opener, find
from clipadapt.service.serving import Serving
from clipadapt.service.settings import Settings
from clipadapt.store import Store


@pytest.fixture(scope="module")
def releases_of(model: Path, tmp_path_factory: pytest.TempPathFactory):
    """A folder with two releases of one run, the first promoted."""
    root = tmp_path_factory.mktemp("released")
    run, gate = write_run(root / "run", model), Gate.load(write_gate(root))

    def make(folder: Path) -> Releases:
        releases = Releases(folder)
        for _ in range(2):
            create(releases, gather(run, gate))
        releases.promote("000001")
        return releases

    return make


@pytest.fixture
def releases(releases_of, tmp_path: Path) -> Releases:
    return releases_of(tmp_path / "releases")


@pytest.fixture
def serving():
    made = Serving(Settings(poll_seconds=0.02), "shop")
    yield made
    made.close()


def following(serving: Serving, releases: Releases) -> Follower:
    opener = Opener(serving)
    return Follower(serving, releases.root, lambda folder: opener.open(find(str(folder))))


def release_of(serving: Serving) -> str:
    with serving.using() as collection:
        return collection.name


def damage(releases: Releases, version: str, name: str = "model/open_clip_model.safetensors") -> None:
    file = releases.folder(version) / name
    content = bytearray(file.read_bytes())
    content[-20] ^= 0xFF
    file.chmod(0o644)
    file.write_bytes(content)


def maps_of(folder: Path) -> list[str]:
    """Files of a folder that this process has mapped."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line]


def test_the_promoted_release_answers(serving: Serving, releases: Releases):
    follower = following(serving, releases)
    follower.load()
    assert release_of(serving) == "000001"
    assert not follower.look()
    releases.promote("000002")
    assert follower.look()
    assert release_of(serving) == "000002"
    releases.rollback()
    assert follower.look()
    assert release_of(serving) == "000001"


@pytest.mark.parametrize("name", ["model/open_clip_model.safetensors", "index/versions/000001/items.parquet"])
def test_a_broken_release_is_refused_and_the_last_good_one_answers_on(serving: Serving, releases: Releases, name: str):
    follower = following(serving, releases)
    follower.load()
    releases.promote("000002")
    damage(releases, "000002", name)
    assert not follower.look()
    with TestClient(create_app(serving), base_url="http://127.0.0.1") as client:
        info = client.get("/info").json()
        assert info["current"]["release"] == "000001"
        (refused,) = [fault for fault in info["faults"] if fault.startswith("release 000002 was refused: ")]
        assert str(releases.root) not in refused, "clients need not know where a server keeps its files"
        assert 'clipadapt_batch_count{tower="text"} 1.0' in client.get("/metrics").text
        assert 'clipadapt_releases_refused_total{arm="current"} 1.0' in client.get("/metrics").text
        assert client.post("/search", json={"item": "i3"}).json()["release"] == "000001"
        assert not follower.look(), "it is not tried again and again"
        releases.rollback()
        assert not follower.look()
        assert not [fault for fault in client.get("/info").json()["faults"] if "refused" in fault]


def test_a_start_with_a_broken_release_serves_the_one_before(serving: Serving, releases: Releases):
    releases.promote("000002")
    damage(releases, "000002")
    assert following(serving, releases).load().name == "000001"
    assert [fault for fault in serving.faults if fault.startswith("release 000002 was refused: ")]


def test_the_index_of_a_release_is_followed_whichever_release_answers(serving: Serving, releases: Releases):
    opener = Opener(serving)
    place = lambda name: find(str(releases.folder(name)))  # noqa: E731
    follower = Follower(
        serving, releases.root, lambda folder: opener.open(find(str(folder))),
        renew=lambda one: opener.renewed(one, lambda: place(one.name)),
    )  # fmt: skip
    follower.load()
    assert not follower.look()
    for count in (39, 38, 37):
        Index.open(releases.root).remove([f"i{count}"])
        assert follower.look() and not follower.look()
        with serving.using() as collection:
            assert (collection.name, len(collection.index)) == ("000001", count)
    assert find(str(releases.root)).name == "000001", "a release is whole though its index changed"
    releases.promote("000002")
    assert follower.look()
    Index.open(releases.root).remove(["i0"])
    assert follower.look()
    with serving.using() as collection:
        assert (collection.name, len(collection.index)) == ("000002", 39)
    releases.rollback()
    assert follower.look()
    with serving.using() as collection:
        assert (collection.name, len(collection.index)) == ("000001", 37)
    damage(releases, "000001", f"index/versions/{Store(releases.folder('000001') / 'index').version()}/items.parquet")
    with pytest.raises(StoreError, match=r"index/versions/000004/items.parquet has another sha256"):
        Store(releases.root).current(verify=True)


def test_nothing_promoted_and_nothing_whole_is_an_error(serving: Serving, releases: Releases, tmp_path: Path):
    with pytest.raises(StoreError, match="nothing was promoted"):
        Follower(serving, tmp_path / "none", lambda _: pytest.fail("opened")).load()
    damage(releases, "000001")
    with pytest.raises(Exception, match="000001"):
        following(serving, releases).load()


def test_the_old_release_is_closed_after_its_last_request_and_its_memory_is_free(serving: Serving, releases: Releases):
    follower = following(serving, releases)
    follower.load()
    with serving.using() as collection:
        index, encoder = collection.index, collection.encoder
        parts = (collection, index, index.backend, index.backend.items, encoder, encoder.encoder)
        old = [weakref.ref(part) for part in parts]
        del index, encoder, parts
        assert maps_of(releases.folder("000001")), "or nothing below says that they were closed"
        threads = [collection.encoder.texts._thread, collection.encoder.images._thread]
        releases.promote("000002")
        assert follower.look()
        assert all(thread.is_alive() for thread in threads)
        assert collection.index.search("still answers", 3)[0], "what began with it ends with it"
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    with pytest.raises(RuntimeError, match="closed"):
        collection.encoder.encode_texts(["too late"])
    del collection
    assert not follower.look()
    assert [part() for part in old] == [None] * len(old)
    assert not maps_of(releases.folder("000001"))


def test_no_request_fails_while_releases_are_promoted(serving: Serving, releases: Releases):
    follower = following(serving, releases)
    follower.load()
    done, answers = threading.Event(), []

    def ask(client: httpx.Client, number: int) -> None:
        while not done.is_set():
            body = {"item": "i3"} if number % 2 else {"text": f"shirt {number} {time.monotonic_ns()}"}
            answer = client.post("/search", json=body)
            answers.append((answer.status_code, answer.json().get("release")))

    with TestClient(create_app(serving), base_url="http://127.0.0.1") as client:
        threads = [threading.Thread(target=ask, args=(client, number)) for number in range(6)]
        for thread in threads:
            thread.start()
        follower.start()
        for version in ("000002", "000001", "000002"):
            releases.promote(version)
            deadline = time.monotonic() + 30
            while release_of(serving) != version and time.monotonic() < deadline:
                time.sleep(0.02)
        done.set()
        for thread in threads:
            thread.join()
        follower.stop()
    assert {status for status, _ in answers} == {200}
    assert {release for _, release in answers} == {"000001", "000002"}
