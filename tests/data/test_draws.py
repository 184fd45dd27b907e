import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipadapt import keyed
from clipadapt.data.draws import ListedDraws, WindowedDraws
from clipadapt.data.sampling import occurrences

shards = st.lists(st.integers(0, 12), min_size=1, max_size=80).map(np.array)
windows = st.integers(1, 15)


def slow_order(shards, window, epoch, seed):
    """The windowed order as its definition says, shard by shard."""
    used = sorted(set(shards.tolist()))
    turn = [used[at] for at in keyed.generator(seed, "shards", epoch).permutation(len(used))]
    order = []
    for block, first in enumerate(range(0, len(turn), window)):
        items = [i for shard in turn[first : first + window] for i in np.flatnonzero(shards == shard).tolist()]
        mixed = keyed.generator(seed, "window", epoch, block).permutation(len(items))
        order += [items[at] for at in mixed]
    return order


@given(shards, windows, st.integers(0, 5), st.integers(0, 5), st.booleans())
@settings(deadline=None)
def test_the_order_is_its_definition_and_a_permutation(shards, window, epoch, seed, rising):
    shards = np.sort(shards) if rising else shards
    draws = WindowedDraws(shards, window, epoch=epoch, seed=seed)
    found = draws.between(0, len(draws)).items.tolist()
    assert found == slow_order(shards, window, epoch, seed)
    assert sorted(found) == list(range(len(shards)))


@given(shards, windows, st.data())
@settings(deadline=None)
def test_any_stretch_is_that_of_the_whole(shards, window, data):
    draws = WindowedDraws(shards, window, epoch=1, seed=2)
    total = len(shards) * 3
    whole = np.resize(draws.between(0, len(shards)).items, total)
    repeats = occurrences(whole)
    start = data.draw(st.integers(0, total))
    stop = data.draw(st.integers(start, total))
    again = pickle.loads(pickle.dumps(draws)) if data.draw(st.booleans()) else draws
    found = again.between(start, stop)
    assert found.items.tolist() == whole[start:stop].tolist()
    assert found.repeats.tolist() == repeats[start:stop].tolist()


@given(shards, windows)
@settings(deadline=None)
def test_a_block_is_read_from_no_more_shards_than_the_window(shards, window):
    draws = WindowedDraws(shards, window, epoch=0, seed=0)
    met = list(dict.fromkeys(shards[draws.between(0, len(draws)).items].tolist()))
    place = 0
    for first in range(0, len(met), window):
        count = int(np.isin(shards, met[first : first + window]).sum())
        seen = set(shards[draws.between(place, place + count).items].tolist())
        assert seen == set(met[first : first + window])
        place += count


def test_epochs_and_seeds_differ_and_a_block_is_mixed():
    shards = np.repeat(np.arange(20), 50)
    orders = [
        tuple(WindowedDraws(shards, 4, epoch=epoch, seed=seed).between(0, 1000).items.tolist())
        for epoch, seed in ((0, 0), (1, 0), (0, 1))
    ]
    assert len(set(orders)) == 3
    first = shards[list(orders[0][:64])]
    assert len(set(first.tolist())) == 4


def test_one_window_over_everything_mixes_everything():
    shards = np.repeat(np.arange(5), 20)
    found = WindowedDraws(shards, 5, epoch=0, seed=0).between(0, 40).items
    assert set(shards[found].tolist()) == set(range(5))


def test_listed_draws_give_what_was_listed():
    order = np.array([4, 2, 4, 0, 2, 4])
    found = ListedDraws(order).between(2, 6)
    assert found.items.tolist() == [4, 0, 2, 4] and found.repeats.tolist() == [1, 0, 1, 2]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_see_each_item_once(world):
    shards = np.repeat(np.arange(9), 8)
    draws = [WindowedDraws(shards, 2, epoch=3, seed=0) for _ in range(world)]
    share = 24 // world
    seen = [
        item
        for step in range(3)
        for rank in range(world)
        for item in draws[rank].between(step * 24 + rank * share, step * 24 + (rank + 1) * share).items.tolist()
    ]
    assert seen == draws[0].between(0, 72).items.tolist() and sorted(seen) == list(range(72))
