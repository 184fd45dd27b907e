"""An index finds its model wherever both were moved to, and writes no path of a machine."""

import shutil
from pathlib import Path

import pytest

from clipadapt.errors import UsageError
from clipadapt.search.index import Index
from clipadapt.search.models import model_of, remembered
from clipadapt.search.vectors import Vectors


def folder(path: Path, *files: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("{}")
    return path


@pytest.mark.parametrize("typed", ["runs/a", "./runs/a", "{here}/runs/a"])
def test_a_run_that_holds_its_index_is_remembered_from_the_index(tmp_path, monkeypatch, typed):
    monkeypatch.chdir(tmp_path)
    index = folder(folder(tmp_path / "runs/a", "adapter/clipadapt.json") / "index")
    kept = remembered("run:" + typed.format(here=tmp_path), index)
    assert kept == "run:.."
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert model_of(kept, tmp_path / "moved/a/index") == "run:moved/a"
    monkeypatch.chdir(tmp_path / "moved/a")
    assert model_of(kept, Path("index")) == "run:."
    monkeypatch.chdir("/")
    assert model_of(kept, tmp_path / "moved/a/index") == f"run:{tmp_path}/moved/a".replace("//", "/").replace(":/", ":")


def test_a_model_beside_the_index_is_found_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "models/base")
    folder(tmp_path / "export/onnx")
    kept = [remembered(model, Path("indexes/shop")) for model in ("local-dir:models/base", "onnx:export/onnx@int8")]
    assert kept == ["local-dir:../../models/base", "onnx:../../export/onnx@int8"]
    monkeypatch.chdir(folder(tmp_path / "elsewhere"))
    found = [model_of(model, tmp_path / "indexes/shop") for model in kept]
    assert found == [f"local-dir:{tmp_path}/models/base", f"onnx:{tmp_path}/export/onnx@int8"]


@pytest.mark.parametrize("model", ["hf-hub:org/shop", "EVA02-B-16:merged2b", "transformers:org/name", "timm:vit"])
def test_what_is_no_path_stays_as_it_is(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "org/shop")  # folders of those names are not the models
    folder(tmp_path / "merged2b")
    assert remembered(model, tmp_path / "index") == model
    assert model_of(model, tmp_path / "index") == model


def test_an_index_inside_a_release_uses_the_releases_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    release = folder(tmp_path / "copied", "manifest.json", "model/open_clip_config.json")
    assert model_of("run:r/name", folder(release / "index")) == "local-dir:copied/model"
    (release / "model/open_clip_config.json").rename(release / "model/config.json")
    assert model_of(None, release / "index") == "transformers:copied/model"


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"built with run:.*gone, where no model lies now.*--model"):
        model_of("run:../gone", folder(tmp_path / "index"))
    with pytest.raises(UsageError, match=r"built with run:.*, where no model lies now.*--model"):
        model_of("run:..", tmp_path / "index")  # copied out of its run: some folder is there, and no run
    run = folder(tmp_path / "run", "adapter/clipadapt.json")
    assert model_of("run:runs/as/typed/once", folder(run / "index")).endswith("run")


def test_nothing_on_disk_names_this_machine(vectors_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = folder(tmp_path / "models/base")
    given = vectors_of(40)._replace(model=f"local-dir:{model}")
    index = Index.build(given, tmp_path / "indexes/shop")
    assert index.model == "local-dir:models/base"
    for file in (tmp_path / "indexes").rglob("*"):
        assert not file.is_file() or str(tmp_path).encode() not in file.read_bytes(), file
    shutil.move(tmp_path / "models", tmp_path / "away/models")
    shutil.move(tmp_path / "indexes", tmp_path / "away/indexes")
    monkeypatch.chdir("/")
    assert Index.open(tmp_path / "away/indexes/shop").model.endswith("away/models/base")


def test_embedded_vectors_find_their_model(vectors_of, painter, shop, tmp_path, monkeypatch):
    from clipadapt.data.catalogue import Catalogue
    from clipadapt.search.embed import embed

    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "models/base")
    embed(painter(name="local-dir:models/base"), Catalogue.load(shop, "train"), tmp_path / "vectors")
    monkeypatch.chdir("/")
    assert Vectors.open(tmp_path / "vectors").model == f"local-dir:{tmp_path}/models/base"
    assert str(tmp_path) not in (tmp_path / "vectors/embed.json").read_text()
