"""Shares of values of tags and of queries against a reference."""

import datetime
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from event_logs import START, answer, mirror

from clipadapt.deploy.drift import rates as rates_module
from clipadapt.deploy.drift.measure import measure
from clipadapt.deploy.drift.queries import Queries, split_queries
from clipadapt.deploy.drift.rates import OTHERS, REFERENCE, Observed, compare
from clipadapt.deploy.drift.tags import read_tags
from clipadapt.deploy.event_log.form import SCHEMAS
from clipadapt.errors import CatalogueError, UsageError

DAY = datetime.timedelta(days=1)


def observed(shares: dict[str, tuple[float, float]], units: int = 60, seed: int = 0) -> Observed:
    """Two rows a unit; each value with its share in the reference and in the window."""
    rng = np.random.default_rng(seed)
    samples = np.repeat([REFERENCE, "now"], 2 * units)
    has = {value: rng.random(4 * units) < np.repeat(share, 2 * units) for value, share in shares.items()}
    rows = [frozenset(value for value, mask in has.items() if mask[row]) for row in range(4 * units)]
    return Observed(np.repeat(np.arange(2 * units).astype(str), 2), samples, {"colour": rows})


def test_a_changed_share_alarms_with_its_interval_and_is_said_first():
    found = compare(observed({"red": (0.1, 0.5), "blue": (0.3, 0.3)}), of="tags", level=0.05)
    assert [one.value for one in found.alarmed] == ["red"] and found.rates[0].value == "red"
    red = found.rates[0]
    assert red.low < red.difference < red.high and red.difference == pytest.approx(red.share - red.reference_share)
    assert (red.units, red.reference_units) == (60, 60)
    assert found.sentence().startswith("1 of 2 shares of values of tags changed; the most: colour: red, now: ")
    calm = compare(observed({"red": (0.3, 0.3), "blue": (0.3, 0.3)}), of="tags", level=0.05)
    assert not calm.alarmed and calm.sentence().startswith("None of 2 shares")


def test_a_change_too_small_to_matter_wakes_no_one():
    found = compare(observed({"red": (0.1, 0.5)}), of="tags", level=0.05, least=0.9)
    assert found.rates[0].p_corrected <= 0.05 and not found.alarmed


def test_rare_values_are_counted_together_and_few_units_are_not_compared():
    rows = observed({"red": (0.4, 0.4)} | {f"odd{n}": (0.03, 0.03) for n in range(20)})
    names = {one.value for one in compare(rows, of="tags", level=0.05).rates}
    assert OTHERS in names and "red" in names and len(names) < 21
    few = rows._replace(samples=np.where(np.arange(240) >= 234, "later", rows.samples))
    found = compare(few, of="tags", level=0.05)
    assert any("tags, later: fewer than 5 products" in note for note in found.notes)
    assert {one.window for one in found.rates} == {"now"}
    with pytest.raises(UsageError, match="nothing new"):
        compare(rows._replace(samples=np.full(240, REFERENCE)), of="tags", level=0.05)
    with pytest.raises(UsageError, match="0 products in the reference"):
        compare(rows._replace(samples=np.full(240, "now")), of="tags", level=0.05)
    with pytest.raises(UsageError, match="permutations cannot show"):
        compare(rows, of="tags", level=0.01, permutations=19)


def test_units_beyond_the_most_are_drawn_and_counted(monkeypatch):
    monkeypatch.setattr(rates_module, "_MOST", 20)
    found = compare(observed({"red": (0.4, 0.4)}), of="queries", level=0.05)
    assert found.rates[0].units == found.rates[0].reference_units == 20
    assert "queries, now: 20 of 60 users, drawn at random" in found.notes


def tags(file: Path, prefix: str, red: float, **columns: str) -> Path:
    rng = np.random.default_rng(3)
    rows = ["id,product,Colour,Colour probability,Colour state"]
    for item in range(120):
        value = "" if item == 0 else "Red" if rng.random() < red else "Blue"
        rows.append(f"{prefix}{item},{prefix}{item // 2},{value},0.9,{'unsure' if item % 3 else 'sure'}")
    file.write_text("\n".join(rows).replace("Colour", columns.get("name", "Colour")) + "\n")
    return file


def test_two_files_of_tags(tmp_path):
    old, new = tags(tmp_path / "old.csv", "a", 0.2), tags(tmp_path / "new.csv", "b", 0.7)
    read = read_tags(new, old)
    assert list(read.observed.values) == ["Colour", "Colour state"] and read.notes == ()
    found = compare(read.observed, of="tags", level=0.05)
    assert {(one.attribute, one.value) for one in found.alarmed} == {("Colour", "Red"), ("Colour", "Blue")}
    assert read.observed.values["Colour"][0] is None, "an empty cell is unknown"
    again = read_tags(tags(tmp_path / "again.csv", "a", 0.2), old)
    assert again.notes == ("tags: 120 item(s) of the reference left out: their products came in again",)
    with pytest.raises(CatalogueError, match="not of the same attributes: Colour, Hue"):
        read_tags(tags(tmp_path / "hue.csv", "b", 0.7, name="Hue"), old)
    (tmp_path / "other.csv").write_text("id,price\n1,2\n")
    with pytest.raises(CatalogueError, match="is no file of tags"):
        read_tags(tmp_path / "other.csv", old)
    with pytest.raises(CatalogueError, match=r"gone\.csv"):
        read_tags(tmp_path / "gone.csv", old)


def log(records: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(records, schema=SCHEMAS["answers"])


def asked(words: str | None, day: int, number: int, **change: object) -> dict:
    query = None if words is None else json.dumps({"text": words})
    return answer(f"q{number}-{day}", ts=START + day * DAY, user=f"u{number}", query=query, **change)


def test_a_log_is_split_by_day_and_what_was_mirrored_is_passed_over():
    records = [asked("a dress", day, 100 * day + user, understood=["Pattern: Striped"]) for day in range(9)
               for user in range(6)]  # fmt: skip
    records += [mirror(one["query_id"], ts=one["ts"]) for one in records]
    records.append(answer("bad", ts=START, user=None, query="{", items=[], understood=None))
    found = split_queries(log(records), since=(START + 5 * DAY).date(), window="day")
    assert Counter(found.observed.samples.tolist()) == {REFERENCE: 31} | {f"2030-03-0{day}": 6 for day in range(6, 10)}
    assert found.words.count("a dress") == 54 and found.observed.units[-1] == "query bad"
    assert found.observed.values["wished for"][:1] == [frozenset({"Pattern: Striped"})]
    assert found.observed.values["answer"][-1] == frozenset({"nothing found"})
    other = split_queries(log(records[:6]), reference=log(records[6:12]))
    assert Counter(other.observed.samples.tolist()) == {REFERENCE: 6, "2030-W09": 6}
    with pytest.raises(UsageError, match="name one of the two"):
        split_queries(log(records))
    with pytest.raises(UsageError, match="0 queries in the reference"):
        split_queries(log(records), since=START.date())


def test_a_window_of_too_few_users_to_compare_takes_no_queries_from_the_others():
    records = [asked("a dress", day, user, understood=[]) for day in (*range(6), 7, 8) for user in range(12)]
    late = [*records, asked("a dress", 9, 99, understood=[])]
    sizes = [Counter(split_queries(log(one), since=(START + 7 * DAY).date(), window="day").observed.samples.tolist())
             for one in (records, late)]  # fmt: skip
    assert sizes[1] == sizes[0] | {"2030-03-10": 1}


def visits(seed: int, change: bool) -> Queries:
    """40 users who come once and 15 who come every day and wish for other things, over 12 days; 4 of them are new."""
    rng = np.random.default_rng(seed)
    records = []
    for user in range(55):
        heavy = user >= 40
        for day in range(12) if heavy else [int(rng.integers(12))]:
            wish = "Pattern: Striped" if rng.random() < (0.8 if heavy else 0.2) else "Pattern: Dotted"
            if change and day >= 8:
                wish = "Pattern: Floral"
            records.append(asked(wish.lower(), day, user, understood=[wish], items=["a"]))
    return split_queries(log(records), since=(START + 8 * DAY).date(), window="month", seed=seed)


def test_people_who_come_back_are_no_drift_and_new_wishes_are():
    """Taking each user's first visit instead would put all 15 heavy users into the reference."""
    alarms = [bool(compare(visits(seed, False).observed, of="queries", level=0.1, permutations=99).alarmed)
              for seed in range(40)]  # fmt: skip
    assert sum(alarms) <= 9  # 4 expected, + 3 standard deviations
    changed = visits(0, True)
    found = compare(changed.observed, of="queries", level=0.1, notes=changed.notes)
    assert found.alarmed[0].value in ("Pattern: Floral", "Pattern: Striped")
    assert any("their user is in another sample" in note for note in found.notes)
    samples = {}
    for unit, sample in zip(changed.observed.units.tolist(), changed.observed.samples.tolist(), strict=True):
        assert samples.setdefault(unit, sample) == sample


def test_words_become_vectors_of_users():
    directions = {"pattern: striped": 0, "pattern: dotted": 1, "pattern: floral": 2}

    def encode(texts):
        assert len(texts) == len(set(texts))
        return np.eye(4)[[directions[text] for text in texts]]

    reference, new = visits(0, True).vectors(encode, "space")
    assert len(reference.vectors) + len(new.vectors) == len(visits(0, True).words)
    report = measure(reference, new, time="asked", window="month")
    assert report.alarmed and set(report.alarmed[0].strangest) == {"pattern: floral"}
    assert not measure(*visits(1, False).vectors(encode, "space"), time="asked", window="month").alarmed
