import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clipadapt import places
from clipadapt import sections as module
from clipadapt.config import Config
from clipadapt.errors import ConfigError
from clipadapt.sections import Section, locate, read_yaml

ROOT = Path(__file__).parents[1]
SMALLEST = "name: t\noutput_dir: runs/t\ndata: {source: x}\nprompts: prompts/generic.yaml\n"
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="$", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(SMALLEST)
    return path


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_loads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in path.read_text().splitlines():
        for name in [part.split("}")[0] for part in line.split("${")[1:]]:
            monkeypatch.setenv(name, "/somewhere")
    config = Config.load(path)
    assert config.name == path.stem
    assert config.output_dir == f"runs/{path.stem}"
    assert locate(config.prompts).is_file()
    assert config.eval.suite is None or locate(config.eval.suite).is_file()
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(f"train.py --config configs/{path.name}" in line for line in header), "the header says the command"


def test_defaults_are_the_documented_ones(file: Path) -> None:
    config = Config.load(file)
    assert config.lora.resolved_plan() == (("*.attention.{q,k,v,out}", 8), ("*.mlp.*", None), ("*.norm.*", None))
    assert (config.train.epochs, config.train.batch_size, config.train.lr) == (5, 512, 2e-4)
    assert (config.loss.name, config.loss.logit_scale, config.data.splits.tune) == ("softmax", "frozen", 0.1)
    assert config.model.name == "EVA02-B-16:merged2b_s8b_b131k"


def test_all_faults_of_a_file_and_of_the_overrides_come_at_once(file: Path) -> None:
    file.write_text(
        "name: t\ndata: {source: x, atributes: [a]}\ntrain: {epochs: 0, lr: fast}\nlora: {preset: neither}\nzzz: 1\n"
    )
    with pytest.raises(ConfigError) as caught:
        Config.load(file, ["train.clip=-1", "nonsense", "train.lr={", "name.first=x"])
    text = str(caught.value)
    for part in (
        str(file),
        "output_dir: missing, and it has no default",
        "prompts: missing",
        "data.atributes: unknown key; did you mean attributes?",
        "train.epochs: Input should be greater than or equal to 1 (found 0)",
        "train.lr: ",
        "(found 'fast')",
        "lora.preset: Input should be 'both', 'image' or 'text' (found 'neither')",
        "train.clip: Input should be greater than 0",
        "zzz: unknown key; known keys: name, output_dir",
        "override 'nonsense': write it as section.key=value",
        "override 'train.lr={': the value is not valid YAML",
        "override 'name.first=x': name holds no keys of its own",
    ):
        assert part in text
    assert text.count("\n  - ") == 11
    assert text.startswith(f"{file}: 11 fault(s)")


@pytest.mark.parametrize("word", ["No", "on", "38", "007", "1.5", "2024-01-15"])
def test_what_yaml_takes_for_other_than_text_is_to_be_quoted(file: Path, word: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.unknown\.1: .*string \(found .*put it in quotes"):
        Config.load(file, [f"data.unknown=['', {word}]"])
    assert Config.load(file, [f"data.unknown=['', '{word}']"]).data.unknown == ("", word)


def test_overrides_are_yaml_and_make_sections(file: Path) -> None:
    config = Config.load(
        file,
        ["train.lr=2e-4", "train.epochs=3", "data.source=hub/name", "lora.plan=[['*.q', 4], ['*', null]]",
         "export=[]", "eval.suite=null", "data.splits.tune=tuning"],
    )  # fmt: skip
    # YAML 1.1 reads 2e-4 as text, for it wants a dot; the model reads it as the number that was meant.
    assert config.train.lr == 2e-4
    assert config.train.epochs == 3
    assert config.lora.resolved_plan() == (("*.q", 4), ("*", None))
    assert config.export == ()
    assert config.eval.suite is None
    assert config.data.splits.tune == "tuning"


def test_a_config_is_frozen(file: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config.load(file).train.lr = 1.0  # pyright: ignore[reportAttributeAccessIssue]


@given(
    lr=st.floats(1e-12, 10, allow_nan=False),
    tune=st.one_of(st.floats(0.01, 0.99), st.sampled_from(["tune", "dev"])),
    attributes=st.lists(NAMES, max_size=3),
    options=st.dictionaries(NAMES, st.booleans(), max_size=2),
)
def test_the_resolved_yaml_loads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, lr: float, tune: str | float, attributes: list[str], options: dict
) -> None:
    config = Config.model_validate(
        {
            "name": "t",
            "output_dir": "runs/t",
            "prompts": "p",
            "data": {"source": "x", "attributes": attributes, "splits": {"tune": tune}},
            "train": {"lr": lr},
            "lora": {"options": options},
        }
    )
    path = tmp_path_factory.mktemp("config") / "resolved.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert Config.load(path) == config


def test_attributes_as_list_or_mapping(file: Path) -> None:
    listed = Config.load(file, ["data.attributes=[A, 'B C']"])
    assert {name: kind.kind for name, kind in listed.data.kinds().items()} == {"A": "exclusive", "B C": "exclusive"}
    mapped = Config.load(file, ["data.attributes={A: {kind: multi, separator: ';'}, B: {}}"])
    assert {name: (kind.kind, kind.separator) for name, kind in mapped.data.kinds().items()} == {
        "A": ("multi", ";"),
        "B": ("exclusive", "|"),
    }


def test_a_micro_batch_larger_than_the_batch_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="micro_batch 64 is larger than batch_size 8"):
        Config.load(file, ["train.batch_size=8"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", r"line 2, column 1: not valid YAML"),
        (b"- 1", "expected a mapping of keys, found list"),
        (b"", "expected a mapping of keys, found NoneType"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"a: \x07", "not valid YAML: .*special characters are not allowed"),
    ],
)
def test_what_is_no_mapping_is_refused_with_its_place(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content + b"\n")
    with pytest.raises(ConfigError, match=message):
        read_yaml(file)


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"configs/none\.yaml: no such file \(looked in {tmp_path}"):
        Config.load("configs/none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        Config.load(tmp_path)


def test_environment_variables_are_filled_in_or_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(SMALLEST.replace("source: x", "source: '${SHOP}/photos'"))
    monkeypatch.delenv("SHOP", raising=False)
    with pytest.raises(ConfigError, match="the environment variable SHOP is not set"):
        Config.load(file)
    monkeypatch.setenv("SHOP", "/data/shop")
    assert Config.load(file).data.source == "/data/shop/photos"


def test_shipped_files_are_found_from_anywhere_but_never_before_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("prompts/generic.yaml").is_file()
    assert yaml.safe_load(locate("prompts/generic.yaml").read_text())
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "generic.yaml").write_text("{}")
    assert locate("prompts/generic.yaml") == Path("prompts/generic.yaml")
    # Only the three folders that are shipped: a wheel's neighbours are other packages.
    assert locate("tests/test_config.py") == Path("tests/test_config.py")


def test_an_installed_wheel_keeps_them_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "site-packages" / "clipadapt" / "defaults" / "prompts" / "generic.yaml"
    shipped.parent.mkdir(parents=True)
    shipped.write_text("{}")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "site-packages" / "clipadapt" / "sections.py"))
    monkeypatch.chdir(tmp_path)
    assert locate("prompts/generic.yaml") == shipped


@pytest.mark.parametrize(
    ("override", "reason"),
    [("augment.cutmix=1.0", "a patch pasted"), ("augment.autoaugment=true", "its policies change hue")],
)
def test_what_spoils_attributes_is_refused_with_its_reason_unless_forced(
    file: Path, override: str, reason: str
) -> None:
    name = override.split("=")[0].split(".")[1]
    with pytest.raises(ConfigError, match=f"augment: {name}: refused: {reason}.*add it to augment.force") as refusal:
        Config.load(file, [override])
    assert "Value error" not in str(refusal.value) and "found" not in str(refusal.value)
    assert Config.load(file, [override, f"augment.force=[{name}]"]).augment.force == (name,)


def test_hard_negatives_want_a_loss_that_compares_captions(file: Path) -> None:
    wanted = ["train.hard_negatives=0.5", "loss.name=attributes"]
    with pytest.raises(ConfigError, match=r"compares pictures with values.*loss\.caption_weight above 0"):
        Config.load(file, [*wanted, "loss.caption_weight=0"])
    assert Config.load(file, wanted).train.hard_negatives == 0.5


def test_a_picture_is_mixed_once(file: Path) -> None:
    with pytest.raises(ConfigError, match="a picture is mixed once"):
        Config.load(file, ["augment.mixup=0.2", "augment.cutmix=1.0", "augment.force=[cutmix]"])


def test_an_old_key_is_refused_with_its_new_name_and_read_where_we_wrote_it(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.text_lead: unknown key; it is called train\.text_warmup now"):
        Config.load(file, ["train.text_lead=3"])
    with pytest.raises(ConfigError, match=r"train\.text_lead_lr: .*train\.text_warmup_lr now"):
        Config.load(file, ["train.text_lead_lr=0.1"])
    file.write_text(SMALLEST + "train: {text_lead: 3, text_lead_lr: 0.1}\n")
    train = Config.load(file, old_keys=True).train
    assert (train.text_warmup, train.text_warmup_lr) == (3, 0.1)


def test_every_old_key_has_a_new_one() -> None:
    sections = [Config, *Section.__subclasses__()]
    for section in sections:
        for old, new in section.renamed.items():
            assert old not in section.model_fields and new in section.model_fields


@pytest.mark.parametrize("loss", ["softmax", "multi_positive"])
def test_a_batch_of_one_has_no_other_captions_to_compare_with(file: Path, loss: str) -> None:
    one = ["train.batch_size=1", "train.micro_batch=1", f"loss.name={loss}"]
    with pytest.raises(ConfigError, match=r"train\.batch_size 1: .* there are none; raise it"):
        Config.load(file, one)
    assert Config.load(file, [*one, "loss.name=attributes"]).train.batch_size == 1


def test_names_of_attributes_are_those_that_the_data_has(file: Path) -> None:
    right = ["loss={name: attributes, attribute_weights: {baseColour: 0}}", "eval.headline=[Pattern, Fit]"]
    assert Config.load(file, right).eval.headline == ("Pattern", "Fit")
    with pytest.raises(ConfigError) as told:
        Config.load(file, ["loss.attribute_weights={basecolour: 0}", "eval.headline=[Patern, Occasion]"])
    for fault in (
        "loss.attribute_weights: data.attributes has no 'basecolour'; did you mean 'baseColour'?",
        "eval.headline: data.attributes has no 'Patern'; did you mean 'Pattern'?",
        "eval.headline: data.attributes has no 'Occasion'; there are Pattern, Fabric, Fit",
    ):
        assert fault in str(told.value)


def test_first_dimensions_fall(file: Path) -> None:
    assert Config.load(file, ["loss.dims=[128, 64]"]).loss.dims == (128, 64)
    for wrong in ("[64, 128]", "[64, 64]"):
        with pytest.raises(ConfigError, match=r"loss\.dims: write each once, from many to few: \["):
            Config.load(file, [f"loss.dims={wrong}"])
    with pytest.raises(ConfigError, match=r"head linear.*leave out loss\.dims"):
        Config.load(file, ["loss.dims=[64]", "head=linear"])


def test_a_loss_is_a_name_or_a_class_and_a_slip_is_one_fault(file: Path) -> None:
    assert Config.load(file, ["loss.name=shop.losses:Focal", "loss.options={gamma: 2}"]).loss.options == {"gamma": 2}
    with pytest.raises(ConfigError, match=r"1 fault.*\n  - loss\.name: no loss of that name; did you mean softmax"):
        Config.load(file, ["loss.name=sofmax"])
    with pytest.raises(ConfigError, match="only a class of your own takes them"):
        Config.load(file, ["loss.options={gamma: 2}"])


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (["loss={name: softmax, search: 1, wordings: 2}"], "loss.search, loss.wordings would do nothing; leave out"),
        (["loss={name: sigmoid, attribute_weights: {Pattern: 2}}"], "loss.attribute_weights would do nothing"),
        (["loss={name: 'shop.losses:Focal', bank: 8}"], "loss.bank would do nothing"),
        (["loss={name: attributes, answers: 1}"], "loss.answers: without an anchor nothing is kept; set loss.anchor"),
        (["loss={name: attributes, answers: 1, anchor: 1}"], "loss.attribute_weights is 0, and there is none"),
        (["loss={name: attributes, bank: 8}"], "loss.bank: values look for items in it, and loss.search is 0"),
        (["loss={logit_scale: trained, scale: 150}"], "loss.scale 150: a trained scale stays between 1 and 100"),
        (["loss={logit_scale: trained, scale: 0.5}"], "loss.scale 0.5: a trained scale stays between 1 and 100"),
        (["head=linear", "loss={wordings: 3, bank: 7}", "export=[]"], "leave out loss.bank, loss.wordings"),
        (["lora={tokens: true, preset: image}"], "lora.tokens: the text tower's, and the image tower alone is trained"),
        (["lora={tokens: true}", "head=linear", "export=[]"], "lora.tokens: the text tower's, and the image"),
        (["lora={tokens: true}", "train.trainable=norms"], "lora.tokens: trained beside adapters, and"),
    ],
)  # fmt: skip
def test_a_key_that_would_do_nothing_is_refused(file: Path, overrides: list[str], fault: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(fault)):
        Config.load(file, overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss={name: softmax, keep: 1, anchor: 1, answers: 1, dims: [64]}"],
        ["loss={name: attributes, search: 1, bank: 9, anchor: 1, answers: 1, attribute_weights: {Fit: 0}}"],
        ["loss={logit_scale: trained, scale: 100}"],
        ["loss={scale: 150}"],
        ["head=linear", "export=[]", "loss={attribute_weights: {Pattern: 2}, logit_adjustment: 0}"],
        ["augment.mixup=0.2", "train.micro_batch=33"],
        ["lora={tokens: true, preset: text}"],
    ],
)
def test_a_key_that_does_something_is_not(file: Path, overrides: list[str]) -> None:
    Config.load(file, overrides)


def test_what_an_earlier_version_let_pass_is_read_in_a_runs_own_file(file: Path) -> None:
    idle = "loss: {name: softmax, search: 1.0, attribute_weights: {shape: 2.0}, answers: 1.0}\n"
    file.write_text(SMALLEST + idle)
    with pytest.raises(
        ConfigError, match=r"3 fault[\s\S]*'shape'[\s\S]*search would do nothing[\s\S]*without an anchor"
    ):
        Config.load(file)
    assert Config.load(file, old_keys=True).loss.search == 1.0
    (file.parent / places.FILE).write_text('{"schema_version": 1, "paths": {}}')
    assert Config.load(file).loss.answers == 1.0
    file.write_text(SMALLEST + "train: {trainable: head}\n")
    with pytest.raises(ConfigError, match="there is none to train"):
        Config.load(file, old_keys=True)
