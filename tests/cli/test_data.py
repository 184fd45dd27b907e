"""clipadapt data check and prepare, as typed."""

import base64
import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.cli import main
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.prepared import PreparedPictures


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for split, count in (("train", 6), ("validation", 2)):
        folder = tmp_path / "shop" / split
        folder.mkdir(parents=True)
        with (folder / "metadata.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["file_name", "id", "Pattern", "product"])
            for item in range(count):
                Image.new("RGB", (24, 24), (item * 30, len(split) * 10, 0)).save(folder / f"{item}.png")
                writer.writerow([f"{item}.png", f"{split}{item}", "Striped" if item % 2 else "Solid", f"{split}{item}"])
    return tmp_path / "shop"


def test_check_prints_and_exits_by_what_it_finds(shop, capsys):
    assert main(["data", "check", str(shop), "--attribute", "Pattern"]) == 0
    out, err = capsys.readouterr()
    assert "train: 6 items, 6 products, 1 picture size(s), mostly 24x24" in out
    assert "Pattern: known for 100% of the items, 2 values" in out
    assert err.startswith("0 error(s)")
    (shop / "train/3.png").write_bytes(b"nothing")
    assert main(["data", "check", str(shop), "--attribute", "Pattern", "--attribute", "Fabric"]) == 1
    out, _ = capsys.readouterr()
    assert f"error: {shop}/train/metadata.csv, row 5: item 'train3'" in out
    assert "attribute 'Fabric': no such column" in out


def test_check_as_json(shop, capsys):
    assert main(["data", "check", str(shop), "--attribute", "Pattern", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["splits"]["train"]["attributes"]["Pattern"]["counts"] == {"Solid": 3, "Striped": 3}
    assert {fault["level"] for fault in result["faults"]} <= {"warning", "info"}


def test_check_with_a_config(shop, tmp_path, capsys):
    file = tmp_path / "c.yaml"
    file.write_text(
        "name: c\noutput_dir: runs/c\nprompts: prompts/fashion.yaml\n"
        "data: {source: elsewhere, attributes: [Pattern], id: sku}\n"
    )
    assert main(["data", "check", str(shop), "--config", str(file)]) == 1
    assert "id 'sku': no such column" in capsys.readouterr().out
    assert main(["data", "check", str(shop), "--config", str(file), "--id", "id"]) == 0


def test_many_findings_of_a_kind_are_cut(shop, capsys):
    table = shop / "train/metadata.csv"
    table.write_text(table.read_text() + "".join(f"none{i}.png,x{i},Solid,x{i}\n" for i in range(15)))
    assert main(["data", "check", str(shop), "--attribute", "Pattern"]) == 1
    out = capsys.readouterr().out
    assert sum(line.startswith("error: ") and "none" in line for line in out.splitlines()) == 10
    assert "error: and 5 more" in out


def test_a_source_that_is_not_there_is_a_usage_error(capsys):
    assert main(["data", "check", "./nowhere"]) == 2
    assert "no such folder or file" in capsys.readouterr().err


def test_prepare_writes_and_reports(shop, tmp_path, capsys):
    out = tmp_path / "cache"
    assert main(["data", "prepare", str(shop), "--out", str(out), "--size", "16"]) == 0
    text = capsys.readouterr()
    assert "8 items, 8 different pictures" in text.out and "identical, SSIM 1.0000" in text.out
    assert "images/s read back" in text.out and f"data.prepared={out}" in text.err
    assert main(["data", "prepare", str(shop), "--out", str(out), "--size", "16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == 8
    assert main(["data", "prepare", str(shop), "--out", str(out), "--size", "20"]) == 2
    assert "size: cache 16, model 20" in capsys.readouterr().err


def test_prepare_wants_a_model_or_a_size(shop, tmp_path, capsys):
    assert main(["data", "prepare", str(shop), "--out", str(tmp_path / "cache")]) == 2
    assert "--model M, --size N" in capsys.readouterr().err
    both = ["--model", "local-dir:x", "--size", "16"]
    assert main(["data", "prepare", str(shop), "--out", str(tmp_path / "cache"), *both]) == 2
    assert "give one of them" in capsys.readouterr().err


def test_prepare_writes_shards_that_are_a_source(shop, tmp_path, capsys):
    out = tmp_path / "shards"
    given = ["data", "prepare", str(shop), "--shards", str(out), "--rows-per-shard", "4"]
    assert main(given) == 0
    text = capsys.readouterr()
    assert "8 items in 3 shard(s)" in text.out and f"data.source={out}" in text.err
    assert main([*given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"] == 0
    assert main(["data", "check", str(out), "--attribute", "Pattern"]) == 0
    assert "train: 6 items, 6 products" in capsys.readouterr().out
    assert main([*given, "--size", "16"]) == 2
    assert "policy None, not {" in capsys.readouterr().err
    assert (
        main(["data", "prepare", str(shop), "--shards", str(tmp_path / "small"), "--size", "16", "--shuffle", "1"]) == 0
    )
    assert Catalogue.load(tmp_path / "small").picture(0).size == (16, 16)


@pytest.mark.parametrize("given", [["--shuffle", "0"], ["--rows-per-shard", "9"]])
def test_what_is_of_shards_is_refused_for_a_cache(shop, tmp_path, given, capsys):
    assert main(["data", "prepare", str(shop), "--size", "16", "--out", str(tmp_path / "cache"), *given]) == 2
    assert "are of shards; leave them out" in capsys.readouterr().err and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("given", [[], ["--out", "a", "--shards", "b"]])
def test_prepare_wants_one_place_to_write(shop, given, capsys):
    assert main(["data", "prepare", str(shop), "--size", "16", *given]) == 2
    assert "say what to write: --out FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize(("chosen", "size"), [("", 32), ("image_size: 48", 48)])
def test_prepare_takes_model_and_size_from_the_config(shop, tmp_path, capsys, chosen, size):
    write_open_clip(tmp_path / "tiny", OPEN_CLIP["clip"])
    file = tmp_path / "c.yaml"
    file.write_text(
        f"name: c\noutput_dir: runs/c\nprompts: prompts/fashion.yaml\nmodel: {{name: 'local-dir:{tmp_path}/tiny', "
        f"{chosen}}}\ndata: {{source: {shop}, attributes: [Pattern]}}\n"
    )
    assert main(["data", "prepare", "--config", str(file), "--out", str(tmp_path / "cache")]) == 0, capsys.readouterr()
    assert PreparedPictures.open(tmp_path / "cache").policy["size"] == size


def test_audit_writes_a_page_then_figures(shop, tmp_path, capsys):
    out = tmp_path / "audit"
    given = ["data", "audit", str(shop), "--attribute", "Pattern", "--out", str(out)]
    assert main([*given, "--share", "1"]) == 0
    text = capsys.readouterr()
    assert f"6 of 6 labels to look at, about 1 minute: {out / 'mark.html'}" in text.out
    assert "pixels of the shorter side: under 64: 8" in text.out and "Pattern: Solid 3, Striped 3" in text.out
    page = (out / "mark.html").read_text(encoding="utf-8")
    document = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    answers = {key: document[key] for key in ("audit", "source", "split", "attributes", "share", "seed")}
    marks = {str(n): "wrong" if n == 0 else "right" for n in range(6)}
    (tmp_path / "a.json").write_text(json.dumps({"schema_version": 1, **answers, "labels": 6, "marks": marks}))
    again = ["data", "audit", str(shop), "--out", str(out), "--answers", str(tmp_path / "a.json")]
    assert main(again) == 0
    text = capsys.readouterr()
    assert "16.7% of the labels are wrong, 95% interval [16.7, 16.7]: 1 of the 6" in text.out
    assert "name one with --model" in text.out and "set data.label_audit=" in text.err
    assert main([*again, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["wrong"] == 1
    assert main([*again, "--share", "0.5"]) == 2
    assert "--answers brings" in capsys.readouterr().err
    with (shop / "train/metadata.csv").open("a") as file:
        file.write("0.png,new,Solid,new\n")
    assert main(again) == 2
    assert "answers of another catalogue" in capsys.readouterr().err


def test_audit_as_json(shop, tmp_path, capsys):
    assert main(["data", "audit", str(shop), "--attribute", "Pattern", "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["labels"], found["looked_at"]) == (6, 2)
    assert found["balance"] == {"Pattern": {"Solid": 3, "Striped": 3}}


def test_metadata_writes_no_place_unless_asked(shop, tmp_path, capsys):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2026:03:31 10:11:12"
    exif.get_ifd(0x8825).update({1: "N", 2: (47.0, 4.0, 0.0), 3: "E", 4: (15.0, 26.0, 0.0)})
    Image.new("RGB", (24, 24)).save(shop / "train/0.png", exif=exif.tobytes())
    out = tmp_path / "metadata.csv"
    assert main(["data", "metadata", str(shop), "--out", str(out)]) == 0
    assert "captured: known for 1 of 6 items" in capsys.readouterr().out
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"id": "train0", "licence": "", "licensor": "", "credit": "", "captured": "2026-03-31"}
    assert main(["data", "metadata", str(shop), "--out", str(out), "--location"]) == 0
    with out.open(newline="") as file:
        assert next(csv.DictReader(file))["latitude"].startswith("47.0666")
    assert main(["data", "metadata", str(shop), "--out", str(out), "--column", "captured"]) == 2
    assert "write it as FIELD=COLUMN" in capsys.readouterr().err
    # Pages and vectors are made of pixels: what a picture carries beside them goes nowhere.
    assert main(["data", "audit", str(shop), "--attribute", "Pattern", "--share", "1", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "mark.html").read_text(encoding="utf-8")
    pictures = json.loads(page.partition('id="data">')[2].partition("</script>")[0])["pictures"]
    for picture in pictures.values():
        with Image.open(io.BytesIO(base64.b64decode(picture))) as opened:
            assert not opened.getexif().get_ifd(0x8825) and "xmp" not in opened.info
