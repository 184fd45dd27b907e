"""What tune says of a model's tags and of typed queries, in the two files that a run or release keeps of it.

    fitted = fit_tune(tag_inputs(inputs, "validation", tune=None, given=None), encoder, prompts, cache)
    fitted.save("runs/fashion")             # thresholds.json, queries.safetensors

Nothing here tags or searches.
"""

from pathlib import Path
from typing import NamedTuple

from clipadapt.prompts import Prompts
from clipadapt.recognition.vectors import VectorCache
from clipadapt.search.wishes import QUERIES, Signals
from clipadapt.tagging.inputs import TagInputs
from clipadapt.tagging.query_weights import described, fit_weights, signals_of
from clipadapt.tagging.thresholds import THRESHOLDS, Thresholds
from clipadapt.towers.encoder import Encoder

SURE = 0.95
"""Precision that is wanted of sure tags where nobody says otherwise."""


class Fitted(NamedTuple):
    """For one model and one prompts file."""

    thresholds: Thresholds
    signals: Signals

    def save(self, folder: str | Path) -> list[str]:
        """Writes both, each whole or not at all; what they say, a line each.

        Raises:
            StoreError: one of them cannot be written.
        """
        self.thresholds.save(Path(folder, THRESHOLDS))
        self.signals.save(Path(folder, QUERIES))
        return [
            f"wrote {Path(folder, THRESHOLDS)}, by which tags are sure or not",
            f"wrote {Path(folder, QUERIES)}, by which searches weigh values that items have no label of: "
            f"{'; '.join(described(self.signals))}",
        ]


def fit_tune(
    inputs: TagInputs, encoder: Encoder, prompts: Prompts, cache: VectorCache, *, precision: float = SURE
) -> Fitted:
    """Thresholds, and from them the weights of values in queries.

    Raises:
        PromptError: an attribute or a value has no words.
        ModelError: the model has no text tower.
    """
    assert inputs.tune is not None, "thresholds that were read from a file are not fitted"
    thresholds = inputs.fit(encoder, prompts, cache, precision=precision)
    signals = fit_weights(signals_of(thresholds, encoder, prompts, cache), inputs.tune, encoder, prompts, cache)
    return Fitted(thresholds, signals)
