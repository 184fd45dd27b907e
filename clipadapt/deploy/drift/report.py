"""Findings as JSON, a page, and a file that Prometheus's node exporter collects.

Pictures stand on the page where a catalogue is at hand. Nothing here measures.
"""

import json
from collections.abc import Iterable

from clipadapt.data.catalogue import Catalogue
from clipadapt.deploy.drift.findings import Findings
from clipadapt.deploy.pages import render
from clipadapt.deploy.thumbnails import thumbnails


def as_json(findings: Findings) -> str:
    """Every figure."""
    reports = findings.reports
    document = {
        "schema_version": 2,
        "level": findings.level,
        "alarms": len(findings.alarms),
        "sentences": list(findings.alarms or findings.sentences),
        "drifts": [
            {
                "of": of,
                **one._asdict(),
                "least_effect": report.least_effect,
                "least_cluster": report.least_cluster,
                "level": report.level,
            }
            for of, report in reports.items()
            for one in report.drifts
        ],
        "rates": [
            {"of": rates.of, **one._asdict(), "least_difference": rates.least, "level": rates.level}
            for rates in findings.rates
            for one in rates.rates
        ],
        "moved": {whose: one._asdict() for whose, one in findings.moved.items()},
        "least_cosine": findings.least_cosine,
        "notes": list(findings.notes),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def as_prometheus(findings: Findings) -> str:
    """Gauges in Prometheus's text format.

    Source: https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    drifts = [
        ({"of": of, "segment": one.segment, "window": one.window}, one)
        for of, report in findings.reports.items()
        for one in report.drifts
    ]
    rates = [
        ({"of": part.of, "attribute": one.attribute, "value": one.value, "window": one.window}, one)
        for part in findings.rates
        for one in part.rates
    ]
    moved = [({"of": whose}, one) for whose, one in findings.moved.items()]
    gauges = {
        "drift_effect": ("Squared discrepancy from the reference, in units of its spread", drifts, "effect"),
        "drift_cluster": ("How far neighbours of new products are new themselves, beyond chance", drifts, "cluster"),
        "drift_p_corrected": ("p value corrected over all windows and segments", drifts, "p_corrected"),
        "drift_alarm": ("1 where the window drifted", drifts, "alarm"),
        "rate": ("Share of a value", rates, "share"),
        "rate_difference": ("Share of a value minus its share in the reference", rates, "difference"),
        "rate_alarm": ("1 where the share of a value changed", rates, "alarm"),
        "adaptation_cosine": ("Mean cosine between base and adapted vectors of the same items", moved, "mean"),
    }
    lines = []
    for name, (help_text, rows, figure) in gauges.items():
        lines += _gauge(f"clipadapt_{name}", help_text, [(labels, getattr(row, figure)) for labels, row in rows])
    lines += _gauge("clipadapt_drift_alarms", "Parts of the report that alarm", [({}, len(findings.alarms))])
    return "\n".join(lines) + "\n"


def as_page(findings: Findings, catalogue: Catalogue | None) -> str:
    """A self-contained page; with pictures of a catalogue's items that may be shown."""
    alarmed = findings.items.alarmed if findings.items is not None else ()
    wanted = {item for one in alarmed for item in one.strangest}
    return render(
        "drift/page.html.jinja",
        findings=findings,
        pictures=thumbnails(catalogue, wanted) if catalogue is not None else {},
    )


def _gauge(name: str, help_text: str, rows: Iterable[tuple[dict[str, str], float]]) -> list[str]:
    lines = []
    for labels, value in rows:
        inside = ",".join(f'{key}="{_label(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{inside}}} {float(value):.6g}" if inside else f"{name} {float(value):.6g}")
    return [f"# HELP {name} {help_text}.", f"# TYPE {name} gauge", *lines] if lines else []


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
