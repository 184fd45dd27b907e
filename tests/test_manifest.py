import json

import pytest

from clipadapt.errors import StoreError
from clipadapt.manifest import MANIFEST, check_manifest, entries, listed, share, write_manifest


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "old"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner/vectors").write_bytes(b"vectors")
    (folder / "meta.json").write_text("{}")
    write_manifest(folder, {"made": "by hand"})
    return folder


def test_a_manifest_lists_every_file_and_what_is_said_of_them(old):
    content = json.loads((old / MANIFEST).read_text())
    assert content["made"] == "by hand"
    assert sorted(content["files"]) == ["inner/vectors", "meta.json"]
    assert check_manifest(old, verify=True) == []


def test_a_shared_file_keeps_its_digest_unread_and_damage_is_found_in_both_places(old, tmp_path, monkeypatch):
    new = tmp_path / "new"
    share(old / "inner/vectors", new / "inner/vectors", listed(old)["inner/vectors"])
    (new / "meta.json").write_text("{1}")
    read = []
    monkeypatch.setattr("clipadapt.manifest.sha256_file", lambda file: read.append(file.name) or "0")
    write_manifest(new, linked=entries(old))
    monkeypatch.undo()
    assert read == ["meta.json", MANIFEST]
    assert listed(new)["inner/vectors"] == listed(old)["inner/vectors"]
    (old / "inner/vectors").write_bytes(b"VECTORS")
    for folder in (old, new):
        assert "inner/vectors has another sha256" in check_manifest(folder, verify=True)


def test_without_hard_links_a_copy_is_compared(old, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refused)
    entry = listed(old)["meta.json"]
    share(old / "meta.json", tmp_path / "new/meta.json", entry)
    assert (tmp_path / "new/meta.json").read_text() == "{}"
    (old / "meta.json").write_text("[]")
    with pytest.raises(StoreError, match=r"meta.json: has another sha256, so it was changed"):
        share(old / "meta.json", tmp_path / "newer/meta.json", entry)
