import contextlib
from datetime import date

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.errors import UsageError
from clipadapt.search.filters import Condition, matching, parse, unmatched
from clipadapt.search.items import Items


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        ("Pattern=Striped", Condition("Pattern", "=", ("Striped",))),
        ("Pattern == Self Design", Condition("Pattern", "=", ("Self Design",))),
        ("'Sleeve Length' != \"Short Sleeves\"", Condition("Sleeve Length", "!=", ("Short Sleeves",))),
        ("Sleeve Length!=Short Sleeves", Condition("Sleeve Length", "!=", ("Short Sleeves",))),
        ("price<50", Condition("price", "<", ("50",))),
        ("price >= -3.5", Condition("price", ">=", ("-3.5",))),
        ('colour in (red, "off-white, warm" )', Condition("colour", "in", ("red", "off-white, warm"))),
        ("colour NOT  IN (red)", Condition("colour", "not in", ("red",))),
        ("Pattern is unknown", Condition("Pattern", "is unknown")),
        ("a b is known", Condition("a b", "is known")),
        ("made in=China", Condition("made in", "=", ("China",))),
        ("'a<b'=1", Condition("a<b", "=", ("1",))),
        (r"x = 'it\'s'", Condition("x", "=", ("it's",))),
        ('x = "<3"', Condition("x", "=", ("<3",))),
        ("x=1; DROP TABLE items", Condition("x", "=", ("1; DROP TABLE items",))),
    ],
)
def test_parse(clause, expected):
    assert parse(clause) == expected


@pytest.mark.parametrize(
    ("clause", "said"),
    [
        ("price", "no operator understood"), ("price~5", "no operator understood"), ("price=>5", "no operator '=>'"),
        ("price<>5", "no operator '<>'"), ("price=", "no value"), ("x in red", "no operator understood"),
        ("x in ()", "in parentheses"), ("x in (a", "in parentheses"), ("=5", "no operator understood"),
        ("", "no operator understood"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(clause, said):
    with pytest.raises(UsageError, match=said):
        parse(clause)


@given(
    st.text(min_size=1),
    st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "in", "not in", "is unknown", "is known"]),
    st.lists(st.text(min_size=1), min_size=1, max_size=3),
)
def test_a_condition_reads_as_it_is_written(column, operator, values):
    size = {"is": 0, "in": len(values), "not": len(values)}.get(operator.split()[0], 1)
    condition = Condition(column, operator, tuple(values[:size]))
    assert parse(str(condition)) == condition


def test_a_condition_is_written_as_people_type_it():
    assert str(parse("price<50")) == "price < 50"
    assert str(parse("colour in (red, 'off-white, warm')")) == "colour in (red, 'off-white, warm')"
    assert str(parse("Sleeve Length is unknown")) == "Sleeve Length is unknown"


def test_any_text_is_read_or_refused():
    @given(st.text(max_size=40))
    def check(clause):
        with contextlib.suppress(UsageError):
            parse(clause)

    check()


ITEMS = Items.of(
    pa.table(
        {
            "id": ["a", "b", "c", "d"],
            "Pattern": ["Striped", "Solid", "", "Striped"],
            "price": ["10", "25", "40", ""],
            "weight": ["1.5", "2", "", "0.25"],
            "added": ["2026-01-01", "2026-02-01", "", "2025-06-30"],
            "tags": ["new | sale", "", "sale", "eco"],
        }
    ),
    {"tags": "|"},
)


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("Pattern=Striped", "ad"), ("Pattern!=Striped", "b"), ("Pattern in (Striped, Solid)", "abd"),
        ("Pattern not in (Solid)", "ad"), ("Pattern is unknown", "c"), ("Pattern is known", "abd"),
        ("Pattern=Nothing", ""), ("id=c", "c"), ("product=b", "b"),
        ("price<40", "ab"), ("price<=40", "abc"), ("price>25", "c"), ("price!=25", "ac"), ("price=25.0", "b"),
        ("price in (10, 40)", "ac"), ("price is unknown", "d"), ("weight>=1.5", "ab"), ("weight=0.25", "d"),
        ("added>=2026-01-01", "ab"), ("added=2025-06-30", "d"), ("added is unknown", "c"),
        ("tags=sale", "ac"), ("tags!=sale", "d"), ("tags in (eco, new)", "ad"), ("tags not in (eco)", "ac"),
        ("tags is unknown", "b"), (["Pattern=Striped", "price<20"], "a"), ([], "abcd"), (None, "abcd"),
    ],
)  # fmt: skip
def test_matching_by_hand(rows_that_meet, where, ids):
    assert "".join("abcd"[row] for row in rows_that_meet(ITEMS, where)) == ids


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        (["price<30", "Pattern=Striped"], "a"),
        (["Pattern=Striped", "price<30"], "a"),
        (["price<30", "weight>1.7", "tags is unknown"], "b"),
        (["Pattern=Striped", "tags=sale", "added<2026-03-01"], "a"),
        (["Pattern=Striped", "Pattern=Solid"], ""),
    ],
)
def test_all_conditions_hold_in_whatever_order(rows_that_meet, where, ids):
    for clauses in (where, where[::-1]):
        assert "".join("abcd"[row] for row in rows_that_meet(ITEMS, clauses)) == ids


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("Patern=Striped", "no column 'Patern' .did you mean 'Pattern'"), ("vector=1", "no column 'vector'"),
        ("Pattern<Striped", "holds texts.*, which have no order"), ("tags>a", "no order"),
        ("price<cheap", "holds numbers; 'cheap' is none"), ("price<nan", "is none"), ("price=inf", "is none"),
        ("added<yesterday", "holds dates"), ("price in (1, x)", "'x' is none"),
        ("price<50 and colour=red", "each condition is given by itself"),
    ],
)  # fmt: skip
def test_types_are_kept(rows_that_meet, where, said):
    with pytest.raises(UsageError, match=said):
        rows_that_meet(ITEMS, where)


LONG = "x" * 5_000


@pytest.mark.parametrize(
    "where",
    [
        "L", "L in ()", "L=", "price=L", "price<L", "added<L", "Pattern<L", "L=1", f"price in ({'3, ' * 900}L)",
        "within L of 52, 13", "within 5 km of L, 13", "within 5 km of L", {"price": "L"}, {"L": object()},
    ],
    ids=lambda where: str(where)[:20],
)  # fmt: skip
def test_an_error_quotes_the_beginning_of_what_is_long(rows_that_meet, where):
    if isinstance(where, str):
        long = where.replace("L", LONG)
    else:
        long = {name.replace("L", LONG): LONG if one == "L" else one for name, one in where.items()}
    with pytest.raises(UsageError) as caught:
        rows_that_meet(ITEMS, long)
    assert len(str(caught.value)) < 700 and LONG[:50] in str(caught.value)


def test_a_long_value_that_nobody_has_is_quoted_by_its_beginning():
    said = unmatched(ITEMS, parse(f"Pattern={LONG}"))
    assert said is not None and len(said) < 300 and "... (5,000 characters)" in said


OPERATORS = ["=", "!=", "<", "<=", ">", ">=", "in", "not in", "is unknown", "is known"]


@given(
    st.lists(st.one_of(st.none(), st.integers(-3, 3)), min_size=1, max_size=30),
    st.sampled_from(OPERATORS), st.lists(st.integers(-3, 3), min_size=1, max_size=3),
)  # fmt: skip
def test_numbers_equal_comparing_one_cell_at_a_time(cells, operator, wanted):
    items = Items.of(pa.table({"id": [str(row) for row in range(len(cells))], "n": pa.array(cells, pa.int64())}))
    holds = {
        "=": lambda cell: cell == wanted[0], "!=": lambda cell: cell != wanted[0], "<": lambda cell: cell < wanted[0],
        "<=": lambda cell: cell <= wanted[0], ">": lambda cell: cell > wanted[0], ">=": lambda cell: cell >= wanted[0],
        "in": lambda cell: cell in wanted, "not in": lambda cell: cell not in wanted, "is known": lambda _: True,
    }  # fmt: skip
    expected = [
        cell is None if operator == "is unknown" else cell is not None and holds[operator](cell) for cell in cells
    ]
    values = tuple(map(str, wanted if "in" in operator else wanted[:1])) if "is" not in operator else ()
    assert matching(items, [Condition("n", operator, values)]).tolist() == expected


def test_a_value_that_nobody_has_names_the_nearest():
    assert unmatched(ITEMS, parse("Pattern=Stripd")) == "no item has Pattern = 'Stripd' (did you mean 'Striped'?)"
    assert unmatched(ITEMS, parse("Pattern=Striped")) is None
    assert unmatched(ITEMS, parse("price=7")) is None
    assert unmatched(ITEMS, parse("Pattern!=Striped")) is None


@pytest.mark.parametrize("clause", ["Pattern!=Stripd", "Pattern not in (Stripd)"])
def test_leaving_out_what_nobody_has_is_said_for_it_leaves_out_nothing(clause):
    assert unmatched(ITEMS, parse(clause)) == "no item has Pattern = 'Stripd' (did you mean 'Striped'?)"


@pytest.mark.parametrize(
    ("clause", "listed"),
    [
        ("Pattern=Striped,Solid", "Pattern in (Striped, Solid)"),
        ("Pattern!=Striped or Solid", "Pattern not in (Striped, Solid)"),
    ],
)
def test_several_values_behind_one_sign_are_pointed_to_the_list(clause, listed):
    said = unmatched(ITEMS, parse(clause))
    assert said is not None and said.endswith(f"(for each of several values write: {listed})")


def test_what_keeps_a_column_from_being_numbers_is_named():
    items = Items.of(pa.table({"id": ["x", "y"], "price": ["19.99", "1.299,00"], "code": ["1", "2"]}))
    with pytest.raises(UsageError, match=r"'price' holds texts, such as '1.299,00', which have no order.*1299\.50"):
        matching(items, [parse("price<50")])


def test_dates_compare_as_days(rows_that_meet):
    items = Items.of(pa.table({"id": ["x"], "day": pa.array([date(2026, 3, 1)])}))
    assert rows_that_meet(items, "day>2026-02-28") == [0]
    assert rows_that_meet(items, "day<2026-03-01") == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [" " * 20_000, "a" + " " * 20_000 + "b", "not " * 5_000, "a in (" + " " * 20_000 + ")", 'a in ("' + '\\"' * 9_000],
    ids=["spaces", "spaces inside", "not", "an empty list", "an open quote"],
)
def test_no_text_takes_long_to_refuse(text: str):
    """A service reads what anyone writes; with a pattern that tries all splits of a run these take hours."""
    with pytest.raises(UsageError):
        parse(text)


def test_a_column_with_a_sign_in_its_name_is_found_in_quotes():
    items = Items.of(pa.table({"id": ["x", "y"], "a=b": ["1", "2"], "p < q": ["1", "2"]}))
    for clause, quoted in (("a=b=1", "'a=b'=..."), ("p < q=1", "'p < q'=...")):
        with pytest.raises(UsageError) as caught:
            matching(items, [parse(clause)])
        assert f"(a name with a sign in it needs quotes: {quoted})" in str(caught.value)
        assert matching(items, [parse(quoted.replace("...", "1"))]).tolist() == [True, False]
