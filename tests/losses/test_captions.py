"""Losses by name: those of the project, and a class of one's own with a clear word where it has the wrong form."""

import sys
from pathlib import Path

import pytest
import torch

from clipadapt.errors import ConfigError
from clipadapt.losses.captions import CAPTION_LOSSES, CaptionPairs, caption_loss, mean_of
from clipadapt.losses.contrastive import softmax_loss
from clipadapt.recipe import LOSSES

OWN = """
import torch
from clipadapt.losses.terms import Terms

class Margin:
    def __init__(self, margin=0.2):
        self.margin = margin
    def __call__(self, image, text, pairs, *, scale, bias):
        cosines = image @ text.T
        positives, known = pairs.true(slice(0, len(image)), slice(0, len(text)))
        own = cosines.gather(1, pairs.own[:, None])
        over = (cosines - own + self.margin).clamp(min=0) * (known & ~positives)
        return Terms(over.sum(), over.new_tensor(float(len(image))))

class Scalar(Margin):
    def __call__(self, *arguments, **keywords):
        return super().__call__(*arguments, **keywords).mean()

class Wrong:
    def __call__(self, image, text, pairs, *, scale, bias):
        return image

class Raises:
    def __call__(self, image):
        return image

class Silent:
    pass

def function(image, text, pairs, *, scale, bias):
    return image.sum()
"""


@pytest.fixture(autouse=True)
def shop_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_losses.py").write_text(OWN)
    (tmp_path / "broken_losses.py").write_text("import nothing_of_that_name")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "shop_losses", raising=False)


def batch() -> tuple[torch.Tensor, torch.Tensor, CaptionPairs]:
    draws = torch.Generator().manual_seed(0)
    image, text = (torch.nn.functional.normalize(torch.randn(4, 3, generator=draws), dim=1) for _ in range(2))
    own = torch.tensor([0, 1, 2, 3])

    def true(rows: slice, columns: slice) -> tuple[torch.Tensor, torch.Tensor]:
        positives = torch.eye(4, dtype=torch.bool)[rows, columns]
        return positives, torch.ones_like(positives)

    return image, text, CaptionPairs(own, true, true, False)


def value(name: str, **options: object) -> float:
    image, text, pairs = batch()
    return float(mean_of(caption_loss(name, options), name)(image, text, pairs, scale=10.0, bias=None))


def test_every_name_of_a_config_has_its_loss() -> None:
    assert set(CAPTION_LOSSES) == set(LOSSES)
    image, text, _ = batch()
    assert value("softmax") == pytest.approx(float(softmax_loss(image, text, 10.0).mean()))
    assert value("multi_positive") == pytest.approx(value("softmax"))


def test_a_class_of_ones_own_by_its_options_as_terms_or_as_their_mean() -> None:
    assert value("shop_losses:Margin") == pytest.approx(value("shop_losses:Scalar"))
    assert value("shop_losses:Margin", margin=2.0) > value("shop_losses:Margin", margin=0.1) > 0


@pytest.mark.parametrize(
    ("name", "options", "fault"),
    [
        ("no_such_module:Loss", {}, "no_such_module cannot be imported"),
        ("broken_losses:Loss", {}, r"cannot be imported \(ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("shop_losses:Marign", {}, "has no such name"),
        ("shop_losses:function", {}, "is a function, not a class"),
        ("shop_losses:Margin", {"gamma": 2}, r"cannot be made from loss.options \{'gamma': 2\}"),
        ("shop_losses:Silent", {}, "cannot be called"),
        ("shop_losses:Wrong", {}, r"returned a tensor of shape \(4, 3\)"),
        ("shop_losses:Raises", {}, "raised TypeError"),
    ],
)
def test_a_class_of_the_wrong_form_gives_one_clear_message(name: str, options: dict, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as refused:
        value(name, **options)
    assert str(refused.value).startswith(f"loss.name {name}")
