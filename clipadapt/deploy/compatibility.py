"""Whether the queries of a new text tower may search an index that is already there.

    found = compatibility(new, old, index_space, catalogue, prompts, out="report")
    require(Gate.load("eval/compatibility_gate.yaml"), found.rows)

Adapting the text tower alone leaves image_space, and so every stored vector, valid; whether the index is still searched
as well is another question. So new and old queries search the same pictures, and the difference in what they find
carries an interval over products. Pictures are encoded once, for both share the image tower. The trade: search is
exact here, so what an index's own recall costs is not in it. Nothing here decides; a gate does.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import ModelError, SpaceError
from clipadapt.evaluation.evaluate import evaluate
from clipadapt.evaluation.results import Results
from clipadapt.evaluation.suite import Suite
from clipadapt.prompts import Prompts
from clipadapt.recognition.vectors import VectorCache
from clipadapt.towers.encoder import Encoder

SUITE, GATE = "eval/compatibility.yaml", "eval/compatibility_gate.yaml"
NEW, OLD = "new queries", "old queries"


def compatibility(
    new: Encoder,
    old: Encoder,
    index_space: str,
    catalogue: Catalogue,
    prompts: Prompts,
    *,
    suite: Suite | None = None,
    split: str | None = None,
    headline: Sequence[str] | None = None,
    train_counts: Mapping[str, Mapping[str, int]] | None = None,
    fitted_on: Mapping[str, str] | None = None,
    cache: VectorCache | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> Results:
    """New queries against old ones, on the same pictures.

    Args:
        index_space: image_space of the index that is to be kept.
        suite: what is searched for; null: the shipped one.
        split, headline, train_counts, fitted_on, cache, out, progress: as evaluate takes them.

    Raises:
        SpaceError: the image tower changed, or the index is of another space; then it must be built again.
        ModelError: one of the two has no text tower.
        ConfigError: the split was used to choose something.
    """
    spaces = {f"the new model {new.name}": new.image_space, f"the old model {old.name}": old.image_space}
    for what, space in spaces.items():
        if space != index_space:
            raise SpaceError(
                f"{what} is of {space}, the index of {index_space}: its vectors do not mean the same any more; "
                "build an index with the new model"
            )
    for encoder in (new, old):
        if encoder.text_space is None:
            raise ModelError(f"{encoder.name} has no text tower, so it asks no queries")
    return evaluate(
        new,
        catalogue,
        prompts,
        suite or Suite.load(SUITE),
        split=split,
        against=old,
        systems=(NEW, OLD),
        headline=headline,
        train_counts=train_counts,
        fitted_on=fitted_on,
        cache=cache,
        out=out,
        progress=progress,
    )
