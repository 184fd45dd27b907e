"""The project's own small EVA-CLIP: EVA-02 blocks at 64 pixels, so that the whole pipeline runs on a CPU in minutes.

It is the architecture of EVA02-B-16 in miniature: separate q/k/v projections without a bias on k, rotary positions,
SwiGLU with its LayerNorm, a LayerNorm inside attention. What is learnt on it about names, adapters and exports holds
for the large ones. timm must know the name before stock open_clip can build the model: importing this module
registers it. Nothing here loads weights or trains.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from timm.models import Eva, build_model_with_cfg, generate_default_cfgs, register_model

from clipadapt.errors import ModelError

NAME = "clipadapt_eva_small"
IMAGE_SIZE = 64
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

default_cfgs = generate_default_cfgs(
    {
        NAME: {
            "input_size": (3, IMAGE_SIZE, IMAGE_SIZE),
            "pool_size": None,
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "fixed_input_size": True,
            "mean": MEAN,
            "std": STD,
            "num_classes": 0,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        }
    }
)


@register_model
def clipadapt_eva_small(pretrained: bool = False, **kwargs: Any) -> Eva:
    """An EVA-02 tower of 1.3 million parameters: width 128, 6 blocks of 4 heads, 16-pixel patches at 64 pixels.

    Keyword arguments replace those of timm's Eva (img_size, depth, num_classes, ...).

    Source: Fang et al., "EVA-02: A Visual Representation for Neon Genesis", arXiv 2303.11331 (the blocks).

    Raises:
        ModelError: pretrained weights are asked for; none are published.
    """
    if pretrained:
        raise ModelError(f"{NAME} has no published weights; it is pretrained on the spot by the quickstart")
    arguments: dict[str, Any] = {
        "img_size": IMAGE_SIZE,
        "patch_size": 16,
        "embed_dim": 128,
        "depth": 6,
        "num_heads": 4,
        "qkv_fused": False,
        "mlp_ratio": 4 * 2 / 3,
        "swiglu_mlp": True,
        "scale_mlp": True,
        "scale_attn_inner": True,
        "use_rot_pos_emb": True,
        "ref_feat_shape": (4, 4),
        "global_pool": "token",
        "head_init_scale": 1.0,  # timm's 0.001 is for a classifier; here it would make the first gradients explode
    }
    return build_model_with_cfg(Eva, NAME, False, **(arguments | kwargs))


def small_model_config() -> dict[str, Any]:
    """open_clip's model_cfg of the small EVA-CLIP: this image tower and a 4-layer CLIP text tower, 128 dimensions."""
    return {
        "embed_dim": 128,
        "vision_cfg": {
            "image_size": IMAGE_SIZE,
            "timm_model_name": NAME,
            "timm_model_pretrained": False,
            "timm_pool": "token",
            "timm_proj": None,
        },
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 4},
        "custom_text": True,
    }


def create_small(path: str | Path, seed: int = 0) -> Path:
    """Writes an open_clip folder with random weights that depend on `seed` alone; load it with `local-dir:PATH`.

    Raises:
        StoreError: the folder cannot be written.
    """
    from open_clip.model import CustomTextCLIP

    from clipadapt.store import atomic_folder

    config = small_model_config()
    arguments = {key: value for key, value in config.items() if key != "custom_text"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CustomTextCLIP(**arguments)
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    folder = Path(path)
    with atomic_folder(folder) as staging:
        document = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}, indent=2)
        (staging / "open_clip_config.json").write_text(document, encoding="utf-8")
        weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, staging / "open_clip_model.safetensors")
    return folder
