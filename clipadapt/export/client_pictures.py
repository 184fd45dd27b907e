"""pictures.py for clients that run without clipadapt: the very modules that decode pictures here, in one file.

A client with a decoder of its own would see other pixels than the model was measured with: cut-outs on black, photos on
their side, colours of another profile. So the source of data.deep, data.profiles and data.decode is written out, with
what they import from clipadapt taken out. Nothing here knows of servers.
"""

import ast
import inspect

from clipadapt.data import decode, deep, profiles

_HEAD = '''"""Encoded bytes -> an upright sRGB picture, as the model was measured with (clipadapt, Apache-2.0)."""

from __future__ import annotations
'''
_ERROR = '''

class CatalogueError(ValueError):
    """A picture that cannot be decoded, and what to do."""
'''


def standalone_source() -> str:
    """Python source with `decode(data)` and `rgb_of(image)`, which imports nothing of clipadapt."""
    imports: dict[str, None] = {}
    bodies = []
    for module in (deep, profiles, decode):
        tree = ast.parse(inspect.getsource(module))
        rest = tree.body[1:]  # without the docstring, which speaks of this package
        imported = [node for node in rest if isinstance(node, ast.Import | ast.ImportFrom)]
        imports |= dict.fromkeys(ast.unparse(node) for node in imported if not _left_out(node))
        bodies.append(ast.unparse(ast.Module([node for node in rest if node not in imported], [])))
    return "\n".join((_HEAD, *imports, _ERROR, *bodies)) + "\n"


def _left_out(node: ast.Import | ast.ImportFrom) -> bool:
    """Imports that only types or this package need."""
    return isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("clipadapt", "jaxtyping")
