"""The text tower alone gives what the whole model gives, or nothing."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from runs_factory import write_run
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.export import export
from clipadapt.runs import Run
from clipadapt.towers.byte_pairs import BytePairs
from clipadapt.towers.clip_text import ClipText
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.load import load
from clipadapt.towers.text_only import OnnxText, text_tower

TEXTS = [
    "a red shirt", "", "Pleated MIDI skirt, 3/4 sleeves; größe 38!", "&amp;amp; schÃ¶n <b>",
    "ΣΊΣΥΦΟΣ 短袖 👗🏽 İstanbul",
    "<end_of_text>, <START_OF_TEXT>x", "it's  the girls'\n won't", " ".join(["striped cotton shirt"] * 60),
]  # fmt: skip


@pytest.fixture(scope="module")
def reference():
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=77), BytePairs(77)


def same_ids(reference, texts):
    theirs, ours = (np.asarray(tokenizer(texts)) for tokenizer in (reference[0], reference[1].ids))
    np.testing.assert_array_equal(ours, theirs[:, : ours.shape[1]])
    assert not theirs[:, ours.shape[1] :].any()


def test_ids_are_open_clips(reference):
    same_ids(reference, TEXTS)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=4))
def test_ids_are_open_clips_for_any_text(reference, texts):
    same_ids(reference, texts)


@pytest.mark.parametrize("layout", ["clip", "eva_separate"])
def test_vectors_are_the_whole_models(layout, tmp_path):
    """Attention beside the picture tower with the quick GELU, and a tower of its own with the exact one."""
    base = write_open_clip(tmp_path / "base", OPEN_CLIP[layout])
    out = export(str(base), "open_clip", tmp_path / "out").path
    whole = load(str(out))
    alone = text_tower(str(out), whole.image_space)
    assert isinstance(alone, ClipText)
    assert alone.context_length == whole.context_length
    np.testing.assert_allclose(alone.encode_texts(TEXTS), whole.encode_texts(TEXTS).numpy(), atol=2e-6)
    assert alone.encode_texts([]).shape == (0, whole.dim)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    base = write_open_clip(tmp_path_factory.mktemp("base") / "tiny", OPEN_CLIP["clip"])
    return write_run(tmp_path_factory.mktemp("runs") / "one", base, 1)


def test_a_run_gives_the_tower_of_its_export(run):
    whole = load(f"run:{run.path}")
    alone = text_tower(f"run:{run.path}", whole.image_space)
    assert isinstance(alone, ClipText)
    np.testing.assert_allclose(alone.encode_texts(TEXTS), whole.encode_texts(TEXTS).numpy(), atol=2e-6)
    assert text_tower(f"run:{run.path}", "image-of-another") is None


@pytest.mark.slow
def test_an_onnx_export_comes_first(run, tmp_path):
    copy = Path(shutil.copytree(run.path, tmp_path / "copy"))
    export(f"run:{run.path}", "onnx", copy / "export" / "onnx")
    whole = load(f"run:{run.path}")
    alone = text_tower(f"run:{copy}", whole.image_space)
    assert isinstance(alone, OnnxText)
    np.testing.assert_allclose(alone.encode_texts(TEXTS), whole.encode_texts(TEXTS).numpy(), atol=2e-6)
    (copy / "export/onnx/text.onnx").write_bytes(b"changed")
    assert isinstance(text_tower(f"run:{copy}", whole.image_space), ClipText)


def test_an_export_at_another_strength_of_text_is_not_the_run(run, tmp_path):
    copy = Path(shutil.copytree(run.path, tmp_path / "copy"))
    whole = load(f"run:{run.path}")
    shutil.rmtree(copy / "export/open_clip")
    export(f"run:{run.path}", "open_clip", copy / "export/open_clip", strength={"image": 1.0, "text": 0.5})
    assert text_tower(f"run:{copy}", whole.image_space) is None
    assert text_tower(str(copy / "export/open_clip"), whole.image_space) is not None  # it is itself


def test_changed_weights_are_left_to_the_loader_that_refuses_them(run, tmp_path):
    copy = Path(shutil.copytree(run.path, tmp_path / "copy"))
    from safetensors.torch import load_file, save_file

    file = copy / "export/open_clip/open_clip_model.safetensors"
    tensors = load_file(file)
    tensors["ln_final.bias"][0] += 0.1
    save_file(tensors, file)
    assert text_tower(f"run:{copy}", load(f"run:{run.path}").image_space) is None


@pytest.mark.parametrize("layout", ["raw_in_proj", "vit_fused", "siglip"])
def test_other_text_towers_are_left_to_whole_models(layout, tmp_path):
    base = write_open_clip(tmp_path / "base", OPEN_CLIP[layout])
    out = export(str(base), "open_clip", tmp_path / "out").path
    assert text_tower(str(out), load(str(out)).image_space) is None


@pytest.mark.parametrize("model", ["no/such", "EVA02-B-16:random", "hf-hub:org/name", "run:no/such", "onnx:no/such"])
def test_what_is_no_folder_of_ours_is_left_to_whole_models(model):
    assert text_tower(model, "image-x") is None


def test_half_precision_is_left_to_whole_models(tmp_path):
    base = write_open_clip(tmp_path / "base", OPEN_CLIP["clip"])
    out = export(str(base), "open_clip", tmp_path / "out").path
    from safetensors.torch import load_file, save_file

    file = out / "open_clip_model.safetensors"
    save_file({name: value.to(torch.bfloat16) for name, value in load_file(file).items()}, file)
    assert ClipText.open(out, json.loads((out / "clipadapt.json").read_text())["text_weights"]) is None


def test_a_search_loads_no_torch(run):
    script = (
        "import sys; sys.argv[0] = 'clipadapt'; from clipadapt.cli import main; code = main(sys.argv[1:]); "
        "print('imported:', *[name for name in ('torch', 'open_clip', 'transformers', 'datasets') "
        "if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    index = str(run.path / "index")
    for arguments in (["search", index, "--model", f"run:{run.path}", "--text", "a red shirt", "--json"],
                      ["search", index, "--like", "i3"], ["info", index]):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", script, "index", *arguments], capture_output=True, text=True, timeout=120
        )
        assert done.stderr.splitlines()[-1] == "imported:", done.stderr
        assert done.returncode == 0
        assert done.stdout


def test_a_search_finds_what_the_whole_model_finds(run):
    from clipadapt.search.index import Index

    whole = load(f"run:{run.path}")
    assert isinstance(whole, TorchEncoder)
    alone = Index.open(run.path / "index", model=f"run:{run.path}").search("a red shirt", 5)
    expected = Index.open(run.path / "index", encoder=whole).search("a red shirt", 5)
    assert [hit.id for hit in alone[0]] == [hit.id for hit in expected[0]]
    assert alone[0][0].score == pytest.approx(expected[0][0].score, abs=1e-5)
