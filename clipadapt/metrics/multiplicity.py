"""Many comparisons at once: among twenty true nothings one is expected to look like something at a level of 5%.

Holm's procedure bounds the chance of any false alarm without assuming that the tests are independent, and is never
weaker than Bonferroni's. Nothing here knows where the p-values come from.
Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6 (1979) 65-70.
"""

from collections.abc import Sequence


def holm(ps: Sequence[float]) -> list[float]:
    """Each p raised so that calling all those below a level significant errs at most at that level, jointly.

    Raises:
        ValueError: a p that lies outside 0 to 1, or is nan: sorted among the others it would change theirs.
    """
    if wrong := [number for number, p in enumerate(ps) if not 0 <= p <= 1]:
        raise ValueError(f"p-value number {wrong[0]} is {ps[wrong[0]]}, not between 0 and 1; leave out what has none")
    order = sorted(range(len(ps)), key=ps.__getitem__)
    raised, largest = [0.0] * len(ps), 0.0
    for step, number in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - step) * ps[number]))
        raised[number] = largest
    return raised
