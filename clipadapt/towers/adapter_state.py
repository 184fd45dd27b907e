"""What was put on an encoder: peft's adapters, or weights trained in place, and how they differ from the base.

peft wraps modules in place: the model keeps its class and its other names. Initialisations that change the base's
weights (PiSSA, OLoRA) train as peft defines them, W - s B0 A0 + s B A, and are described as what they add to the
untouched base: rank 2r, [B, -B0] [A; A0]. The price is a copy of each changed weight while training.
Nothing here knows of plans, files or merging.
"""

import dataclasses
import math
import re
import warnings
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from clipadapt.errors import ConfigError
from clipadapt.keyed import integer
from clipadapt.towers import tokens
from clipadapt.towers.adapter_card import Kind
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.identity import Tower, weights_digest

NAME = "default"
"""peft's name of the adapter."""


class Adapters:
    """What was put on an encoder, and what is needed to describe it over the untouched base.

    `tensors` gives it under the names that peft saves, LayerNorms and other weights trained in place included.
    """

    def __init__(self, encoder: TorchEncoder, kind: Kind, lora: LoraConfig | None) -> None:
        self.kind: Kind = kind
        self.lora = lora
        self.model = encoder.model
        self.tower_of: Callable[[str], Tower | None] = encoder.tower_of
        self.base: dict[str, Tensor] = {}
        """Base values of weights that are trained in place, by parameter name, on the CPU."""
        self.originals: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        """Module path -> (base weight, first A, first B), where initialising changed the base weight."""

    def layers(self) -> dict[str, Any]:
        """Module path -> peft's LoraLayer, which is a module too."""
        return {path: module for path, module in self.model.named_modules() if isinstance(module, LoraLayer)}

    def token_ids(self) -> dict[str, list[int]]:
        """Path of an embedding -> the tokens whose rows are trained by themselves, in the order of their rows."""
        return {path: one.token_adapter.token_indices[NAME] for path, one in tokens.wrappers(self.model).items()}

    def token_rows(self) -> dict[str, nn.Parameter]:
        """Path of an embedding -> the trained rows, which stand in place of the embedding's own."""
        rows = {
            path: one.token_adapter.trainable_tokens_delta[NAME] for path, one in tokens.wrappers(self.model).items()
        }
        return cast("dict[str, nn.Parameter]", rows)

    def tensors(self) -> dict[str, Tensor]:
        """Saved name -> value, on the model's device."""
        found: dict[str, Tensor] = {}
        if self.lora is not None:
            with warnings.catch_warnings():
                if self.lora.lora_bias:  # whose biases are vectors as they should be; peft takes them for shards
                    warnings.filterwarnings("ignore", r"Adapter .* LoRA tensor\(s\) have invalid shape: .*\.bias")
                found = dict(get_peft_model_state_dict(self.model, adapter_name=NAME, save_embedding_layers=False))
        for path, (_, first_a, first_b) in self.originals.items():
            a, b = f"{path}.lora_A.weight", f"{path}.lora_B.weight"
            found[a] = torch.cat([found[a], first_a.to(found[a])])
            found[b] = torch.cat([found[b], -first_b.to(found[b])], dim=1)
        parameters = dict(self.model.named_parameters())
        return found | {name: parameters[name].detach() for name in self.base}

    def saved_config(self) -> LoraConfig | None:
        """peft's config of what `tensors` returns: over the untouched base, ready for inference."""
        if self.lora is None:
            return None
        if not self.originals:
            return dataclasses.replace(self.lora, inference_mode=True)
        # [A; first A] and [B, -first B] have twice the rank; alpha follows so that the scale stays the same
        factor = math.sqrt(2) if self.lora.use_rslora else 2.0
        return dataclasses.replace(
            self.lora,
            inference_mode=True,
            r=2 * self.lora.r,
            lora_alpha=self.lora.lora_alpha * factor,
            rank_pattern={key: 2 * rank for key, rank in (self.lora.rank_pattern or {}).items()},
            alpha_pattern={key: alpha * factor for key, alpha in (self.lora.alpha_pattern or {}).items()},
            init_lora_weights=True,
        )

    def digest(self, tower: Tower) -> str | None:
        """Hash over the tower's tensors, scales and trained tokens; null where it has none."""
        tensors = [(name, value) for name, value in self.tensors().items() if self.tower_of(name) == tower]
        if not tensors:
            return None
        scales = {path: layer.scaling[NAME] for path, layer in self.layers().items() if self.tower_of(path) == tower}
        rows = {path: ids for path, ids in self.token_ids().items() if self.tower_of(path) == tower}
        return weights_digest(tensors + [(path, torch.tensor(part)) for path, part in (scales | rows).items()])


def inject(encoder: TorchEncoder, lora: LoraConfig, seed: int = 0) -> Adapters:
    """Wraps the config's modules and freezes the rest; adapters are float32, or float64 on a float64 model.

    Raises:
        ConfigError: peft refuses the options, or they change the base's weights by something that is not B A; the model
            is then as it was.
    """
    kept: dict[str, Tensor] = {}
    if isinstance(lora.init_lora_weights, str):
        kept = {path: module.weight.detach().clone() for path, module in _targets(encoder.model, lora).items()}
    with torch.random.fork_rng(devices=[encoder.device] if encoder.device.type == "cuda" else []):
        torch.manual_seed(integer(seed, "adapters") % 2**63)
        try:
            inject_adapter_in_model(lora, encoder.model, NAME)
            adapters = Adapters(encoder, "adapters", lora)
            for path, weight in kept.items():
                _keep_original(adapters, path, encoder.model.get_submodule(path), weight)
        except (ValueError, TypeError, NotImplementedError, ConfigError) as error:
            unwrap(encoder.model)
            for path, weight in kept.items():
                encoder.model.get_submodule(path).weight.data = weight  # pyright: ignore[reportAttributeAccessIssue]
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"lora.options: peft refuses them: {error}") from error
    tokens.lighten(encoder.model)
    for layer in adapters.layers().values():
        layer.train(encoder.training)  # peft's new dropout is always on
        for name, parameter in layer.named_parameters():
            if not name.startswith("base_layer."):
                _widen(parameter)
    for rows in adapters.token_rows().values():
        _widen(rows)
    return adapters


def _widen(parameter: nn.Parameter) -> None:
    if parameter.dtype in (torch.float16, torch.bfloat16):
        parameter.data = parameter.data.float()


def _keep_original(adapters: Adapters, path: str, layer: Any, original: Tensor) -> None:
    """Remembers a base weight that initialising changed, and proves that B A is what was taken from it."""
    weight = layer.get_base_layer().weight
    if torch.equal(weight, original):
        return
    first_a, first_b = (part[NAME].weight.detach().clone() for part in (layer.lora_A, layer.lora_B))
    if len(first_a) != layer.r[NAME]:
        raise ConfigError(
            f"rank {layer.r[NAME]} is more than the {len(first_a)} that {path} has, which this initialisation starts "
            "from; lower lora.rank, or the rank of its pattern"
        )
    restored = weight + layer.scaling[NAME] * (first_b @ first_a).to(weight.dtype)
    if not torch.allclose(restored, original, atol=1e-3 * float(original.abs().max())):
        raise ConfigError(
            f"lora.options: init_lora_weights {adapters.lora and adapters.lora.init_lora_weights} changes the base's "
            f"{path} by more than its adapter, so the adapter could not be kept over an untouched base; leave it out"
        )
    adapters.originals[path] = (original, first_a, first_b)


def train_in_place(encoder: TorchEncoder, adapters: Adapters, names: Iterable[str]) -> None:
    """Makes parameters of the model trainable and remembers their base values."""
    parameters = dict(encoder.model.named_parameters())
    for name in names:
        adapters.base[name] = parameters[name].detach().to("cpu", copy=True)
        parameters[name].requires_grad_(True)


def unwrap(model: Any) -> None:
    """Puts each base Linear and embedding back where its adapter stood."""
    for path, wrapper in tokens.wrappers(model).items():
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, wrapper.token_adapter.base_layer)
    for path, module in list(model.named_modules()):
        if hasattr(module, "base_layer"):
            parent, _, child = path.rpartition(".")
            setattr(model.get_submodule(parent), child, module.base_layer)
    if hasattr(model, "peft_config"):
        del model.peft_config


def _targets(model: nn.Module, lora: LoraConfig) -> dict[str, Any]:
    chosen = lora.target_modules
    if isinstance(chosen, str):
        return {path: module for path, module in model.named_modules() if re.fullmatch(chosen, path)}
    ends = tuple(f".{name}" for name in chosen or ())
    return {path: module for path, module in model.named_modules() if f".{path}".endswith(ends)}
