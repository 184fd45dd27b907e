"""How each library's model is called: pixels and token ids in, unnormalised features out.

Three small classes stand between the encoder and open_clip, transformers and timm, and hold all that differs: where
the towers lie, how texts become ids, and how few ids a tower needs. The models stay what their libraries built, so
their state-dict keys are those of the base. open_clip's text transformers refuse fewer tokens than their fixed mask
has; the causal ones are run here with the mask cut to size, which changes nothing that is read.
Nothing here normalises features, batches or knows of adapters.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clipadapt.errors import ModelError
from clipadapt.towers.identity import Tower, weights_digest

Family = Literal["open_clip", "transformers", "timm"]


@runtime_checkable
class ModelBackend(Protocol):
    """What an encoder needs from a library's model."""

    family: Family
    model: nn.Module
    dim: int
    context_length: int | None

    def image(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b dim"]:
        """Unnormalised picture features."""
        ...

    def text(self, tokens: Int[Tensor, "t length"]) -> Float[Tensor, "t dim"]:
        """Unnormalised text features; fewer columns than context_length are fine where `needed` says so."""
        ...

    def tokens(self, texts: Sequence[str], length: int | None = None) -> Int[Tensor, "t context"]:
        """Token ids cut or padded to context_length, or to another length."""
        ...

    def needed(self, tokens: Int[Tensor, "t context"]) -> int:
        """How many leading columns can influence any feature of the batch."""
        ...

    def vocabulary(self) -> Mapping[str, int] | None:
        """Token -> id."""
        ...

    def tower_of(self, name: str) -> Tower | None:
        """The tower a parameter or module path belongs to; null for the logit scale and bias."""
        ...

    def checkpointing(self, enable: bool) -> None:
        """Turns recomputation of activations on or off, block by block."""
        ...

    def stacks(self) -> Mapping[Tower, nn.Module]:
        """The module of each tower that holds nearly all of its compute and is called once per forward."""
        ...


class OpenClip:
    """open_clip's CLIP and CustomTextCLIP, whatever their image tower."""

    family: Family = "open_clip"

    def __init__(self, model: nn.Module, tokenizer: Callable[..., Tensor], config: Mapping[str, Any]) -> None:
        self.model: Any = model
        self.tokenizer: Any = tokenizer
        self.config = config
        """open_clip's model_cfg, as the weights came with it."""
        self.dim = int(config["embed_dim"])
        self.context_length: int | None = int(self.model.context_length)

    @property
    def _parts(self) -> Any:
        """Where the text tower's pieces lie: beside the image tower, or in a module of their own."""
        return self.model.text if hasattr(self.model, "text") else self.model

    @property
    def _pool(self) -> str:
        return getattr(self._parts, "text_pool_type", None) or getattr(self._parts, "pool_type", "")

    @property
    def _cuts(self) -> bool:
        """Whether positions after the end token are read by nobody: a causal mask, and pooling at that token."""
        parts = self._parts
        causal = getattr(parts, "attn_mask", None) is not None
        return causal and getattr(parts, "cls_emb", None) is None and self._pool in ("argmax", "eos")

    def _ends(self, tokens: Tensor) -> Tensor:
        """Position of each text's end token; the vocabulary's last entry where the pooling is by argmax."""
        if self._pool == "argmax":
            return tokens.argmax(dim=-1)
        parts = self._parts
        end = getattr(parts, "text_eos_id", None) or parts.eos_id
        return (tokens == end).int().argmax(dim=-1)

    def image(self, pixels: Tensor) -> Tensor:
        return self.model.visual(pixels)

    def text(self, tokens: Tensor) -> Tensor:
        if not self._cuts:
            return self.model.encode_text(tokens)
        parts, length = self._parts, tokens.shape[1]
        dtype = parts.transformer.get_cast_dtype()
        hidden = parts.token_embedding(tokens).to(dtype) + parts.positional_embedding[:length].to(dtype)
        hidden = parts.transformer(hidden, attn_mask=parts.attn_mask[:length, :length])
        rows = torch.arange(tokens.shape[0], device=tokens.device)  # len() would fix the batch of an exported graph
        pooled = parts.ln_final(hidden)[rows, self._ends(tokens)]
        projection = parts.text_projection
        if projection is None:
            return pooled
        return pooled @ projection if isinstance(projection, Tensor) else projection(pooled)

    def tokens(self, texts: Sequence[str], length: int | None = None) -> Tensor:
        return self.tokenizer(list(texts), context_length=length or self.context_length)

    def needed(self, tokens: Tensor) -> int:
        return int(self._ends(tokens).max()) + 1 if self._cuts and len(tokens) else tokens.shape[1]

    def vocabulary(self) -> Mapping[str, int] | None:
        inner = getattr(self.tokenizer, "tokenizer", None)
        return inner.get_vocab() if inner is not None else getattr(self.tokenizer, "encoder", None)

    def tower_of(self, name: str) -> Tower | None:
        if name in ("logit_scale", "logit_bias"):
            return None
        return "image" if name.partition(".")[0] == "visual" else "text"

    def checkpointing(self, enable: bool) -> None:
        self.model.set_grad_checkpointing(enable)

    def stacks(self) -> Mapping[Tower, nn.Module]:
        return {"image": self.model.visual, "text": getattr(self._parts, "transformer", self._parts)}


class Transformers:
    """transformers' CLIPModel and SiglipModel.

    CLIP's text tower is causal and reads the end token, so shorter ids are exact. SigLIP's attends to its padding and
    reads the last position, as it was trained: it always gets all its positions.
    """

    family: Family = "transformers"

    def __init__(self, model: nn.Module, tokenizer: Any, processor: Any) -> None:
        self.model: Any = model
        self.tokenizer = tokenizer
        self.processor = processor
        """transformers' image processor, as the weights came with it."""
        text = self.model.config.text_config
        self.context_length: int | None = int(text.max_position_embeddings)
        self._causal = self.model.config.model_type == "clip"
        self.lowercases = self.model.config.model_type == "siglip" and "Gemma" in type(tokenizer).__name__
        """SigLIP 2 was trained on lower case; its Gemma tokenizer leaves that to the caller (transformers PR 43101)."""
        self._end: int | None = None if text.eos_token_id == 2 else text.eos_token_id
        config = self.model.config
        self.dim = int(config.projection_dim if self._causal else config.vision_config.hidden_size)

    def image(self, pixels: Tensor) -> Tensor:
        return _pooled(self.model.get_image_features(pixel_values=pixels))

    def text(self, tokens: Tensor) -> Tensor:
        return _pooled(self.model.get_text_features(input_ids=tokens))

    def tokens(self, texts: Sequence[str], length: int | None = None) -> Tensor:
        most = length or self.context_length
        if self.lowercases:
            texts = [text.lower() for text in texts]
        padded = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=most, return_tensors="pt"
        )
        return padded.input_ids

    def needed(self, tokens: Tensor) -> int:
        if not self._causal or not len(tokens):
            return tokens.shape[1]
        # CLIPTextModel reads the first end token, or the largest id where its config still says eos_token_id 2.
        ends = tokens.argmax(dim=-1) if self._end is None else (tokens == self._end).int().argmax(dim=-1)
        return int(ends.max()) + 1

    def vocabulary(self) -> Mapping[str, int] | None:
        return self.tokenizer.get_vocab()

    def tower_of(self, name: str) -> Tower | None:
        head = name.partition(".")[0]
        if head in ("vision_model", "visual_projection"):
            return "image"
        return "text" if head in ("text_model", "text_projection") else None

    def checkpointing(self, enable: bool) -> None:
        # 5.23 renamed it
        prefix = "activation" if hasattr(self.model, "activation_checkpointing_enable") else "gradient"
        arguments = ({"use_reentrant": False},) if enable else ()
        getattr(self.model, f"{prefix}_checkpointing_{'enable' if enable else 'disable'}")(*arguments)

    def stacks(self) -> Mapping[Tower, nn.Module]:
        return {"image": self.model.vision_model, "text": self.model.text_model}


class Timm:
    """A timm image model alone; its classifier is left out, so features are what it pools."""

    family: Family = "timm"
    context_length: int | None = None

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model
        self.dim = int(self.model.num_features)

    def image(self, pixels: Tensor) -> Tensor:
        return self.model(pixels)

    def text(self, tokens: Tensor) -> Tensor:
        raise _no_text()

    def tokens(self, texts: Sequence[str], length: int | None = None) -> Tensor:
        raise _no_text()

    def needed(self, tokens: Tensor) -> int:
        raise _no_text()

    def vocabulary(self) -> Mapping[str, int] | None:
        return None

    def tower_of(self, name: str) -> Tower | None:
        return "image"

    def checkpointing(self, enable: bool) -> None:
        self.model.set_grad_checkpointing(enable)

    def stacks(self) -> Mapping[Tower, nn.Module]:
        return {"image": self.model}


def weights(backend: ModelBackend) -> dict[Tower, str]:
    """Digest of each tower's weights as a stock loader sees them; only for a model that is unsplit and unadapted."""
    named: dict[Tower, list[tuple[str, Tensor]]] = {}
    for name, tensor in backend.model.state_dict().items():
        tower = backend.tower_of(name)
        if tower is not None:
            named.setdefault(tower, []).append((name, tensor))
    return {tower: weights_digest(tensors) for tower, tensors in named.items()}


def _no_text() -> ModelError:
    return ModelError("a timm: model is an image tower alone; for texts choose an open_clip or transformers model")


def _pooled(output: Any) -> Tensor:
    """transformers 5 returns an output object from get_*_features, 4 returned the tensor."""
    return output if isinstance(output, Tensor) else output.pooler_output
