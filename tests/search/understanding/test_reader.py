"""Queries as people type them: the right structure, and no word that is dropped."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from query_shop import COLOURS, vocabulary

from clipadapt.errors import UsageError
from clipadapt.search.filters import Condition
from clipadapt.search.understanding.reader import understand
from clipadapt.search.understanding.understood import Part, Reading, Understood
from clipadapt.search.understanding.vocabulary import Quantity, Value, Vocabulary
from clipadapt.search.understanding.words import tokens

WRITTEN = yaml.safe_load((Path(__file__).parent / "queries.yaml").read_text(encoding="utf-8"))
"""[structure, its wordings]."""


def expected(structure: str | dict) -> tuple[set, set, set]:
    """Wanted choices, unwanted values and conditions of a structure as the file writes it."""
    text = structure if isinstance(structure, str) else next(f"{name}: {value}" for name, value in structure.items())
    wanted, unwanted, conditions = set(), set(), set()
    for clause in filter(None, map(str.strip, text.split(";"))):
        kind, _, rest = clause.partition(" ")
        if kind == "where":
            column, operator, *values = rest.split()
            conditions.add((column, operator, tuple(values)))
        elif kind == "not" and rest != "where":
            unwanted |= choices(rest)
        elif kind != "not":
            wanted.add(frozenset(choices(clause)))
    return wanted, unwanted, conditions


def choices(clause: str) -> set[Value]:
    attribute, found = "", set()
    for choice in clause.split("|"):
        name, colon, value = choice.partition(":")
        attribute, value = (name.strip(), value.strip()) if colon else (attribute, choice.strip())
        found.add(Value(attribute, value))
    return found


def structure(found: Understood) -> tuple[set, set, set]:
    return set(map(frozenset, found.wanted)), set(found.unwanted), {tuple(one) for one in found.conditions}


def covered(found: Understood) -> bool:
    """Whether every word belongs to exactly one part."""
    words = [token for token in tokens(found.text) if token.kind != "sign"]
    return all(sum(p.start <= word.start and word.end <= p.end for p in found.parts) == 1 for word in words)


def test_500_written_queries_are_understood() -> None:
    known = vocabulary()
    queries = [(text, expected(structure_)) for structure_, wordings in WRITTEN for text in wordings]
    assert len(queries) == len({text for text, _ in queries}) == 500
    wrong = [text for text, wanted in queries if structure(understand(text, known)) != wanted]
    assert len(wrong) <= 15, wrong  # 97% are right
    assert all(covered(understand(text, known)) for text, _ in queries)


PIECES = st.sampled_from(
    [
        *COLOURS,
        "not",
        "no",
        "without",
        "or",
        "and",
        "but",
        ",",
        "/",
        "-",
        "&",
        ".",
        "under",
        "between",
        "50",
        "€50",
        "38",
        "size",
        "price",
        "since",
        "May",
        "2024",
        "colour",
        ":",
        "skirt",
        "long",
        "sleeves",
        "stripd",
        "fluffy",
        "either",
        "neither",
        "nor",
        "to",
        "<",
        "cotton",
        "fabric",
        "M",
        "n't",
        "d'été",
        "ﬁt",
        "٣",
        "ß",
        "  ",
        "(",
        "💃",
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES, max_size=14).map(" ".join) | st.text(max_size=60))
def test_no_word_is_dropped(text: str) -> None:
    found = understand(text, vocabulary())
    assert covered(found)
    assert found == understand(text, vocabulary())
    for number, part in enumerate(found.parts):
        assert part not in found.without(number).parts
    if found.plain:
        assert found.positive == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("skirt, striped, not mini, < 50", "articleType: Skirts · Pattern: Striped · not Length: Mini · price < 50"),
        ("something in red or blue", "something in · baseColour: Red or Blue"),
        ("size 38 to 40", "size in (38, 39, 40)"),
        ("not size not 38", "size = 38"),
    ],
)
def test_what_was_understood_is_one_line(text: str, line: str) -> None:
    assert understand(text, vocabulary()).explain() == line


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("red, not red", "baseColour: Red is wanted and not wanted"),
        ("not fluffy shirt", "no known value after it"),
        ("cotton shirt", "can be Fabric: Cotton or Material: Cotton"),
        ("red and blue shirt", "an item has one baseColour, so either will do"),
        ("red or comfy shirt", "'comfy' is no known value"),
        ("stripd shirt", "is taken for Pattern: Striped"),
        ("over 100 and under 50", "no price is both at least 100 and at most 50"),
    ],
)
def test_what_is_odd_is_said(text: str, note: str) -> None:
    assert any(note in one for one in understand(text, vocabulary()).notes)


def test_a_number_that_can_be_of_two_columns_stays_words_and_is_said() -> None:
    known = Vocabulary({}, [*(vocabulary().columns[name] for name in ("rating",)), _column("stock")])
    found = understand("shirt over 50", known)
    assert found.plain
    assert "can be of rating, stock" in found.notes[0]
    assert understand("50 shirts", known).notes == ()


def test_what_is_left_to_encode() -> None:
    known = vocabulary()
    assert understand("red  striped shirt!", known).positive == "red  striped shirt!"
    assert understand("shirt, not striped, in red", known).positive == "shirt in red"
    assert understand("dress under 50 and over 10", known).positive == "dress"
    assert not understand("not red, under 50", known).searchable


def test_languages_of_the_prompts_file() -> None:
    values = {Value("Muster", "gestreift"): (), Value("Farbe", "rot"): (), Value("Farbe", "blau"): ()}
    known = Vocabulary(values, [_column("Preis", money=True)], language="de")
    found = understand("Hemd nicht gestreift, rot oder blau, unter 50 Euro", known)
    assert found.explain() == "Hemd · not Muster: gestreift · Farbe: rot or blau · Preis < 50"


def test_another_parser_goes_through_the_same_checks() -> None:
    known = vocabulary()

    def parser(text: str, _: Vocabulary) -> Reading:
        return Reading((Part(0, 3, "unwanted", (Value("baseColour", "Red"),)),), ("by a model",))

    found = understand("red hot chili", known, parser)
    assert found.explain() == "hot chili · not baseColour: Red"
    assert found.notes == ("by a model",)
    for part, message in [
        (Part(0, 3, "wanted", (Value("baseColour", "Rose"),)), "no value of this vocabulary"),
        (Part(0, 2, "wanted", (Value("baseColour", "Red"),)), "cuts the word"),
        (Part(0, 99, "wanted", (Value("baseColour", "Red"),)), "inside it"),
        (Part(0, 3, "condition", conditions=(Condition("weight", "<", ("3",)),)), "no column 'weight'"),
        (Part(0, 3, "wanted"), "of another kind"),
    ]:
        with pytest.raises(UsageError, match=message):
            understand("red hot chili", known, lambda *_, part=part: Reading((part,)))


def test_a_part_can_be_taken_out() -> None:
    found = understand("red skirt not mini under 50", vocabulary())
    assert [part.kind for part in found.parts] == ["wanted", "wanted", "unwanted", "condition"]
    assert found.without(0).wanted == ((Value("articleType", "Skirts"),),)
    assert found.without(2).unwanted == ()
    assert found.without(3).conditions == ()
    assert found.without(1).positive == "red"
    with pytest.raises(UsageError, match="from 0 to 3"):
        found.without(4)


def _column(name: str, *, money: bool = False) -> Quantity:
    return Quantity(name, "number", money=money)
