"""What evaluate() refuses to report, and what it records of the choices behind its figures."""

import pytest
from data_factory import write_table

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import ConfigError
from clipadapt.evaluation.evaluate import evaluate
from clipadapt.evaluation.suite import Suite

SUITE = Suite.model_validate(
    {"name": "x", "statistics": {"draws": 100, "permutations": 100}, "tasks": [{"task": "recognition"}]}
)


@pytest.mark.parametrize("what", ["weights", "epoch", "thresholds", "anything"])
def test_the_split_that_something_was_fitted_on_is_not_reported(validation, good, words, what, tmp_path):
    with pytest.raises(ConfigError, match=f"{what} was fitted on 'dev'") as error:
        evaluate(good, validation, words, SUITE, split="dev", fitted_on={what: "dev"}, out=tmp_path / "report")
    assert "cannot be reported" in str(error.value)
    assert good.encoded == 0
    assert not (tmp_path / "report").exists()


def test_every_choice_is_named_at_once(validation, good, words):
    with pytest.raises(ConfigError) as error:
        evaluate(
            good, validation, words, SUITE, fitted_on={"weights": "validation", "epoch": "validation", "x": "tune"}
        )
    assert "weights was" in str(error.value)
    assert "epoch was" in str(error.value)
    assert "x was" not in str(error.value)


def test_temperatures_are_not_fitted_on_the_products_that_are_reported(validation, good, words):
    with pytest.raises(ConfigError, match="temperatures would be fitted on 30 of the products"):
        evaluate(good, validation, words, SUITE, tune=validation)
    some = validation.subset(range(2))
    with pytest.raises(ConfigError, match="temperatures would be fitted on 1 of the products"):
        evaluate(good, validation, words, SUITE, tune=some)


def test_two_splits_may_use_the_same_file_names(good, words, tmp_path):
    """train/0.png and validation/0.png are two pictures; only an id column or one split makes equal ids one item."""
    for split in ("train", "validation"):
        rows = [{"file_name": f"{row}.png", "Pattern": "Solid" if row % 2 else "Striped"} for row in range(12)]
        write_table(tmp_path / split, rows)
    tune, own = (Catalogue.load(tmp_path, split, attributes=["Pattern"]) for split in ("train", "validation"))
    assert set(tune.ids) == set(own.ids)
    assert evaluate(good, own, words, SUITE, tune=tune, progress=False).rows
    with pytest.raises(ConfigError, match="temperatures would be fitted on 3 of the products"):
        evaluate(good, own, words, SUITE, tune=own.subset(range(3)), progress=False)


def test_choices_on_other_splits_are_recorded(validation, train, good, words):
    results = evaluate(good, validation, words, SUITE, tune=train, fitted_on={"epoch": "tune"}, progress=False)
    assert results.config["fitted_on"] == {"epoch": "tune", "temperatures": "tune"}
    assert {one.fitted_on for one in results.details.reliability} == {"tune"}
    alone = evaluate(good, validation, words, SUITE, progress=False)
    assert alone.config["fitted_on"] == {}
    assert {one.fitted_on for one in alone.details.reliability} == {None}
