import json
import math
import os
import pickle
import shutil

import numpy as np
import pytest
from data_factory import write_catalogue, write_table
from PIL import Image

from clipadapt import config
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.images import Preprocess
from clipadapt.data.prepared import PreparedPictures
from clipadapt.data.preparing import prepare
from clipadapt.data.quality import psnr, ssim
from clipadapt.data.splits import load_splits
from clipadapt.errors import CatalogueError, StoreError

SMALL = Preprocess(16)


def load(folder):
    return {split: Catalogue.load(folder, split) for split in ("train", "validation")}


@pytest.fixture
def cache(shop, tmp_path):
    """A cache of both splits of `shop` in several shards."""
    prepare(load(shop), SMALL, tmp_path / "cache", shard_bytes=16 * 16 * 3 * 5)
    return tmp_path / "cache"


def test_cached_pictures_are_what_evaluation_sees_bit_for_bit(shop, cache):
    opened = PreparedPictures.open(cache)
    assert len(opened.description["shards"]) == 5
    for catalogue in load(shop).values():
        attached = opened.attach(catalogue)
        chosen = attached.subset([3, 0, 3])
        for place, index in enumerate([3, 0, 3]):
            want = SMALL.pixels(catalogue.picture(index))
            assert np.array_equal(np.asarray(attached.picture(index)), want)
            assert np.array_equal(SMALL.pixels(chosen.picture(place)), want)
        assert attached.picture_bytes(0) == catalogue.picture_bytes(0)


def test_the_files_are_readable_without_clipadapt(cache):
    import pyarrow.parquet as pq

    items = pq.read_table(cache / "items.parquet").to_pylist()
    assert len(items) == 24 and set(items[0]) == {"split", "id", "digest", "stamp", "picture"}
    assert np.load(cache / "pictures-00000.npy").shape == (5, 16, 16, 3)
    assert json.loads((cache / "prepared.json").read_text())["policy"]["size"] == 16


def test_equal_pictures_are_stored_once(tmp_path):
    folder = write_table(tmp_path / "shop", [{"file_name": f"{i}.png"} for i in range(4)])
    shutil.copy(folder / "0.png", folder / "3.png")
    done = prepare({"train": Catalogue.load(folder)}, SMALL, tmp_path / "cache")
    assert (done.items, done.pictures) == (4, 3)
    attached = PreparedPictures.open(tmp_path / "cache").attach(Catalogue.load(folder))
    assert attached.picture(0) == attached.picture(3) != attached.picture(1)


def test_another_policy_is_refused_with_every_difference(shop, cache):
    with pytest.raises(CatalogueError) as caught:
        PreparedPictures.open(cache).require(Preprocess(24, resize_mode="squash"))
    for part in ("size: cache 16, model 24", "resize_mode: cache 'shortest', model 'squash'", "--model M"):
        assert part in str(caught.value)
    with pytest.raises(CatalogueError, match="size: cache 16, model 24"):
        prepare(load(shop), Preprocess(24), cache)
    attached = PreparedPictures.open(cache).attach(load(shop)["train"])
    with pytest.raises(CatalogueError, match="prepare the source for this model"):
        Preprocess(24)(attached.picture(0))


def test_changed_and_added_pictures_are_refused_touched_ones_are_not(shop, cache, tmp_path):
    os.utime(shop / "train/0001.png", (1, 1))
    assert len(PreparedPictures.open(cache).attach(load(shop)["train"])) == 16
    shutil.copytree(shop, tmp_path / "copy")
    assert len(PreparedPictures.open(cache).attach(load(tmp_path / "copy")["train"])) == 16
    Image.new("RGB", (20, 20)).save(shop / "train/0002.png")
    with pytest.raises(CatalogueError, match=r"item '0002', .* row 4 .*: its picture has changed"):
        PreparedPictures.open(cache).attach(load(shop)["train"])
    with pytest.raises(CatalogueError, match="its picture has changed"):
        prepare(load(shop), SMALL, cache)
    table = shop / "validation/metadata.csv"
    table.write_text(table.read_text().replace(",0017,", ",0099,"))
    with pytest.raises(CatalogueError, match=r"item '0099'.*: not in the cache\n.*into a new folder"):
        PreparedPictures.open(cache).attach(load(shop)["validation"])


def test_preparing_again_only_measures(shop, cache):
    before = (cache / "pictures-00000.npy").stat().st_mtime_ns
    assert prepare(load(shop), SMALL, cache).items == 24
    assert (cache / "pictures-00000.npy").stat().st_mtime_ns == before


def test_a_split_that_was_not_prepared(shop, tmp_path):
    catalogues = load(shop)
    prepare({"train": catalogues["train"]}, SMALL, tmp_path / "cache")
    with pytest.raises(CatalogueError, match="holds no split 'validation'"):
        prepare(catalogues, SMALL, tmp_path / "cache")


def test_broken_pictures_all_named_or_left_out(shop, tmp_path, caplog):
    for name in ("0002", "0005"):
        (shop / f"train/{name}.png").write_bytes(b"nothing")
    with pytest.raises(CatalogueError) as caught:
        prepare(load(shop), SMALL, tmp_path / "cache")
    assert "2 picture(s)" in str(caught.value) and "'0002'" in str(caught.value) and "'0005'" in str(caught.value)
    assert not (tmp_path / "cache").exists()
    done = prepare(load(shop), SMALL, tmp_path / "cache", broken="count")
    assert (done.items, done.broken) == (22, 2)
    options = {"source": str(shop), "attributes": ["Pattern"], "prepared": str(tmp_path / "cache")}
    with pytest.raises(CatalogueError, match="correct them and prepare again"):
        load_splits(config.Data.model_validate(options), 0)
    splits = load_splits(config.Data.model_validate(options | {"broken": "count"}), 0)
    assert sum(map(len, splits)) == 22 and sum(len(part.left_out) for part in splits) == 2


def test_splits_read_from_the_cache_a_config_names(shop, cache):
    splits = load_splits(config.Data(source=str(shop), attributes=("Pattern",), prepared=str(cache)), seed=0)
    for part in splits:
        assert part.prepared is not None and part.picture(0).size == (16, 16)


def test_a_cache_travels_to_other_processes_without_its_pictures(shop, cache):
    attached = PreparedPictures.open(cache).attach(load(shop)["train"])
    picture = attached.picture(2)
    packed = pickle.dumps(attached.prepared)
    assert len(packed) < 5_000
    assert pickle.loads(pickle.dumps(attached)).picture(2) == picture


def test_nothing_is_left_where_writing_fails(shop, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(StoreError, match=r"space"):
        prepare(load(shop), SMALL, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_folders_that_are_no_cache(shop, tmp_path):
    with pytest.raises(CatalogueError, match=r"no prepared cache .*clipadapt data prepare SOURCE --out"):
        PreparedPictures.open(tmp_path / "nowhere")
    with pytest.raises(CatalogueError, match="not empty and no prepared cache"):
        prepare(load(shop), SMALL, shop)


def test_a_cache_of_another_form(cache):
    description = json.loads((cache / "prepared.json").read_text())
    (cache / "prepared.json").write_text(json.dumps(description | {"schema_version": 99}))
    with pytest.raises(CatalogueError, match="a cache of form 99, this version reads 2"):
        PreparedPictures.open(cache)


def test_the_report_says_what_a_crop_loses(tmp_path):
    """Evaluation loses nothing; a crop of half the area loses detail where originals are larger than the model."""
    large_pictures = write_catalogue(tmp_path / "large", items=8, size=8)
    for seed, file in enumerate(sorted(large_pictures.rglob("*.png"))):
        noise = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file)
    write_catalogue(tmp_path / "native", items=8, size=16)
    large = prepare(load(tmp_path / "large"), SMALL, tmp_path / "a")
    assert large.psnr is None and large.ssim == pytest.approx(1.0)
    assert large.crop_psnr is not None and large.crop_psnr < 30 and large.crop_ssim < 0.95
    native = prepare(load(tmp_path / "native"), SMALL, tmp_path / "b")
    assert native.psnr is None and native.crop_psnr is None
    assert native.images_per_second > 0 and native.originals_per_second > 0


def test_psnr_by_hand():
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black) == math.inf
    assert psnr(black, black + 5) == pytest.approx(10 * math.log10(255**2 / 25))


def test_ssim_equals_its_definition_written_out():
    random = np.random.default_rng(0)
    one = random.integers(0, 256, (24, 20, 3), dtype=np.uint8)
    other = np.clip(one + random.normal(0, 30, one.shape), 0, 255).astype(np.uint8)
    window = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    window = np.outer(window, window) / window.sum() ** 2
    a, b = (picture @ np.array([0.299, 0.587, 0.114]) for picture in (one, other))
    scores = []
    for y in range(5, 19):
        for x in range(5, 15):
            p, q = a[y - 5 : y + 6, x - 5 : x + 6], b[y - 5 : y + 6, x - 5 : x + 6]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            cov = (window * (p - mp) * (q - mq)).sum()
            scores.append(
                (2 * mp * mq + 6.5025) * (2 * cov + 58.5225) / ((mp**2 + mq**2 + 6.5025) * (vp + vq + 58.5225))
            )
    assert ssim(one, other) == pytest.approx(np.mean(scores), abs=1e-9)
    assert ssim(one, one) == pytest.approx(1.0)
