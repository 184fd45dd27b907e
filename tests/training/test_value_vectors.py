"""Value vectors: right for rare values too, in both directions; mixtures with texts; averages and the bank."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clipadapt.config import Config
from clipadapt.data.splits import load_splits
from clipadapt.errors import AdapterError, SpaceError
from clipadapt.losses.prefixes import prefix
from clipadapt.towers.load import load
from clipadapt.towers.value_vectors import VALUES, Cloud, Learned, ValueVectors
from clipadapt.training import probe_vectors, value_vectors
from clipadapt.training.averaging import Average
from clipadapt.training.bank import Bank
from clipadapt.training.labels import Labels, labels_of
from clipadapt.training.trainer import train
from clipadapt.training.value_vectors import choose_weights, learn, smooth_figure


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free vectors, however few the labels are."""
    monkeypatch.setattr(probe_vectors, "FEW", 0)


@pytest.mark.usefixtures("free")
def test_directions_tell_values_apart_that_a_wide_common_part_hides(configured: Callable[..., Config]) -> None:
    """Every vector shares a large common part, as CLIP's do; what tells a value lies in a tenth of the length."""
    data = configured().data
    catalogue = load_splits(data, 0).train
    labels = labels_of(catalogue, {})
    draws = torch.Generator().manual_seed(3)
    common = torch.randn(16, generator=draws)
    pictures = common + 0.3 * torch.randn(len(catalogue), 16, generator=draws)
    items = torch.arange(len(catalogue))
    for attribute in labels:
        own = torch.randn(len(attribute.values), 16, generator=draws)
        target = attribute.target(items)
        pictures[target >= 0] += own[target[target >= 0]]
    pictures = F.normalize(pictures, dim=-1)
    directions = learn(labels, pictures, scale=50.0, tau=1.0, seed=0)
    again = learn(labels, pictures, scale=50.0, tau=1.0, seed=0)
    for attribute in labels:
        vectors, target = directions[attribute.attribute], attribute.target(items)
        known = target >= 0
        assert torch.equal(vectors, again[attribute.attribute])
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))
        right = (pictures[known] @ vectors.T).argmax(1) == target[known]
        for value in range(len(vectors)):
            assert right[target[known] == value].float().mean() > 0.8


@pytest.mark.usefixtures("free")
def test_they_are_learned_to_do_by_their_first_dimensions_too(configured: Callable[..., Config]) -> None:
    """What tells values apart lies four times as far apart in the last dimensions as in the first four."""
    catalogue = load_splits(configured().data, 0).train
    labels = labels_of(catalogue, {})
    draws = torch.Generator().manual_seed(3)
    pictures, items = 0.15 * torch.randn(len(catalogue), 16, generator=draws), torch.arange(len(catalogue))
    for attribute in labels:
        own = torch.randn(len(attribute.values), 16, generator=draws)
        own[:, :4] /= 4
        target = attribute.target(items)
        pictures[target >= 0] += own[target[target >= 0]]
    pictures = F.normalize(pictures, dim=-1)

    def right(vectors: dict[str, torch.Tensor], length: int) -> float:
        shares = []
        for attribute in labels:
            target = attribute.target(items)
            best = (prefix(pictures, length) @ prefix(vectors[attribute.attribute], length).T).argmax(1)
            shares.append((best == target)[target >= 0].float().mean())
        return float(torch.stack(shares).mean())

    plain, nested = (learn(labels, pictures, scale=50.0, tau=1.0, seed=0, dims=dims) for dims in ((), (4,)))
    assert right(nested, 4) > right(plain, 4) and right(nested, 16) > 0.95
    same = learn(labels, pictures, scale=50.0, tau=1.0, seed=0, dims=(16,))
    assert all(torch.equal(plain[name], same[name]) for name in plain)


@pytest.mark.usefixtures("free")
def test_where_all_items_do_not_fit_each_step_takes_another_share(
    configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = labels_of(load_splits(configured().data, 0).train, {})
    draws = torch.Generator().manual_seed(3)
    pictures = F.normalize(torch.randn(24, 16, generator=draws), dim=-1)
    whole = learn(labels, pictures, scale=50.0, tau=1.0, seed=0)
    sizes = []
    real = Labels.terms

    def counted(self: Labels, items: torch.Tensor, *arguments: Any) -> Any:
        sizes.append(len(items))
        return real(self, items, *arguments)

    monkeypatch.setattr(Labels, "terms", counted)
    monkeypatch.setattr(value_vectors, "LOGITS", 1)
    monkeypatch.setattr(value_vectors, "ITEMS", 15)
    shares = learn(labels, pictures, scale=50.0, tau=1.0, seed=0)
    assert set(sizes) == {15}
    for attribute in labels:
        cosines = (whole[attribute.attribute] * shares[attribute.attribute]).sum(1)
        assert (cosines > 0.7).all() and not torch.equal(whole[attribute.attribute], shares[attribute.attribute])


def unit(rows: int, dim: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.usefixtures("free")
def test_the_search_direction_raises_the_rank_of_a_values_items(configured: Callable[..., Config]) -> None:
    catalogue = load_splits(configured().data, 0).train
    (labels, *_) = labels_of(catalogue, {})
    pictures = torch.from_numpy(unit(len(catalogue), 16, 3)).float()
    items = torch.arange(len(catalogue))
    losses = []
    for search in (0.0, 3.0):
        vectors = learn([labels], pictures, scale=20.0, tau=1.0, search=search)[labels.attribute]
        losses.append(float(labels.search_terms(items, pictures, vectors, torch.tensor(20.0), None).mean()))
    assert losses[1] < losses[0]


def test_a_mixture_is_the_texts_at_0_and_the_vectors_at_1() -> None:
    texts, vectors = unit(3, 8, 1), unit(2, 8, 2)
    learned = ValueVectors({"Pattern": Learned(("Striped", "Solid"), vectors.astype(np.float32), 0.25)}, "space")
    values = ["Solid", "Dotted", "Striped"]
    np.testing.assert_allclose(learned.mixed("Pattern", values, texts, 0.0), texts, atol=1e-12)
    np.testing.assert_allclose(learned.mixed("Pattern", values, texts, 1.0)[[2, 0]], vectors, atol=1e-6)
    mixed = learned.mixed("Pattern", values, texts)
    np.testing.assert_allclose(np.linalg.norm(mixed, axis=1), 1.0)
    direction = 0.75 * texts[0] + 0.25 * vectors[1]
    np.testing.assert_allclose(mixed[0], direction / np.linalg.norm(direction), atol=1e-6)
    assert learned.mixed("Fabric", ["Wool"], texts[:1]) is not None
    np.testing.assert_array_equal(learned.mixed("Fabric", ["Wool"], texts[:1]), texts[:1])


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_a_value_that_no_picture_taught_competes_on_the_level_of_the_others(weight: float) -> None:
    rng = np.random.default_rng(0)
    direction = unit(4, 16, 1)
    pictures = unit(1, 16, 9) + 0.4 * direction[rng.integers(4, size=2_000)] + 0.2 * unit(2_000, 16, 3)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    middle = pictures.mean(axis=0)
    texts = unit(1, 16, 9) + 0.5 * direction  # close to all pictures
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    apart = direction - (direction @ middle)[:, None] * middle / (middle @ middle)  # as learned vectors are
    apart = (apart / np.linalg.norm(apart, axis=1, keepdims=True))[:3].astype(np.float32)
    values = ["a", "b", "c", "new"]
    one = {"Pattern": Learned(("a", "b", "c"), apart, weight)}
    mixed = ValueVectors(one, "space", {}, Cloud.of(pictures)).mixed("Pattern", values, texts)
    cosines = pictures @ mixed.T
    lead = cosines[:, 3] - cosines[:, :3].mean(axis=1)  # over the taught ones, as much wider as these became
    by_texts = pictures @ (texts[3] - texts[:3].mean(axis=0))
    wider = cosines[:, :3].std(axis=0).mean() / (pictures @ texts[:3].T).std(axis=0).mean()
    np.testing.assert_allclose(lead, wider * by_texts, rtol=1e-3, atol=1e-6)
    assert 0.1 < (cosines.argmax(axis=1) == 3).mean() < 0.5
    before = ValueVectors(one, "space").mixed("Pattern", values, texts)  # a file of an earlier version
    np.testing.assert_array_equal(before[3], texts[3])
    if weight == 1.0:
        assert ((pictures @ before.T).argmax(axis=1) == 3).mean() > 0.9, "this is what is to be mended"


def test_values_of_which_none_was_taught_are_compared_by_their_texts_as_on_another_shops_photos() -> None:
    learned = Learned(("Striped", "Solid"), unit(2, 8, 2).astype(np.float32), 1.0)
    known = ValueVectors({"Pattern": learned}, "space", {}, Cloud.of(unit(50, 8, 3)))
    texts = unit(3, 8, 1)
    np.testing.assert_array_equal(known.mixed("Pattern", ["dots", "checks", "waves"], texts), texts)


def test_the_file_comes_back_whole_and_a_broken_one_is_named(tmp_path: Path) -> None:
    vectors = unit(2, 8, 2).astype(np.float32)
    learned = ValueVectors(
        {"Sleeve Length": Learned(("Ärmellos", "No/Sleeves"), vectors, 0.75)},
        "space",
        {"by": "x"},
        Cloud.of(unit(9, 8, 3)),
    )
    learned.save(tmp_path / VALUES)
    back = ValueVectors.beside(tmp_path)
    assert back is not None and back.fitted == {"by": "x"} and back.image_space == "space"
    (own,) = back.attributes.values()
    assert own.values == ("Ärmellos", "No/Sleeves") and own.weight == 0.75
    np.testing.assert_array_equal(own.vectors, vectors)
    assert back.cloud is not None and learned.cloud is not None
    np.testing.assert_allclose(back.cloud.covariance, learned.cloud.covariance, rtol=1e-6)
    back.require("space", "run")
    with pytest.raises(SpaceError, match="other"):
        back.require("other", "run")
    (tmp_path / VALUES).write_bytes(b"no tensors")
    with pytest.raises(AdapterError, match="copy it again"):
        ValueVectors.load(tmp_path / VALUES)
    assert ValueVectors.beside(tmp_path / "elsewhere") is None


def test_shares_go_to_what_tells_values_apart_on_tune(configured: Callable[..., Config]) -> None:
    tune = load_splits(configured().data, 0).train
    name = tune.attributes[0].name
    values = tuple(sorted(tune.counts(name)))
    good, noise = unit(len(values), 32, 1), unit(len(values), 32, 2)
    pictures = np.array([good[values.index(next(iter(had)))] if had else noise[0] for had in tune.value_sets(name)])
    pictures = pictures + 1.5 * unit(len(pictures), 32, 3)  # no scale makes all of them certain
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    for vectors, texts, share in ((good, noise, 1.0), (noise, good, 0.0)):
        learned = ValueVectors({name: Learned(values, vectors)}, "space")
        weights = choose_weights(learned, tune, pictures, {name: texts}, scale=5.0)
        assert abs(weights[name] - share) <= 0.25
    # A handful of products is no reason to leave them either.
    some = value_vectors.GROUPS - 1
    few = choose_weights(learned, tune.subset(range(some)), pictures[:some], {name: texts}, scale=5.0)
    assert few == {name: 1.0}
    # Texts that are as good but for a hair are no reason to leave the vectors.
    learned = ValueVectors({name: Learned(values, good + 0.02 * noise)}, "space")
    assert choose_weights(learned, tune, pictures, {name: good}, scale=5.0) == {name: 1.0}
    nobody = ValueVectors({name: Learned(("Nothing of tune's", "Neither"), good[:2])}, "space")
    assert choose_weights(nobody, tune, pictures, {name: noise[:2]}, scale=5.0) == {name: 1.0}


def test_the_error_by_leaving_groups_out_is_that_of_a_mean_difference() -> None:
    draws = np.random.default_rng(5).normal(size=(10, 2))
    left_out = np.array([np.delete(draws, group, axis=0).mean(axis=0) for group in range(10)])
    expected = (draws[:, 1] - draws[:, 0]).std(ddof=1) / np.sqrt(10)
    np.testing.assert_allclose(value_vectors._jackknife_error(left_out), [0.0, expected])


def test_a_product_is_left_out_whole() -> None:
    products = [f"p{number // 3}" for number in range(60)]
    parts = value_vectors._without_a_group(products)
    assert len(parts) == value_vectors.GROUPS and np.array(parts).sum(axis=0).tolist() == [9] * 60
    for part in parts:
        assert {part[3 * number : 3 * number + 3].sum() for number in range(20)} <= {0, 3}
    assert value_vectors._without_a_group(["one", "one"]) == []
    two = value_vectors._without_a_group(["a", "b"])
    assert sorted(part.tolist() for part in two) == [[False, True], [True, False]]


def test_the_smooth_figure_is_one_when_all_is_certain_and_moves_with_every_item() -> None:
    has = np.array([[True, False], [False, True], [False, True]])
    assert smooth_figure(np.where(has, 1.0, -1.0), has, scales=[100.0]) == pytest.approx(1.0)
    # Flat scores: each value's likelihood is 1/2, average precision the share of its items (1/3, 2/3).
    assert smooth_figure(np.zeros((3, 2)), has, scales=[100.0]) == pytest.approx((0.5 + 0.5) / 2)
    some = np.array([[0.2, 0.1], [0.1, 0.2], [0.1, 0.2]])
    more = some.copy()
    more[1, 1] += 0.05
    assert smooth_figure(more, has, scales=[10.0]) > smooth_figure(some, has, scales=[10.0])
    assert smooth_figure(more / 4, has, scales=[10.0, 40.0]) == pytest.approx(smooth_figure(more, has, scales=[10.0]))


def test_averages_follow_stand_in_and_go_away_again() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    average = Average({"w": weight}, decay=0.9)
    weight.data = torch.tensor([2.0])
    average.update()
    assert average.kept["average.w"].item() == pytest.approx(1.1)
    with average.applied():
        assert weight.item() == pytest.approx(1.1)
    assert weight.item() == 2.0
    average.restart()
    assert average.kept["average.w"].item() == 2.0
    without = Average({"w": weight}, decay=0.0)
    without.update()
    with without.applied():
        assert weight.item() == 2.0
    assert without.kept == {}


def test_the_bank_leaves_out_the_batch_takes_the_last_of_two_and_is_keyed() -> None:
    bank = Bank(torch.zeros(10, 4), size=3, seed=0)
    items = torch.tensor([2, 5, 2])
    rows, vectors = bank.beside(items, step=1)
    assert len(rows) == 3 and not set(rows.tolist()) & {2, 5} and vectors.shape == (3, 4)
    assert torch.equal(rows, bank.beside(items, step=1)[0]) and not torch.equal(rows, bank.beside(items, step=2)[0])
    bank.refresh(items, torch.tensor([[1.0] * 4, [2.0] * 4, [3.0] * 4]))
    assert bank.vectors[2].tolist() == [3.0] * 4 and bank.vectors[5].tolist() == [2.0] * 4
    whole = Bank(torch.zeros(10, 4), size=100, seed=0)
    assert sorted(whole.beside(items, step=1)[0].tolist()) == [0, 1, 3, 4, 6, 7, 8, 9]


@pytest.mark.slow
def test_a_run_keeps_them_every_form_carries_them_and_they_recognise(
    configured: Callable[..., Config], tmp_path: Path
) -> None:
    from clipadapt.export.formats import export
    from clipadapt.recognition.vectors import VectorCache

    settings = {"epochs": 1, "batch_size": 8, "micro_batch": 8, "lr": 0.001, "text_warmup": 4, "trackers": []}
    loss = {"name": "attributes", "scale": 30.0, "search": 1.0, "value_vectors": 3.0, "wordings": 2}
    config = configured(
        train=settings | {"average": 0.9}, loss=loss, eval={"select_on": "smooth"}, output_dir=str(tmp_path / "run")
    )
    run = train(config)
    kept = ValueVectors.beside(run.adapter)
    assert kept is not None and {
        labels.attribute for labels in labels_of(load_splits(config.data, 0).train, {})
    } == set(kept.attributes)
    encoder = load(f"run:{run.path}")
    name, own = next(iter(kept.attributes.items()))
    from clipadapt.prompts import Prompts

    prompts = Prompts.load(config.prompts)
    found = VectorCache().values(encoder, prompts, name, own.values)
    texts = VectorCache().values(load(f"run:{run.path}"), prompts, name, own.values, plain=True)
    assert found.shape == texts.shape and not np.allclose(found, texts)
    for form in ("open_clip", "onnx"):
        export(f"run:{run.path}", form, tmp_path / form)
        scheme = "local-dir" if form == "open_clip" else "onnx"
        again = load(f"{scheme}:{tmp_path / form}")
        assert again.image_space == encoder.image_space
        np.testing.assert_allclose(VectorCache().values(again, prompts, name, own.values), found, atol=1e-5)
