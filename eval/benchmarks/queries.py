"""Queries as people type them, against plain vector search and hard filters, with all, half or a tenth of labels known.

    python eval/benchmarks/queries.py --model run:runs/fashion --queries runs/fashion/queries.safetensors

From the labels of validation: two attributes ("striped shirt"), negation ("shirt, not striped"), alternatives ("red or
blue shirt") in four wordings each, one as in a log, and the same but ("red", from an item that is not). The gallery of
a query is what is labelled for what it says; `known` of the labels are in the index, the rest are hidden from all
systems. Every system ranks the whole gallery: ours by cosine and wishes (search/wishes.py), plain by the vector of the
words as they stand (for the same but: of item and words), filtered the same among items whose known labels fit. Figures
are means over queries; intervals are of 200 galleries of products drawn anew, for the same but of starting products.
The last line says, with half of the labels known, how violations@10 of negation compare with plain's.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from machine import publish

from clipadapt.data.catalogue import Catalogue
from clipadapt.inputs import resolve
from clipadapt.prompts import Prompts
from clipadapt.prompts.wording import names_of
from clipadapt.recognition.vectors import VectorCache, default_folder
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.query import Item, encode_words
from clipadapt.search.typed import Known, same_but, typed
from clipadapt.search.vectors import Vectors
from clipadapt.search.wishes import Signals, Weigher, Wishes
from clipadapt.statistics.galleries import reweighed
from clipadapt.towers.load import load

WORDINGS = {
    "two attributes": ("{v} {u}", "{u} {v}", "{u}, {v}", "looking for a {v} {u}"),
    "negation": ("{u}, not {v}", "{u} without {v}", "a {u} but not {v}", "{u} -{v}"),
    "alternatives": ("{v} or {w} {u}", "{u} in {v} or {w}", "{v}/{w} {u}", "{u}: {v} or {w}"),
}
KINDS = 40
"""Most queries of a kind, the most frequent values first; each in four wordings."""
FEWEST, TOP, DRAWS = 5, 10, 200
SYSTEMS = ("ours", "plain", "filtered")


class Case(NamedTuple):
    """What a query asks for: a value of the kind of product, and others."""

    kind: str
    texts: tuple[str, ...]
    gallery: np.ndarray
    relevant: np.ndarray
    violating: np.ndarray


class World(NamedTuple):
    """Validation, with all of its labels."""

    catalogue: Catalogue
    pictures: np.ndarray
    labels: dict[str, list[frozenset[str]]]
    prompts: Prompts

    def has(self, attribute: str, value: str) -> np.ndarray:
        return np.array([value in values for values in self.labels[attribute]])

    def known(self, attribute: str) -> np.ndarray:
        return np.array([bool(values) for values in self.labels[attribute]])

    def said(self, attribute: str, value: str) -> str:
        return names_of(self.prompts.library, self.prompts.library.attributes.get(attribute), value)[0].what.text


def cases(world: World, head: str) -> Iterator[Case]:
    """Queries of every kind, of the product's kind `head` and one other attribute."""
    found: list[tuple[int, Case]] = []
    for name in (name for name in world.labels if name != head):
        gallery = world.known(name) & world.known(head)
        pairs = Counter(
            (value, kind) for row in np.flatnonzero(gallery) for value in world.labels[name][row]
            for kind in world.labels[head][row]
        )  # fmt: skip
        for (value, kind), count in pairs.items():
            has, of_kind = world.has(name, value) & gallery, world.has(head, kind) & gallery
            said = {"u": world.said(head, kind), "v": world.said(name, value)}
            nothing = np.zeros(len(gallery), bool)
            if count >= FEWEST:
                found.append((count, _case("two attributes", said, gallery, of_kind & has, nothing)))
            if count >= FEWEST and (of_kind & ~has).sum() >= TOP:
                found.append((count, _case("negation", said, gallery, of_kind & ~has, has)))
            other = next((v for (v, k), n in pairs.most_common() if k == kind and v != value and n >= FEWEST), None)
            if other is not None and count >= FEWEST:
                either = of_kind & (has | world.has(name, other))
                said |= {"w": world.said(name, other)}
                found.append((count, _case("alternatives", said, gallery, either, nothing)))
    for kind in WORDINGS:
        yield from [case for _, case in sorted(found, key=lambda one: (-one[0], one[1].texts)) if case.kind == kind][
            :KINDS
        ]


def _case(kind: str, said: dict[str, str], gallery: np.ndarray, relevant: np.ndarray, violating: np.ndarray) -> Case:
    return Case(kind, tuple(text.format(**said) for text in WORDINGS[kind]), gallery, relevant, violating)


def masked(catalogue: Catalogue, known: float, seed: int) -> pa.Table:
    """The table with a share of the known cells of each attribute left."""
    table, rng = catalogue.table(), np.random.default_rng(seed)
    for name in catalogue.columns:
        if name in table.column_names and name in {one.name for one in catalogue.attributes}:
            cells = table.column(name).to_pylist()
            kept = rng.random(len(cells)) < known
            hidden = pa.array([cell if keep else None for cell, keep in zip(cells, kept, strict=True)], pa.string())
            table = table.set_column(table.column_names.index(name), name, hidden)
    return table


def fitting(index: Index, wishes: Wishes) -> np.ndarray:
    """Rows whose known labels are as wished: what a hard filter leaves."""
    return Weigher(index.items).as_wished(wishes)


def measure(index: Index, known: Known, world: World, encoder: Any, head: str, weights: np.ndarray) -> dict[str, Any]:
    """Figures of every kind but the same but."""
    vocabulary, weigher = known.vocabulary(index), Weigher(index.items, index.signals)
    listed = list(cases(world, head))
    asked = {text: typed(text, vocabulary) for case in listed for text in case.texts}
    texts = list(dict.fromkeys([*asked, *(str(one.query.positives[0]) for one in asked.values())]))
    vectors = dict(zip(texts, encode_words(encoder, texts), strict=True))
    rows = np.arange(len(world.pictures))
    found: dict[str, dict[str, list]] = {}
    for case in listed:
        scale = case.gallery.sum() / weights[case.gallery].sum(axis=0)
        for text in case.texts:
            one = asked[text]
            ours, plain = (world.pictures @ vectors[str(words)] for words in (one.query.positives[0], text))
            worth = weigher.weigh(one.query.wishes, rows, world.pictures)
            scores = {
                "ours": ours + float(ours.std()) * worth,
                "plain": plain,
                "filtered": np.where(fitting(index, one.query.wishes), plain, -np.inf),
            }
            for system, score in scores.items():
                order = np.argsort(-score, kind="stable")
                order = order[case.gallery[order] & np.isfinite(score[order])]
                figures = found.setdefault(case.kind, {}).setdefault(system, [])
                figures.append(_figures(case, order, weights, scale))
    return {
        kind: {"queries": len(next(iter(systems.values()))), **_summary(kind, systems)}
        for kind, systems in found.items()
    }


def _figures(case: Case, order: np.ndarray, weights: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """P@10, nDCG@10 and violations@10 of a ranking, a column per gallery; the first is the gallery itself."""
    total, wanted = weights[case.relevant].sum(axis=0), [("precision", TOP), ("ndcg", TOP)]
    ranked = reweighed(case.relevant[order], weights[order], np.maximum(total, 1e-9), scale).measure(wanted)  # pyright: ignore[reportArgumentType]
    bad = reweighed(case.violating[order], weights[order], np.ones_like(total), scale).measure([("precision", TOP)])
    return np.stack([ranked[wanted[0]], ranked[wanted[1]], bad[("precision", TOP)]])  # pyright: ignore[reportArgumentType]


def _summary(kind: str, systems: dict[str, list]) -> dict[str, Any]:
    names = ("P@10", "nDCG@10", *(("violations@10",) if kind == "negation" else ()))
    means = {system: np.mean(np.stack(figures), axis=0) for system, figures in systems.items()}
    summary: dict[str, Any] = {
        name: {system: _interval(means[system][row]) for system in SYSTEMS} for row, name in enumerate(names)
    }
    for row, name in enumerate(names):
        for other in SYSTEMS[1:]:
            summary[name][f"ours - {other}"] = _interval(means["ours"][row] - means[other][row])
    return summary


def _interval(values: np.ndarray) -> list[float]:
    """The figure, and the bounds of 95% of its draws."""
    return [round(float(one), 4) for one in (values[0], *np.quantile(values[1:], [0.025, 0.975]))]


def changed(index: Index, known: Known, world: World, encoder: Any, head: str) -> dict[str, Any]:
    """Figures of the same but: hits that have the new value, and what else they share with the start."""
    vocabulary, weigher = known.vocabulary(index), Weigher(index.items, index.signals)
    rng, rows = np.random.default_rng(0), np.arange(len(world.pictures))
    starts: list[tuple[int, str, str]] = []
    for name in (name for name in world.labels if name != head):
        for row in rng.permutation(np.flatnonzero(world.known(name) & world.known(head)))[:12].tolist():
            kind = min(world.labels[head][row])
            near = Counter(
                v for other in np.flatnonzero(world.has(head, kind)) for v in world.labels[name][other]
                if v not in world.labels[name][row]
            )  # fmt: skip
            target = next((value for value, count in near.most_common() if count >= FEWEST), None)
            if target is not None:
                starts.append((row, name, target))
    texts = list({world.said(name, target) for _, name, target in starts})
    words = dict(zip(texts, encode_words(encoder, texts), strict=True))
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "plain": []}
    for row, name, target in starts:
        text = world.said(name, target)
        asked = same_but(Item(world.catalogue.ids[row]), text, index, vocabulary)
        vector = index.encoded(asked.query)
        cosine = world.pictures @ vector
        sides = [world.pictures @ one for one in (world.pictures[row], words[text])]
        gallery = world.known(name) & (world.catalogue.products != world.catalogue.products[row])
        worth = weigher.weigh(asked.query.wishes, rows, world.pictures)
        for system, score in (
            ("ours", cosine + float(cosine.std()) * worth),
            ("plain", sum(side / float(side.std()) for side in sides)),
        ):
            order = np.argsort(-score, kind="stable")
            top = order[gallery[order]][:TOP]
            found[system].append((float(world.has(name, target)[top].mean()), _kept(world, row, name, top)))
    products = world.catalogue.products[[row for row, _, _ in starts]]
    draws = _starts(products)
    figures: dict[str, Any] = {"queries": len(starts)}
    for place, figure in enumerate(("changed@10", "kept@10")):
        means = {system: draws @ np.array(values)[:, place] for system, values in found.items()}
        figures[figure] = {system: _interval(values) for system, values in means.items()}
        figures[figure]["ours - plain"] = _interval(means["ours"] - means["plain"])
    return figures


def _kept(world: World, start: int, exchanged: str, top: np.ndarray) -> float:
    """Of the start's other labels, the share that the hits have where they are labelled for it, too."""
    shares = []
    for name, labels in world.labels.items():
        if name != exchanged and labels[start]:
            both = [bool(labels[row] & labels[start]) for row in top.tolist() if labels[row]]
            shares += both
    return float(np.mean(shares)) if shares else 1.0


def _starts(products: np.ndarray) -> np.ndarray:
    """Weights of starts that sum to 1: as they are, then of products drawn anew."""
    _, place = np.unique(products, return_inverse=True)
    counts = np.random.default_rng(0).multinomial(
        place.max() + 1, np.full(place.max() + 1, 1 / (place.max() + 1)), DRAWS
    )
    weights = np.concatenate([np.ones((1, len(place))), counts[:, place]]).astype(np.float64)
    return weights / weights.sum(axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--head", default="articleType", help="attribute that says what kind of product it is")
    parser.add_argument("--known", type=float, nargs="+", default=[1.0, 0.5, 0.1])
    parser.add_argument("--cache", type=Path, default=default_folder() / "vectors")
    parser.add_argument("--name", default="queries")
    arguments = parser.parse_args()
    inputs, encoder = resolve(model=arguments.model), load(arguments.model)
    catalogue = inputs.catalogue(arguments.split)
    pictures = VectorCache(arguments.cache).pictures(encoder, catalogue)
    labels = {one.name: catalogue.value_sets(one.name) for one in catalogue.attributes}
    world = World(catalogue, pictures, labels, inputs.prompts)
    known = Known(inputs.prompts, Signals.load(arguments.queries))
    _, place = np.unique(catalogue.products, return_inverse=True)
    size = int(place.max()) + 1
    drawn = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), DRAWS).T
    weights = np.concatenate([np.ones((len(place), 1)), drawn[place]], axis=1)
    results = {}
    for share in arguments.known:
        with tempfile.TemporaryDirectory() as folder:
            items = Items.of(masked(catalogue, share, 0), catalogue.separators)
            Index.build(Vectors(pictures, items, encoder.image_space, None), Path(folder) / "index", factory="Flat")
            index = Index.open(Path(folder) / "index", encoder=encoder, signals=known.signals, mapped=False)
            results[f"{share:g} of labels known"] = {
                **measure(index, known, world, encoder, arguments.head, weights),
                "the same but": changed(index, known, world, encoder, arguments.head),
            }
    signals = known.signals
    assert signals is not None
    used = {name: [one.wanted, one.unwanted] for name, one in signals.attributes.items()}
    document = {
        "split": arguments.split, "items": len(catalogue), "products": size,
        "weights (wanted, unwanted)": used, "refusal": signals.refusal,
        "intervals": "95% of 200 galleries of products drawn anew",
        "results": results,
    }  # fmt: skip
    half = results.get("0.5 of labels known", next(iter(results.values())))["negation"]["violations@10"]
    ratio = round(half["ours"][0] / max(half["plain"][0], 1e-9), 3)
    publish(arguments.name, {"ratio": ratio, "violations@10": half}, document)


if __name__ == "__main__":
    main()
