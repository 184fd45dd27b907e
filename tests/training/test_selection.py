"""Which epoch is best: figures against hand-made recalls, and what is done when tune cannot tell."""

import logging
from collections.abc import Callable

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from clipadapt.config import Config
from clipadapt.data.splits import load_splits
from clipadapt.errors import TrainingError
from clipadapt.processes.exchange import Processes
from clipadapt.prompts import Prompts
from clipadapt.prompts.wordings import Wordings
from clipadapt.towers.encode import encode_catalogue
from clipadapt.training.objective import Objective, TextBatch
from clipadapt.training.preparation import prepare
from clipadapt.training.selection import Selection


def selection_for(config: Config) -> Selection:
    splits = load_splits(config.data, config.seed)
    return Selection(config, splits.train, splits.tune, Prompts.load(config.prompts), Processes(Accelerator(cpu=True)))


def by_hand(config: Config, attribute: str, *, held_out: bool = False) -> dict[str, list[bool]]:
    """Value -> whether each of its tune items is recognised among all values that tune has, by plain loops."""
    encoder, _, _ = prepare(config, "cpu")
    tune, prompts = load_splits(config.data, config.seed).tune, Prompts.load(config.prompts)
    pictures = encode_catalogue(encoder, tune, progress=False).astype(np.float64)
    texts = {}
    for value in tune.counts(attribute):
        ensemble = [(text.text, text.share) for text in prompts.ensemble(attribute, value)]
        if held_out:
            ensemble = Wordings(prompts, seed=config.seed).held_out(attribute, value)
        parts = [share * encoder.encode_texts([text]) for text, share in ensemble]
        texts[value] = torch.nn.functional.normalize(torch.cat(parts).sum(dim=0).detach(), dim=0).double().numpy()
    right: dict[str, list[bool]] = {}
    for picture, value in zip(pictures, tune.values(attribute), strict=True):
        if value is not None:
            right.setdefault(value, []).append(max(texts, key=lambda one: picture @ texts[one]) == value)
    return right


def test_measuring_is_recognition_among_the_values_of_tune(configured: Callable[..., Config]):
    config = configured(eval={"select_on": "top1"})
    selection = selection_for(config)
    encoder, logit_scale, _ = prepare(config, "cpu")
    score, figures = selection.measure(encoder, logit_scale)
    assert selection.metric == "top1"
    both = [[figures[name], figures[f"file_{name}"]] for name in ("top1", "balanced_accuracy")]
    assert score == tuple(np.mean(one) for one in both)
    for prefix, held_out in (("", True), ("file_", False)):
        right = [hits for name in config.data.kinds() if len(hits := by_hand(config, name, held_out=held_out)) > 1]
        recalls = [[np.mean(hits) for hits in one.values()] for one in right]
        items = [[hit for hits in one.values() for hit in hits] for one in right]
        assert figures[f"{prefix}balanced_accuracy"] == pytest.approx(np.mean([np.mean(one) for one in recalls]))
        assert figures[f"{prefix}top1"] == pytest.approx(np.mean([np.mean(one) for one in items]))
        pooled = [figure for one in recalls for figure in one]  # so small a catalogue has only rare values
        assert figures[f"{prefix}rare_balanced_accuracy"] == pytest.approx(np.mean(pooled))
    assert score == selection.measure(encoder, logit_scale)[0]


def test_headline_limits_the_attributes(configured: Callable[..., Config]):
    whole, pattern = configured(), configured(eval={"headline": ["Pattern"]})
    encoder, logit_scale, _ = prepare(pattern, "cpu")
    right = {name: hits for name in whole.data.kinds() if len(hits := by_hand(whole, name)) > 1}
    figures = {name: np.mean([np.mean(hits) for hits in one.values()]) for name, one in right.items()}
    both = selection_for(whole).measure(encoder, logit_scale)[1]["file_balanced_accuracy"]
    one = selection_for(pattern).measure(encoder, logit_scale)[1]["file_balanced_accuracy"]
    assert one == pytest.approx(figures["Pattern"])
    assert both == pytest.approx(np.mean(list(figures.values())))
    assert abs(one - both) > 0.01, "both would pass if the headline were ignored"


def test_the_loss_can_choose(configured: Callable[..., Config]):
    config = configured(eval={"select_on": "loss"})
    selection = selection_for(config)
    encoder, logit_scale, _ = prepare(config, "cpu")
    score, figures = selection.measure(encoder, logit_scale)
    assert score[0] == -figures["loss"] < 0


def test_every_item_of_tune_has_a_part_in_the_loss(configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch):
    """Eight items in batches of at most five: four and four, and none is left over."""
    config = configured(eval={"select_on": "loss"}, train={"batch_size": 5, "micro_batch": 5})
    selection = selection_for(config)
    encoder, logit_scale, _ = prepare(config, "cpu")
    real, seen = Objective.texts_for, []

    def watched(self: Objective, items: np.ndarray, **options: int) -> TextBatch:
        seen.append(items.tolist())
        return real(self, items, **options)

    monkeypatch.setattr(Objective, "texts_for", watched)
    selection.measure(encoder, logit_scale)
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_pictures_alone_are_not_chosen_by_a_loss_over_texts(configured: Callable[..., Config]):
    first = {"order": "pictures_first", "text_warmup": 2}
    loss = {"name": "attributes", "caption_weight": 0.0, "value_vectors": 1.0}
    with pytest.raises(ValueError, match="judged by texts, which do not learn in the epochs"):
        configured(eval={"select_on": "loss"}, train=first, loss=loss)
    multi = {"Pattern": {"kind": "multi"}, "baseColour": {"kind": "multi"}, "Sleeve Length": {"kind": "multi"}}
    config = configured(eval={"select_on": "smooth"}, train=first, loss=loss, data={"attributes": multi})
    with pytest.raises(TrainingError, match=r"no epoch of pictures could be chosen; raise .*tune \(now 0.25\)"):
        selection_for(config)


def test_a_tune_without_labels_is_said_aloud(configured: Callable[..., Config], caplog: pytest.LogCaptureFixture):
    config = configured(eval={"select_on": "rare_balanced_accuracy"})
    unlabelled = config.eval.model_copy(update={"headline": ("Neck",)})  # of which no item here says anything
    config = config.model_copy(update={"eval": unlabelled})
    with caplog.at_level(logging.WARNING):
        assert selection_for(config).metric == "loss"
    assert "tune has no labels for it; epochs are chosen by loss" in caplog.text


def test_measuring_leaves_the_model_as_it_was(configured: Callable[..., Config]):
    config = configured()
    selection = selection_for(config)
    encoder, logit_scale, _ = prepare(config, "cpu")
    modes = {name: module.training for name, module in encoder.named_modules()}
    values = {name: parameter.clone() for name, parameter in encoder.named_parameters()}
    selection.measure(encoder, logit_scale)
    assert modes == {name: module.training for name, module in encoder.named_modules()}
    assert all(torch.equal(parameter, values[name]) for name, parameter in encoder.named_parameters())


def test_a_tune_that_cannot_tell_is_refused_with_what_to_change(configured: Callable[..., Config]):
    config = configured(loss={"name": "attributes"}, data={"splits": {"tune": 0.03}})  # one product of two like items
    with pytest.raises(TrainingError, match=r"2 item\(s\) and two values of no attribute.*splits\.tune \(now 0\.03\)"):
        selection_for(config)
