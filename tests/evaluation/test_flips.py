import numpy as np
import pytest

from clipadapt.evaluation.details import Flip, Flips
from clipadapt.evaluation.evaluate import evaluate
from clipadapt.evaluation.report.pictures import fitting
from clipadapt.evaluation.suite import Suite
from clipadapt.evaluation.tasks.flips import EACH

SUITE = Suite.model_validate(
    {"name": "x", "statistics": {"draws": 100, "permutations": 100}, "tasks": [{"task": "recognition"}]}
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Makes a report; gives its details and its page."""

    def make(*systems, **options):
        folder = tmp_path_factory.mktemp("report")
        model, against, catalogue, words = systems
        results = evaluate(model, catalogue, words, SUITE, against=against, out=folder, progress=False, **options)
        return results.details, (folder / "report.html").read_text(encoding="utf-8")

    return make


def test_pictures_that_changed_sides_are_those_of_the_confusions(saved, good, poor, validation, words):
    details, page = saved(good, poor, validation, words)
    assert details.flips
    for flips, confusion in zip(details.flips, details.confusions, strict=True):
        now, before = (confusion.chosen[system] == confusion.truth for system in ("adapted", "base"))
        assert (flips.gained, flips.lost) == (np.sum(now & ~before), np.sum(before & ~now))
        for flip in flips.gains:
            assert flip.after == flip.value != flip.before
            assert flip.thumbnail.startswith(b"\xff\xd8")
        for flip in flips.losses:
            assert flip.before == flip.value != flip.after
        for side in (flips.gains, flips.losses):
            products = [validation.products[validation.ids.index(flip.item)] for flip in side]
            assert len(products) == len(set(products)) <= EACH
    assert any(flips.gains for flips in details.flips)
    assert "wrong to right" in page
    assert "Pictures that changed sides" in page


def test_without_pictures_the_page_has_item_ids(saved, good, poor, validation, words):
    details, page = saved(good, poor, validation, words, show_pictures=False)
    assert "data:image/jpeg" not in page
    shown = [flip for flips in details.flips for flip in (*flips.gains, *flips.losses)]
    assert shown
    assert all(flip.item in page and flip.thumbnail == b"" for flip in shown)


def test_one_model_alone_changes_nothing(saved, good, validation, words):
    details, page = saved(good, None, validation, words)
    assert details.flips == ()
    assert "changed sides" not in page


def test_every_attribute_shows_as_many_as_fit():
    flip = Flip("1", "Solid", "Striped", "Solid", b"x" * 300)  # 400 bytes as base64
    pattern, neck = Flips("Pattern", 30, 1, (flip,) * 12, (flip,)), Flips("Neck", 3, 0, (flip,) * 3, ())
    some = [pattern, neck, Flips("Fit", 0, 0, (), ())]
    shown = fitting(some, [], most=400 * 6)
    assert [(one.attribute, one.gained, len(one.gains), len(one.losses)) for one in shown] == [
        ("Pattern", 30, 2, 1), ("Neck", 3, 2, 0),
    ]  # fmt: skip
    assert [len(one.gains) for one in fitting(some, [], most=10**9)] == [12, 3]
    assert [len(one.gains) for one in fitting(some, [], most=0)] == [0, 0]
