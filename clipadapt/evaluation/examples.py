"""Searches shown side by side: the value queries that gained most and those that lost most, with thumbnails.

The rule is the page's own sentence, so that no one picks by hand. Nothing here measures: average precision comes from
the evidence of the text-to-image task.
"""

import io
from typing import Literal

import numpy as np
from PIL import Image

from clipadapt.evaluation.details import Answer, Example
from clipadapt.evaluation.suite import TextToImage
from clipadapt.evaluation.tasks.context import EvalContext
from clipadapt.evaluation.tasks.text_to_image import Search, searches
from clipadapt.statistics.galleries import AVERAGE_PRECISION, ranked

SHOWN = 6
"""Answers of each query."""
EACH = 4
"""Most wins, and most losses."""
RULE = (
    f"Of all searches for one value, the {EACH} whose average precision rose most and the {EACH} whose fell most; "
    f"for each the first {SHOWN} answers of both models. Items whose value is unknown are not in the gallery."
)
_SIDE = 96


def examples(context: EvalContext, task: TextToImage) -> list[Example]:
    """Wins, the largest first, then losses; none where nothing is compared."""
    if len(context.encoders) != 2:
        return []
    model, against = context.encoders
    scored: list[tuple[float, int, Search, int, dict[str, float]]] = []
    for search in searches(context, task):
        for number, query in enumerate(search.queries):
            scores = {}
            for system, orders in search.orders.items():
                found = ranked(query.relevant[orders[number]][None], np.array([query.relevant.sum()]))
                scores[system] = float(found.measure([AVERAGE_PRECISION])[AVERAGE_PRECISION][0])
            scored.append((scores[model] - scores[against], len(scored), search, number, scores))
    scored.sort(key=lambda one: (-one[0], one[1]))
    wins = [one for one in scored if one[0] > 0][:EACH]
    losses = [one for one in reversed(scored) if one[0] < 0][:EACH]
    return [_example(context, "win", *one[2:]) for one in wins] + [
        _example(context, "loss", *one[2:]) for one in losses
    ]


def _example(
    context: EvalContext, kind: Literal["win", "loss"], search: Search, number: int, scores: dict[str, float]
) -> Example:
    query = search.queries[number]
    text = context.prompts.ensemble(query.attribute, query.value)[0].text
    _, against = context.encoders
    answers = {}
    for system in (against, *(one for one in context.encoders if one != against)):
        places = search.orders[system][number][:SHOWN]
        answers[system] = tuple(
            Answer(
                context.catalogue.ids[search.gallery[place]],
                bool(query.relevant[place]),
                thumbnail(context.catalogue.picture(int(search.gallery[place]))),
            )
            for place in places
        )
    return Example(kind, query.attribute, query.value, text, scores, answers)


def thumbnail(picture: Image.Image, side: int = _SIDE) -> bytes:
    """A JPEG that fits a square of `side` pixels."""
    small = picture.convert("RGB")
    small.thumbnail((side, side))
    held = io.BytesIO()
    small.save(held, "JPEG", quality=72, optimize=True)
    return held.getvalue()
