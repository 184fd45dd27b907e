"""Every architecture at a size that builds in milliseconds, with random weights, as folders that `load` reads.

Biases and norms are drawn at random too: libraries start them at zero or one, which would hide a lost bias.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from timm.models import (
    Eva,
    VisionTransformer,
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
)
from timm.models.beit import Beit
from torch import nn

SIZE, PATCH, WIDTH, DIM = 32, 16, 32, 24
_COMMON = {"input_size": (3, SIZE, SIZE), "pool_size": None, "crop_pct": 1.0, "interpolation": "bicubic"}
_NAMES = ("tiny_eva_separate", "tiny_eva_fused", "tiny_vit", "tiny_beit", "tiny_siglip")
default_cfgs = generate_default_cfgs({name: dict(_COMMON, num_classes=0, classifier="head") for name in _NAMES})
_SHAPE = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": WIDTH, "depth": 2, "num_heads": 2}
_EVA = {**_SHAPE, "use_rot_pos_emb": True, "ref_feat_shape": (2, 2), "global_pool": "token"}


@register_model
def tiny_eva_separate(pretrained: bool = False, **kwargs: Any) -> Eva:
    swiglu = {"qkv_fused": False, "swiglu_mlp": True, "scale_mlp": True, "scale_attn_inner": True, "mlp_ratio": 2.0}
    return build_model_with_cfg(Eva, "tiny_eva_separate", pretrained, **{**_EVA, **swiglu, **kwargs})


@register_model
def tiny_eva_fused(pretrained: bool = False, **kwargs: Any) -> Eva:
    glu = {"swiglu_mlp": True, "mlp_ratio": 2.0, "init_values": 0.5}
    return build_model_with_cfg(Eva, "tiny_eva_fused", pretrained, **{**_EVA, **glu, **kwargs})


@register_model
def tiny_vit(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    return build_model_with_cfg(
        VisionTransformer, "tiny_vit", pretrained, **{**_SHAPE, "qk_norm": True, "mlp_ratio": 2.0, **kwargs}
    )


@register_model
def tiny_siglip(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    pooled = {"class_token": False, "global_pool": "map", "mlp_ratio": 2.0}
    return build_model_with_cfg(VisionTransformer, "tiny_siglip", pretrained, **{**_SHAPE, **pooled, **kwargs})


@register_model
def tiny_beit(pretrained: bool = False, **kwargs: Any) -> Beit:
    biased = {"use_rel_pos_bias": True, "qkv_bias": True, "init_values": 0.5, "mlp_ratio": 2.0}
    return build_model_with_cfg(Beit, "tiny_beit", pretrained, **{**_SHAPE, **biased, **kwargs})


@contextmanager
def keyed(seed: int = 0) -> Iterator[None]:
    """What the libraries draw on building a model (biases, class embeddings) is the same in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def shake(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random values everywhere, of a size that leaves attention far from uniform."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name in ("logit_scale", "logit_bias"):
                continue
            if parameter.dim() > 1:
                parameter.copy_(noise * (1.5 / parameter.shape[-1] ** 0.5))
            else:
                parameter.add_(0.3 * noise)
    return model


_TEXT = {"context_length": 20, "vocab_size": 49408, "width": WIDTH, "heads": 2, "layers": 2, "mlp_ratio": 2.0}
_CLIP_VISION = {"image_size": SIZE, "patch_size": PATCH, "width": WIDTH, "layers": 2, "head_width": 16}


def _timm_vision(name: str, pool: str, proj: str | None) -> dict[str, Any]:
    return {"image_size": SIZE, "timm_model_name": name, "timm_pool": pool, "timm_proj": proj}


_SIGLIP_TEXT = {
    **_TEXT,
    "vocab_size": 64,
    "context_length": 12,
    "hf_tokenizer_name": "here",
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
}
OPEN_CLIP: dict[str, dict[str, Any]] = {
    "clip": {"embed_dim": DIM, "vision_cfg": _CLIP_VISION, "text_cfg": _TEXT, "quick_gelu": True},
    "raw_in_proj": {
        "embed_dim": DIM,
        "vision_cfg": {
            **_CLIP_VISION,
            **dict.fromkeys(("qk_norm", "scale_heads", "scale_attn_inner", "scale_fc"), True),
        },
        "text_cfg": {**_TEXT, "block_type": "custom", "scale_attn": True},
        "custom_text": True,
    },
    "attentional_pool": {
        "embed_dim": DIM,
        "vision_cfg": {**_CLIP_VISION, "attentional_pool": True, "attn_pooler_queries": 3, "attn_pooler_heads": 2},
        "text_cfg": _TEXT,
        "custom_text": True,
    },
    "eva_separate": {
        "embed_dim": DIM,
        "vision_cfg": _timm_vision("tiny_eva_separate", "token", None),
        "text_cfg": _TEXT,
        "custom_text": True,
    },
    "eva_fused": {
        "embed_dim": DIM,
        "vision_cfg": _timm_vision("tiny_eva_fused", "token", None),
        "text_cfg": _TEXT,
        "custom_text": True,
    },
    "vit_fused": {
        "embed_dim": DIM,
        "vision_cfg": _timm_vision("tiny_vit", "avg", "linear"),
        "text_cfg": {**_TEXT, "pool_type": "eos", "eos_id": 49407},
        "custom_text": True,
    },
    "beit": {
        "embed_dim": DIM,
        "vision_cfg": _timm_vision("tiny_beit", "avg", None),
        "text_cfg": _TEXT,
        "custom_text": True,
    },
    "siglip": {
        "embed_dim": WIDTH,
        "init_logit_bias": -10,
        "vision_cfg": _timm_vision("tiny_siglip", "map", "none"),
        "text_cfg": _SIGLIP_TEXT,
        "custom_text": True,
    },
}
TRANSFORMERS = ("hf_clip", "hf_siglip")
TIMM = ("timm_vit", "timm_beit", "timm_eva")
TWO_TOWERS = (*OPEN_CLIP, *TRANSFORMERS)
LAYOUTS = (*TWO_TOWERS, *TIMM)
TEXTS = ["a red shirt", "a long blue dress with short sleeves and a round neck", "skirt", "a red shirt"]


def write_tokenizer(folder: Path, eos: int = 1, pad: int = 1) -> None:
    """A word-level tokenizer of 64 entries that ends every text with `eos` and pads with `pad`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in TEXTS for word in text.split()})
    special = {"<unk>": 0, "</s>": eos} if eos else {"<unk>": 0}
    vocabulary = special | {word: index for index, word in enumerate(words, 2)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", eos)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>", unk_token="<unk>")
    fast.model_max_length = 12
    fast.save_pretrained(folder)


@keyed()
def write_open_clip(folder: Path, config: dict[str, Any]) -> Path:
    """An open_clip folder with shaken weights."""
    from open_clip.model import CLIP, CustomTextCLIP

    folder.mkdir(parents=True)
    arguments = {key: value for key, value in json.loads(json.dumps(config)).items() if key != "custom_text"}
    model = shake((CustomTextCLIP if config.get("custom_text") else CLIP)(**arguments))
    if config["text_cfg"].get("hf_tokenizer_name"):
        write_tokenizer(folder)
    document = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder


@keyed()
def write_transformers(folder: Path, name: str) -> Path:
    """A transformers CLIP or SigLIP folder with its processor, tokenizer and shaken weights."""
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        SiglipConfig,
        SiglipImageProcessor,
        SiglipModel,
    )

    text = {"vocab_size": 64, "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 2, "max_position_embeddings": 12, "eos_token_id": 1, "pad_token_id": 1}
    vision = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"image_size": SIZE, "patch_size": PATCH}
    if name == "hf_clip":
        model: Any = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=DIM))
        processor: Any = CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    else:
        model = SiglipModel(SiglipConfig(text_config={**text, "projection_size": WIDTH}, vision_config=vision))
        processor = SiglipImageProcessor(size={"height": SIZE, "width": SIZE})
    shake(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


@keyed()
def write_timm(folder: Path, architecture: str) -> Path:
    """A timm folder, as `timm.models.save_for_hf` lays it out."""
    from timm.models import save_for_hf

    save_for_hf(shake(timm.create_model(architecture)), folder, safe_serialization=True)  # pyright: ignore[reportArgumentType]
    return folder
