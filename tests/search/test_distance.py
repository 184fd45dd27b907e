"""Distances on the earth, and the conditions that name them."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.errors import UsageError
from clipadapt.search.distance import Circle, circle
from clipadapt.search.filters import Condition, matching, parse
from clipadapt.search.items import Items

_HAMBURG, _BERLIN = (53.5511, 9.9937), (52.52, 13.405)


def _slowly(one, other):
    """Metres between two points, by the angle of their vectors."""
    first, second = (
        np.array([math.cos(north) * math.cos(east), math.cos(north) * math.sin(east), math.sin(north)])
        for north, east in (np.radians(one), np.radians(other))
    )
    # By the chord and the one that completes it to half a circle, which keeps digits near and far.
    return 6_371_008.8 * 2 * math.atan2(float(np.linalg.norm(first - second)), float(np.linalg.norm(first + second)))


@given(
    st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
    st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
    st.floats(0.5, 2.0),
)
def test_a_circle_holds_what_its_radius_reaches(centre, point, part):
    metres = _slowly(centre, point)
    if abs(part - 1) * metres > 1:
        inside = Circle(metres * part, *centre).holds(np.array([point[0]]), np.array([point[1]]))
        assert inside.tolist() == [part > 1]


def test_two_cities_are_as_far_apart_as_maps_say():
    assert 254_000 < _slowly(_HAMBURG, _BERLIN) < 257_000
    for metres, expected in ((254_000, False), (257_000, True)):
        assert Circle(metres, *_HAMBURG).holds(np.array([_BERLIN[0]]), np.array([_BERLIN[1]])).tolist() == [expected]


def test_the_date_line_and_a_pole_are_no_borders():
    assert Circle(50_000, 0, 179.9).holds(np.array([0.0]), np.array([-179.9])).all()
    assert Circle(50_000, 89.9, 0).holds(np.array([89.9]), np.array([180.0])).all()


@pytest.mark.parametrize(
    ("distance", "metres"), [("500 m", 500), ("10km", 10_000), ("6 mi", 9_656.064), ("1.5 KM", 1_500)]
)
def test_units(distance, metres):
    assert circle(distance, "0", "0").metres == pytest.approx(metres)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("10", "0", "0"), "'10' is no distance; write it with its unit"), (("-1 km", "0", "0"), "no distance"),
        (("1 parsec", "0", "0"), "no distance"), (("1e999 km", "0", "0"), "no distance"),
        (("nan km", "0", "0"), "no distance"),
        (("1 km", "91", "0"), "latitude '91' is not between -90 and 90"), (("1 km", "0", "181"), "longitude '181'"),
        (("1 km", "north", "0"), "latitude 'north'"), (("1 km", "0", "nan"), "longitude 'nan'"),
    ],
)  # fmt: skip
def test_what_is_no_circle(values, said):
    with pytest.raises(UsageError, match=said):
        circle(*values)


def _shops(**columns):
    table = {
        "id": list("abcd"),
        "latitude": [53.55, 52.52, None, 52.4],
        "longitude": [9.99, 13.4, 13.4, 13.0],
        **columns,
    }
    return Items.of(pa.table(table))


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        ("within 5 km of 52.52, 13.405", "b"), ("within 50 km of 52.52,13.405", "bd"),
        ("WITHIN 300 km of (52.52, 13.405)", "abd"), ("not within 5 km of 52.52, 13.405", "ad"),
        ("not  within 500 km of 52.52, 13.405", ""), ("within 0 m of 52.52, 13.4", "b"),
    ],
)  # fmt: skip
def test_conditions_of_places(clause, expected):
    condition = parse(clause)
    assert parse(str(condition)) == condition
    assert "".join(np.array(list("abcd"))[matching(_shops(), [condition])]) == expected


@pytest.mark.parametrize(
    ("clause", "said"),
    [
        ("within 5 km of 52.52", "latitude and longitude in degrees"), ("within 5 of 1, 2", "'5' is no distance"),
        ("within 5 km of 1, 2, 3", "in degrees"), ("within 5 km of 95, 2", "latitude '95'"),
    ],
)  # fmt: skip
def test_places_that_cannot_be_read(clause, said):
    with pytest.raises(UsageError, match=said) as caught:
        parse(clause)
    assert clause in str(caught.value)


def test_tables_without_places():
    near = Condition("latitude", "within", ("1 km", "0", "0"))
    with pytest.raises(UsageError, match=r"no column 'longitude'.*there are: id, product, latitude"):
        matching(Items.of(pa.table({"id": ["a"], "latitude": [1.0]})), [near])
    with pytest.raises(UsageError, match="column 'latitude' holds no numbers"):
        matching(_shops(latitude=["53 N", "52", "", "52"]), [near])
