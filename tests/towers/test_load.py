"""MODEL strings: what loads, and what is said of those that do not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import OPEN_CLIP, SIZE, TEXTS
from torch import Tensor

from clipadapt.errors import ModelError
from clipadapt.towers import hub
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.hub import ModelName, parse
from clipadapt.towers.load import load, register


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("EVA02-B-16:merged2b_s8b_b131k", ModelName("open_clip", "EVA02-B-16", "merged2b_s8b_b131k")),
        ("hf-hub:org/name", ModelName("hf-hub", "org/name")),
        ("hf-hub:org/name@v1.2", ModelName("hf-hub", "org/name", revision="v1.2")),
        ("transformers:org/name@abc", ModelName("transformers", "org/name", revision="abc")),
        ("timm:vit_large_patch16_224.augreg", ModelName("timm", "vit_large_patch16_224.augreg")),
        ("local-dir:a@b/c", ModelName("local-dir", "a@b/c")),
        ("run:runs/fashion", ModelName("run", "runs/fashion")),
        ("onnx:x", ModelName("onnx", "x")),
    ],
)
def test_parse(text: str, expected: ModelName) -> None:
    assert parse(text) == expected
    assert str(expected) == text


def test_a_path_that_holds_an_at_sign_is_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "model@2"
    folder.mkdir()
    assert parse(f"transformers:{folder}") == ModelName("transformers", str(folder))


@pytest.mark.parametrize(
    ("files", "scheme"),
    [
        ({"open_clip_config.json": "{}"}, "local-dir"),
        ({"config.yaml": "", "adapter/clipadapt.json": "{}"}, "run"),
        ({"adapter_model.safetensors": ""}, "run"),
        ({"image.onnx": "", "clipadapt.json": "{}"}, "onnx"),
        ({"config.json": '{"model_type": "clip"}'}, "transformers"),
        ({"config.json": '{"architecture": "vit"}'}, "timm"),
        ({"manifest.json": "{}", "model/open_clip_config.json": "{}", "adapter/clipadapt.json": "{}"}, "release"),
    ],
)
def test_a_bare_folder_is_recognised_by_what_it_holds(tmp_path: Path, files: dict[str, str], scheme: str) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert parse(str(tmp_path)).scheme == scheme


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("EVA02-B-16", r"names no weights; write EVA02-B-16:merged2b_s8b_b131k"),
        ("EVA02-B16:merged2b_s8b_b131k", r"did you mean EVA02-B-16"),
        ("EVA02-B-16:merged2b", r"did you mean merged2b_s8b_b131k"),
        ("eva02-b-16", r"did you mean EVA02-B-16"),
        ("no such thing", r"no such folder and no MODEL string"),
        ("", r"no such folder"),
        ("timm:", r"nothing after timm:"),
        ("timm:vit_larg_patch16_224", r"did you mean vit_large_patch16_224"),
        ("local-dir:/nowhere/at/all", r"no such folder"),
        ("run:/nowhere/at/all", r"no adapter in /nowhere/at/all"),
        ("transformers:/nowhere/at/all", r"could not fetch config\.json|cannot load it"),
    ],
)
def test_what_does_not_exist_is_named_with_near_misses(
    text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "reach", _offline)
    with pytest.raises(ModelError, match=message):
        load(text)


def _offline(*_: object) -> None:
    raise ConnectionError("Name or service not known")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("EVA02-B-16:merged2b_s8b_b131k", r"open_clip_model\.safetensors of timm/eva02_base_patch16_clip_224"),
        ("hf-hub:Marqo/marqo-fashionSigLIP@main", r"open_clip_model\.safetensors of Marqo/marqo-fashionSigLIP"),
        ("transformers:openai/clip-vit-base-patch32", r"model\.safetensors of openai/clip-vit-base-patch32"),
        ("timm:vit_tiny_patch16_224", r"model\.safetensors of timm/vit_tiny_patch16_224"),
    ],
)
def test_without_a_network_the_file_and_the_remedy_are_named(
    text: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "reach", _offline)
    with pytest.raises(ModelError, match=rf"could not fetch .*{wanted}.*local-dir:PATH"):
        load(text)


def test_an_error_that_is_not_about_fetching_is_not_called_one() -> None:
    with pytest.raises(KeyError), hub.fetching("a", "b"):
        raise KeyError("x")


def test_weights_files_and_random_weights(folder_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip.factory

    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny", OPEN_CLIP["clip"])
    weights = folder_of("clip") / "open_clip_model.safetensors"
    encoder = load(f"Tiny:{weights}")
    beside = load(f"local-dir:{folder_of('clip')}")
    torch.testing.assert_close(encoder.encode_texts(TEXTS), beside.encode_texts(TEXTS))
    monkeypatch.chdir(weights.parent)
    relative: Any = load("Tiny:open_clip_model.safetensors")
    assert relative.source == f"Tiny:{weights}"
    one, two = load("Tiny:random"), load("Tiny:random")
    assert one.image_space == two.image_space != beside.image_space
    pickle = weights.with_suffix(".bin")
    pickle.write_bytes(b"x")
    try:
        with pytest.raises(ModelError, match=r"only \.safetensors are read from disk"):
            load(f"Tiny:{pickle}")
    finally:
        pickle.unlink()


def test_a_flat_config_loads_as_the_nested_one(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    nested = folder_of("eva_fused")
    flat = tmp_path / "flat"
    shutil.copytree(nested, flat)
    document = json.loads((flat / "open_clip_config.json").read_text())
    preprocess = {"preprocess_cfg": document["preprocess_cfg"]}
    (flat / "open_clip_config.json").write_text(json.dumps(document["model_cfg"] | preprocess))
    one, two = load(f"local-dir:{flat}"), load(str(nested))
    assert (one.image_space, one.text_space) == (two.image_space, two.text_space)
    torch.testing.assert_close(one.encode_texts(TEXTS), two.encode_texts(TEXTS), atol=0, rtol=0)


def test_broken_folders_are_refused_by_what_is_wrong(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(folder_of("clip"), folder)
    config, weights = folder / "open_clip_config.json", folder / "open_clip_model.safetensors"
    good = config.read_text()

    config.write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        load(str(folder))
    config.write_text('{"embed_dim": 3}')
    with pytest.raises(ModelError, match="holds neither model_cfg nor"):
        load(str(folder))
    document = json.loads(good)
    document["model_cfg"]["embed_dim"] = 16
    config.write_text(json.dumps(document))
    with pytest.raises(ModelError, match=r"open_clip cannot build it: (.|\n)*size mismatch"):
        load(str(folder))
    document = json.loads(good)
    document["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "someone/tokenizer"
    config.write_text(json.dumps(document))
    with pytest.raises(ModelError, match=r"its tokenizer \(someone/tokenizer\) is not in the folder"):
        load(str(folder))
    config.write_text(good)
    weights.rename(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(
        ModelError, match=r"no \.safetensors weights; it holds open_clip_pytorch_model\.bin, but a pickle"
    ):
        load(str(folder))
    config.unlink()
    with pytest.raises(ModelError, match="no model found in it; looked for open_clip_config"):
        load(str(folder))


def test_other_transformers_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="a bert model; only clip and siglip"):
        load(f"transformers:{tmp_path}")


@pytest.mark.parametrize("layout", ["clip", "eva_fused", "eva_separate", "siglip", "hf_clip", "hf_siglip", "timm_vit"])
def test_another_image_size(layout: str, folder_of: Callable[[str], Path]) -> None:
    native = load(str(folder_of(layout)))
    larger = load(str(folder_of(layout)), image_size=2 * SIZE)
    assert larger.preprocess.size == 2 * SIZE
    vectors = larger.encode_images(torch.randn(2, 3, 2 * SIZE, 2 * SIZE))
    assert vectors.shape == (2, native.dim)
    assert larger.image_space != native.image_space
    assert larger.text_space == native.text_space


def test_resized_transformers_positions_equal_its_own_interpolation(
    encoder_of: Callable[[str], TorchEncoder], folder_of: Callable[[str], Path]
) -> None:
    """Up to antialiasing, which plays no part when the grid grows."""
    pixels = torch.randn(1, 3, 64, 64)
    for layout in ("hf_clip", "hf_siglip"):
        model: Any = encoder_of(layout).model
        with torch.no_grad():
            expected = model.get_image_features(pixel_values=pixels, interpolate_pos_encoding=True).pooler_output
            larger = load(str(folder_of(layout)), image_size=64)
            assert isinstance(larger, TorchEncoder)
            torch.testing.assert_close(larger.image_features(pixels), expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(ModelError, match="not a multiple of the patch size 16"):
        load(str(folder_of("hf_clip")), image_size=40)


def test_loaded_models_are_frozen_quiet_and_leave_the_generator_alone(
    folder_of: Callable[[str], Path], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for layout in ("eva_separate", "hf_clip", "timm_eva"):
        folder = folder_of(layout)
        capfd.readouterr()
        before = torch.get_rng_state()
        encoder: Any = load(str(folder))
        assert torch.equal(torch.get_rng_state(), before)
        assert not any(parameter.requires_grad for parameter in encoder.parameters())
        assert not encoder.training
        out, err = capfd.readouterr()
        assert (out, err) == ("", "")
    assert not caplog.records


def test_other_schemes_are_served_by_who_registers(pixels: Tensor) -> None:
    seen: dict[str, Any] = {}

    def loader(name: str, **options: Any) -> Any:
        seen.update(options, name=name)
        return load_marker

    load_marker: Any = object()
    register("release", loader)
    try:
        from clipadapt.towers.load import _elsewhere

        found = _elsewhere("release")
        assert found is not None
        assert found("shop", device="cpu", precision="fp32", image_size=None) is load_marker
    finally:
        from clipadapt.towers import load as module

        module._REGISTERED.pop("release")
    assert seen == {"name": "shop", "device": "cpu", "precision": "fp32", "image_size": None}


def test_a_repository_is_asked_for_without_the_file_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip

    asked: list[str] = []

    def reach(repository: str, files: tuple[str, ...], revision: str | None = None) -> None:
        asked.append(repository)
        raise ConnectionError("no route")

    monkeypatch.setattr(hub, "reach", reach)
    filed = [
        f"{name}:{tag}"
        for name, tag in open_clip.list_pretrained()  # pyright: ignore[reportGeneralTypeIssues]
        if Path(open_clip.get_pretrained_cfg(name, tag).get("hf_hub", "")).suffix == ".bin"
    ]
    with pytest.raises(ModelError, match="could not fetch"):
        load(filed[0])
    assert asked[0].count("/") == 1


def test_a_device_that_is_not_there_is_named(folder_of: Callable[[str], Path]) -> None:
    with pytest.raises(ModelError, match="cannot be put on device cuda:93"):
        load(str(folder_of("timm_vit")), device="cuda:93")
