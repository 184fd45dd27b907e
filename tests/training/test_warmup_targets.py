"""The text warm-up's targets: right for rare values too, reached by texts; anchors stay where the base has them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from clipadapt.config import Config
from clipadapt.data.splits import load_splits
from clipadapt.prompts import Prompts
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.load import load
from clipadapt.training import text_warmup
from clipadapt.training.labels import Labels, labels_of
from clipadapt.training.text_warmup import EVERYDAY, anchor_texts, probe_directions
from clipadapt.training.trainer import train


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
    directions = probe_directions(labels, pictures, scale=50.0, tau=1.0, seed=0)
    again = probe_directions(labels, pictures, scale=50.0, tau=1.0, seed=0)
    for attribute in labels:
        vectors, target = directions[attribute.attribute], attribute.target(items)
        known = target >= 0
        assert torch.equal(vectors, again[attribute.attribute])
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))
        right = (pictures[known] @ vectors.T).argmax(1) == target[known]
        for value in range(len(vectors)):
            assert right[target[known] == value].float().mean() > 0.8


def test_where_all_items_do_not_fit_each_step_takes_another_share(
    configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = labels_of(load_splits(configured().data, 0).train, {})
    draws = torch.Generator().manual_seed(3)
    pictures = F.normalize(torch.randn(24, 16, generator=draws), dim=-1)
    whole = probe_directions(labels, pictures, scale=50.0, tau=1.0, seed=0)
    sizes = []
    real = Labels.terms

    def counted(self: Labels, items: torch.Tensor, *arguments: Any) -> Any:
        sizes.append(len(items))
        return real(self, items, *arguments)

    monkeypatch.setattr(Labels, "terms", counted)
    monkeypatch.setattr(text_warmup, "PROBE_LOGITS", 1)
    monkeypatch.setattr(text_warmup, "PROBE_ITEMS", 20)
    shares = probe_directions(labels, pictures, scale=50.0, tau=1.0, seed=0)
    assert set(sizes) == {20}
    for attribute in labels:
        cosines = (whole[attribute.attribute] * shares[attribute.attribute]).sum(1)
        assert (cosines > 0.8).all() and not torch.equal(whole[attribute.attribute], shares[attribute.attribute])


def test_anchors_are_distinct_and_leave_out_what_is_trained(configured: Callable[..., Config]) -> None:
    config = configured()
    catalogue, prompts = load_splits(config.data, 0).train, Prompts.load(config.prompts)
    texts = anchor_texts(catalogue, prompts, ["Pattern"])
    assert len(texts) == len(set(texts))
    assert {f"a photo of a {thing}" for thing in EVERYDAY} <= set(texts)
    assert set(prompts.value_texts("baseColour", "Red")) <= set(texts)
    assert not set(prompts.value_texts("Pattern", "Striped")) & set(texts)


def _drift(config: Config, texts: list[str]) -> float:
    """Mean distance, 1 - cosine, by which training moved these texts."""
    run = train(config)
    before, after = load(config.model.name), load(f"run:{run.path}")
    return float((1 - (before.encode_texts(texts) * after.encode_texts(texts)).sum(1)).mean())


def test_the_anchor_term_keeps_texts_that_training_would_move(configured: Callable[..., Config], tmp_path) -> None:
    texts = [f"a photo of a {thing}" for thing in EVERYDAY[:20]]
    settings = {"epochs": 1, "batch_size": 8, "micro_batch": 8, "lr": 0.001, "text_warmup": 40, "text_warmup_lr": 0.02}
    settings["trackers"] = []
    loss = {"name": "attributes", "scale": 30.0, "caption_weight": 0.0, "probe": 3.0}
    free = _drift(configured(train=settings, loss=loss, output_dir=str(tmp_path / "free")), texts)
    kept = _drift(configured(train=settings, loss=loss | {"anchor": 20.0}, output_dir=str(tmp_path / "kept")), texts)
    assert kept < 0.5 * free


def test_the_warm_up_brings_texts_to_the_directions(configured: Callable[..., Config], tmp_path) -> None:
    settings = {"epochs": 1, "batch_size": 8, "micro_batch": 8, "lr": 1e-6, "text_warmup": 60, "text_warmup_lr": 0.02}
    settings["trackers"] = []
    loss = {"name": "attributes", "scale": 30.0, "caption_weight": 0.0, "probe": 10.0}
    config = configured(train=settings, loss=loss, output_dir=str(tmp_path / "warmed"))
    base, warmed = load(config.model.name), load(f"run:{train(config).path}")
    assert isinstance(base, TorchEncoder)
    catalogue, prompts = load_splits(config.data, config.seed).train, Prompts.load(config.prompts)
    pictures = base.encode_images([catalogue.picture(item) for item in range(len(catalogue))])
    labels = labels_of(catalogue, {})
    directions = probe_directions(labels, pictures, scale=30.0, tau=1.0, seed=config.seed)
    for attribute in labels:
        texts = [prompts.plain(attribute.attribute, value) for value in attribute.values]
        before, after = ((one.encode_texts(texts) * directions[attribute.attribute]).sum(1) for one in (base, warmed))
        assert (after > before).all()
