"""The strength dial: what is found at each point is what merging by hand finds, and only tune is looked at."""

import copy
import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from data_factory import write_catalogue
from runs_factory import write_run
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.data.bins import training_counts
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.splits import load_splits
from clipadapt.errors import AdapterError, ModelError, UsageError
from clipadapt.export import export, strength_search
from clipadapt.export.strength import Curve, Figure, Point, factors, parse_strength
from clipadapt.export.strength_search import MARGIN, _ranking, find_strength
from clipadapt.prompts import Prompts
from clipadapt.recognition.values import value_vectors
from clipadapt.runs import Run
from clipadapt.towers.encode import encode_catalogue, encode_texts_batched
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.load import load
from clipadapt.towers.merge import merge


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    write_open_clip(root / "base", OPEN_CLIP["clip"])
    shop = str(write_catalogue(root / "shop", items=180))
    write_run(root / "both", root / "base", 3, preset="both", source=shop)
    write_run(root / "text", root / "base", 2, preset="text", source=shop)
    return root


@pytest.fixture(scope="module")
def curve(made: Path) -> Curve:
    return find_strength(f"run:{made / 'both'}", retain=["baseColour"])


def by_hand(run: Run, tune: Catalogue, attribute: str, image: float, text: float) -> float:
    """Balanced accuracy of one attribute by plain loops, with both towers merged in one go."""
    encoder = load(f"run:{run.path}")
    assert isinstance(encoder, TorchEncoder)
    merge(encoder, {"image": image, "text": text})
    values = sorted(tune.counts(attribute))
    encode = functools.partial(encode_texts_batched, encoder)
    texts = value_vectors(Prompts.load(run.config.prompts), attribute, values, encode)
    nearest = (encode_catalogue(encoder, tune) @ texts.T).argmax(axis=1)
    right: dict[str, list[bool]] = {}
    for item, value in enumerate(tune.values(attribute)):
        if value in values:
            right.setdefault(value, []).append(values[nearest[item]] == value)
    return float(np.mean([np.mean(own) for own in right.values()]))


@pytest.mark.parametrize("place", [(0.0, 0.0), (1.0, 1.0), (0.5, 0.3)])
def test_a_point_is_what_merging_by_hand_finds(made: Path, curve: Curve, place: tuple[float, float]) -> None:
    run = Run.open(made / "both")
    splits = load_splits(run.config.data, run.config.seed)
    point = next(point for point in curve.points if (point.image, point.text) == place)
    assert point.figures["balanced_accuracy"].mean == pytest.approx(by_hand(run, splits.tune, "Pattern", *place))
    assert point.retention.mean == pytest.approx(by_hand(run, splits.tune, "baseColour", *place))


def test_differences_are_to_the_base_and_the_floor_is_the_margin(curve: Curve) -> None:
    base = curve.points[0]
    assert (base.image, base.text) == (0.0, 0.0)
    assert base.within_margin
    for point in curve.points:
        for own, other in (
            (point.retention, base.retention),
            *((point.figures[n], base.figures[n]) for n in base.figures),
        ):
            assert own.delta == pytest.approx(own.mean - other.mean, abs=1e-9)
            assert own.low is not None
            assert own.high is not None
            assert own.low <= own.delta <= own.high
        assert point.within_margin == (point.retention.delta >= -MARGIN - 1e-9)
    assert curve.best.within_margin
    assert curve.margin == MARGIN
    assert {point.text for point in curve.points} == {number / 10 for number in range(11)}
    assert {0.0, 0.5, 1.0} < {point.image for point in curve.points}
    assert (curve.tune["split"], curve.headline, curve.retained) == ("tune", ("Pattern",), ("baseColour",))


def test_what_is_chosen_is_within_the_margin_best_and_smallest() -> None:
    def point(text: float, rare: float, balanced: float, *, within_margin: bool) -> Point:
        figures = {"rare_balanced_accuracy": rare, "balanced_accuracy": balanced}
        return Point(
            1.0,
            text,
            {name: Figure(mean, 0, 0, 0) for name, mean in figures.items()},
            Figure(0, 0, 0, 0),
            within_margin,
        )

    rare = _ranking("rare_balanced_accuracy")
    forgetful, best, tied = (
        point(1.0, 0.9, 0.9, within_margin=False),
        point(0.9, 0.5, 0.4, within_margin=True),
        point(0.6, 0.5, 0.4, within_margin=True),
    )
    worse = point(0.2, 0.5, 0.3, within_margin=True)
    assert max([forgetful, best, tied, worse], key=rare) is tied
    assert max([worse, point(0.1, 0.1, 0.9, within_margin=True)], key=rare) is worse
    assert max([worse, point(0.1, 0.1, 0.9, within_margin=True)], key=_ranking("loss")).text == 0.1, (
        "balanced accuracy instead"
    )


def test_a_text_adaptation_takes_one_pass_over_tune_alone(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made / "shop", tmp_path / "shop")
    run = Run.open(shutil.copytree(made / "text", tmp_path / "text"))
    settings = run.config.model_copy(
        update={"data": run.config.data.model_copy(update={"source": str(tmp_path / "shop")})}
    )
    (run.path / "config.yaml").write_text(settings.to_yaml())
    tune = load_splits(settings.data, settings.seed).tune
    kept = {f"{tune.row(number)['id']}.png" for number in range(len(tune))}
    for split in ("train", "validation"):
        for picture in (tmp_path / "shop" / split).glob("*.png"):
            if split == "validation" or picture.name not in kept:
                picture.write_bytes(b"never to be read")
    passes: list[int] = []

    def counted(encoder: TorchEncoder, catalogue: Catalogue) -> np.ndarray:
        passes.append(len(catalogue))
        return encode_catalogue(encoder, catalogue)

    monkeypatch.setattr(strength_search, "encode_catalogue", counted)
    found = find_strength(f"run:{run.path / 'adapter'}", retain=["baseColour"])
    assert passes == [len(tune)]
    assert {point.image for point in found.points} == {1.0}
    assert found.points[0].text == 0.0


def test_a_curve_is_kept_beside_what_it_chose(made: Path, curve: Curve, tmp_path: Path) -> None:
    done = export(f"run:{made / 'both'}", "open_clip", tmp_path / "out", strength=curve)
    document = json.loads((done.path / "strength.json").read_text())
    assert document["chosen"] == curve.chosen == json.loads((done.path / "clipadapt.json").read_text())["strength"]
    assert len(document["points"]) == len(curve.points)
    assert document["points"][0]["figures"]["balanced_accuracy"].keys() == {"mean", "delta", "low", "high"}
    page = (done.path / "strength.html").read_text()
    assert page.count("<svg") == 2
    assert "http" not in page.replace('lang="en"', "")
    assert page.count("chosen</td>") == 1
    by_numbers = export(f"run:{made / 'both'}", "open_clip", tmp_path / "numbers", strength=curve.chosen)
    assert (by_numbers.image_space, by_numbers.text_space) == (done.image_space, done.text_space)
    assert not (by_numbers.path / "strength.json").exists()


def test_the_encoder_that_is_searched_stays_as_it_is(made: Path) -> None:
    encoder = load(f"run:{made / 'both'}")
    assert isinstance(encoder, TorchEncoder)
    run = Run.open(made / "both")
    splits = load_splits(run.config.data, run.config.seed)
    before = copy.deepcopy(dict(encoder.model.state_dict()))
    strength_search.search(
        encoder,
        splits.tune.subset(range(6)),
        Prompts.load(run.config.prompts),
        training_counts(splits.train),
        headline=["Pattern"],
        retained=["baseColour"],
    )
    after = encoder.model.state_dict()
    assert encoder.adapters is not None
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_what_cannot_be_searched_says_why(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only a run knows its tune split"):
        find_strength(f"local-dir:{made / 'base'}")
    with pytest.raises(ModelError, match="is no folder"):
        find_strength(f"run:{tmp_path / 'nowhere'}")
    with pytest.raises(UsageError, match="nothing to retain: every attribute is a headline one"):
        find_strength(f"run:{made / 'both'}")
    with pytest.raises(UsageError, match="nothing to gain on"):
        find_strength(f"run:{made / 'both'}", retain=["Pattern", "baseColour"])
    with pytest.raises(UsageError, match="--retain Patern: no such column"):
        find_strength(f"run:{made / 'both'}", retain=["Patern"])
    base = load(f"local-dir:{made / 'base'}")
    assert isinstance(base, TorchEncoder)
    shop = Catalogue.load(made / "shop", "validation")
    with pytest.raises(AdapterError, match="neither tower was adapted"):
        strength_search.search(
            base, shop, Prompts.parse("captions: [a]"), {}, headline=["Pattern"], retained=["product"]
        )
    with pytest.raises(UsageError, match="no two labels of Pattern, so balanced_accuracy"):
        adapted = load(f"run:{made / 'both'}")
        assert isinstance(adapted, TorchEncoder)
        prompts = Prompts.load(Run.open(made / "both").config.prompts)
        solid = shop.subset([row for row, value in enumerate(shop.values("Pattern")) if value == "Solid"])
        strength_search.search(adapted, solid, prompts, {}, headline=["Pattern"], retained=["baseColour"])


@pytest.mark.parametrize("text", ["image", "image=x", "both=1", "image=-1", "image=3", "image=nan", ""])
def test_a_strength_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write image=NUMBER"):
        parse_strength(text)


def test_strengths_are_read_per_tower(curve: Curve) -> None:
    assert parse_strength("image=0.8, text=1") == {"image": 0.8, "text": 1.0}
    assert parse_strength(None) is None
    assert factors({"text": 0.5}) == {"image": 1.0, "text": 0.5}
    assert factors(None) == {"image": 1.0, "text": 1.0}
    assert factors(curve) == curve.chosen
