"""Deep pictures, bands, colour profiles, and one result whichever way a picture comes in."""

import io
import pickle
from pathlib import Path
from typing import Literal

import imagecodecs
import numpy as np
import pytest
import tifffile
from data_factory import write_table
from odd_pictures import odd_pictures, saved, wide_gamut
from PIL import Image, ImageCms

from clipadapt.config import Data
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.check import check
from clipadapt.data.decode import Decoding, decode, header, rgb_of
from clipadapt.data.images import Preprocess
from clipadapt.data.prepared import PreparedPictures
from clipadapt.data.preparing import prepare
from clipadapt.errors import CatalogueError


def tiff(values: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def deep_colours(top: int, size: int = 8) -> np.ndarray:
    """A ramp in red, its reverse in green, a middle blue; uint16."""
    ramp = np.linspace(0, top, size * size).astype(np.uint16).reshape(size, size)
    return np.stack([ramp, ramp[::-1, ::-1], np.full_like(ramp, top // 2)], axis=2)


def seen(values: np.ndarray, top: float) -> np.ndarray:
    return np.rint(values.astype(np.float64) * 255 / top).astype(np.uint8)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_sixteen_bit_colour_tiffs_are_read_as_they_are(planar, compression):
    values = deep_colours(10_000)
    stored = values if planar == "contig" else np.moveaxis(values, 2, 0)
    data = tiff(stored, photometric="rgb", planarconfig=planar, compression=compression)
    got = np.asarray(decode(data, Decoding(limits=(0, 10_000))))
    assert np.array_equal(got, seen(values, 10_000))


def test_sixteen_bit_colour_png_keeps_its_low_byte():
    values = deep_colours(4095)
    got = np.asarray(decode(bytes(imagecodecs.png_encode(values)), Decoding(limits=(0, 4095))))
    assert np.array_equal(got, seen(values, 4095))


def test_white_is_zero_at_sixteen_bits():
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    got = np.asarray(decode(tiff(ramp, photometric="miniswhite")))
    assert np.array_equal(got[..., 0], 255 - seen(ramp, 65535))


def test_transparency_of_a_deep_picture_is_laid_on_white():
    values = np.dstack([deep_colours(65535), np.zeros((8, 8), np.uint16)])
    data = tiff(values, photometric="rgb", extrasamples=["unassalpha"])
    assert np.asarray(decode(data)).min() == 255


@pytest.mark.parametrize("count", [2, 5, 13])
def test_bands_that_nothing_explains_are_refused_with_a_cure(count):
    data = tiff(np.zeros((8, 8, count), np.uint16), photometric="minisblack", planarconfig="contig")
    with pytest.raises(CatalogueError, match=rf"{count} bands.*name three with data\.bands"):
        decode(data)
    if count > 3:
        assert decode(data, Decoding(bands=(4, 3, 2))).size == (8, 8)
    with pytest.raises(CatalogueError, match=rf"the picture has {count}"):
        decode(data, Decoding(bands=(20, 3, 2)))


def test_four_bands_show_the_first_three_unless_others_are_named():
    values = np.stack([np.full((4, 4), level, np.uint16) for level in (1000, 2000, 3000, 4000)], axis=2)
    data = tiff(values, photometric="rgb", extrasamples=["unspecified"])
    assert np.asarray(decode(data, Decoding(limits=(0, 4000)))).tolist()[0][0] == [64, 128, 191]
    assert np.asarray(decode(data, Decoding((0, 4000), (4, 3, 2)))).tolist()[0][0] == [255, 191, 128]


def deep_shop(folder: Path, tops: list[float], kind: type = np.uint16) -> Path:
    """A picture for each top; returns the source."""
    rows = [{"file_name": f"{i}.tif", "Pattern": "Solid", "product": str(i)} for i in range(len(tops))]
    (folder / "train").mkdir(parents=True)
    for i, top in enumerate(tops):
        values = np.linspace(0, top, 256).reshape(16, 16).astype(kind)
        (folder / "train" / f"{i}.tif").write_bytes(tiff(values))
    return write_table(folder / "train", rows).parent


def test_one_range_for_all_items_found_in_steps_of_bits(tmp_path):
    catalogue = Catalogue.load(deep_shop(tmp_path, [2800, 3000, 900]))
    whites = [int(np.asarray(catalogue.picture(item)).max()) for item in range(3)]
    assert catalogue.decoding.limits == (0.0, 4095.0)
    assert whites == [round(top * 255 / 4095) for top in (2800, 3000, 900)]
    assert pickle.loads(pickle.dumps(catalogue)).decoding.limits == (0.0, 4095.0)


def test_one_glaring_float_darkens_nothing(tmp_path):
    source = deep_shop(tmp_path, [1.0, 1.0], np.float32)
    values = np.full((64, 64), 0.5, np.float32)
    values[0, 0] = 7.0
    (source / "train/1.tif").write_bytes(tiff(values))
    catalogue = Catalogue.load(source)
    assert catalogue.decoding.limits == (0.0, 1.0)
    assert np.median(np.asarray(catalogue.picture(1))) == 128


def test_a_named_range_wins_and_the_check_shows_what_is_used(tmp_path):
    source = deep_shop(tmp_path, [2800, 3000])
    assert Catalogue.load(source, limits=(0, 3000)).picture(1).getextrema()[0] == (0, 255)
    lines = [str(fault) for fault in check(Data(source=str(source))).faults]
    assert any("2 picture(s) have more than 8 bits" in line and "4095 white" in line for line in lines)
    lines = [str(fault) for fault in check(Data(source=str(source), range=(0, 3000))).faults]
    assert any("0 is black and 3000 white" in line and "a mean of 11" in line for line in lines)


def test_a_prepared_cache_of_another_range_is_refused(tmp_path):
    source = deep_shop(tmp_path / "shop", [2800, 3000])
    catalogue = Catalogue.load(source, limits=(0, 3000))
    prepare({"train": catalogue}, Preprocess(16), tmp_path / "cache")
    cache = PreparedPictures.open(tmp_path / "cache")
    cached = cache.attach(catalogue)
    assert np.array_equal(np.asarray(cached.picture(1)), np.asarray(catalogue.picture(1)))
    with pytest.raises(CatalogueError, match=r"prepare it again, or correct data\.range"):
        cache.attach(Catalogue.load(source))


def profile(name: Literal["sRGB", "LAB", "XYZ"]) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def test_colours_of_a_profile_are_converted_to_srgb():
    plain = Image.new("RGB", (8, 8), (60, 180, 75))
    data = saved(plain, "PNG", icc_profile=wide_gamut())
    got = np.asarray(decode(data))[0, 0].astype(int)
    assert got[0] < 20 and abs(got[1] - 181) < 8, got  # Adobe RGB's green is out of sRGB: red falls
    assert header(data).profile == "wide gamut"
    assert np.asarray(decode(saved(plain, "PNG", icc_profile=profile("sRGB"))))[0, 0].tolist() == [60, 180, 75]
    assert header(saved(plain, "PNG", icc_profile=profile("sRGB"))).profile == ""


def test_a_profile_that_does_not_fit_is_left_alone_and_counted(tmp_path):
    grey = Image.new("L", (8, 8), 100)
    rows = [{"file_name": f"{i}.png", "Pattern": "Solid", "product": str(i)} for i in range(2)]
    (tmp_path / "train").mkdir()
    (tmp_path / "train/0.png").write_bytes(saved(grey, "PNG", icc_profile=wide_gamut()))
    (tmp_path / "train/1.png").write_bytes(saved(grey.convert("RGB"), "PNG", icc_profile=b"not a profile"))
    source = write_table(tmp_path / "train", rows).parent
    assert Catalogue.load(source).picture(0).getpixel((0, 0)) == (100, 100, 100)
    lines = [str(fault) for fault in check(Data(source=str(source))).faults]
    assert any("wide gamut, which does not fit L" in line and "save them anew" in line for line in lines)
    assert any("a colour profile that cannot be read" in line for line in lines)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_picture_with_transparency_comes_out_upright(mode, orientation):
    upright = Image.new("RGBA", (12, 8), (0, 0, 0, 255))
    upright.paste((255, 255, 255, 255), (0, 0, 4, 3))
    undo = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright.transpose(undo)
    stored = stored.convert("RGB").quantize(4) if mode == "P" else stored.convert(mode)
    options = {"transparency": 3} if mode == "P" else {}
    got = decode(saved(stored, "PNG", exif=exif, **options))
    assert got.size == (12, 8) and got.getpixel((1, 1)) == (255, 255, 255) and got.getpixel((11, 7)) == (0, 0, 0)


@pytest.mark.parametrize("kind", list(odd_pictures()))
def test_every_way_in_gives_the_same_pixels(tmp_path, kind):
    """A catalogue, its prepared cache, and a picture that Pillow opened: one result."""
    data = odd_pictures()[kind]
    (tmp_path / "train").mkdir()
    (tmp_path / "train/0.png").write_bytes(data)
    source = write_table(tmp_path / "train", [{"file_name": "0.png", "Pattern": "Solid"}]).parent
    catalogue, preprocess = Catalogue.load(source), Preprocess(16)
    want = preprocess.pixels(decode(data, catalogue.decoding))
    assert np.array_equal(preprocess.pixels(catalogue.picture(0)), want)
    prepare({"train": catalogue}, preprocess, tmp_path / "cache")
    cached = PreparedPictures.open(tmp_path / "cache").attach(catalogue)
    assert np.array_equal(preprocess.pixels(cached.picture(0)), want)
    opened = Image.open(io.BytesIO(data))
    assert np.array_equal(preprocess.pixels(opened), want)
    assert np.array_equal(np.asarray(rgb_of(rgb_of(Image.open(io.BytesIO(data))))), np.asarray(decode(data)))
