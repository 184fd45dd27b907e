"""What people hand to an encoder: paths, arrays, PIL pictures, lists of texts; and texts that are too long."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import OPEN_CLIP, write_open_clip, write_transformers

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import CatalogueError, UsageError
from clipadapt.export import export
from clipadapt.towers.arguments import pictures_of, several, texts_of
from clipadapt.towers.byte_pairs import BytePairs
from clipadapt.towers.load import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_open_clip(tmp_path_factory.mktemp("arguments") / "base", OPEN_CLIP["clip"])


@pytest.fixture(scope="module", params=["torch", "onnx"])
def encoder(request: pytest.FixtureRequest, folder: Path):
    if request.param == "torch":
        return load(f"local-dir:{folder}")
    out = folder.parent / "onnx"
    export(f"local-dir:{folder}", "onnx", out)
    return load(f"onnx:{out}")


def cutout(folder: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 4), np.uint8)
    pixels[..., 3] = 0
    pixels[10:30, 10:30, 3] = 255
    Image.fromarray(pixels).save(folder / "1.png")
    return folder / "1.png"


def turned(folder: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(1).integers(0, 256, (30, 50, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "1.png", exif=exif)
    return folder / "1.png"


def palette(folder: Path) -> Path:
    pixels = np.random.default_rng(2).integers(0, 256, (40, 40, 3), np.uint8)
    image = Image.fromarray(pixels).quantize(16)
    image.info["transparency"] = 3
    image.save(folder / "1.png", transparency=3)
    return folder / "1.png"


@pytest.mark.parametrize("write", [cutout, turned, palette])
def test_a_picture_means_the_same_however_it_is_handed_over(encoder, write: Callable, tmp_path: Path) -> None:
    file = write(tmp_path)
    (tmp_path / "metadata.csv").write_text("file_name\n1.png\n")
    catalogue = Catalogue.load(tmp_path, "train", product=None)
    wanted = encoder.encode_images([catalogue.picture(0)])
    with Image.open(file) as opened:
        given = [opened, str(file), file, np.asarray(catalogue.picture(0))]
        vectors = encoder.encode_images(given)
    for vector in vectors:
        torch.testing.assert_close(vector, wanted[0])


def test_arrays_of_any_kind(encoder) -> None:
    grey = np.random.default_rng(3).integers(0, 256, (32, 32), np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=2)
    opaque = np.dstack([colour, np.full_like(grey, 255)])
    deep = colour.astype(np.uint16) * 257
    given = [grey, colour, opaque, deep, colour / 255.0, np.dstack([deep, np.full_like(deep[..., 0], 65535)])]
    vectors = encoder.encode_images(given)
    for vector in vectors:
        torch.testing.assert_close(vector, vectors[0])
    torch.testing.assert_close(encoder.encode_images(np.stack([colour, colour])), vectors[:2])
    assert encoder.encode_images([]).shape == (0, encoder.dim)


def test_what_is_no_list_of_pictures_is_refused(encoder, tmp_path: Path) -> None:
    file = cutout(tmp_path)
    for one in (str(file), np.zeros((4, 4, 3), np.uint8)):
        with pytest.raises(UsageError, match=r"put it in brackets"):
            encoder.encode_images(one)
    for one in (file, Image.new("RGB", (4, 4))):
        with pytest.raises(UsageError, match=r"put it in brackets"):
            several(one)
    with pytest.raises(CatalogueError, match=r"nowhere\.png: cannot be read: No such file"):
        encoder.encode_images([file, tmp_path / "nowhere.png"])
    with pytest.raises(CatalogueError, match=r"picture 1: pixels of shape \(3, 32, 32\)"):
        encoder.encode_images([file, np.zeros((3, 32, 32), np.uint8)])
    with pytest.raises(UsageError, match=r"picture 0: NoneType is no picture"):
        pictures_of([None])
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(CatalogueError, match=r"text\.png: not a picture"):
        encoder.encode_images([tmp_path / "text.png"])


def test_texts_are_a_list(encoder) -> None:
    with pytest.raises(UsageError, match=r"encode_texts\(\['a red shirt'\]\)"):
        encoder.encode_texts("a red shirt")
    with pytest.raises(UsageError, match=r"text 1 is float \(nan\), not a string"):
        texts_of(["a red shirt", float("nan")])
    listed = encoder.encode_texts(["a red shirt", "a skirt"])
    torch.testing.assert_close(encoder.encode_texts(iter(["a red shirt", "a skirt"])), listed)
    assert encoder.encode_texts([]).shape == (0, encoder.dim)


def test_a_text_that_is_cut_is_named_once_with_what_is_lost(encoder, caplog: pytest.LogCaptureFixture) -> None:
    """The tower reads 20 tokens, start and end among them: 18 words that are a token each."""
    fits, long = " ".join(["red"] * 18), " ".join(["red"] * 23) + " blue"
    with caplog.at_level(logging.WARNING):
        encoder.encode_texts([fits])
    assert not caplog.records
    for _ in range(2):
        encoder.encode_texts(["a skirt", long, fits])
    assert len(caplog.records) == 1
    said = caplog.records[0].getMessage()
    assert "reads 20 tokens of a text: the last 6 of 'red red" in said and "blue' are cut off" in said
    assert "other" not in said
    encoder.encode_texts([long, long + " a", long + " b"])
    assert len(caplog.records) == 2 and "the last 7 of" in caplog.records[1].getMessage()
    assert "and the ends of 1 other text(s)" in caplog.records[1].getMessage()


@pytest.mark.parametrize("name", ["siglip", "hf_clip", "hf_siglip"])
def test_every_tokenizer_is_counted(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """12 tokens, one of them the end, in towers that read their padding and in such whose padding is their end."""
    if name in OPEN_CLIP:
        model = f"local-dir:{write_open_clip(tmp_path / name, OPEN_CLIP[name])}"
    else:
        model = f"transformers:{write_transformers(tmp_path / name, name)}"
    encoder = load(model)
    caplog.clear()
    encoder.encode_texts([" ".join(["shirt"] * 11)])
    assert not caplog.records
    encoder.encode_texts([" ".join(["shirt"] * 15)])
    assert "reads 12 tokens of a text: the last 4 of" in caplog.text


def test_the_text_tower_alone_says_the_same(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = BytePairs(20)
    tokenizer.ids([" ".join(["red"] * 18)])
    assert not caplog.records
    for _ in range(2):
        tokenizer.ids([" ".join(["red"] * 23) + " blue"])
    assert len(caplog.records) == 1 and "reads 20 tokens of a text: the last 6 of" in caplog.text
