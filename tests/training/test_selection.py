"""Which epoch is best: figures against hand-made recalls, and what is done when tune cannot tell."""

import logging
from collections.abc import Callable

import pytest
import torch
from accelerate import Accelerator

from clipadapt.config import Config
from clipadapt.data.splits import load_splits
from clipadapt.processes.exchange import Processes
from clipadapt.prompts import Prompts
from clipadapt.training.preparation import prepare
from clipadapt.training.selection import Recall, Selection, summary


def selection_for(config: Config) -> Selection:
    splits = load_splits(config.data, config.seed)
    return Selection(config, splits.train, splits.tune, Prompts.load(config.prompts), Processes(Accelerator(cpu=True)))


def test_figures_are_means_over_values_and_attributes():
    recalls = [
        Recall("Pattern", "Solid", 8, 10, False),
        Recall("Pattern", "Dotted", 1, 2, True),
        Recall("Neck", "Round", 3, 4, False),
        Recall("Neck", "Boat", 0, 1, True),
        Recall("Neck", "Scoop", 1, 1, True),
    ]
    figures = summary(recalls)
    assert figures["balanced_accuracy"] == pytest.approx(((0.8 + 0.5) / 2 + (0.75 + 0 + 1) / 3) / 2)
    assert figures["top1"] == pytest.approx((9 / 12 + 4 / 6) / 2)
    assert figures["rare_balanced_accuracy"] == pytest.approx((0.5 + 0 + 1) / 3)
    assert summary([]) == {}


def test_measuring_is_recognition_among_training_values(configured: Callable[..., Config]):
    config = configured(eval={"select_on": "top1"})
    selection = selection_for(config)
    encoder, logit_scale, _ = prepare(config, "cpu")
    score, figures = selection.measure(encoder, logit_scale)
    assert selection.metric == "top1"
    assert score == (figures["top1"], figures["balanced_accuracy"])
    assert set(figures) == {"top1", "balanced_accuracy", "rare_balanced_accuracy"}
    assert score == selection.measure(encoder, logit_scale)[0]


def test_headline_limits_the_attributes(configured: Callable[..., Config]):
    config = configured(eval={"headline": ["Pattern"]})
    encoder, logit_scale, _ = prepare(config, "cpu")
    both = selection_for(configured()).measure(encoder, logit_scale)
    one = selection_for(config).measure(encoder, logit_scale)
    assert one[1].keys() == both[1].keys()


def test_the_loss_can_choose(configured: Callable[..., Config]):
    config = configured(eval={"select_on": "loss"})
    selection = selection_for(config)
    encoder, logit_scale, _ = prepare(config, "cpu")
    score, figures = selection.measure(encoder, logit_scale)
    assert score[0] == -figures["loss"] < 0


def test_a_tune_without_labels_is_said_aloud(configured: Callable[..., Config], caplog: pytest.LogCaptureFixture):
    config = configured(eval={"select_on": "rare_balanced_accuracy", "headline": ["Neck"]})
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
