"""Writes template weights into a prompts file as a person would: the lines stay where they are, comments and all.

The text is changed at the places of its YAML nodes rather than dumped anew, so that everything but the weights is as
the editor left it. Nothing here fits weights.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

import yaml

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

    Also notes the split and the catalogue they were fitted on, so that nobody scores them there.

    Raises:
        PromptError: the text is not YAML.
        ValueError: an attribute that is not there, or another number of templates.
    """
    document = Document.parse(name, text)
    top = document.mapping(document.root, "the file")
    sections = document.mapping(top["attributes"][1], "attributes") if "attributes" in top else {}
    edits: dict[int, tuple[int, str]] = {}
    for attribute, found in weights.items():
        if attribute not in sections:
            raise ValueError(f"{name} has no attribute {attribute!r}")
        entries = document.mapping(sections[attribute][1], attribute)
        items = document.list_of(entries["templates"][1])
        if len(items) != len(found):
            raise ValueError(f"{attribute} has {len(items)} templates in {name}, not {len(found)}")
        for item, weight in zip(items, found, strict=True):
            start, end, new = _edit(document, item, f"{weight:g}")
            edits[start] = (end, new)
    if _FITTED in top:
        key, node = top[_FITTED]
        edits[key.start_mark.index] = (node.end_mark.index, _note(split, seed, fingerprint))
    for start in sorted(edits, reverse=True):
        end, new = edits[start]
        text = text[:start] + new + text[end:]
    if _FITTED not in top:
        text = (
            text.rstrip("\n") + "\n\n" + _note(split, seed, fingerprint) + "   # not to be scored on these pictures\n"
        )
    return text


def _note(split: str, seed: int, fingerprint: str) -> str:
    said = json.dumps(split, ensure_ascii=False)
    return f"{_FITTED}: {{split: {said}, seed: {seed}, fingerprint: {json.dumps(fingerprint)}}}"


def _edit(document: Document, item: yaml.Node, weight: str) -> tuple[int, int, str]:
    """(start, end, what to write there) to give one template its weight."""
    start, end = item.start_mark.index, item.end_mark.index
    if isinstance(item, yaml.ScalarNode):
        quoted = item.style in ("'", '"') and "\n" not in document.text[start:end]
        written = document.text[start:end] if quoted else json.dumps(item.value, ensure_ascii=False)
        tail = "".join(_tail(document.text[start:end])) if item.style in ("|", ">") else ""
        return start, end, f"{{text: {written}, weight: {weight}}}{tail}"
    assert isinstance(item, yaml.MappingNode), "a template is a text or a mapping"
    for key, value in item.value:
        if key.value == "weight":
            return value.start_mark.index, value.end_mark.index, weight
    if item.flow_style:
        return end - 1, end - 1, f", weight: {weight}"
    first = item.value[0][0].start_mark
    indent = " " * first.column
    return first.index, first.index, f"weight: {weight}\n{indent}"


def _tail(written: str) -> Iterator[str]:
    """The line breaks that a block text takes with it and that the next entry needs."""
    yield written[len(written.rstrip()) :] or "\n"
