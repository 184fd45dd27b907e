"""How far the templates of a file lie from what a model was trained with: before an editor relies on a new one.

    distances(scorer, edited, trained)      # trained: the run's own copy of its prompts file

Per template: what it achieves alone, how much that is below the texts the model was trained with (paired, by product),
and how near its vectors of the values are to theirs. The texts that training never uses stand beside them, for a new
template that does no worse than those is within what the training carries over. Nothing here prints.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clipadapt.metrics.intervals import Interval
from clipadapt.prompt_scoring.table import PromptScorer, ScorableItems
from clipadapt.prompts import Prompts
from clipadapt.prompts.definitions import AttributeWords
from clipadapt.prompts.wording import Text, filled_in, is_absent
from clipadapt.recognition.values import HeldOutWording, ensemble_vectors


class Distance(NamedTuple):
    """One template, or the held-out wording, beside the texts of the training."""

    line: int
    """Of the template in the file; 0 for the held-out wording."""
    text: str
    trained: bool
    """Whether the attribute was trained with this very template."""
    accuracy: Interval
    """Balanced accuracy of this template alone."""
    gap: Interval
    """That of the training's texts minus it."""
    cosine: float
    """Mean over the values, of its vector with that of the training's texts."""


class AttributeDistances(NamedTuple):
    """All templates of an attribute that have something to say of each of its values."""

    attribute: str
    accuracy: Interval
    """Balanced accuracy of the training's texts."""
    templates: tuple[Distance, ...]
    held_out: Distance


def distances(
    scorer: PromptScorer, prompts: Prompts, trained: Prompts, attributes: Sequence[str]
) -> tuple[AttributeDistances, ...]:
    """Those of every attribute that can be scored and that the training had words for.

    Raises:
        PromptError: the trained file holds out every name of a value.
    """
    judged = HeldOutWording(trained)
    found = []
    for attribute in attributes:
        scorable = scorer.scorable(attribute)
        if isinstance(scorable, ScorableItems) and trained.speaks_of(attribute):
            found.append(_distances(scorer, prompts, trained, judged, attribute, scorable))
    return tuple(found)


def _distances(
    scorer: PromptScorer,
    prompts: Prompts,
    trained: Prompts,
    judged: HeldOutWording,
    attribute: str,
    scorable: ScorableItems,
) -> AttributeDistances:
    known = [trained.ensemble(attribute, value) for value in scorable.values]
    vectors, right = ensemble_vectors(known, scorer.encode), scorer.right(attribute, scorable, known)
    same = {entry.what.text for entry in trained.wording(attribute).templates if entry.weight and not entry.held_out}

    def distance(line: int, text: str, ensembles: list[list[Text]]) -> Distance:
        alone = scorer.right(attribute, scorable, ensembles)
        cosines = np.einsum("vd,vd->v", ensemble_vectors(ensembles, scorer.encode), vectors)
        accuracy, gap = scorable.sample.interval(alone), scorable.sample.difference(right - alone)
        return Distance(line, text, text in same, accuracy, gap, float(cosines.mean()))

    words = prompts.wording(attribute)
    rows = []
    for number, entry in enumerate(words.templates):
        ensembles = [_alone(prompts, words, number, value) for value in scorable.values]
        if all(ensembles):
            rows.append(distance(entry.place.line, entry.what.text, ensembles))
    held_out = distance(0, "", [judged.ensemble(attribute, value) for value in scorable.values])
    return AttributeDistances(attribute, scorable.sample.interval(right), tuple(rows), held_out)


def _alone(prompts: Prompts, words: AttributeWords, number: int, value: str) -> list[Text]:
    """A value's texts by one template; a not-applicable cell keeps its own. Empty where it has nothing to say."""
    if is_absent(prompts.library, words, value):
        return prompts.ensemble(words.name, value)
    texts = filled_in(prompts.library, words, value, words.templates[number].what)
    return [Text(text, share, number, name) for text, (share, name) in texts.items()]
