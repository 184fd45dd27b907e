"""A readout as JSON and as a page. Nothing here measures."""

import json
from typing import Any

from clipadapt.deploy.experiment.readout import METRICS, MISMATCH, Figure, Readout
from clipadapt.deploy.pages import render


def as_json(readout: Readout) -> str:
    """The whole readout; figures are fractions."""
    document = {
        "schema_version": 1,
        "verdict": readout.verdict,
        "sentence": readout.sentence(),
        "current": readout.releases[0],
        "candidate": readout.releases[1],
        "users": {"current": readout.users[0], "candidate": readout.users[1]},
        "share": readout.share,
        "mismatch_p": readout.mismatch_p,
        "decides": readout.decides,
        "lift": readout.lift,
        "level": readout.level,
        "users_needed": readout.users_needed,
        "figures": [_figure(one) for one in readout.figures],
        "looks": [
            {"day": one.day.isoformat(), "users": one.users} | _difference(one.difference) for one in readout.looks
        ],
        "notes": list(readout.notes),
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_page(readout: Readout) -> str:
    """A self-contained page."""
    return render(
        "experiment/page.html.jinja",
        readout=readout, names=METRICS, mismatch=MISMATCH, points=points,
    )  # fmt: skip


def points(fraction: float, *, signed: bool = False) -> str:
    """Percentage points with two decimals: a tenth of a point is a large difference of click-through rates."""
    return (f"{100 * fraction:+.2f}" if signed else f"{100 * fraction:.2f}").replace("-", "−")


def _figure(figure: Figure) -> dict[str, Any]:
    arms = {"current": figure.current, "candidate": figure.candidate}
    return {
        "metric": figure.metric,
        **{name: {"mean": arm.mean, "users": arm.users, "items": arm.items} for name, arm in arms.items()},
        **_difference(figure.difference),
    }


def _difference(found: Any) -> dict[str, float | None]:
    keys = ("delta", "low", "high", "minimum_detectable")
    return dict.fromkeys(keys) if found is None else found._asdict()
