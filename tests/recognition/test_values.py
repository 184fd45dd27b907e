"""Values' vectors against sums by hand, and heads beside texts."""

import numpy as np
import pytest

from clipadapt.errors import PromptError
from clipadapt.prompts import Prompts
from clipadapt.recognition.values import ensemble_vectors, head_classifier, text_classifier, value_vectors
from clipadapt.towers.classifier import Linear, LinearHead

WORDS = """
captions: ["a {colour} shirt"]
attributes:
  colour: {templates: ["a {value} shirt", {text: "{attribute} {value}", weight: 3}], plain: "{value}"}
"""


class Encoder:
    """Letters counted, and which texts it was asked for."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, texts):
        self.seen += texts
        counts = np.array([[text.count(letter) for letter in "abcdehilorstu "] for text in texts], np.float32)
        return counts.reshape(-1, 14) / np.linalg.norm(counts.reshape(-1, 14), axis=1, keepdims=True)


def test_a_value_is_the_renormalised_mean_of_its_texts():
    prompts, encode = Prompts.parse(WORDS), Encoder()
    found = value_vectors(prompts, "colour", ["blue", "red"], encode)
    parts = encode(["a blue shirt", "colour blue"]).T.astype(float) @ [0.25, 0.75]
    np.testing.assert_allclose(found[0], parts / np.linalg.norm(parts), atol=1e-7)
    plain = value_vectors(prompts, "colour", ["blue", "red"], encode, plain=True)
    np.testing.assert_allclose(plain, encode(["blue", "red"]), atol=1e-7)
    assert value_vectors(prompts, "colour", [], encode).shape == (0, 14)
    with pytest.raises(PromptError, match="Neck"):
        value_vectors(prompts, "Neck", ["Round"], encode)


def test_each_distinct_text_is_encoded_once():
    prompts, encode = Prompts.parse(WORDS), Encoder()
    ensemble_vectors([prompts.ensemble("colour", value) for value in ("blue", "red", "blue")], encode)
    assert len(encode.seen) == len(set(encode.seen)) == 4


def test_scores_are_cosines_or_those_of_a_head():
    encode = Encoder()
    pictures = encode(["a blue shirt", "rest"])
    texts = text_classifier(Prompts.parse(WORDS), "colour", ["blue", "red"], encode)
    np.testing.assert_allclose(texts.scores(pictures), pictures @ texts.weights.T, atol=1e-6)
    linear = Linear(("red", "blue"), np.eye(2, 14, dtype=np.float32), np.array([0.5, -0.5], np.float32))
    head = LinearHead({"colour": linear}, "space")
    scores = head_classifier(head, "colour", ["blue", "unseen", "red"]).scores(pictures)
    np.testing.assert_allclose(scores[:, 0], pictures[:, 1] - 0.5, atol=1e-6)
    np.testing.assert_allclose(scores[:, 2], pictures[:, 0] + 0.5, atol=1e-6)
    assert (scores[:, 1] < scores[:, [0, 2]].min(axis=1)).all()
