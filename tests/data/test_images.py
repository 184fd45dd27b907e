"""Odd files load as a person sees them; preprocessing equals open_clip's and transformers' own."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from clipadapt.data.decode import MAX_PIXELS, PREPARED, decode, header
from clipadapt.data.images import Preprocess
from clipadapt.data.metadata import embedded
from clipadapt.errors import CatalogueError, ModelError

RED, WHITE = (200, 20, 20), (255, 255, 255)


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def corner(width=12, height=8):
    """Black, with a white top left corner: shows which way is up."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:3, :4] = 255
    return Image.fromarray(pixels)


def near(image, colour, tolerance=8):
    pixels = np.asarray(image).reshape(-1, 3).astype(int)
    return np.abs(pixels - np.array(colour)).max() <= tolerance


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_plain_pictures(form):
    image = decode(encoded(Image.new("RGB", (16, 12), RED), form))
    assert (image.mode, image.size) == ("RGB", (16, 12))
    assert near(image, RED)


def cmyk_jpeg(marked):
    """A red CMYK JPEG; Pillow writes it inverted with Adobe's marker, the other has neither."""
    cmyk = Image.new("RGB", (32, 32), RED).convert("CMYK")
    if marked:
        return encoded(cmyk, "JPEG", quality=95)
    data = encoded(Image.fromarray(255 - np.asarray(cmyk), "CMYK"), "JPEG", quality=95)
    at = data.index(b"\xff\xee")
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    assert data[at + 4 : at + 9] == b"Adobe"
    return data[:at] + data[at + 2 + length :]


@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
@pytest.mark.parametrize("marked", [True, False])
def test_cmyk_with_and_without_adobes_inversion(marked):
    assert near(decode(cmyk_jpeg(marked)), RED, 12)


def test_cmyk_tiff():
    assert near(decode(encoded(Image.new("RGB", (8, 8), RED).convert("CMYK"), "TIFF")), RED)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(form):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    got = np.asarray(decode(encoded(Image.fromarray(ramp), form)))
    want = np.round(ramp / 257).astype(np.uint8)
    assert np.array_equal(got, np.repeat(want[..., None], 3, axis=2))


@pytest.mark.parametrize(("top", "full"), [(1.0, 1.0), (200.0, 255.0), (60000.0, 65535.0)])
def test_float_tiff(top, full):
    ramp = np.linspace(0, top, 64, dtype=np.float32).reshape(8, 8)
    got = np.asarray(decode(encoded(Image.fromarray(ramp), "TIFF")))[..., 0]
    assert np.abs(got - ramp * 255 / full).max() <= 0.5 + 1e-3


def test_thirty_two_bit_integers():
    values = np.array([[0, 2**30], [2**31 - 1, 2**29]], np.int32)
    got = np.asarray(decode(encoded(Image.fromarray(values), "TIFF")))[..., 0]
    assert got.tolist() == [[0, 128], [255, 64]]


def test_palette_with_and_without_transparency():
    palette = Image.new("RGB", (8, 8), RED).quantize(4)
    assert near(decode(encoded(palette)), RED)
    half = Image.new("P", (8, 8), 0)
    half.putpalette([*RED, 0, 0, 255])
    half.paste(1, (0, 0, 4, 8))
    image = decode(encoded(half, transparency=1))
    assert image.getpixel((0, 0)) == WHITE and image.getpixel((7, 7)) == RED


@pytest.mark.parametrize(("mode", "paint"), [("RGBA", (*RED, 0)), ("LA", (10, 0))])
def test_what_is_transparent_is_white(mode, paint):
    image = decode(encoded(Image.new(mode, (8, 8), paint)))
    assert near(image, WHITE, 0)


def test_half_transparent_is_blended_with_white():
    assert near(decode(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 128)))), (127, 127, 127), 1)


def test_a_transparent_colour_of_an_rgb_png():
    assert near(decode(encoded(Image.new("RGB", (4, 4), (1, 2, 3)), transparency=(1, 2, 3))), WHITE, 0)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_and_bitmap(mode):
    assert near(decode(encoded(Image.new(mode, (4, 4), 255))), WHITE, 0)


def test_lab_tiff():
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(Image.new("RGB", (4, 4), RED), to_lab)
    assert near(decode(encoded(lab, "TIFF")), RED, 4)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation, form):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that makes the stored picture of each
    upright = corner()
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    image = decode(encoded(stored, form, exif=exif, **options))
    assert image.size == upright.size
    assert np.abs(np.asarray(image).astype(int) - np.asarray(upright)).mean() < 4


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_broken_exif_does_not_lose_the_picture():
    data = encoded(Image.new("RGB", (8, 8), RED), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert near(decode(data), RED)


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 0, 255))]
    assert near(decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])), RED)


@pytest.mark.parametrize("keep", [0.1, 0.6, 0.95])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_truncated_picture_is_refused(form, keep):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, form)
    with pytest.raises(CatalogueError, match=r"broken or truncated|not a picture"):
        decode(data[: int(len(data) * keep)])


@pytest.mark.parametrize("data", [b"", b"<html></html>", b"\xff\xd8\xff\xe0 not much of a JPEG"])
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(CatalogueError, match="replace it or take it out"):
        decode(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"\(an empty file, 0 bytes\); download the picture again"),
        (b"\n<!DOCTYPE html><html>404", "a web page.*; download the picture again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab", "a pointer of Git LFS.*; fetch the files"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC, as phones write it.*; convert it to JPEG"),
        (b"\0\0\0\x18ftypisom" + bytes(40), "a video"),
        (b"\xff\x0a" + bytes(40), "JPEG XL.*; convert"),
        (b"%PDF-1.7\n", "a PDF.*; convert"),
        (b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="x"/>', "SVG.*; convert"),
        (b"PK\x03\x04" + bytes(40), r"read \(44 bytes\); replace it"),
    ],
)
def test_what_is_no_picture_is_named_with_its_own_remedy(data, message):
    for read in (decode, header, embedded):
        with pytest.raises(CatalogueError, match=message):
            read(data)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch):
    bomb = encoded(Image.new("1", (3000, 3000)))
    for bound in (MAX_PIXELS // 10, 100):  # ours, and twice Pillow's own
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", bound)
        monkeypatch.setattr("clipadapt.data.decode.MAX_PIXELS", 8_000_000)
        with pytest.raises(CatalogueError, match=r"8,000,000.* that are decoded; shrink"):
            decode(bomb)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_flipped_bytes_give_a_picture_or_a_catalogue_error(noise, at):
    data = bytearray(encoded(corner(40, 30), "JPEG"))
    data[at : at + len(noise)] = noise
    with contextlib.suppress(CatalogueError):
        assert decode(bytes(data)).mode == "RGB"


def test_the_header_says_what_is_stored():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert header(encoded(corner(12, 8), "JPEG", exif=exif)) == ("RGB", 12, 8, 6, "", False)
    with pytest.raises(CatalogueError, match="not a picture"):
        header(b"nothing")


def random_picture(seed, width, height):
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    width=st.integers(8, 300),
    height=st.integers(8, 300),
    size=st.sampled_from([32, 64, 75]),
    mode=st.sampled_from(["shortest", "squash", "longest"]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
)
def test_equal_to_open_clip_bit_for_bit(seed, width, height, size, mode, interpolation):
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = PreprocessCfg(size=size, resize_mode=mode, interpolation=interpolation, fill_color=7)
    picture = random_picture(seed, width, height)
    ours = Preprocess.from_open_clip(vars(config))(picture)
    theirs: Any = image_transform_v2(config, is_train=False)
    assert torch.equal(ours, theirs(picture))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    width=st.integers(8, 300),
    height=st.integers(8, 300),
    kind=st.sampled_from(["clip", "clip larger edge", "siglip"]),
)
def test_equal_to_transformers_pillow_processors(seed, width, height, kind):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    processor = {
        "clip": lambda: CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48}),
        "clip larger edge": lambda: CLIPImageProcessorPil(
            size={"shortest_edge": 61}, crop_size={"height": 48, "width": 48}
        ),
        "siglip": lambda: SiglipImageProcessorPil(size={"height": 48, "width": 48}),
    }[kind]()
    picture = random_picture(seed, width, height)
    theirs = torch.as_tensor(np.asarray(processor(picture)["pixel_values"][0]))
    assert torch.allclose(Preprocess.from_processor(processor)(picture), theirs, rtol=0, atol=1e-6)


def test_near_to_transformers_torchvision_processor():
    """Its antialiasing on byte tensors rounds otherwise: measured, at most 2 levels of 255 on smooth pictures."""
    from transformers import CLIPImageProcessor

    processor = CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    y, x = np.mgrid[:150, :200]
    picture = Image.fromarray(np.stack([x, y, (x + y) // 2], axis=2).astype(np.uint8))
    ours = Preprocess.from_processor(processor)
    theirs = torch.as_tensor(np.asarray(processor(picture)["pixel_values"][0]))
    assert (ours(picture) - theirs).abs().max() * 255 * max(ours.std) <= 2.5


def test_a_picture_at_native_size_is_left_alone():
    picture = random_picture(0, 32, 32)
    assert np.array_equal(Preprocess(32).pixels(picture), np.asarray(picture))


def test_a_very_long_picture_does_not_fill_memory():
    assert Preprocess(32).pixels(Image.new("RGB", (20_000, 2), RED)).shape == (32, 32, 3)


def test_normalising_a_batch_is_normalising_each():
    preprocess = Preprocess(24, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    pictures = [random_picture(seed, 30, 40) for seed in range(3)]
    batch = torch.from_numpy(np.stack([preprocess.pixels(picture) for picture in pictures]))
    normalised = preprocess.normalise(batch)
    assert normalised.is_contiguous()
    for index, picture in enumerate(pictures):
        assert torch.equal(normalised[index], preprocess(picture))


def test_the_policy_is_about_pixels_alone():
    assert Preprocess(224).geometry() == Preprocess(224, mean=(0, 0, 0), edge=224).geometry()
    assert Preprocess(224).geometry() != Preprocess(224, edge=256).geometry()


def test_a_picture_prepared_for_another_model_is_refused():
    picture = random_picture(0, 32, 32)
    picture.info[PREPARED] = Preprocess(32).geometry()
    assert Preprocess(32).pixels(picture).shape == (32, 32, 3)
    with pytest.raises(CatalogueError, match="prepare the source for this model"):
        Preprocess(48).pixels(picture)


@pytest.mark.parametrize("config", [{"size": (224, 336)}, {"mode": "L"}])
def test_open_clip_configs_that_are_not_supported(config):
    with pytest.raises(ModelError, match="only"):
        Preprocess.from_open_clip(config)


def test_an_image_size_of_ones_own():
    from transformers import CLIPImageProcessor

    assert Preprocess.from_open_clip({"size": (224, 224)}, size=336).size == 336
    processor = CLIPImageProcessor(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224})
    assert Preprocess.from_processor(processor, size=112).geometry()["edge"] == 128


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"rescale_factor": 1.0}, "rescale_factor"),
        ({"do_normalize": False}, "do_normalize"),
        ({"resample": 0}, "resample"),
        ({"crop_size": {"height": 10, "width": 20}}, "size"),
    ],
)
def test_processors_that_are_not_supported(options, fault):
    from transformers import CLIPImageProcessor

    with pytest.raises(ModelError, match=fault):
        Preprocess.from_processor(CLIPImageProcessor(**options))
