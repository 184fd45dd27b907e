"""Ordered patterns over logical names -> a rank, or frozen.

    [["text.blocks.{0,1}.*", null], ["*.attention.{q,v}", 8], ["*.mlp.*", 4]]

The first pattern that matches a name decides; null freezes, and so does no match. `*` is any run of characters, dots
included, `?` one character, `{a,b}` either of them. A pattern that decides nothing is an error, because it is a typing
error far more often than a wish. Nothing here knows of modules.
"""

import difflib
import re
from collections.abc import Collection, Sequence

from clipadapt.errors import ConfigError, listing

_SHOWN = 8


def match(plan: Sequence[tuple[str, int | None]], names: Collection[str]) -> dict[str, int | None]:
    """Name -> rank, or null where it is frozen, for every name.

    Raises:
        ConfigError: a pattern that matches no name, or only names that earlier patterns took, or that cannot be read;
            all of them in one message.
    """
    ranks: dict[str, int | None] = dict.fromkeys(names)
    undecided = list(names)
    faults: list[str] = []
    for pattern, rank in plan:
        try:
            expression = compiled(pattern)
        except ValueError as error:
            faults.append(f"{pattern!r}: {error}")
            continue
        taken = [name for name in undecided if expression.fullmatch(name)]
        if not taken:
            faults.append(f"{pattern!r} {_why(pattern, expression, plan, names)}")
        ranks.update(dict.fromkeys(taken, rank))
        undecided = [name for name in undecided if not expression.fullmatch(name)]
    if faults:
        raise ConfigError(f"lora.plan: {len(faults)} pattern(s) that decide nothing{listing(faults)}")
    return ranks


def compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern.

    Raises:
        ValueError: braces that do not pair, or nest.
    """
    parts: list[str] = []
    inside = False
    for character in pattern:
        if character == "{":
            if inside:
                raise ValueError("braces cannot nest")
            inside = True
            parts.append("(?:")
        elif character == "}":
            if not inside:
                raise ValueError("a } without its {")
            inside = False
            parts.append(")")
        elif character == "," and inside:
            parts.append("|")
        else:
            parts.append({"*": ".*", "?": "."}.get(character) or re.escape(character))
    if inside:
        raise ValueError("a { without its }")
    return re.compile("".join(parts))


def _why(
    pattern: str, expression: re.Pattern[str], plan: Sequence[tuple[str, int | None]], names: Collection[str]
) -> str:
    """What is wrong with a pattern that decided nothing."""
    would = [name for name in names if expression.fullmatch(name)]
    if would:
        earlier = next(other for other, _ in plan if compiled(other).fullmatch(would[0]))
        return f"comes too late: {earlier!r} stands before it and takes {would[0]}; put the narrower one first"
    shapes = sorted({re.sub(r"\.\d+\.", ".*.", name) for name in names})
    close = difflib.get_close_matches(pattern, shapes, n=_SHOWN, cutoff=0.3) or shapes[:_SHOWN]
    return f"matches nothing; names here are like {', '.join(close)}"
