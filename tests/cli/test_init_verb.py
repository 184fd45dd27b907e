"""clipadapt init on sources laid out in four ways: the two files load, fit the source, and leave others alone."""

import csv
import errno
import json
import os
import shlex
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import typer
from PIL import Image
from tiny_models import OPEN_CLIP, write_open_clip
from typer.testing import CliRunner

from clipadapt.cli import init, main
from clipadapt.config import Config
from clipadapt.data.splits import load_splits
from clipadapt.errors import CatalogueError, UsageError
from clipadapt.prompts import Prompts
from clipadapt.training.trainer import train

app = typer.Typer()
app.command()(init.command)

ITEMS = [
    {"kind": ("dress", "bag", "umbrella")[item % 3], "colour": ("red", "blue")[item % 2], "product": f"p{item // 2}"}
    for item in range(24)
]


def picture(file: Path) -> bytes:
    file.parent.mkdir(parents=True, exist_ok=True)
    cells = np.random.default_rng(zlib.crc32(str(file).encode())).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(cells).resize((16, 16)).save(file)  # like no other, as the pictures of a shop are
    return file.read_bytes()


def table(file: Path, column: str, paths: list[str]) -> None:
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, [column, *ITEMS[0]])
        writer.writeheader()
        writer.writerows({column: path} | item for path, item in zip(paths, ITEMS, strict=True))


def imagefolder(folder: Path) -> Path:
    for place in range(len(ITEMS)):
        picture(folder / "train" / f"{place}.png")
    table(folder / "train" / "metadata.csv", "file_name", [f"{place}.png" for place in range(len(ITEMS))])
    return folder


def class_folders(folder: Path) -> Path:
    for place, item in enumerate(ITEMS):
        picture(folder / item["kind"] / f"{place}.png")
    return folder


def csv_beside(folder: Path) -> Path:
    for place in range(len(ITEMS)):
        picture(folder / "pictures" / f"{place}.png")
    table(folder / "items.csv", "path", [f"pictures/{place}.png" for place in range(len(ITEMS))])
    return folder


def json_lines_with_photo(folder: Path) -> Path:
    """A JSON Lines table whose picture column bears no name that is understood without being told."""
    for place in range(len(ITEMS)):
        picture(folder / "pictures" / f"{place}.png")
    rows = [{"photo": f"pictures/{place}.png", **item} for place, item in enumerate(ITEMS)]
    (folder / "my items.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def parquet(folder: Path) -> Path:
    stored = [{"bytes": picture(folder / "x.png"), "path": f"{place}.png"} for place in range(len(ITEMS))]
    (folder / "x.png").unlink()
    columns = {"image": pa.array(stored), **{name: [item[name] for item in ITEMS] for name in ITEMS[0]}}
    features = (
        '{"info": {"features": {"image": {"_type": "Image"}, '
        + ", ".join(f'"{name}": {{"dtype": "string", "_type": "Value"}}' for name in ITEMS[0])
        + "}}}"
    )
    pyarrow.parquet.write_table(
        pa.table(columns).replace_schema_metadata({"huggingface": features}), folder / "a.parquet"
    )
    return folder


@pytest.mark.parametrize(
    ("layout", "attributes", "product"),
    [
        (imagefolder, ("kind", "colour"), "product"),
        (class_folders, ("label",), None),
        (csv_beside, ("kind", "colour"), "product"),
        (parquet, ("kind", "colour"), "product"),
        (json_lines_with_photo, ("kind", "colour"), "product"),
    ],
)
def test_writes_files_that_train_at_once(layout, attributes, product, tmp_path, monkeypatch):
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path)
    source = str(layout(tmp_path / "shop"))
    result = CliRunner().invoke(app, [source, "--name", "mine", "--yes"])
    assert result.exit_code == 0, result.output
    assert "accelerate launch -m clipadapt.launch --config configs/mine.yaml" in result.stdout
    steps = [shlex.split(line) for line in result.stdout.splitlines()]
    assert [step[:3] for step in steps] == [
        ["clipadapt", "data", "check"],
        ["clipadapt", "prompts", "preview"],
        ["accelerate", "launch", "-m"],
    ]
    for step in steps[:2]:
        assert main(step[1:]) == 0, step
    config = Config.load("configs/mine.yaml")
    assert tuple(config.data.kinds()) == attributes and config.data.product == product
    splits = load_splits(config.data, config.seed)
    assert min(map(len, splits)) > 0 and sum(map(len, splits)) == len(ITEMS)
    prompts = Prompts.load(config.prompts)
    prompts.check(splits.train.columns)
    for part in splits:
        for item in range(len(part)):
            assert prompts.caption(part.row(item), (config.seed, 0, item))
    for attribute in attributes:
        for value in splits.train.counts(attribute):
            assert prompts.value_texts(attribute, value)

    # As written but for the model, which a test cannot fetch, and how long it is trained.
    write_open_clip(tmp_path / "tiny", OPEN_CLIP["clip"])
    small = [f"model.name=local-dir:{tmp_path / 'tiny'}", "model.precision=fp32"]
    small += ["train.epochs=1", "train.text_warmup=2"]
    run = train(Config.load("configs/mine.yaml", small))
    assert (run.adapter / "adapter_model.safetensors").is_file()
    assert any(row.get("when") == "epoch 1" for row in run.metrics())


def test_existing_files_stay_unless_forced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = str(imagefolder(tmp_path / "shop"))
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "shop.yaml").write_text("mine")
    result = CliRunner().invoke(app, [source, "--yes"])
    assert isinstance(result.exception, UsageError) and "--force" in str(result.exception)
    assert (tmp_path / "configs" / "shop.yaml").read_text() == "mine" and not (tmp_path / "prompts").exists()
    assert CliRunner().invoke(app, [source, "--yes", "--force"]).exit_code == 0
    assert Config.load(tmp_path / "configs" / "shop.yaml").name == "shop"
    assert sorted(file.name for file in tmp_path.rglob("*.yaml")) == ["shop.yaml", "shop.yaml"]


def test_asks_with_a_proposal_for_every_answer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(init, "at_terminal", lambda: True)
    source = str(imagefolder(tmp_path / "shop"))
    result = CliRunner().invoke(
        app, [source], input="\n".join(["second", "prodct", "-", "", "colour, colur", ""]) + "\n"
    )
    assert result.exit_code == 0, result.output
    assert "did you mean 'product'" in result.stderr and "did you mean 'colour'" in result.stderr
    config = Config.load(tmp_path / "configs" / "second.yaml")
    assert config.data.product is None and tuple(config.data.kinds()) == ("colour",)


def test_nothing_is_written_when_the_source_is_at_fault(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [str(tmp_path / "nowhere"), "--yes"])
    assert isinstance(result.exception, CatalogueError)
    assert list(tmp_path.iterdir()) == []


def test_without_a_product_column_titles_stand_for_products_and_a_name_with_a_space_can_be_pasted(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shop = csv_beside(tmp_path / "shop")
    text = (shop / "items.csv").read_text().splitlines()
    names = ("title", *(f"a {item['kind']} called {number // 2}" for number, item in enumerate(ITEMS)))
    lines = [f"{line.rsplit(',', 1)[0]},{name}" for line, name in zip(text, names, strict=True)]
    (shop / "items.csv").write_text("\n".join(lines))
    result = CliRunner().invoke(app, [str(shop), "--name", "my shop", "--yes"])
    assert result.exit_code == 0, result.output
    assert "--config 'configs/my shop.yaml'" in result.stdout
    config = Config.load("configs/my shop.yaml")
    assert (config.data.product, config.data.title) == (None, "title")
    splits = load_splits(config.data, config.seed)
    titles = [{part.row(item)["title"] for item in range(len(part))} for part in splits]
    assert not titles[0] & titles[1] and not titles[0] & titles[2]


@pytest.mark.parametrize("place", ["pathlib.Path.write_text", "clipadapt.atomic.atomic_write"])
def test_a_full_disk_is_a_message_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """When the draft that is tried first is written, and when the files themselves are."""
    imagefolder(tmp_path / "shop")
    monkeypatch.chdir(tmp_path)

    def full(file: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

    monkeypatch.setattr(place, full)
    assert main(["init", "shop", "--name", "shop"]) == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said and "free some space" in said
    assert not list(tmp_path.rglob("*.yaml")) and not list(tmp_path.rglob("*.part"))


def test_brackets_in_names_are_no_markup(tmp_path, monkeypatch):
    """A heading that is taken for markup would end the program, or vanish."""
    monkeypatch.chdir(tmp_path)
    for item in range(6):
        Image.new("RGB", (16, 16), (item * 40, 0, 0)).save(tmp_path / f"{item}.png")
    lines = [f"{item}.png,{('v-neck [/b]', '[o]')[item % 2]},:x:" for item in range(6)]
    (tmp_path / "sh[o]p.csv").write_text("\n".join(["photo,neck [/x],same", *lines]))
    result = CliRunner().invoke(app, ["sh[o]p.csv", "--name", "mine", "--yes"])
    assert result.exit_code == 0, result.output
    for text in ("sh[o]p.csv: 6 pictures", "neck [/x]", "always ':x:'"):
        assert text in result.stderr
    assert list(Config.load("configs/mine.yaml").data.kinds()) == ["neck [/x]"]
    assert Prompts.load("prompts/mine.yaml").value_texts("neck [/x]", "[o]")


def test_without_an_attribute_it_says_what_cannot_be_done(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for item in range(6):
        Image.new("RGB", (16, 16), (item * 40, 0, 0)).save(tmp_path / f"{item}.png")
    (tmp_path / "items.csv").write_text("\n".join(["photo,colour", *(f"{item}.png,Red" for item in range(6))]))
    result = CliRunner().invoke(app, ["items.csv", "--name", "mine", "--yes"])
    assert result.exit_code == 0, result.output
    assert "no column looks like an attribute" in result.stderr
    assert "name columns in data.attributes of configs/mine.yaml" in result.stderr
