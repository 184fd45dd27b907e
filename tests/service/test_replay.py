"""Queries asked again."""

import json

import pytest

from clipadapt.errors import UsageError
from clipadapt.service.replay import PICTURE, logged, replay
from clipadapt.service.settings import Settings
from clipadapt.service.traffic import Traffic
from clipadapt.service.uploads import Uploads


def test_a_log_with_kept_queries_is_asked_again(tmp_path, collection_of):
    traffic = Traffic.open(log=tmp_path, keep_queries=True)
    route = traffic.route("user 17", None, candidate=False)
    given = {"release": "000001", "items": [], "took_ms": 1.0, "k": 5}
    traffic.record(route, **given, kind="text", query={"text": "red", "k": 5})
    traffic.record(route, **given, kind="text", query={"text": "red", "where": ["id!=none"]}, where=["id"])
    traffic.record(route, **given, kind="picture", query=None)
    traffic.record(route, **given, kind="mixed", query={"text": "red", PICTURE: True})
    traffic.record(route, **given, kind="text", query={"words": "red"})
    traffic.close()
    queries = logged(tmp_path)
    assert [one.body.text for one in queries.queries] == ["red", "red"]
    assert [note.partition(" left out")[0] for note in queries.notes] == ["2 query(s)", "1 query(s)"]
    same, again = collection_of("000001"), collection_of("000002")
    found = replay(queries, same, again, Uploads(Settings().limits))
    assert found.releases == ("000001", "000002") and len(found.pairs) == 2
    for pair in found.pairs:
        assert pair.current.items == pair.candidate.items != () and pair.user == route.user and pair.current.took_ms
    assert len(found.pairs[0].current.items) == 5 and [pair.filtered for pair in found.pairs] == [False, True]
    assert all(hit in same.index.ids() for hit in found.pairs[0].current.items)


def test_a_file_of_bodies(tmp_path, collection_of):
    file = tmp_path / "queries.jsonl"
    item = collection_of().index.ids()[0]
    bodies = [
        {"text": "blue"},
        {"item": item},
        {"parts": [{"text": "blue"}, {"item": item, "weight": -0.5}]},
        {"item": "gone"},
    ]
    file.write_text("\n".join(map(json.dumps, bodies)) + "\n\nbroken\n")
    queries = logged(file)
    assert [one.kind for one in queries.queries] == ["text", "item", "mixed", "item"] and "1 query(s)" in queries.notes[
        0
    ]
    found = replay(queries, collection_of("000001"), collection_of("000002"), Uploads(Settings().limits))
    assert len(found.pairs) == 3 and "the current release gives no answer" in found.notes[-1]


def test_nothing_that_can_be_asked_again(tmp_path, collection_of):
    file = tmp_path / "queries.jsonl"
    file.write_text("broken\n")
    with pytest.raises(UsageError, match="--log-queries"):
        logged(file)
    file.write_text('{"item": "gone"}\n')
    with pytest.raises(UsageError, match="answers none of the queries: no item 'gone'"):
        replay(logged(file), collection_of("1"), collection_of("2"), Uploads(Settings().limits))
    with pytest.raises(UsageError, match="is not there"):
        logged(tmp_path / "nowhere")
