"""A drift report as text, JSON, a page, and a file that Prometheus's node exporter collects.

Pictures stand on the page where a catalogue is at hand. Nothing here measures.
"""

import importlib.metadata
import json
from collections.abc import Mapping

import jinja2

from clipadapt.data.catalogue import Catalogue
from clipadapt.deploy.drift.measure import Report
from clipadapt.deploy.drift.shift import Shift
from clipadapt.deploy.thumbnails import thumbnails


def as_json(report: Report, moved: Mapping[str, Shift] | None = None) -> str:
    """The whole report; with how far the adaptation moves new items and the reference's, where that was measured."""
    document = {
        "schema_version": 1,
        "level": report.level,
        "least_effect": report.least_effect,
        "alarms": len(report.alarmed),
        "drifts": [one._asdict() for one in report.drifts],
        "moved": {whose: one._asdict() for whose, one in (moved or {}).items()},
        "notes": list(report.notes),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def as_prometheus(report: Report) -> str:
    """Gauges in Prometheus's text format.

    Source: https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    gauges = {
        "effect": ("Squared discrepancy from the reference, in units of its spread", lambda one: f"{one.effect:.6g}"),
        "p_corrected": ("p value corrected over all windows and segments", lambda one: f"{one.p_corrected:.6g}"),
        "alarm": ("1 where the window drifted", lambda one: str(int(one.alarm))),
    }
    lines = []
    for name, (help_text, value) in gauges.items():
        lines += [f"# HELP clipadapt_drift_{name} {help_text}.", f"# TYPE clipadapt_drift_{name} gauge"]
        lines += [
            f'clipadapt_drift_{name}{{segment="{_label(one.segment)}",window="{_label(one.window)}"}} {value(one)}'
            for one in report.drifts
        ]
    return "\n".join(lines) + "\n"


def as_page(report: Report, catalogue: Catalogue | None) -> str:
    """A self-contained page; with pictures of a catalogue's items that may be shown."""
    wanted = {item for one in report.alarmed for item in one.strangest}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clipadapt.deploy.drift", "."), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html.jinja").render(
        report=report,
        pictures=thumbnails(catalogue, wanted) if catalogue is not None else {},
        version=importlib.metadata.version("clipadapt"),
    )


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
