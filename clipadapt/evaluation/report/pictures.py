"""Which pictures go on the page, so that it stays small enough to be sent: whole searches, then as many of those that
changed sides as fit.
"""

from collections.abc import Sequence

from clipadapt.evaluation.details import Answer, Example, Flip, Flips

MOST_BYTES = 6_000_000
"""Of all thumbnails together, as base64."""


def fitting(flips: Sequence[Flips], examples: Sequence[Example], most: int = MOST_BYTES) -> list[Flips]:
    """Attributes with pictures that changed sides, each with as many of them as fit beside the examples."""
    changed = [one for one in flips if one.gained + one.lost]
    taken = sum(_encoded(answer) for one in examples for answers in one.answers.values() for answer in answers)
    shown = max((len(side) for one in changed for side in (one.gains, one.losses)), default=0)
    while shown and taken + sum(map(_size, _cut(changed, shown))) > most:
        shown -= 1
    return _cut(changed, shown)


def _cut(flips: Sequence[Flips], shown: int) -> list[Flips]:
    return [one._replace(gains=one.gains[:shown], losses=one.losses[:shown]) for one in flips]


def _size(flips: Flips) -> int:
    return sum(_encoded(flip) for flip in (*flips.gains, *flips.losses))


def _encoded(picture: Flip | Answer) -> int:
    return 4 * -(-len(picture.thumbnail) // 3)
