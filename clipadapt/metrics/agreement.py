"""How alike two ranked lists are: the share that both hold at the top, and the same weighed by how far people look.

    overlap(["a", "b", "c"], ["b", "a", "d"], 3)                  # 2 of 3
    rank_biased_overlap(["a", "b", "c"], ["b", "a", "d"])         # 0.63: the first places differ

Both are 1 for the same lists and 0 for lists with nothing in common. Nothing here knows which list is the better one.
Source: Webber, Moffat & Zobel, "A similarity measure for indefinite rankings", ACM Trans. Inf. Syst. 28 (2010), eq. 32.
"""

from collections.abc import Sequence

PERSISTENCE = 0.9
"""Chance of looking at the next place; the first ten places then carry 86% of the weight."""


def overlap(first: Sequence[str], second: Sequence[str], k: int) -> float:
    """The share of the k best that both lists hold; of the longer one's places where both are shorter."""
    one, other = set(first[:k]), set(second[:k])
    return len(one & other) / max(len(one), len(other)) if one or other else 1.0


def rank_biased_overlap(first: Sequence[str], second: Sequence[str], persistence: float = PERSISTENCE) -> float:
    """Agreement at every depth, extrapolated beyond the lists' ends as they agree so far.

    Raises:
        ValueError: an item that is in a list twice.
    """
    if len(set(first)) < len(first) or len(set(second)) < len(second):
        raise ValueError("a ranked list holds no item twice")
    if list(first) == list(second):
        return 1.0  # which the sum below only comes to but for rounding
    shorter, longer = sorted((first, second), key=len)
    if not shorter:
        return 0.0
    short, long = len(shorter), len(longer)
    common = _common(shorter, longer)
    total = sum(common[depth - 1] / depth * persistence**depth for depth in range(1, long + 1))
    beyond = range(short + 1, long + 1)
    total += sum(common[short - 1] * (depth - short) / (short * depth) * persistence**depth for depth in beyond)
    end = (common[-1] - common[short - 1]) / long + common[short - 1] / short
    return min((1 - persistence) / persistence * total + end * persistence**long, 1.0)


def _common(shorter: Sequence[str], longer: Sequence[str]) -> list[int]:
    """Items that both lists hold down to each depth."""
    seen: tuple[set[str], set[str]] = (set(), set())
    counts, count = [], 0
    for depth, item in enumerate(longer):
        seen[0].add(item)
        count += item in seen[1]
        if depth < len(shorter):
            seen[1].add(shorter[depth])
            count += shorter[depth] in seen[0]
        counts.append(count)
    return counts
