"""The text warm-up's targets: right for rare values too, reached by texts; anchors stay where the base has them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clipadapt.config import Config
from clipadapt.data.splits import load_splits
from clipadapt.prompts import Prompts
from clipadapt.prompts.wordings import Wordings
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.load import load
from clipadapt.training import probe_vectors
from clipadapt.training.anchors import ANCHOR_WORDINGS, EVERYDAY, FILLERS, Anchors, anchor_texts
from clipadapt.training.labels import labels_of
from clipadapt.training.objective import Objective
from clipadapt.training.trainer import train
from clipadapt.training.value_vectors import learn


def test_anchors_are_distinct_and_leave_out_what_is_trained(configured: Callable[..., Config]) -> None:
    config = configured()
    catalogue, prompts = load_splits(config.data, 0).train, Prompts.load(config.prompts)
    wordings = Wordings(prompts)
    texts, groups = anchor_texts(catalogue, prompts, ["Pattern"], wordings)
    assert len(texts) == len(set(texts))
    assert {f"a photo of a {thing}" for thing in EVERYDAY} <= set(texts)
    assert set(prompts.value_texts("baseColour", "Red")) <= set(texts)
    assert not set(prompts.value_texts("Pattern", "Striped")) & set(texts)
    assert len(groups) % ANCHOR_WORDINGS == 0 and all(len(set(group.tolist())) == len(group) > 1 for group in groups)
    colours = sorted(catalogue.counts("baseColour"))
    assert any(
        [texts[row] for row in group] == [wordings.training("baseColour", colour, (0, 0)) for colour in colours]
        for group in groups
    )


def test_an_everyday_thing_that_is_taught_is_no_anchor(configured: Callable[..., Config], tmp_path: Path) -> None:
    """A shop of bags and chairs teaches what a bag and a chair are, under whichever name its file has for them."""
    catalogue = load_splits(configured().data, 0).train
    words = tmp_path / "furniture.yaml"
    words.write_text(
        "language: en\ncaptions: ['a {Pattern} {baseColour} thing']\nattributes:\n"
        "  Pattern: {templates: ['a {value} thing'], values: {Striped: [chairs, leather]}}\n"
        "  baseColour: {templates: ['a {value} thing'], values: {Red: [lamp]}}\n"
        "  Sleeve Length: {templates: ['a {value} thing']}\n"
    )
    prompts = Prompts.load(words)
    texts, _ = anchor_texts(catalogue, prompts, ["Pattern"], Wordings(prompts))
    assert not {"chair", "a photo of a chair", "leather", "a photo of a leather"} & set(texts)
    assert {"a photo of a lamp", "a photo of a sofa"} <= set(texts)


@pytest.mark.parametrize(
    ("loss", "captions", "taught"),
    [
        ({"name": "softmax"}, "'a {Pattern} shirt'", ["Pattern"]),
        ({"name": "softmax"}, "'a {Pattern} {baseColour} shirt'", ["Pattern", "baseColour"]),
        ({"name": "softmax"}, "'a {Pattern} shirt', {text: '{baseColour}', held_out: true}", ["Pattern"]),
        ({"name": "softmax"}, "'a {Pattern} shirt', {text: '{baseColour}', weight: 0}", ["Pattern"]),
        ({"name": "attributes", "attribute_weights": {"Pattern": 0.0, "Sleeve Length": 0.0}}, "'a {Pattern} shirt'",
         ["baseColour"]),
    ],
)  # fmt: skip
def test_what_is_taught_is_not_held_whatever_the_loss(
    configured: Callable[..., Config], tmp_path: Path, loss: dict[str, object], captions: str, taught: list[str]
) -> None:
    words = tmp_path / "prompts.yaml"
    words.write_text(
        f"language: en\ncaptions: [{captions}]\nattributes:\n  Pattern: {{templates: ['a {{value}} thing']}}\n"
        "  baseColour: {templates: ['a {value} thing']}\n  Sleeve Length: {templates: ['a {value} thing']}\n"
    )
    config = configured(loss=loss, prompts=str(words))
    objective = Objective(config.loss, load_splits(config.data, 0).train, Prompts.load(words), seed=0)
    assert objective.taught == taught


@pytest.mark.parametrize(
    ("captions", "fillers"), [("a [{Pattern} ]shirt", FILLERS), ("a [{Pattern} ]shirt[ {name}]", 0)]
)
def test_words_of_titles_are_no_anchors_where_captions_say_titles(
    configured: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, captions: str, fillers: int
) -> None:
    words = tmp_path / "prompts.yaml"
    words.write_text(
        f"language: en\ncaptions: ['{captions}']\nother_attributes: {{templates: ['a {{value}} thing']}}\n"
    )
    config = configured(loss={"name": "softmax", "anchor": 1.0}, prompts=str(words), data={"title": "name"})
    seen = []
    real = Anchors.of

    def watched(*arguments: Any, **options: Any) -> Anchors:
        seen.append(options["fillers"])
        return real(*arguments, **options)

    monkeypatch.setattr(Anchors, "of", watched)
    train(config)
    assert seen == [fillers]


def test_a_step_keeps_a_whole_group_first_and_is_keyed(configured: Callable[..., Config]) -> None:
    config = configured()
    catalogue, prompts = load_splits(config.data, 0).train, Prompts.load(config.prompts)
    encoder = load(config.model.name)
    assert isinstance(encoder, TorchEncoder)
    anchors = Anchors.of(catalogue, prompts, ["Pattern"], Wordings(prompts), encoder, torch.zeros(3, 4), seed=0)
    one, same, other = anchors.chosen(1), anchors.chosen(1), anchors.chosen(2)
    assert one.texts == same.texts != other.texts
    assert len(set(one.texts)) == len(one.texts) == len(one.vectors)
    whole = [[anchors.texts[row] for row in group] for group in anchors.groups]
    assert one.texts[: one.group] in whole
    torch.testing.assert_close(one.vectors, encoder.encode_texts(one.texts), atol=1e-5, rtol=0)
    assert anchors._replace(pictures=None).chosen(1).group == 0


def _drift(config: Config, texts: list[str]) -> float:
    """Mean distance, 1 - cosine, by which training moved these texts."""
    run = train(config)
    before, after = load(config.model.name), load(f"run:{run.path}")
    return float((1 - (before.encode_texts(texts) * after.encode_texts(texts)).sum(1)).mean())


def test_the_anchor_term_keeps_texts_that_training_would_move(configured: Callable[..., Config], tmp_path) -> None:
    texts = [f"a photo of a {thing}" for thing in EVERYDAY[:20]]
    settings = {"epochs": 1, "batch_size": 8, "micro_batch": 8, "lr": 0.001, "text_warmup": 40, "text_warmup_lr": 0.02}
    settings["trackers"] = []
    loss = {"name": "attributes", "scale": 30.0, "caption_weight": 0.0, "value_vectors": 3.0}
    free = _drift(configured(train=settings, loss=loss, output_dir=str(tmp_path / "free")), texts)
    kept = _drift(configured(train=settings, loss=loss | {"anchor": 20.0}, output_dir=str(tmp_path / "kept")), texts)
    assert kept < 0.5 * free


def test_the_warm_up_brings_texts_to_the_directions(
    configured: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_vectors, "FEW", 0)  # those of a probe lie far from the middle of all pictures
    settings = {"epochs": 1, "batch_size": 8, "micro_batch": 8, "lr": 1e-6, "text_warmup": 60, "text_warmup_lr": 0.02}
    settings["trackers"] = []
    loss = {"name": "attributes", "scale": 30.0, "caption_weight": 0.0, "value_vectors": 10.0}
    config = configured(train=settings, loss=loss, output_dir=str(tmp_path / "warmed"))
    base, warmed = load(config.model.name), load(f"run:{train(config).path}")
    assert isinstance(base, TorchEncoder)
    catalogue, prompts = load_splits(config.data, config.seed).train, Prompts.load(config.prompts)
    pictures = base.encode_images([catalogue.picture(item) for item in range(len(catalogue))])
    labels = labels_of(catalogue, {})
    directions = learn(labels, pictures, scale=30.0, tau=1.0, search=0.0, seed=config.seed)
    for attribute in labels:
        texts = [prompts.plain(attribute.attribute, value) for value in attribute.values]
        before, after = ((one.encode_texts(texts) * directions[attribute.attribute]).sum(1) for one in (base, warmed))
        assert (after > before).all()
