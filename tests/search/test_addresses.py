"""A folder that stands for an index elsewhere: what it says, and that it can be moved together with a file."""

import json
from pathlib import Path

import pytest

from clipadapt.errors import StoreError
from clipadapt.search.addresses import FILE, Reference, address_in, write_address
from clipadapt.search.milvus.address import ADDRESSED, Address


def test_a_server_is_named_as_it_is(tmp_path: Path) -> None:
    kept = Reference(Address("http://10.0.0.7:19530/retail", "shop"), "0123")
    write_address(tmp_path / "index", kept)
    assert address_in(tmp_path / "index") == kept
    assert json.loads((tmp_path / "index" / FILE).read_bytes()) == {
        "schema_version": 1, "uri": "http://10.0.0.7:19530/retail", "collection": "shop", "made_by": "0123",
    }  # fmt: skip
    assert address_in(tmp_path) is None


def test_a_file_is_found_from_the_folder_wherever_both_are_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "shop.db").touch()
    monkeypatch.chdir(tmp_path / "a")
    place = tmp_path / "a" / "releases" / "index"
    write_address(tmp_path / "a" / "unfinished" / "x" / "index", Reference(Address("shop.db", "shop")), place)
    (tmp_path / "a" / "releases").mkdir()
    (tmp_path / "a" / "unfinished" / "x" / "index").rename(place)
    assert str(tmp_path) not in (place / FILE).read_text()
    monkeypatch.chdir("/")
    (tmp_path / "a").rename(tmp_path / "b")
    found = address_in(tmp_path / "b" / "releases" / "index")
    assert found == Reference(Address(str(tmp_path / "b" / "shop.db"), "shop"))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema_version": 2, "uri": "http://h:1", "collection": "shop"}',
     '{"schema_version": 1, "uri": "shop.txt", "collection": "shop"}',
     '{"schema_version": 1, "uri": "http://h:1", "collection": "1"}',
     '{"schema_version": 1, "uri": 1, "collection": 2}'],
)  # fmt: skip
def test_what_is_no_address_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StoreError, match=r"address.json: cannot be read as the address of an index \("):
        address_in(tmp_path)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("milvus:http://10.0.0.7:19530/shop: search failed", "shop: search failed"),
        ("x milvus:https://host:443/retail/shop, y", "x shop, y"),
        ("milvus:/data/a b/shop.db/shop_2: no", "shop_2: no"),
        ("milvus:/a/b.db/x.db/shop: no", "shop: no"),
        ("--out milvus:http://h:1/shop", "--out shop"),
        ("milvus:shop", "milvus:shop"),
    ],
)
def test_clients_see_the_collection_alone(text: str, shown: str) -> None:
    assert ADDRESSED.sub(r"\1", text) == shown
