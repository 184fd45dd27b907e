"""The strength dial: how much of what the adapters add goes into the merged weights, per tower."""

from clipadapt.errors import UsageError
from clipadapt.towers.identity import TOWERS, Tower

_TOWERS: dict[str, Tower] = {tower: tower for tower in TOWERS}


def parse_strength(text: str | None) -> dict[Tower, float] | None:
    """`image=0.8,text=1.0` -> a factor per tower; None stays None, which means 1 for both.

    Raises:
        UsageError: another tower, a number that is none, or one below 0.
    """
    return None if text is None else dict(_factor(part.strip()) for part in text.split(","))


def _factor(part: str) -> tuple[Tower, float]:
    name, _, number = part.partition("=")
    tower = _TOWERS.get(name)
    try:
        factor = float(number)
    except ValueError:
        factor = -1.0
    if tower is None or not 0.0 <= factor <= 2.0:
        raise UsageError(f"strength {part!r}: write image=NUMBER or text=NUMBER, with a number from 0 to 2")
    return tower, factor
