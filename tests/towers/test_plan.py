"""Plans: first match wins, null freezes, and a pattern that decides nothing is an error."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.config import Lora
from clipadapt.errors import ConfigError
from clipadapt.towers.plan import compiled, match

NAMES = [
    *(f"image.blocks.{block}.attention.{part}" for block in (0, 1, 11) for part in ("q", "k", "v", "out")),
    *(f"image.blocks.{block}.mlp.{part}" for block in (0, 1, 11) for part in ("fc1", "fc2")),
    *(f"image.blocks.{block}.norm.1" for block in (0, 1, 11)),
    "text.blocks.0.attention.q",
    "text.projection",
]


def test_first_match_wins_and_the_rest_is_frozen() -> None:
    plan = [("text.*", None), ("image.blocks.{0,11}.attention.?", 4), ("*.attention.{q,v}", 8), ("*.mlp.*", 2)]
    ranks = match(plan, NAMES)
    assert list(ranks) == NAMES
    assert ranks["text.blocks.0.attention.q"] is None
    assert ranks["image.blocks.0.attention.k"] == 4
    assert ranks["image.blocks.0.attention.out"] is None
    assert ranks["image.blocks.1.attention.q"] == 8
    assert ranks["image.blocks.1.attention.k"] is None
    assert ranks["image.blocks.11.mlp.fc2"] == 2
    assert ranks["image.blocks.1.norm.1"] is None


def test_default_plan_is_attention_alone() -> None:
    ranks = match(Lora(rank=3).resolved_plan(), NAMES)
    assert {name for name, rank in ranks.items() if rank} == {name for name in NAMES if ".attention." in name}
    assert set(ranks.values()) == {3, None}


def test_all_faults_in_one_message() -> None:
    plan = [("*.atention.*", 8), ("image.*", 8), ("image.blocks.0.*", 4), ("{a,{b}}", 1), ("text.{q", 1), ("q}", 1)]
    with pytest.raises(ConfigError) as caught:
        match(plan, NAMES)
    message = str(caught.value)
    assert "5 pattern(s) that decide nothing" in message
    assert re.search(r"'\*\.atention\.\*' matches nothing; names here are like .*image\.blocks\.\*\.attention", message)
    assert "'image.blocks.0.*' comes too late: 'image.*' stands before it" in message
    assert "braces cannot nest" in message
    assert "a { without its }" in message
    assert "a } without its {" in message


@given(st.text(alphabet="ab.*?{},[]()+\\^$|", max_size=12), st.text(alphabet="ab.[", max_size=8))
def test_patterns_mean_what_a_slow_matcher_says(pattern: str, name: str) -> None:
    try:
        expression = compiled(pattern)
    except ValueError:
        assert "{" in pattern or "}" in pattern
        return
    assert bool(expression.fullmatch(name)) == slow(pattern, name)


def slow(pattern: str, name: str) -> bool:
    """Letter by letter, alternatives written out."""
    if not pattern:
        return not name
    if pattern[0] == "{":
        inside, _, rest = pattern[1:].partition("}")
        return any(slow_parts(one, rest, name) for one in inside.split(","))
    if pattern[0] == "*":
        return any(slow(pattern[1:], name[cut:]) for cut in range(len(name) + 1))
    return bool(name) and pattern[0] in ("?", name[0]) and slow(pattern[1:], name[1:])


def slow_parts(head: str, rest: str, name: str) -> bool:
    """Whether some cut of `name` matches `head`, in which a comma stands for nothing, and then `rest`."""
    return any(slow(head, name[:cut]) and slow(rest, name[cut:]) for cut in range(len(name) + 1))
