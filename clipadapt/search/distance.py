"""Places within a distance of a point on the earth: the circle that a condition names, and which rows lie in it.

    circle("10 km", "52.52", "13.405").holds(latitudes, longitudes)

Distances are great circles on a sphere of the earth's mean radius: within 0.6% of those on its ellipsoid. Nothing here
knows of items, or of how conditions are written.
Source: the haversine formula, Sinnott, "Virtues of the haversine", Sky and Telescope 68 (1984), 159.
"""

import math
import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from clipadapt.errors import UsageError, brief

LATITUDE, LONGITUDE = "latitude", "longitude"
"""The columns of an item's place, in degrees; `data metadata` writes them."""
_RADIUS = 6_371_008.8
"""Metres, the mean of the ellipsoid WGS 84's three half-axes."""
_UNITS = {"m": 1.0, "km": 1_000.0, "mi": 1_609.344}
_LENGTH = re.compile(rf"(?P<amount>[0-9.eE+-]+)\s*(?P<unit>{'|'.join(_UNITS)})", re.IGNORECASE)


class Circle(NamedTuple):
    """All places at most `metres` from a point in degrees."""

    metres: float
    latitude: float
    longitude: float

    def holds(
        self, latitudes: Shaped[np.ndarray, " rows"], longitudes: Shaped[np.ndarray, " rows"]
    ) -> Bool[np.ndarray, " rows"]:
        """Which points, in degrees, lie in it."""
        north, east = np.radians(latitudes - self.latitude), np.radians(longitudes - self.longitude)
        here, there = math.radians(self.latitude), np.radians(latitudes)
        half = np.sin(north / 2) ** 2 + math.cos(here) * np.cos(there) * np.sin(east / 2) ** 2
        return 2 * _RADIUS * np.arcsin(np.sqrt(np.clip(half, 0, 1))) <= self.metres


def circle(distance: str, latitude: str, longitude: str) -> Circle:
    """What a person wrote, as numbers.

    Raises:
        UsageError: a distance without a unit or below zero, or a point that is not on the earth.
    """
    match = _LENGTH.fullmatch(distance.strip())
    metres = math.nan if match is None else _number(match["amount"]) * _UNITS[match["unit"].lower()]
    if not metres >= 0 or math.isinf(metres):
        raise UsageError(f"{brief(distance)!r} is no distance; write it with its unit, such as 500 m, 10 km or 6 mi")
    for text, what, most in ((latitude, LATITUDE, 90), (longitude, LONGITUDE, 180)):
        if not abs(_number(text)) <= most:
            raise UsageError(
                f"{what} {brief(text)!r} is not between -{most} and {most}; a point is written in degrees, its "
                "latitude first: 52.52, 13.405"
            )
    return Circle(metres, float(latitude), float(longitude))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
