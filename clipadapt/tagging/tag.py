"""Tags: for every item of a catalogue its values with probabilities and whether a person has to look.

    tagged = tag(encoder, catalogue, prompts, thresholds, cache)
    tagged.columns["Pattern"].states      # sure | unsure | not applicable; None: the picture cannot be decoded
    tagged.write("tags.parquet")          # or .csv, .jsonl

One row per item, broken pictures included: id, product, then per attribute the value, "<attribute> probability" and
"<attribute> state", then caption, alt_text and fault. The value is as the catalogue's own tables write it; where the
state is unsure it is the best guess, for a person to confirm. Several values of a multi attribute are joined by its
separator, their probability is the lowest of them. Nothing here reads labels.
"""

import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from jaxtyping import Bool, Float, Int

from clipadapt.atomic import atomic_write
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import ConfigError
from clipadapt.prompts import Prompts
from clipadapt.recognition.accuracy import MIN_ITEMS, offered
from clipadapt.recognition.predict import Predictions, recognise
from clipadapt.recognition.values import Classifier
from clipadapt.recognition.vectors import VectorCache
from clipadapt.tagging.describe import Describer
from clipadapt.tagging.predictions import TagPredictions, predict
from clipadapt.tagging.thresholds import Calibrated, Thresholds, read_pictures
from clipadapt.towers.encoder import Encoder

State = Literal["sure", "unsure", "not applicable"]
FORMS = (".parquet", ".csv", ".jsonl")


class Column(NamedTuple):
    """One attribute of every item."""

    values: list[str | None]
    probability: Float[np.ndarray, " n"]
    """NaN where the picture cannot be decoded."""
    states: list[State | None]
    predictions: TagPredictions
    """What values and states come from."""
    sure: Bool[np.ndarray, " predictions"]
    """Predictions that need no person."""

    def confident(self) -> list[str | None]:
        """The value of each item that has one for sure, not applicable included."""
        return [value if state in ("sure", "not applicable") else None
                for value, state in zip(self.values, self.states, strict=True)]  # fmt: skip

    def counts(self) -> dict[str, int]:
        """State -> items."""
        found = Counter(state for state in self.states if state is not None)
        return {state: found[state] for state in ("sure", "unsure", "not applicable")}


class TagOfPicture(NamedTuple):
    """One value of one picture."""

    attribute: str
    value: str
    probability: float
    state: State


@dataclass(frozen=True)
class Tagged:
    """A catalogue with what a model says of its items."""

    catalogue: Catalogue
    columns: dict[str, Column]
    captions: list[str]
    alt_texts: list[str]
    faults: dict[int, str]
    """Row -> what is wrong with its picture."""
    states: list[tuple[str, ...]]
    """Of each item: the attributes that its caption or alt text states."""
    recognised: dict[str, Predictions]
    """Attribute -> what its labelled items are recognised as among the values of this catalogue, as an evaluation does;
    of the system "", and only where the catalogue has labels."""

    def table(self) -> pa.Table:
        """The rows that `write` writes.

        Raises:
            ConfigError: an attribute is called like another column.
        """
        named: list[tuple[str, pa.Array]] = [
            ("id", pa.array(self.catalogue.ids, pa.string())),
            ("product", pa.array(self.catalogue.products.tolist(), pa.string())),
        ]
        for name, column in self.columns.items():
            named.append((name, pa.array(column.values, pa.string())))
            named.append((f"{name} probability", pa.array(column.probability, pa.float64(), from_pandas=True)))
            named.append((f"{name} state", pa.array(column.states, pa.string())))
        faults = [self.faults.get(row) for row in range(len(self.catalogue))]
        named.append(("caption", pa.array(self.captions, pa.string())))
        named.append(("alt_text", pa.array(self.alt_texts, pa.string())))
        named.append(("fault", pa.array(faults, pa.string())))
        twice = [name for name, times in Counter(name for name, _ in named).items() if times > 1]
        if twice:
            raise ConfigError(
                f"two columns of the tags would be called {', '.join(map(repr, twice))}; "
                "rename that attribute, or leave it out with --attribute"
            )
        return pa.table(dict(named))

    def write(self, path: str | Path) -> None:
        """Writes the table, whole or not at all, in the form that the suffix says.

        Raises:
            ConfigError: another suffix.
            StoreError: it cannot be written.
        """
        check_form(path)
        table, suffix, content = self.table(), Path(path).suffix, io.BytesIO()
        if suffix == ".parquet":
            pyarrow.parquet.write_table(table, content)
        elif suffix == ".csv":
            pyarrow.csv.write_csv(table, content)
        else:
            for row in table.to_pylist():
                content.write((json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode())
        atomic_write(path, content.getvalue())


def check_form(path: str | Path) -> None:
    """Refuses a file whose suffix names no form; before anything is computed.

    Raises:
        ConfigError: another suffix than `FORMS`.
    """
    if Path(path).suffix not in FORMS:
        raise ConfigError(f"{path}: tags are written as {', '.join(FORMS)}; end the name with one of these")


def tag(
    encoder: Encoder,
    catalogue: Catalogue,
    prompts: Prompts,
    thresholds: Thresholds,
    cache: VectorCache,
    *,
    split: str | None = None,
    progress: bool = True,
) -> Tagged:
    """Tells every attribute of the thresholds for every item.

    Args:
        split: what the catalogue's split is called, where it was carved and bears its source's name.

    Raises:
        ConfigError: the thresholds were fitted with other words, or on these very items.
        SpaceError: they were fitted for another model.
    """
    thresholds.require(encoder, prompts)
    catalogue = catalogue.permitted("show")
    thresholds.refuse(catalogue, split or catalogue.split)
    pictures = read_pictures(encoder, catalogue, cache, progress=progress)
    whole = np.asarray(np.isfinite(pictures).all(axis=1))
    rows = np.flatnonzero(whole)
    columns = {
        name: _column(
            pictures[rows], cache.values(encoder, prompts, name, one.candidates.values), one, rows, len(catalogue)
        )
        for name, one in thresholds.attributes.items()
    }
    confident = {name: column.confident() for name, column in columns.items()}
    lists = {
        name: one.candidates.separator for name, one in thresholds.attributes.items() if one.candidates.kind == "multi"
    }
    describer = Describer(prompts.with_separators(lists))
    descriptions = [
        describer({name: value for name, values in confident.items() if (value := values[row])})
        for row in range(len(catalogue))
    ]
    faults = {int(row): f"{catalogue.place(int(row))}: cannot be decoded" for row in np.flatnonzero(~whole)}
    recognised = _recognised(catalogue, whole, pictures, {
        name: partial(cache.values, encoder, prompts, name) for name in thresholds.attributes
    })  # fmt: skip
    captions, alt_texts = [one.caption for one in descriptions], [one.alt_text for one in descriptions]
    states = [one.states for one in descriptions]
    return Tagged(catalogue, columns, captions, alt_texts, faults, states, recognised)


def tag_picture(
    picture: Float[np.ndarray, " dim"], thresholds: Thresholds, vectors: Mapping[str, Float[np.ndarray, "v dim"]]
) -> list[TagOfPicture]:
    """The tags of a single picture by its vector, by the rule of `tag`.

    Args:
        vectors: attribute -> those of its candidate values, as `VectorCache.values` gives them.
    """
    tags = []
    for name, one in thresholds.attributes.items():
        made, sure = _judged(picture[None], vectors[name], one)
        if not len(made.rows):
            continue
        state, shown = _shown(made, sure, one, np.arange(len(made.rows)))
        tags += [
            TagOfPicture(name, one.candidates.values[int(made.values[place])], float(made.probability[place]), state)
            for place in shown
        ]
    return tags


def _recognised(
    catalogue: Catalogue,
    whole: Bool[np.ndarray, " items"],
    pictures: Float[np.ndarray, "items dim"],
    vectors: Mapping[str, Callable[[list[str]], np.ndarray]],
) -> dict[str, Predictions]:
    """Labels against the nearest of the values that items enough have."""
    found = {}
    for name, vectors_of in vectors.items():
        if name not in catalogue.columns:
            continue
        sets = [
            had if readable else frozenset() for had, readable in zip(catalogue.value_sets(name), whole, strict=True)
        ]
        values = offered(Counter(value for had in sets for value in had), MIN_ITEMS)
        if len(values) > 1:
            classifier = Classifier.cosine(vectors_of(values))
            found[name] = recognise(name, values, sets, {"": pictures}, {"": classifier})
    return found


def _column(pictures: np.ndarray, texts: np.ndarray, one: Calibrated, rows: np.ndarray, items: int) -> Column:
    made, sure = _judged(pictures, texts, one)
    made = made._replace(rows=rows[made.rows])
    values: list[str | None] = [None] * items
    states: list[State | None] = [None] * items
    for row in rows:
        states[row] = "unsure"  # also where no value is calibrated, so that nothing is predicted
    probability = np.full(items, np.nan)
    edges = np.flatnonzero(np.diff(made.rows, prepend=-1))
    for start, end in zip(edges, np.append(edges[1:], len(made.rows)), strict=True):
        row = int(made.rows[start])
        states[row], shown = _shown(made, sure, one, np.arange(start, end))
        values[row] = one.candidates.separator.join(one.candidates.values[number] for number in made.values[shown])
        probability[row] = made.probability[shown].min()
    return Column(values, probability, states, made, sure)


def _judged(
    pictures: np.ndarray, texts: np.ndarray, one: Calibrated
) -> tuple[TagPredictions, Bool[np.ndarray, " predictions"]]:
    """What items are predicted to be, and which of it needs no person."""
    made = predict(pictures, texts, one.candidates, one.scale)
    return made, one.candidates.calibrated[made.values] & (made.probability >= _bar(one))


def _shown(
    made: TagPredictions, sure: Bool[np.ndarray, " predictions"], one: Calibrated, places: Int[np.ndarray, " some"]
) -> tuple[State, Int[np.ndarray, " shown"]]:
    """The state of an item whose predictions stand at `places`, and those of them that are shown."""
    certain = places[sure[places]]
    if not len(certain):
        return "unsure", places
    present = np.array([place for place in certain if not one.candidates.is_absent(int(made.values[place]))], np.int64)
    return ("sure", present) if len(present) else ("not applicable", certain)


def _bar(one: Calibrated) -> float:
    return np.inf if one.shown.threshold is None else one.shown.threshold


def uncertain(thresholds: Thresholds) -> Mapping[str, tuple[str, ...]]:
    """What can never be sure, a line or more per attribute: no threshold, or values that nobody in tune has."""
    lines = {}
    for name, one in thresholds.attributes.items():
        reasons = [f"always unsure: {one.shown.reason}"] if one.shown.reason else []
        if one.candidates.uncalibrated:
            lost = f"; they are nearest to {one.lost} labelled items of tune" if one.lost else ""
            reasons.append(f"never sure, for nobody in tune has them: {', '.join(one.candidates.uncalibrated)}{lost}")
        if reasons:
            lines[name] = tuple(reasons)
    return lines
