"""Pages of one look: a template of a package here over page.html.jinja and page.css, all in one file.

    render("drift/page.html.jinja", findings=findings)

What comes from a catalogue or a log is escaped. Nothing here knows what a page says.
"""

import functools
import importlib.metadata
from typing import Any

import jinja2


def render(template: str, **values: Any) -> str:
    """A self-contained page; a value that the template names and nobody gave is an error."""
    version = importlib.metadata.version("clipadapt")
    return _environment().get_template(template).render(version=version, **values)


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("clipadapt.deploy", "."), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
