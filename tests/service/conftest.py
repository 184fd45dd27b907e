"""A small shop, its index by a tiny model, and the service over them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from data_factory import write_catalogue
from fastapi.testclient import TestClient
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.inputs import resolve
from clipadapt.search.index import Index
from clipadapt.service.app import create_app
from clipadapt.service.batching import BatchedEncoder
from clipadapt.service.collection import Collection
from clipadapt.service.pictures import ItemPictures
from clipadapt.service.serving import Serving
from clipadapt.service.settings import Settings
from clipadapt.towers.encoder import Encoder
from clipadapt.towers.load import load


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalogue(tmp_path_factory.mktemp("served") / "shop", items=24)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_open_clip(tmp_path_factory.mktemp("served") / "tiny", OPEN_CLIP["clip"])


@pytest.fixture(scope="session")
def encoder(model: Path) -> Encoder:
    return load(f"local-dir:{model}")


@pytest.fixture(scope="session")
def index_folder(shop: Path, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "index"
    Index.build(resolve(source=str(shop)).items("train"), folder, encoder=encoder)
    return folder


@pytest.fixture
def index(index_folder: Path, encoder: Encoder) -> Index:
    return Index.open(index_folder, encoder=encoder)


@pytest.fixture
def collection_of(index_folder: Path, shop: Path, encoder: Encoder) -> Iterator[Callable[..., Collection]]:
    """A new collection; its threads end with the test."""
    made: list[Collection] = []

    def make(
        name: str = "000001", *, pictures: bool = True, gather_ms: float = 3.0, by: Encoder = encoder,
        folder: Path = index_folder,
    ) -> Collection:  # fmt: skip
        batched = BatchedEncoder(by, gather_ms=gather_ms, remembered=100)
        index = Index.open(folder, encoder=batched)
        shown = ItemPictures.of(resolve(source=str(shop)), index.ids()) if pictures else None
        made.append(Collection(name, index, batched, "torch", shown))
        return made[-1]

    yield make
    for collection in made:
        collection.retire()


@pytest.fixture
def client_of(collection_of: Callable[..., Collection]) -> Iterator[Callable[..., TestClient]]:
    """A client of a service with these settings; without a collection it makes one."""
    clients: list[TestClient] = []

    def make(settings: Settings | None = None, collection: Collection | None = None) -> TestClient:
        serving = Serving(settings or Settings(), "shop", collection or collection_of())
        clients.append(TestClient(create_app(serving), base_url="http://127.0.0.1"))
        return clients[-1].__enter__()

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(client_of: Callable[..., TestClient]) -> TestClient:
    return client_of()
