"""A cell of text that holds several values -> its values.

members("Red | Blue", "|")              -> Red, Blue
members('["Red", "Blue"]', "|")         -> Red, Blue; a list as JSON or Python writes it
members('{"choices": ["Red"]}', "|")    -> Red; Label Studio's CSV
members("Red|NA", "|", {"NA"})          -> Red; what means unknown is no value
"""

import ast
import json
from collections.abc import Collection
from typing import Any

from clipadapt.data.cells import plain_text


def members(text: str, separator: str, unknown: Collection[str] = ()) -> list[str]:
    """The values in the order of the cell, each once."""
    listed = list_in_text(text)
    parts = [part.strip() for part in (text.split(separator) if listed is None else listed)]
    return list(dict.fromkeys(part for part in parts if part and part not in unknown))


def list_in_text(text: str) -> list[str] | None:
    """The members where a cell holds a list written as JSON or by Python, or Label Studio's choices; else None."""
    cell = text.strip()
    if not cell or (cell[0], cell[-1]) not in (("[", "]"), ("{", "}")):
        return None
    value = _parsed(cell)
    if isinstance(value, dict) and list(value) == ["choices"]:
        value = value["choices"]
    if not isinstance(value, list) or any(isinstance(member, list | dict | tuple) for member in value):
        return None
    return [plain_text(member) for member in value]


def _parsed(cell: str) -> Any:
    try:
        return json.loads(cell)
    except ValueError:
        pass
    try:
        return ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
