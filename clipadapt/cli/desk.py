"""What prompts are judged on: a split's pictures and labels, and the refusal to judge weights where they were fitted.

    desk = Desk(prompts, model, source, "validation", attributes, min_items, seed)
    desk.refuse_seen(prompts)
    desk.scorer.table(prompts, attributes=desk.take_up(prompts))

Nothing is encoded before `scorer` or `encoder` is asked for. Nothing here scores.
"""

from functools import cached_property
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from clipadapt.data.catalogue import Catalogue
    from clipadapt.prompt_scoring.table import PromptScorer
    from clipadapt.prompts import Prompts
    from clipadapt.towers.encoder import Encoder


class Desk:
    """One split's pictures, encoded when first asked for, and what of a prompts file can be judged on them."""

    def __init__(
        self,
        prompts: "Prompts",
        model: str,
        source: str,
        split: str,
        wanted: list[str] | None,
        min_items: int,
        seed: int,
    ) -> None:
        from clipadapt.errors import PromptError

        columns = catalogue_of(source, None).columns
        for name in wanted or ():
            if name not in columns:
                raise PromptError(f"{source}: no column {name!r}; columns are {', '.join(columns)}")
        self.wanted = wanted
        self.catalogue = _split(source, split, [name for name in wanted or prompts.attributes if name in columns], seed)
        self._model, self._min_items, self._seed = model, min_items, seed
        self._labels: dict[str, list[str | None]] = {}
        self._fitted: dict[tuple[str, int], Catalogue | None] = {}

    @cached_property
    def encoder(self) -> "Encoder":
        return load_model(self._model)

    @cached_property
    def scorer(self) -> "PromptScorer":
        """With vectors from the cache where they are known."""
        from clipadapt.prompt_scoring.table import LabelledPictures, PromptScorer
        from clipadapt.recognition.vectors import VectorCache, default_folder

        cache = VectorCache(default_folder() / "vectors")
        vectors = cache.pictures(self.encoder, self.catalogue, broken="count")
        labelled = LabelledPictures(vectors, self._labels, self.catalogue.products, self.catalogue.fingerprint)
        encode = lambda texts: cache.texts(self.encoder, texts)  # noqa: E731
        return PromptScorer(labelled, encode, min_items=self._min_items, seed=self._seed)

    def take_up(self, prompts: "Prompts") -> list[str]:
        """The attributes that the file words and the source has, with their labels in the scorer; tells of others.

        Raises:
            PromptError: there are none.
        """
        from clipadapt.errors import PromptError
        from clipadapt.prompts.lint import nearest

        columns, names = self.catalogue.columns, []
        for name in self.wanted or prompts.attributes:
            if name not in columns:
                near = nearest(name, columns)
                line = prompts.library.attributes[name].place.line
                typer.echo(f"not scored: {prompts.path}:{line}: {name}: the source has no such column{near}", err=True)
            elif prompts.speaks_of(name) and prompts.wording(name).separator:
                typer.echo(f"not scored: {name}: its cells hold several values; `clipadapt eval` measures it", err=True)
            else:
                names.append(name)
        if not names:
            raise PromptError(f"{prompts.path}: words no attribute that can be scored here; name some with --attribute")
        self._labels |= {name: self.catalogue.values(name) for name in names if name not in self._labels}
        return names

    def refuse_seen(self, prompts: "Prompts") -> None:
        """Refuses weights that were fitted on pictures or products of this split, whatever that split was called.

        Raises:
            PromptError: they were; of another catalogue's splits nothing can be told.
        """
        from clipadapt.data.splits import shared_products
        from clipadapt.errors import CatalogueError, PromptError

        fitted = prompts.library.fitted_on
        if fitted is None:
            return
        key = (fitted.split, fitted.seed)
        if key not in self._fitted:
            try:
                self._fitted[key] = _split(self.catalogue.source, fitted.split, [*self._labels], fitted.seed)
            except CatalogueError:
                self._fitted[key] = None
        there = self._fitted[key]
        if there is None or there.fingerprint != fitted.fingerprint:
            return
        shared = set(shared_products({"fitted": there, "scored": self.catalogue}))
        if shared := shared or set(there.ids) & set(self.catalogue.ids):
            raise PromptError(
                f"{prompts.path}:{fitted.place.line}: its weights were fitted on these pictures ({fitted.split!r}): "
                f"{len(shared)} of its products are here, so a score on them means nothing; score another split"
            )


def _split(source: str, split: str, attributes: list[str], seed: int) -> "Catalogue":
    """A split of the source, or one that a run with this seed carves from train."""
    from clipadapt.config import Data
    from clipadapt.data.catalogue import Catalogue
    from clipadapt.data.sources import open_source
    from clipadapt.data.splits import load_splits

    if split in ("tune", "validation") and split not in open_source(source).splits():
        return getattr(load_splits(Data(source=source, attributes=tuple(attributes)), seed), split)
    return Catalogue.load(source, split, attributes=attributes)


def catalogue_of(source: str, split: str | None) -> "Catalogue":
    """The items, each a product of its own: wording does not care about products. None: the first split there is."""
    from clipadapt.data.catalogue import Catalogue
    from clipadapt.data.sources import open_source

    opened = open_source(source)
    return Catalogue.of(opened, split or opened.splits()[0], product=None)


def load_model(model: str) -> "Encoder":
    from clipadapt.errors import ModelError
    from clipadapt.towers.load import load

    encoder = load(model)
    if encoder.context_length is None:
        raise ModelError(f"{model} is an image tower alone; prompts need a model with a text tower")
    return encoder
