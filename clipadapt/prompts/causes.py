"""Why a file of templates is not YAML: the usual mistakes of people who edit it, with their line and their cure.

Read off the lines around the place that the YAML parser stopped at. Nothing here parses.
"""

import re
from collections.abc import Iterator, Sequence

_ODD_SPACES = {
    "\u00a0": "non-breaking space", "\u2007": "figure space", "\u202f": "narrow non-breaking space",
    "\u3000": "ideographic space", "\u200b": "zero-width space", "\ufeff": "byte order mark",
}  # fmt: skip
_BEFORE_TEXT = re.compile(rf"(?:^|[-:?,\[{{])[ \t]*([{''.join(_ODD_SPACES)}])")
"""Such a space where YAML wants plain ones: in an indentation, or after a dash, a colon, a comma or a bracket."""
TYPOGRAPHIC = "“”„«‘"
"""Quotes that open a text in print and mean nothing to YAML."""
_PRINTED = re.compile(rf"(?:^|[-:,\[{{]) *([{TYPOGRAPHIC}])")


def cause(text: str, at: int) -> str:
    """The likely cause and its cure, in parentheses; empty when there is no usual one.

    Args:
        text: the whole file.
        at: the line that the parser stopped in, from 0.
    """
    lines = text.splitlines()
    if number := _unclosed(lines[: at + 1]):
        return f" (line {number}: a quote is not closed)"
    near = [number for number in (at, at - 1) if 0 <= number < len(lines)]
    found = (said for number in near for said in _of_line(lines, number))
    return next((f" ({said})" for said in found), "") or _of_indentation(lines, min(at, len(lines) - 1))


def odd_space(text: str) -> str:
    """How the first space is called that only looks like a plain one; empty where there is none."""
    return next((f"{_ODD_SPACES[sign]} (U+{ord(sign):04X})" for sign in text if sign in _ODD_SPACES), "")


def _of_line(lines: Sequence[str], number: int) -> Iterator[str]:
    line = lines[number]
    content = _content(line)
    if odd := _BEFORE_TEXT.search(line):
        yield f"line {number + 1}, column {odd.start(1) + 1}: a {odd_space(odd[1])}; type a plain space instead"
    if "\t" in line[: len(line) - len(line.lstrip())]:
        yield "indent with spaces, not with tabs"
    if printed := _PRINTED.search(line):
        yield f'line {number + 1}: type straight quotes " in place of {printed[1]}'
    if content[:1] in tuple("{[@`%&*!") and not _is_flow(content):
        yield f"a text that begins with {content[0]} has to stand in quotes"
    if ": " in content and content[:1] not in "\"'":
        yield "a text that holds a colon has to stand in quotes"


def _of_indentation(lines: Sequence[str], at: int) -> str:
    """Whether the line begins in a column that none of those before it allow."""
    allowed: list[int] = []
    before = ""
    for line in lines[:at]:
        if line.strip() and not line.lstrip().startswith("#"):
            before, width = line, _width(line)
            allowed = [*(other for other in allowed if other < width), width]
            if line.lstrip().startswith("- ") and re.search(r":(\s|$)", line):
                allowed.append(width + 2)
    width = _width(lines[at]) if at >= 0 else 0
    if not allowed or width in allowed or (width > allowed[-1] and before.rstrip().endswith((":", "-"))):
        return ""
    fitting = " or ".join(map(str, allowed[-2:]))
    return f" (line {at + 1} is indented by {width} spaces, where {fitting} would fit: begin it like its neighbours)"


def _is_flow(content: str) -> bool:
    """Whether a bracket that begins the text is closed by its last character, as a list or mapping in one line is."""
    depth = 0
    for at, sign in enumerate(content):
        depth += (sign in "{[") - (sign in "}]")
        if not depth:
            return not content[at + 1 :].split("#")[0].strip()
    return False


def _width(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _content(line: str) -> str:
    """What a line says after its dash and its key."""
    return line.split("- ", 1)[-1].split(": ", 1)[-1].strip()


def _unclosed(lines: Sequence[str]) -> int:
    """The number of the last line whose text begins with a quote, in a list or not, that it does not close; else 0."""
    for number in range(len(lines), 0, -1):
        content = _content(lines[number - 1]).lstrip("[{ ")
        quote = content[:1]
        if quote and quote in "\"'" and (content.count(quote) - content.count("\\" + quote)) % 2:
            return number
    return 0
