"""Pictures that one model recognises and the other does not, both ways, for people to look at.

The rule is the page's own sentence, so that no one picks by hand. Knows nothing of figures: those are of all pictures.
"""

from collections.abc import Iterator
from itertools import chain, islice, zip_longest

import numpy as np
from jaxtyping import Bool

from clipadapt.evaluation.details import Flip, Flips
from clipadapt.evaluation.tasks.context import EvalContext
from clipadapt.recognition.predict import Predictions

EACH = 12
"""Most pictures of an attribute, each way."""
RULE = (
    f"At most {EACH} each way and one of a product; an attribute's values take turns, those with most such pictures "
    "first, and within a value it goes by the order of the catalogue."
)


def flips(context: EvalContext, predictions: Predictions) -> Flips | None:
    """What changed sides for an attribute of one value per item; null where nothing is compared."""
    system, against = context.systems
    if against is None:
        return None
    now, before = predictions.right[system], predictions.right[against]
    gained, lost = now & ~before, before & ~now

    def shown(changed: Bool[np.ndarray, " n"]) -> tuple[Flip, ...]:
        places = islice(_turns(context, predictions, changed), EACH)
        return tuple(_flip(context, predictions, place) for place in places)

    return Flips(predictions.attribute, int(gained.sum()), int(lost.sum()), shown(gained), shown(lost))


def _turns(context: EvalContext, predictions: Predictions, changed: Bool[np.ndarray, " n"]) -> Iterator[int]:
    """Places in `predictions.items`, in the order of the rule."""
    of_value: dict[int, list[int]] = {}
    products = context.catalogue.products[predictions.items]
    seen: set[object] = set()
    for place in np.flatnonzero(changed).tolist():
        of_value.setdefault(int(predictions.cases[place, 1]), []).append(place)
    order = sorted(of_value.values(), key=len, reverse=True)
    for place in chain.from_iterable(zip_longest(*order)):
        if place is not None and products[place] not in seen:
            seen.add(products[place])
            yield place


def _flip(context: EvalContext, predictions: Predictions, place: int) -> Flip:
    row, (system, against) = int(predictions.items[place]), context.systems
    assert against is not None

    def name(value: int) -> str:
        return predictions.values[value]

    return Flip(
        context.catalogue.ids[row],
        name(int(predictions.cases[place, 1])),
        name(int(predictions.chosen[against][place])),
        name(int(predictions.chosen[system][place])),
        context.thumbnail(row),
    )
