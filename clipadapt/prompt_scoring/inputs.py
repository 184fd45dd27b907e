"""What prompts are scored on: a split's pictures and labels, and the refusal to score weights where they were fitted.

    scored = ScoringInputs(prompts, resolve(source="shop"), "validation", model, attributes, min_items, seed)
    scored.refuse_seen(prompts)
    scored.scorer.table(prompts, attributes=scored.add_attributes(prompts))

Nothing is encoded before `scorer` or `encoder` is used. Nothing here scores.
"""

import logging
from collections.abc import Sequence
from functools import cached_property

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.splits import shared_products
from clipadapt.errors import CatalogueError, ModelError, PromptError
from clipadapt.inputs import Inputs, run_of
from clipadapt.places import default_folder
from clipadapt.prompt_scoring.table import LabelledPictures, PromptScorer
from clipadapt.prompts import Prompts
from clipadapt.prompts.lint import nearest
from clipadapt.recognition.vectors import VectorCache
from clipadapt.towers.encoder import Encoder
from clipadapt.towers.load import load

log = logging.getLogger(__name__)


class ScoringInputs:
    """One split's pictures, encoded when first needed, and what of a prompts file can be scored on them."""

    def __init__(
        self,
        prompts: Prompts,
        inputs: Inputs,
        split: str | None,
        model: str,
        wanted: Sequence[str] | None,
        min_items: int,
        seed: int,
    ) -> None:
        split = split or inputs.default_split
        self._inputs = inputs
        self.catalogue = inputs.catalogue(split)
        columns = self.catalogue.columns
        for name in wanted or ():
            if name not in columns:
                raise PromptError(f"{inputs.data.source}: no column {name!r}; columns are {', '.join(columns)}")
        self.wanted = wanted
        self._model, self._min_items, self._seed = model, min_items, seed
        self._labels: dict[str, list[str | None]] = {}
        self._fitted: dict[tuple[str, int], Catalogue | None] = {}

    @cached_property
    def encoder(self) -> Encoder:
        return text_encoder(self._model)

    @cached_property
    def scorer(self) -> PromptScorer:
        """With vectors from the cache where they are known."""
        cache = VectorCache(default_folder() / "vectors")
        vectors = cache.pictures(self.encoder, self.catalogue, broken="count")
        labelled = LabelledPictures(vectors, self._labels, self.catalogue.products, self.catalogue.fingerprint)
        encode = lambda texts: cache.texts(self.encoder, texts)  # noqa: E731
        return PromptScorer(labelled, encode, min_items=self._min_items, seed=self._seed)

    @cached_property
    def trained(self) -> Prompts | None:
        """What the model was trained with: the run's own copy of its prompts file; None for models that are no run."""
        run = run_of(self._model)
        return None if run is None else Prompts.load(run.config.prompts)

    def add_attributes(self, prompts: Prompts) -> list[str]:
        """The attributes that the file words and the source has, with their labels in the scorer; others are logged.

        Raises:
            PromptError: there are none.
        """
        columns, names = self.catalogue.columns, []
        for name in self.wanted or prompts.attributes:
            if name not in columns:
                near = nearest(name, columns)
                line = prompts.library.attributes[name].place.line
                log.warning("not scored: %s:%d: %s: the source has no such column%s", prompts.path, line, name, near)
            elif name in self.catalogue.separators or (prompts.speaks_of(name) and prompts.wording(name).separator):
                log.warning("not scored: %s: its cells hold several values; `clipadapt eval` measures it", name)
            else:
                names.append(name)
        if not names:
            raise PromptError(f"{prompts.path}: words no attribute that can be scored here; name some with --attribute")
        self._labels |= {name: self.catalogue.values(name) for name in names if name not in self._labels}
        return names

    def refuse_seen(self, prompts: Prompts) -> None:
        """Refuses weights that were fitted on pictures or products of this split, whatever that split was called.

        Raises:
            PromptError: they were; of another catalogue's splits nothing can be known.
        """
        fitted = prompts.library.fitted_on
        if fitted is None:
            return
        key = (fitted.split, fitted.seed)
        if key not in self._fitted:
            try:
                self._fitted[key] = self._inputs.with_seed(fitted.seed).catalogue(fitted.split)
            except CatalogueError:
                self._fitted[key] = None
        fitted_items = self._fitted[key]
        if fitted_items is None or fitted_items.fingerprint != fitted.fingerprint:
            return
        shared = set(shared_products({"fitted": fitted_items, "scored": self.catalogue}))
        if shared := shared or set(fitted_items.ids) & set(self.catalogue.ids):
            raise PromptError(
                f"{prompts.path}:{fitted.place.line}: its weights were fitted on these pictures ({fitted.split!r}): "
                f"{len(shared)} of its products are here, so a score on them means nothing; score another split"
            )


def text_encoder(model: str) -> Encoder:
    """The model, which must have a text tower.

    Raises:
        ModelError: it has none.
    """
    encoder = load(model)
    if encoder.context_length is None:
        raise ModelError(f"{model} is an image tower alone; prompts need a model with a text tower")
    return encoder
