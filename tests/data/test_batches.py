import numpy as np
import pytest
import torch
from data_factory import write_catalogue

from clipadapt import config
from clipadapt.data.augment import Augment
from clipadapt.data.batches import Batches
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.images import Preprocess
from clipadapt.data.prepared import PreparedPictures
from clipadapt.data.preparing import prepare
from clipadapt.data.sharding import write_shards
from clipadapt.data.sources import open_source
from clipadapt.errors import CatalogueError, ConfigError


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    folder = write_catalogue(tmp_path_factory.mktemp("shop"), items=50, size=20)
    return Catalogue.load(folder, "train", attributes=["Pattern", "baseColour"])  # 34 items


def batches(catalogue, batch_size=12, micro_batch=4, rank=0, world=1, seed=0, workers=0, size=16, window=0, **train):
    options = config.Train.model_validate({"batch_size": batch_size, "micro_batch": micro_batch, **train})
    augment = Augment(config.Augment(), Preprocess(size), seed)
    return Batches(catalogue, options, augment, seed, rank, world, workers=workers, window=window)


def flat(steps):
    return [(micro.indices.tolist(), micro.repeats.tolist(), micro.pixels) for step in steps for micro in step]


def test_every_item_once_and_the_last_batch_filled_from_the_beginning(catalogue):
    loader = batches(catalogue)
    assert loader.steps_per_epoch == 3
    steps = list(loader.epoch(0))
    assert [[len(micro) for micro in step] for step in steps] == [[4, 4, 4]] * 3
    order = np.concatenate([micro.indices for step in steps for micro in step])
    assert sorted(order[:34]) == list(range(34))
    assert order[34:].tolist() == order[:2].tolist()
    repeats = np.concatenate([micro.repeats for step in steps for micro in step])
    assert repeats.tolist() == [0] * 34 + [1, 1]
    micro = steps[0][0]
    assert micro.pixels.shape == (4, 3, 16, 16) and micro.pixels.dtype == torch.float32


def test_a_copy_is_augmented_differently(catalogue):
    steps = list(batches(catalogue).epoch(0))
    assert not torch.equal(steps[0][0].pixels[0], steps[-1][-1].pixels[2])
    assert steps[0][0].indices[0] == steps[-1][-1].indices[2]


def test_pixels_are_the_augmented_pictures(catalogue):
    loader = batches(catalogue)
    micro = next(iter(loader.epoch(4)))[1]
    for place, index in enumerate(micro.indices):
        assert torch.equal(micro.pixels[place], loader.augment(catalogue.picture(index), 4, int(index)))


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("micro_batch", [2, 5])
def test_processes_and_micro_batches_share_one_global_batch(catalogue, world, micro_batch):
    whole = list(batches(catalogue, balance="sqrt").epoch(1))
    parts = [
        list(batches(catalogue, micro_batch=micro_batch, rank=r, world=world, balance="sqrt").epoch(1))
        for r in range(world)
    ]
    for step, micros in enumerate(whole):
        pieces = [micro for part in parts for micro in part[step]]
        assert np.array_equal(np.concatenate([m.indices for m in micros]), np.concatenate([p.indices for p in pieces]))
        assert torch.equal(torch.cat([m.pixels for m in micros]), torch.cat([p.pixels for p in pieces]))


def test_an_epoch_resumes_at_any_step(catalogue):
    whole = flat(batches(catalogue).epoch(2))
    resumed = flat(batches(catalogue).epoch(2, start_step=1))
    for one, other in zip(whole[3:], resumed, strict=True):
        assert one[:2] == other[:2] and torch.equal(one[2], other[2])
    assert list(batches(catalogue).epoch(2, start_step=3)) == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # torch's DataLoader on Python 3.12
def test_workers_change_nothing(catalogue):
    alone = flat(batches(catalogue, balance="full").epoch(1))
    helped = flat(batches(catalogue, balance="full", workers=2).epoch(1))
    for one, other in zip(alone, helped, strict=True):
        assert one[:2] == other[:2] and torch.equal(one[2], other[2])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_picture_is_named(tmp_path, workers):
    folder = write_catalogue(tmp_path, items=24, size=8)
    (folder / "train/0005.png").write_bytes(b"nothing")
    loader = batches(Catalogue.load(folder, "train"), workers=workers)
    with pytest.raises(CatalogueError, match=r"^item '0005', .*row 7 .*replace it or take it out$"):
        list(loader.epoch(0))


def test_batches_that_do_not_fit(catalogue):
    with pytest.raises(ConfigError, match=r"batch_size is 40, and there are 34 .*; set it to 34 or less"):
        batches(catalogue, batch_size=40)
    with pytest.raises(ConfigError, match="12 does not divide over 5 processes; 10 would"):
        batches(catalogue, world=5)
    with pytest.raises(ConfigError, match="2 does not divide over 3 processes; 3 would"):
        batches(catalogue, batch_size=2, micro_batch=1, world=3)


def test_pairs_that_are_mixed_are_not_cut_between_processes(catalogue):
    mixed = Augment(config.Augment(mixup=0.2), Preprocess(20), 0)
    train = config.Train(batch_size=6, micro_batch=6)
    with pytest.raises(ConfigError, match=r"6 over 2 processes is 3 each: .* is cut; set it to 8"):
        Batches(catalogue, train, mixed, 0, 0, 2)
    for world in (1, 3):
        Batches(catalogue, train, mixed, 0, 0, world)
    with pytest.raises(ConfigError, match=r"micro_batch 3: .* where an odd number is cut; set it to 4"):
        Batches(catalogue, config.Train(batch_size=6, micro_batch=3), mixed, 0, 0, 1)
    Batches(catalogue, config.Train(batch_size=4, micro_batch=3), mixed, 0, 0, 2)  # each process has two pictures
    Batches(catalogue, train, Augment(config.Augment(), Preprocess(20), 0), 0, 0, 2)


def test_batches_read_a_prepared_cache_and_refuse_another_models(catalogue, tmp_path):
    prepare({"train": catalogue}, Preprocess(20), tmp_path / "cache")
    attached = PreparedPictures.open(tmp_path / "cache").attach(catalogue)
    cached = flat(batches(attached, size=20).epoch(0))
    plain = flat(batches(catalogue, size=20).epoch(0))  # pictures are 20 pixels already: the cache loses nothing
    assert all(torch.equal(one[2], other[2]) for one, other in zip(cached, plain, strict=True))
    with pytest.raises(CatalogueError, match="size: cache 20, model 16"):
        batches(attached)


@pytest.fixture(scope="module")
def in_shards(catalogue, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    source = open_source(catalogue.source)
    write_shards(source, {"train": Catalogue.of(source)}, folder, rows=4)  # 9 shards
    return Catalogue.load(folder, attributes=["Pattern", "baseColour"])


def test_a_catalogue_in_shards_is_drawn_by_windows_and_resumes_anywhere(in_shards):
    loader = batches(in_shards, window=2)
    order = loader.order(1)
    assert sorted(order[:34]) == list(range(34)) and order[34:].tolist() == order[:2].tolist()
    shards = in_shards.pictures.shards()
    assert all(len(set(shards[order[first : first + 8]].tolist())) <= 4 for first in range(0, 32, 8))
    whole = [flat([step]) for step in loader.epoch(1)]
    assert np.concatenate([micro[0] for step in whole for micro in step]).tolist() == order.tolist()
    assert [micro[1] for micro in whole[-1]] == [[0] * 4, [0] * 4, [0, 0, 1, 1]]
    for start in range(4):
        resumed = [flat([step]) for step in batches(in_shards, window=2).epoch(1, start_step=start)]
        for one, other in zip(whole[start:], resumed, strict=True):
            for a, b in zip(one, other, strict=True):
                assert a[:2] == b[:2] and torch.equal(a[2], b[2])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_and_workers_share_the_windows(in_shards):
    whole = list(batches(in_shards, window=3).epoch(0))
    parts = [
        list(batches(in_shards, micro_batch=2, rank=r, world=4, window=3, workers=r % 2).epoch(0)) for r in range(4)
    ]
    for step, micros in enumerate(whole):
        pieces = [micro for part in parts for micro in part[step]]
        assert np.array_equal(np.concatenate([m.indices for m in micros]), np.concatenate([p.indices for p in pieces]))
        assert torch.equal(torch.cat([m.pixels for m in micros]), torch.cat([p.pixels for p in pieces]))


def test_balancing_within_windows_is_refused_and_without_windows_allowed(in_shards, catalogue):
    with pytest.raises(ConfigError, match=r"train.balance: sqrt draws .* windows of 2 shards; set .* data.window: 0"):
        batches(in_shards, window=2, balance="sqrt")
    free, plain = batches(in_shards, window=0, balance="sqrt"), batches(catalogue, window=2, balance="sqrt")
    assert np.array_equal(free.order(0), plain.order(0))


def test_resized_shards_serve_their_model_alone(catalogue, tmp_path):
    source = open_source(catalogue.source)
    write_shards(source, {"train": Catalogue.of(source)}, tmp_path / "s", rows=9, preprocess=Preprocess(20))
    resized = Catalogue.load(tmp_path / "s")
    plain = flat(batches(catalogue, size=20).epoch(0))
    assert all(
        torch.equal(one[2], other[2])
        for one, other in zip(flat(batches(resized, size=20).epoch(0)), plain, strict=True)
    )
    with pytest.raises(CatalogueError, match="size: cache 20, model 16"):
        batches(resized)
