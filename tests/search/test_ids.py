import hashlib

import numpy as np

from clipadapt.search import ids as module
from clipadapt.search.ids import IdTable, hashes


def test_every_row_of_an_id_is_a_candidate_and_no_other():
    ids = ["a", "b", "a", "ü", "c", "a"]
    places, rows = IdTable.of(ids).find(hashes(["a", "z", "ü"]))
    assert sorted(zip(places.tolist(), rows.tolist(), strict=True)) == [(0, 0), (0, 2), (0, 5), (2, 3)]


def test_hashes_are_the_same_everywhere():
    assert int(hashes(["shirt"])[0]) == int.from_bytes(hashlib.blake2b(b"shirt", digest_size=8).digest(), "little")
    assert len(hashes([])) == 0
    assert len(hashes(["\ud800"])) == 1  # half of a character, as JSON may hold


def test_two_ids_of_one_hash_are_not_taken_for_each_other(vectors_of, monkeypatch):
    monkeypatch.setattr(module, "hashes", lambda ids: np.zeros(len(list(ids)), np.uint64))
    monkeypatch.setattr("clipadapt.search.items.hashes", module.hashes)
    items = vectors_of(20).items
    assert items.live_rows(["i3", "i17"]).tolist() == [3, 17]
    assert not items.holds("i99")
