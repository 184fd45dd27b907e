"""Which words `lora.tokens` trains: those of taught names that no text which is to be kept has."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clipadapt.config import Config
from clipadapt.data.splits import load_splits
from clipadapt.errors import ConfigError
from clipadapt.prompts import Prompts
from clipadapt.towers.load import load
from clipadapt.towers.tokens import distinctive_tokens
from clipadapt.training.objective import Objective
from clipadapt.training.preparation import prepare
from clipadapt.training.value_words import FUNCTION_WORDS, value_words

_FILE = """
language: {language}
captions: ['a {{Pattern}} thing']
attributes:
  Pattern:
    templates: ['a {{value}} pattern', {{text: 'woven {{value}} cloth', held_out: true}}]
    values:
      Striped: [striped, 'with stripes', {{text: banded, held_out: true}}]
      Checked: [checked, unpatterned, 'woven checks', 'red-like']
  baseColour: {{templates: ['a {{value}} thing'], values: {{Red: [crimson]}}}}
  Sleeve Length: {{templates: ['a {{value}} thing']}}
"""


def objective_of(config: Config, titles: tuple[str, ...] = ()) -> Objective:
    train = load_splits(config.data, 0).train
    return Objective(config.loss, train, Prompts.load(config.prompts), seed=0, titles=titles)


@pytest.fixture
def taught(configured: Callable[..., Config], tmp_path: Path) -> Callable[..., Config]:
    def config(language: str = "en", **keys: object) -> Config:
        words = tmp_path / f"{language}.yaml"
        words.write_text(_FILE.format(language=language))
        weights = {"baseColour": 0.0, "Sleeve Length": 0.0}
        return configured(loss={"name": "attributes", "attribute_weights": weights}, prompts=str(words), **keys)

    return config


def test_words_of_taught_names_alone(taught: Callable[..., Config]) -> None:
    words, kept = value_words(objective_of(taught(), ("soft striped crimson linen shirt",)))
    assert {"striped", "stripes", "unpatterned"} <= set(words)
    assert not set(words) & set(kept)
    assert "banded" not in words, "held out of training, so nothing is learned about it"
    assert "woven" not in words, "a held-out template has it"
    assert not {"red", "crimson", "with", "thing", "pattern"} & set(words)
    assert {"crimson", "red", "reds", "woven", "with", "soft", "linen", "dog"} <= set(kept)
    assert "like" in FUNCTION_WORDS and "like" in kept


def test_in_another_language_names_of_several_words_teach_none(taught: Callable[..., Config]) -> None:
    """Which of them mean something by themselves is not known there."""
    words, kept = value_words(objective_of(taught("other")))
    assert "striped" in words and "unpatterned" in words
    assert not {"with", "stripes"} & set(words)
    assert not {"with", "reds"} & set(kept)


def test_the_rows_of_these_words_are_trained_and_no_others(taught: Callable[..., Config]) -> None:
    config = taught(lora={"tokens": True, "rank": 2})
    objective = objective_of(config)
    encoder, _, report = prepare(config, "cpu", objective)
    base = load(config.model.name)
    ids = distinctive_tokens(base, *value_words(objective))  # pyright: ignore[reportArgumentType]
    assert report.towers["text"].tokens == len(ids) > 0
    (rows,) = [one for name, one in encoder.model.named_parameters() if "trainable_tokens" in name]
    table = next(one for name, one in base.model.named_parameters() if name.endswith("token_embedding.weight"))  # pyright: ignore[reportAttributeAccessIssue]
    assert torch.equal(rows, table[ids])
    assert (
        prepare(config.model_copy(update={"lora": config.lora.model_copy(update={"tokens": False})}), "cpu")
        .report.towers["text"]
        .tokens
        == 0
    )


def test_where_no_word_is_left_it_says_so(
    taught: Callable[..., Config], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = taught(lora={"tokens": True, "rank": 2})
    monkeypatch.setattr("clipadapt.training.preparation.distinctive_tokens", lambda *_: [])
    _, _, report = prepare(config, "cpu", objective_of(config))
    assert report.towers["text"].tokens == 0
    assert "lora.tokens does nothing: every word of the taught values" in caplog.text
    with pytest.raises(ConfigError, match="no objective that teaches any"):
        prepare(config, "cpu")
