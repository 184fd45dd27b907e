"""The comparison at few labels: what is drawn, Tip-Adapter-F beside a slow computation, and a whole table."""

import importlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from data_factory import write_table
from hypothesis import given, settings
from hypothesis import strategies as st

from clipadapt.config import Config
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.images import Preprocess

BENCHMARKS = Path(__file__).parents[2] / "eval" / "benchmarks"
MODULES = ("machine", "recipes", "trials", "tip_adapter", "item_views", "few_labels")
SUITE = """
name: tiny
headline: [Pattern, baseColour]
statistics: {draws: 100, permutations: 100}
tasks: [{task: recognition}]
"""


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mapping[str, ModuleType]:
    """The benchmark's modules by name; what they publish goes to tmp_path/results."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = {name: importlib.import_module(name) for name in MODULES}
    monkeypatch.setattr(found["machine"], "RESULTS", tmp_path / "results")
    return found


def catalogue_of(folder: Path) -> Catalogue:
    """Sixty items: Pattern of four values, Fabric known of half of them, one value of Fabric once."""
    rows = [
        {
            "file_name": f"{number}.png",
            "Pattern": "abcd"[number % 4],
            "Fabric": "rare" if number == 0 else "xy"[number % 3 % 2] if number % 2 else "",
            "note": str(number),
        }
        for number in range(60)
    ]
    return Catalogue.load(write_table(folder, rows), attributes=["Pattern", "Fabric"])


def test_a_value_keeps_as_many_labels_as_were_asked_for_or_all_it_has(
    modules: Mapping[str, ModuleType], tmp_path: Path
):
    whole = catalogue_of(tmp_path)
    truth = {name: dict(zip(whole.ids, whole.values(name), strict=True)) for name in ("Pattern", "Fabric")}
    before: dict[str, dict[str, str | None]] = {}
    for count in (1, 2, 8):
        few = modules["few_labels"].drawn(whole, ["Pattern", "Fabric"], count, seed=0, draw=3)
        assert few.counts("Pattern") == dict.fromkeys("abcd", count)
        assert few.counts("Fabric") == {value: min(count, had) for value, had in whole.counts("Fabric").items()}
        assert few.labelled().all(), "an item without a label is left out"
        now = {name: dict(zip(few.ids, few.values(name), strict=True)) for name in truth}
        for name, labels in now.items():
            assert all(label in (None, truth[name][item]) for item, label in labels.items())
            kept = {item for item, label in before.get(name, {}).items() if label is not None}
            assert kept <= {item for item, label in labels.items() if label is not None}, "draws are nested"
        assert few.texts("note") == [item.removesuffix(".png") for item in few.ids], "other columns stay"
        before = now
    assert whole.counts("Pattern") == dict.fromkeys("abcd", 15), "the catalogue itself is as it was"


def test_draws_differ(modules: Mapping[str, ModuleType], tmp_path: Path):
    whole, drawn = catalogue_of(tmp_path), modules["few_labels"].drawn
    picked = [set(drawn(whole, ["Pattern"], 2, seed=seed, draw=draw).ids) for seed, draw in ((0, 0), (0, 1), (1, 0))]
    assert picked[0] != picked[1] and picked[0] != picked[2]
    assert picked[0] == set(drawn(whole, ["Pattern"], 2, seed=0, draw=0).ids)


def unit(draws: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = draws.standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 3.0), st.floats(0.1, 7.0))
def test_scores_are_those_of_a_slow_computation(seed: int, alpha: float, beta: float):
    sys.path.insert(0, str(BENCHMARKS))
    try:
        module = importlib.import_module("tip_adapter")
    finally:
        sys.path.remove(str(BENCHMARKS))
    draws = np.random.default_rng(seed)
    keys, pictures, texts = unit(draws, 5, 4), unit(draws, 3, 4), unit(draws, 2, 4)
    labels = np.array([0, 1, 1, 0, 1])
    model = module.TipAdapter(keys.astype(np.float64), np.eye(2)[labels], 14.0, alpha, beta)
    scores = model.scores(pictures, texts)
    for row, picture in enumerate(pictures):
        for value, text in enumerate(texts):
            expected = 14.0 * float(picture @ text)
            for key, label in zip(keys, labels, strict=True):
                if label == value:
                    expected += alpha * np.exp(-beta * (1.0 - float(picture @ key)))
            assert scores[row, value] == pytest.approx(expected, abs=1e-4)


def test_keys_learn_what_texts_have_wrong_and_tune_is_no_worse_for_its_choice(modules: Mapping[str, ModuleType]):
    module, draws = modules["tip_adapter"], np.random.default_rng(0)
    centres = unit(draws, 3, 16)
    labels = np.arange(24) % 3

    def around(size: float) -> np.ndarray:
        vectors = centres[labels] + size * draws.standard_normal((24, 16)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    views, texts = np.stack([around(0.1), around(0.1)]), centres[[1, 2, 0]]  # each value has another one's text
    model = module.fit(views, labels, texts, scale=1.0, seed=0)
    start = views.mean(0) / np.linalg.norm(views.mean(0), axis=1, keepdims=True)
    untrained = model._replace(keys=start.astype(np.float64))

    def loss(of: Any) -> float:
        scores = of.scores(views[0], texts)
        return float(np.mean(np.log(np.exp(scores).sum(1)) - scores[np.arange(24), labels]))

    assert loss(model) < loss(untrained) - 0.01
    assert (model.alpha, model.beta) == (1.0, 5.5) and np.array_equal(model.values, np.eye(3)[labels])
    tune = around(0.4)
    strong = model._replace(scale=30.0)  # texts, which are wrong, outweigh the cache at first
    tuned = strong.tuned(tune, labels, texts)

    def right(of: Any) -> float:
        return float((of.scores(tune, texts).argmax(1) == labels).mean())

    assert right(strong) < right(tuned) and tuned.alpha > 1.0
    assert strong.tuned(tune[:0], labels[:0], texts) == strong
    again = module.fit(views, labels, texts, scale=1.0, seed=0)
    assert np.array_equal(again.keys, model.keys)


def test_a_view_is_at_the_towers_size_and_its_own(modules: Mapping[str, ModuleType], material: Path):
    catalogue = Catalogue.load(material / "shop", attributes=["Pattern"])
    views = [modules["item_views"].View(catalogue, Preprocess(32), number) for number in (1, 2)]
    assert views[0].picture(0).size == (32, 32)
    assert not np.array_equal(np.array(views[0].picture(0)), np.array(views[1].picture(0)))
    assert np.array_equal(np.array(views[0].picture(3)), np.array(views[0].picture(3)))
    part = modules["item_views"].View(catalogue.subset([3]), Preprocess(32), 1)
    assert np.array_equal(np.array(views[0].picture(3)), np.array(part.picture(0))), "keyed by the item"


@pytest.fixture
def called(
    modules: Mapping[str, ModuleType],
    configured: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., dict[str, Any]]:
    """Arguments of the benchmark -> the headline it prints last."""
    (tmp_path / "suite.yaml").write_text(SUITE)
    ours = configured(
        data={"splits": {"tune": 0.5}},
        loss={
            "name": "attributes", "caption_weight": 0, "value_vectors": 1, "search": 1,
            "attribute_weights": {"Sleeve Length": 0},
        },
        train={"text_warmup": 2, "order": "pictures_first", "epochs": 1},
        eval={"suite": str(tmp_path / "suite.yaml"), "select_on": "smooth", "headline": ["Pattern", "baseColour"]},
    )  # fmt: skip
    (tmp_path / "ours.yaml").write_text(ours.to_yaml())

    def call(*arguments: str) -> dict[str, Any]:
        fixed = ["--config", str(tmp_path / "ours.yaml"), "--out", str(tmp_path / "kept"), "--passes", "40"]
        monkeypatch.setattr(sys, "argv", ["few_labels", *fixed, "--views", "2", *arguments])
        modules["few_labels"].main()
        return json.loads(capsys.readouterr().out.strip().splitlines()[-1])

    return call


@pytest.mark.slow
def test_every_method_is_measured_and_nothing_is_done_twice(
    called: Callable[..., dict[str, Any]],
    modules: Mapping[str, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    few_labels = modules["few_labels"]
    frozen = called("--counts", "2", "4", "--draws", "2", "--only", *few_labels.FROZEN)
    assert frozen["counts"]["2"]["ours"]["mean"] is None
    headline = called("--counts", "2", "4", "--draws", "1", "--only", "clip_lora", "ours")
    result = json.loads((tmp_path / "results" / "few_labels.json").read_text())
    for count in ("2", "4"):
        of = result["counts"][count]
        assert list(of["methods"]) == [*few_labels.NAMES, "ours_vectors", "ours_texts"]
        assert [one["draws"] for one in of["methods"].values()] == [2] * len(few_labels.FROZEN) + [1] * 4
        for minus, draws in ((of["ours_minus"], 1), (of["value_vectors_minus"], 2)):
            assert "zero_shot" in minus
            for name, pair in minus.items():
                assert pair["low"] <= pair["delta"] <= pair["high"], name
                assert pair["draws"] == (draws if name in few_labels.FROZEN else 1), name
        assert all(one["low"] <= one["mean"] <= one["high"] for one in of["methods"].values())
        lora = of["methods"]["ours"]["mean"] - of["methods"]["clip_lora"]["mean"]
        assert of["ours_minus"]["clip_lora"]["delta"] == pytest.approx(lora, abs=2e-4)
        mean = np.mean(list(of["methods"]["ours"]["attributes"].values()))
        assert of["methods"]["ours"]["mean"] == pytest.approx(mean, abs=2e-4)
        assert headline["counts"][count]["ours"]["mean"] == of["methods"]["ours"]["mean"]
    for name in ("load", "learn", "fit_probe", "fit_tip"):
        monkeypatch.setattr(few_labels, name, None)
    monkeypatch.setattr(modules["trials"], "train", None)
    assert called("--counts", "2", "4", "--draws", "1") == headline
