"""strength.html: one self-contained page that draws what a search for the merge strength found on tune.

Two charts cross at the chosen point: one tower's strength along the axis, the other's kept at what was chosen; the
difference to the base in headline and retention, each with its interval, over the floor. Every point is in a table
below. The argument is the content of strength.json, so the page can be drawn again from the file. Nothing here
measures or chooses.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from clipadapt.evaluation.report import svg
from clipadapt.evaluation.report.page import environment
from clipadapt.statistics.rows import interval_text, metric_label, points


class Chart(NamedTuple):
    """One tower's line through the chosen point."""

    tower: str
    other: str
    kept_at: float
    drawing: Markup


def strength_page(document: Mapping[str, Any]) -> str:
    """The whole page; `document` is that of strength.json."""
    metrics = list(document["best"]["figures"])
    return (
        environment()
        .get_template("strength.html.jinja")
        .render(
            document=document,
            metrics=metrics,
            metric=metric_label(document["metric"]),
            labels={name: metric_label(name) for name in metrics},
            charts=[chart for tower in ("image", "text") if (chart := _chart(document, tower)) is not None],
            bounds=lambda figure: interval_text(figure["low"], figure["high"], signed=True),
        )
    )


def _chart(document: Mapping[str, Any], tower: str) -> Chart | None:
    """None for a tower that was not turned."""
    other = "text" if tower == "image" else "image"
    chosen: Mapping[str, float] = document["chosen"]
    line = [point for point in document["points"] if point[other] == chosen[other]]
    if len(line) < 2:
        return None
    figures = {"s-base": [point["retention"] for point in line]}
    figures["s-model"] = [point["figures"][document["metric"]] for point in line]
    lines = [
        svg.Line(css, [(p[tower], f["delta"], f["low"], f["high"]) for p, f in zip(line, measured, strict=True)])
        for css, measured in figures.items()
    ]
    label = "; ".join(
        f"strength {point[tower]:g}: {points(figure['delta'], signed=True)} points, retention "
        f"{points(point['retention']['delta'], signed=True)}"
        for point, figure in zip(line, figures["s-model"], strict=True)
    )
    drawing = svg.curves(
        lines, f"strength of the {tower} tower", "points over the base", -document["margin"], chosen[tower], label
    )
    return Chart(tower, other, chosen[other], drawing)
