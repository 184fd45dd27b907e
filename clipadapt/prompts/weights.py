"""Writes template weights into a prompts file as a person would: the lines stay where they are, comments and all.

ruamel.yaml reads and writes the file in its own indentation; what may change beside the weights is the spacing within
a line. Nothing here fits weights.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, FoldedScalarString, LiteralScalarString

from clipadapt.prompts.document import Document

_FITTED = "weights_fitted_on"


def reweighed(
    text: str,
    weights: Mapping[str, Sequence[float]],
    *,
    split: str,
    fingerprint: str,
    seed: int = 0,
    name: str = "prompts",
) -> str:
    """The file's text with these weights: attribute -> one per template, in the file's order.

    Templates that are held out keep theirs, whatever is given.
    Also notes the split and the catalogue they were fitted on, so that nobody scores them there.

    Raises:
        PromptError: the text is not YAML, or has doubled keys.
        ValueError: an attribute that is not there, or another number of templates.
    """
    document = Document.parse(name, text)
    entries = document.mapping(document.root, "the file")
    names = document.mapping(entries["attributes"], "attributes") if "attributes" in entries else {}
    document.raise_faults()
    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes, yaml.width = True, 1_000_000
    file = yaml.load(text)
    yaml.indent(**_indentation(file))
    attributes = dict(zip(names, file.get("attributes", {}).values(), strict=True))
    for attribute, found in weights.items():
        if attribute not in attributes:
            raise ValueError(f"{name} has no attribute {attribute!r}")
        section = attributes[attribute]
        listed = isinstance(section["templates"], list)
        templates = section["templates"] if listed else [section["templates"]]
        if len(templates) != len(found):
            raise ValueError(f"{attribute} has {len(templates)} templates in {name}, not {len(found)}")
        for place, (template, weight) in enumerate(zip(templates, found, strict=True)):
            if not (isinstance(template, CommentedMap) and template.get("held_out") is True):
                templates[place] = _weighed(template, weight)
        if not listed:
            section["templates"] = templates[0]
    if _FITTED not in file:
        file.yaml_set_comment_before_after_key(_FITTED, before="not to be scored on these pictures")
    quoted = DoubleQuotedScalarString
    file[_FITTED] = _in_line({"split": quoted(split), "seed": seed, "fingerprint": quoted(fingerprint)})
    written = io.StringIO()
    yaml.dump(file, written)
    return written.getvalue()


def _weighed(template: Any, weight: float) -> CommentedMap:
    """The template with its weight: in braces, or in a line before it where its text takes lines of its own."""
    number = int(weight) if weight == int(weight) else round(weight, 6)
    if not isinstance(template, CommentedMap):
        if isinstance(template, FoldedScalarString | LiteralScalarString):
            return CommentedMap({"weight": number, "text": template})
        return _in_line({"text": template, "weight": number})
    if "weight" not in template and not template.fa.flow_style():
        template.insert(0, "weight", number)
    template["weight"] = number
    return template


def _in_line(entries: Mapping[str, Any]) -> CommentedMap:
    found = CommentedMap(entries)
    found.fa.set_flow_style()
    return found


def _indentation(file: CommentedMap) -> dict[str, int]:
    """By how much mappings, the entries of lists and their dashes are indented in this file, as ruamel.yaml asks."""
    found = {"mapping": 2, "sequence": 4, "offset": 2}
    for outer in (file, file.get("attributes"), *(file.get("attributes") or {}).values()):
        for key, inner in outer.items() if isinstance(outer, CommentedMap) else ():
            if isinstance(inner, CommentedMap | CommentedSeq) and inner and not inner.fa.flow_style():
                column = outer.lc.key(key)[1]
                if isinstance(inner, CommentedMap):
                    found["mapping"] = inner.lc.col - column
                else:
                    found |= {"sequence": inner.lc.item(0)[1] - column, "offset": inner.lc.col - column}
    return found
