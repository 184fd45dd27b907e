"""The one resolver: flags over config over run, what is split off, and what is refused."""

import logging

import numpy as np
import pytest
from data_factory import write_catalogue, write_table

from clipadapt.config import Config
from clipadapt.data.splits import load_splits, shared_products
from clipadapt.errors import CatalogueError, ConfigError
from clipadapt.inputs import resolve
from clipadapt.runs import Run
from clipadapt.search.filters import matching, parse_all
from clipadapt.search.items import Items


@pytest.fixture
def shop(tmp_path):
    return write_catalogue(tmp_path / "shop")


@pytest.fixture
def config(tmp_path, shop):
    (tmp_path / "words.yaml").write_text('captions: ["a {baseColour} shirt"]\n')
    file = tmp_path / "shop.yaml"
    file.write_text(
        f"name: shop\noutput_dir: {tmp_path}/run\nseed: 3\nprompts: {tmp_path}/words.yaml\n"
        f"data: {{source: {shop}, attributes: [baseColour, Pattern]}}\neval: {{headline: [Pattern]}}\n"
    )
    return file


def test_a_config_alone_brings_everything(config, shop):
    inputs = resolve(config=config)
    assert (inputs.data.source, inputs.default_split, inputs.headline) == (str(shop), "validation", ("Pattern",))
    assert inputs.prompts.path.endswith("words.yaml")
    assert inputs.fitted_on == {} and inputs.seed == 3
    as_trained = load_splits(Config.load(config).data, 3)
    assert [part.ids for part in inputs.splits] == [part.ids for part in as_trained]
    assert inputs.tune is not None and inputs.tune.ids == as_trained.tune.ids
    assert inputs.catalogue("tune").ids == as_trained.tune.ids
    assert inputs.catalogue("train").ids == as_trained.train.ids
    assert len(inputs.items("train")) == len(as_trained.train) + len(as_trained.tune)
    assert inputs.splits is inputs.splits


def test_other_items_take_the_place_of_the_splits(config):
    inputs = resolve(config=config)
    words, some = inputs.prompts, inputs.splits._replace(train=inputs.splits.train.subset([1, 2]))
    part = inputs.with_splits(some)
    assert part.splits is some and len(part.catalogue("train")) == 2
    assert part.prompts is words and len(inputs.splits.train) > 2


def test_a_run_brings_its_config_and_what_was_fitted(config, tmp_path):
    run = Run.create(Config.load(config))
    inputs = resolve(model=f"run:{run.path}")
    assert inputs.fitted_on == {"weights": "train", "epoch": "tune"}
    assert resolve(model=f"run:{run.path / 'adapter'}").data == inputs.data
    assert resolve(config=config).of_run().fitted_on == inputs.fitted_on


def test_tune_is_not_fitted_on_in_a_report_of_itself(config):
    inputs = resolve(config=config)
    beside = inputs.tune_beside("validation")
    assert beside is not None and beside.ids == inputs.splits.tune.ids
    assert inputs.tune_beside("tune") is None


def test_rare_counts_are_one_whoever_asks(config, tmp_path):
    run = Run.create(Config.load(config))
    counts = resolve(config=config).training_counts()
    assert counts == resolve(model=f"run:{run.path}").training_counts()
    whole = resolve(config=config).items("train")
    assert counts is not None and counts["Pattern"] == whole.counts("Pattern")


def test_flags_alone_find_the_known_attributes(shop, caplog):
    with caplog.at_level(logging.INFO):
        inputs = resolve(source=str(shop))
        assert [one.name for one in inputs.attributes] == ["Pattern", "Sleeve Length", "baseColour"]
    assert inputs.tune is None and inputs.settings is None
    assert "attributes: Pattern, Sleeve Length, baseColour" in caplog.text


def test_validation_that_the_source_lacks_is_split_off_as_in_training(tmp_path):
    rows = [{"file_name": f"{i}.png", "Pattern": "Solid", "product": str(i // 2)} for i in range(40)]
    source = str(write_table(tmp_path / "only/train", rows, size=8).parent)
    for split in ("validation", "tune"):
        part = resolve(source=source).catalogue(split)
        assert part.ids == resolve(source=source).items(split).ids
        whole = resolve(source=source)
        assert not shared_products({"part": part, "train": whole.splits.train})
    assert len(resolve(source=source).items("train")) == 40


def test_a_flag_wins_over_the_config_and_says_so(config, caplog):
    with caplog.at_level(logging.INFO):
        inputs = resolve(config=config, product="id")
    assert inputs.data.product == "id"
    assert "--product id instead of the config's product" in caplog.text


def test_a_product_flag_that_would_leak_is_refused(config):
    run = Run.create(Config.load(config))
    with pytest.raises(ConfigError, match=r"--product id: .* split its catalogue by product; by another column"):
        resolve(model=f"run:{run.path}", product="id")


def test_the_config_of_another_catalogue_brings_columns_and_words(config, tmp_path, caplog):
    other = write_catalogue(tmp_path / "other", seed=5)
    with caplog.at_level(logging.INFO):
        inputs = resolve(config=config, source=str(other))
    assert inputs.tune is None and inputs.fitted_on == {}
    assert [one.name for one in inputs.catalogue("validation").attributes] == ["baseColour", "Pattern"]
    assert f"--source {other} instead of" in caplog.text
    bare = write_table(tmp_path / "bare/train", [{"file_name": "1.png", "sku": "1"}]).parent
    with pytest.raises(CatalogueError, match="attribute 'Pattern': no such column"):
        resolve(config=config, source=str(bare)).catalogue("train")
    assert len(resolve(config=config, source=str(bare)).items("train")) == 1  # an index needs no label


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"image": "photo", "product": "photo"}, "--image and --product both name 'photo'"),
        ({"image": "product"}, "--image and data.product both name 'product'"),
        ({"product": "Pattern", "attributes": ["Pattern"]}, "--product and an attribute both name 'Pattern'"),
    ],
)
def test_a_column_in_two_roles(shop, given, said):
    with pytest.raises(ConfigError, match=said):
        resolve(source=str(shop), **given)


def test_messages_name_flags_where_flags_were_given_and_keys_where_a_config_was(config, shop):
    with pytest.raises(CatalogueError, match="name it with --image"):
        resolve(source=str(shop), image="photo").items("train")
    file = config.read_text().replace("attributes: [", "image: photo, attributes: [")
    config.write_text(file)
    with pytest.raises(CatalogueError, match=r"name it with data\.image"):
        resolve(config=config).items("train")


def test_nothing_named():
    with pytest.raises(ConfigError, match="no source: name a catalogue with --source, or a --config or run"):
        resolve(model="local-dir:somewhere")


def test_attributes_that_the_config_does_not_have(config):
    with pytest.raises(
        ConfigError, match=r"no attribute Patern; the config has baseColour, Pattern.*did you mean 'Pattern'"
    ):
        resolve(config=config, attributes=["Patern"])


def test_items_for_an_index_are_split_and_folded_by_the_rules_of_the_run(tmp_path):
    """`index build --model run:X` forgot how the run's cells were split: Colours=Red missed "Red|Black"."""
    rows = [
        {"file_name": f"{item}.png", "Colours": cell, "product": str(item)}
        for item, cell in enumerate(("Red|Black", "Red ; NA", "red", "NA|Blue", "") * 4)
    ]
    shop = write_table(tmp_path / "shop", rows)
    (tmp_path / "words.yaml").write_text('captions: ["a {Colours} shirt"]\n')
    file = tmp_path / "shop.yaml"
    file.write_text(
        f"name: shop\noutput_dir: {tmp_path}/run\nprompts: {tmp_path}/words.yaml\ndata:\n  source: {shop}\n"
        "  normalise: case\n  attributes: {Colours: {kind: multi}}\n"
    )
    run = Run.create(Config.load(file))
    items = resolve(model=f"run:{run.path}").items("train")
    assert items.separators == {"Colours": "|"}
    assert items.value_sets("Colours")[:5] == [{"red", "black"}, {"red ; na"}, {"red"}, {"blue"}, frozenset()]
    table = Items.of(items.table(), items.separators)
    assert np.flatnonzero(matching(table, parse_all("Colours=red")))[:2].tolist() == [0, 2]
    assert 0 not in np.flatnonzero(matching(table, parse_all("Colours!=red")))
    assert items.subset([0, 3]).with_attributes(items.attributes).row(1)["Colours"] == "blue"
