import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from clipadapt import config
from clipadapt.data.augment import Augment
from clipadapt.data.images import Preprocess


def picture(width=60, height=40, seed=0):
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def augment(preprocess=None, seed=0, **options):
    return Augment(config.Augment.model_validate(options), preprocess or Preprocess(32), seed)


def test_switched_off_it_is_the_evaluation_preprocessing():
    still = augment(Preprocess(32), crop=(1.0, 1.0), flip=False, jitter=0.0)
    assert torch.equal(still(picture(), 3, 5), Preprocess(32)(picture()))


def test_a_draw_depends_on_its_key_alone():
    one = augment()
    first = one.pixels(picture(), 2, 7, 1)
    for other in ((2, 8, 0), (0, 0, 0), (9, 1, 3)):
        one.pixels(picture(), *other)
    assert np.array_equal(one.pixels(picture(), 2, 7, 1), first)
    assert np.array_equal(augment().pixels(picture(), 2, 7, 1), first)
    assert torch.equal(one(picture(), 2, 7, 1), Preprocess(32).normalise(torch.from_numpy(first)))
    others = [augment().pixels(picture(), *key) for key in ((3, 7, 1), (2, 6, 1), (2, 7, 0))]
    others.append(augment(seed=1).pixels(picture(), 2, 7, 1))
    assert not any(np.array_equal(other, first) for other in others)


def test_switching_one_change_off_leaves_the_others():
    flips = [np.array_equal(augment(crop=(1, 1), jitter=0).pixels(picture(), 0, i), Preprocess(32).pixels(picture()))
             for i in range(40)]  # fmt: skip
    assert 8 < sum(flips) < 32
    mirrored = picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    item = flips.index(False)
    assert np.array_equal(augment(crop=(1, 1), jitter=0).pixels(picture(), 0, item), Preprocess(32).pixels(mirrored))
    with_crop = augment(jitter=0).pixels(picture(), 0, item)
    without_flip = augment(jitter=0, flip=False).pixels(picture(), 0, item)
    assert np.abs(with_crop[:, ::-1].astype(int) - without_flip).max() <= 1


SIDES = st.integers(10, 400)
UNIT = st.floats(0, 1, exclude_max=True)


@given(SIDES, SIDES, UNIT, UNIT, UNIT, UNIT, st.sampled_from(["shortest", "squash"]))
def test_crops_stay_inside_and_within_their_bounds(width, height, area, ratio, across, down, mode):
    box = augment(Preprocess(32, resize_mode=mode), crop=(0.5, 0.9))._box((width, height), area, ratio, across, down)
    left, top, right, bottom = box
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    share = (right - left) * (bottom - top) / (width * height)
    assert share <= 0.9 + 1e-6
    shape = (right - left) / (bottom - top)
    if mode == "squash":
        shape *= height / width
    assert 3 / 4 - 1e-6 <= shape <= 4 / 3 + 1e-6
    if width == height or mode == "squash":
        assert share >= 0.5 - 1e-6


def test_jitter_is_pillows_three_steps_in_one():
    """Pillow rounds after each step and takes an integer mean; so a few levels of tolerance, away from clipping."""
    mild = Image.fromarray(np.random.default_rng(0).integers(90, 160, (32, 32, 3), dtype=np.uint8))
    shaken = augment(crop=(1, 1), flip=False, jitter=0.2)
    from clipadapt import keyed

    for item in range(10):
        draws = keyed.generator(0, "augment", 0, item, 0).random(8)[5:]
        brightness, contrast, saturation = 1 + 0.2 * (2 * draws - 1)
        stepwise = ImageEnhance.Brightness(mild).enhance(brightness)
        stepwise = ImageEnhance.Contrast(stepwise).enhance(contrast)
        stepwise = ImageEnhance.Color(stepwise).enhance(saturation)
        assert np.abs(shaken.pixels(mild, 0, item).astype(int) - np.asarray(stepwise)).max() <= 3


def test_jitter_leaves_hue_alone():
    """A grey picture stays grey, and the order of a colour's channels stays as it was."""
    grey = Image.new("RGB", (32, 32), (120, 120, 120))
    red = Image.new("RGB", (32, 32), (160, 100, 80))
    shaken = augment(jitter=0.4)
    for item in range(20):
        pixels = shaken.pixels(grey, 0, item).astype(int)
        assert np.ptp(pixels, axis=2).max() <= 1
        r, g, b = shaken.pixels(red, 0, item)[0, 0].astype(int)
        assert r > g > b
        assert (r - g) / (r - b) == pytest.approx(0.75, abs=0.03)


def test_autoaugment_is_keyed_and_leaves_torchs_generator_alone():
    forced = augment(autoaugment=True, force=("autoaugment",), crop=(1, 1), flip=False, jitter=0)
    before = torch.get_rng_state()
    first = [forced.pixels(picture(), 0, item) for item in range(8)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert all(np.array_equal(one, forced.pixels(picture(), 0, item)) for item, one in enumerate(first))
    assert sum(np.array_equal(one, Preprocess(32).pixels(picture())) for one in first) < 8
    assert not all(np.array_equal(one, first[0]) for one in first)
