"""image_space and text_space: when two vectors may be compared."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_models import LAYOUTS, SIZE, TWO_TOWERS
from torch import Tensor

from clipadapt.config import Lora
from clipadapt.errors import ModelError
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.identity import CARD, Lineage, adapted_space, base_space, read_card, weights_digest, write_card
from clipadapt.towers.load import load
from clipadapt.towers.lora import add_adapters
from clipadapt.towers.packed import split_attention

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.zeros(0), "c": torch.tensor(2.5)}


def test_digests_see_names_shapes_and_values_and_nothing_else() -> None:
    digest = weights_digest(TENSORS.items())
    assert digest == weights_digest(reversed(TENSORS.items()))
    assert digest == weights_digest((name, value.double()) for name, value in TENSORS.items())
    assert digest == weights_digest((name, value.to(torch.bfloat16)) for name, value in TENSORS.items())
    assert digest == weights_digest((name, value.clone().requires_grad_()) for name, value in TENSORS.items())
    strided = torch.arange(6.0).reshape(3, 2).T.contiguous().T.T
    assert weights_digest([("b", strided)]) == weights_digest([("b", strided.contiguous())])
    changed = [
        TENSORS | {"b": TENSORS["b"].reshape(3, 2)},
        TENSORS | {"b": TENSORS["b"] + torch.eye(2, 3) * 1e-6},
        {name if name != "c" else "d": value for name, value in TENSORS.items()},
    ]
    assert len({digest, *(weights_digest(one.items()) for one in changed)}) == 4


@given(st.floats(0, 2), st.floats(0, 2))
def test_a_space_is_a_function_of_base_adapter_and_strength(one: float, two: float) -> None:
    base = base_space("image", "w", {"size": 224})
    spaces = [adapted_space("image", base, "adapter", strength) for strength in (one, two)]
    assert (spaces[0] == spaces[1]) == (one == two)
    assert (spaces[0] == base) == (one == 0)
    assert adapted_space("image", base, None, one) == base
    assert adapted_space("image", base, "other", 1.0) != adapted_space("image", base, "adapter", 1.0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_loading_twice_gives_one_space_and_splitting_keeps_it(
    layout: str, folder_of: Callable[[str], Path], encoder_of: Callable[[str], TorchEncoder]
) -> None:
    encoder = encoder_of(layout)
    again = load(str(folder_of(layout)))
    assert (encoder.image_space, encoder.text_space) == (again.image_space, again.text_space)
    split_attention(encoder.model)
    encoder.precision = "bf16"
    with torch.no_grad():
        if layout in TWO_TOWERS:
            encoder.logit_scale.add_(1)
    assert (encoder.image_space, encoder.text_space) == (again.image_space, again.text_space)
    assert encoder.image_space.startswith("image-")


def test_all_models_differ(encoder_of: Callable[[str], TorchEncoder]) -> None:
    spaces = [encoder_of(layout).image_space for layout in LAYOUTS]
    assert len(set(spaces)) == len(spaces)


def test_text_alone_leaves_pictures_where_they_are(encoder_of: Callable[[str], TorchEncoder], pixels: Tensor) -> None:
    encoder = encoder_of("eva_separate")
    base = encoder.image_space, encoder.text_space
    vectors = encoder.encode_images(pixels)
    add_adapters(encoder, Lora(preset="text", rank=2))
    one = encoder.text_space
    assert encoder.image_space == base[0]
    assert one != base[1]
    torch.testing.assert_close(encoder.encode_images(pixels), vectors, atol=1e-6, rtol=0)
    with torch.no_grad():
        next(p for p in encoder.parameters() if p.requires_grad).add_(1e-3)
    assert encoder.text_space != one


def test_preprocessing_and_tokenizer_are_part_of_it(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    base = load(str(folder_of("siglip")))
    folder = tmp_path / "model"
    shutil.copytree(folder_of("siglip"), folder)
    document = json.loads((folder / "open_clip_config.json").read_text())
    document["preprocess_cfg"]["mean"] = [0.4, 0.5, 0.5]
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    other = load(str(folder))
    assert other.image_space != base.image_space
    assert other.text_space == base.text_space
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["zebra"] = tokenizer["model"]["vocab"].pop("skirt")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert load(str(folder)).text_space != base.text_space


@pytest.fixture
def export(folder_of: Callable[[str], Path], tmp_path: Path) -> tuple[Path, Any]:
    """An export's folder, whose card says that it descends from something else."""
    folder = tmp_path / "export"
    shutil.copytree(folder_of("eva_separate"), folder)
    encoder: Any = load(str(folder))
    lineage = replace(encoder.lineage, base="EVA02-B-16:tag", image_space="image-x", text_space="text-x")
    write_card(folder, replace(lineage, strength={"image": 0.5, "text": 1.0}), precision="fp32")
    return folder, encoder.lineage


def test_a_card_beside_the_weights_is_inherited(export: tuple[Path, Any]) -> None:
    folder, plain = export
    encoder: Any = load(str(folder))
    assert (encoder.image_space, encoder.text_space) == ("image-x", "text-x")
    assert encoder.lineage.base == "EVA02-B-16:tag"
    assert encoder.lineage.strength == {"image": 0.5, "text": 1.0}
    assert encoder.source == f"local-dir:{folder}"
    card = read_card(folder)
    assert card is not None
    assert card["precision"] == "fp32"
    resized: Any = load(str(folder), image_size=2 * SIZE)
    assert resized.image_space not in ("image-x", plain.image_space)


def test_weights_that_changed_under_their_card_are_refused(export: tuple[Path, Any]) -> None:
    folder, plain = export
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["text.ln_final.bias"] = weights["text.ln_final.bias"] + 1e-3
    save_file(weights, folder / "open_clip_model.safetensors")
    with pytest.raises(ModelError, match=r"the text tower's weights changed since clipadapt\.json was written"):
        load(str(folder))
    (folder / "clipadapt.json").unlink()
    assert load(str(folder)).image_space == plain.image_space


def test_cards_that_cannot_be_read(export: tuple[Path, Any]) -> None:
    folder, _ = export
    (folder / "clipadapt.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        load(str(folder))
    (folder / "clipadapt.json").write_text('{"schema_version": 99}')
    with pytest.raises(ModelError, match="newer clipadapt"):
        load(str(folder))
    assert read_card(folder.parent) is None


def test_a_card_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "shop").mkdir()
    lineage = Lineage(f"local-dir:{tmp_path / 'shop'}", "image-a", "text-b", "x", "y", 224)
    write_card(tmp_path / "export", lineage, int8={"source": str(tmp_path / "shop"), "pictures": 8})
    text = (tmp_path / "export" / CARD).read_text()
    assert str(tmp_path) not in text and '"source": "shop"' in text and '"base": "local-dir:../shop"' in text
