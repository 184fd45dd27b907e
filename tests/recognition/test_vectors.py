from pathlib import Path

import numpy as np
import pytest

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import CatalogueError, ModelError
from clipadapt.places import default_folder
from clipadapt.prompts import Prompts
from clipadapt.recognition.vectors import VectorCache


def test_pictures_are_encoded_once(good, validation, tmp_path: Path):
    first = VectorCache(tmp_path).pictures(good, validation, progress=False)
    assert good.encoded == len(validation)
    again = VectorCache(tmp_path).pictures(good, validation, progress=False)
    assert good.encoded == len(validation)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-6)


def test_only_what_is_new_is_encoded(good, validation, tmp_path: Path):
    part = VectorCache(tmp_path).pictures(good, validation.subset(range(0, 40, 2)), progress=False)
    encoded = good.encoded
    whole = VectorCache(tmp_path).pictures(good, validation, progress=False)
    assert good.encoded == encoded + len(validation) - len(part)
    np.testing.assert_array_equal(whole[:40:2], part)


def test_texts_of_two_spaces_do_not_mix(good, poor, tmp_path: Path):
    cache = VectorCache(tmp_path)
    texts = ["red", "blue", "red"]
    np.testing.assert_array_equal(cache.texts(good, texts), good.encode_texts(texts).numpy())
    np.testing.assert_array_equal(cache.texts(poor, texts), poor.encode_texts(texts).numpy())
    np.testing.assert_array_equal(VectorCache(tmp_path).texts(poor, texts[:1]), poor.encode_texts(["red"]).numpy())


def test_values_are_weighted_means(good):
    templates = '["{value}", {text: "a {value} shirt", weight: 3}]'
    text = f'captions: ["x"]\nattributes: {{Pattern: {{templates: {templates}, plain: "{{value}}!"}}}}'
    prompts = Prompts.parse(text)
    mean = np.average(good.encode_texts(["striped", "a striped shirt"]).numpy(), axis=0, weights=[1, 3])
    found = VectorCache().values(good, prompts, "Pattern", ["Striped"])
    np.testing.assert_allclose(found[0], mean / np.linalg.norm(mean), atol=1e-6)
    plain = VectorCache().values(good, prompts, "Pattern", ["Striped"], plain=True)
    np.testing.assert_allclose(plain, good.encode_texts(["striped!"]).numpy(), atol=1e-6)
    assert VectorCache().values(good, prompts, "Pattern", []).shape == (0, good.dim)


def test_broken_pictures_are_not_kept(good, validation, shop: Path, tmp_path: Path):
    copied = tmp_path / "broken"
    (copied / "validation").mkdir(parents=True)
    for file in (shop / "validation").iterdir():
        (copied / "validation" / file.name).write_bytes(file.read_bytes())
    broken = copied / "validation" / sorted(path.name for path in copied.glob("validation/*.png"))[3]
    broken.write_bytes(broken.read_bytes()[:50])
    catalogue = Catalogue.load(copied, "validation")
    with pytest.raises(CatalogueError, match=broken.name):
        VectorCache().pictures(good, catalogue, progress=False)
    cache = VectorCache(tmp_path / "cache")
    with pytest.warns(UserWarning, match="could not be decoded"):
        vectors = cache.pictures(good, catalogue, broken="count", progress=False)
    assert np.isnan(vectors).any(axis=1).sum() == 1
    broken.write_bytes((shop / "validation" / broken.name).read_bytes())
    assert np.isfinite(cache.pictures(good, Catalogue.load(copied, "validation"), progress=False)).all()


def test_a_model_without_texts_is_refused(good, monkeypatch):
    monkeypatch.setattr(type(good), "text_space", None)
    with pytest.raises(ModelError, match="no text tower"):
        VectorCache().texts(good, ["red"])


def test_where_vectors_are_kept(monkeypatch):
    monkeypatch.setenv("CLIPADAPT_CACHE", "/somewhere")
    assert default_folder() == Path("/somewhere")
    monkeypatch.delenv("CLIPADAPT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/else")
    assert default_folder() == Path("/else/clipadapt")


def test_a_folder_that_cannot_be_written_costs_the_keeping_and_not_the_result(
    good, validation, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    cache = VectorCache(tmp_path / "file" / "vectors")
    expected = VectorCache().pictures(good, validation)
    np.testing.assert_array_equal(cache.pictures(good, validation), expected)
    cache.texts(good, ["a red shirt"])
    (line,) = caplog.messages
    assert str(tmp_path / "file" / "vectors") in line and "set CLIPADAPT_CACHE" in line
