"""A step on a bench: everything it needs, made from a config, and the loss written out to compare with.

Run as a script, under `accelerate launch` or alone, it takes one step and writes its loss and gradients:
    step_bench.py CONFIG.yaml OUT.safetensors float64
"""

import sys

import numpy as np
import tiny_models  # noqa: F401  # registers the tiny towers with timm
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors.torch import save_file

from clipadapt.config import Config
from clipadapt.data.augment import Augment
from clipadapt.data.batches import Batches
from clipadapt.data.splits import load_splits
from clipadapt.processes.exchange import Processes, leave
from clipadapt.prompts import Prompts
from clipadapt.training import mixing, optim
from clipadapt.training.base import BaseModel
from clipadapt.training.objective import Objective
from clipadapt.training.preparation import prepare
from clipadapt.training.step import Step


class Bench:
    """Everything a step needs, with adapters that are not zero any more."""

    def __init__(self, config: Config, dtype: torch.dtype = torch.float64) -> None:
        self.config = config
        self.train = load_splits(config.data, config.seed).train
        self.encoder, self.logit_scale, _ = prepare(config, "cpu")
        self.encoder.to(dtype)
        self.parameters = optim.trainable(self.encoder.model)
        pictures = F.normalize(torch.randn(len(self.train), self.encoder.dim, generator=seeded(1)), dim=-1)
        base = BaseModel(self.encoder, self.parameters, lambda: pictures) if config.loss.keep else None
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                if "lora_B" in name:
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=seeded(2), dtype=dtype))
        prompts = Prompts.load(config.prompts)
        self.objective = Objective(config.loss, self.train, prompts, seed=config.seed)
        self.processes = Processes(Accelerator(cpu=True))
        self.base = base
        self.step = Step(self.encoder, self.objective, self.logit_scale, self.processes, config, base=base)

    def batches(self) -> Batches:
        augment = Augment(self.config.augment, self.encoder.preprocess, self.config.seed)
        rank, count = self.processes.rank, self.processes.count
        return Batches(self.train, self.config.train, augment, self.config.seed, rank, count)

    def gradients(self) -> tuple[float, dict[str, torch.Tensor]]:
        """Loss and gradients of the first step, as training takes them."""
        self.encoder.zero_grad()
        outcome = self.step.both(next(self.batches().epoch(0)), epoch=0, step=0)
        self.processes.average_gradients(list(self.parameters.values()))
        return float(outcome.loss), self.collected()

    def reference(self) -> tuple[float, dict[str, torch.Tensor]]:
        """The same from whole towers at once: full token length, every caption of every item, one graph."""
        self.encoder.zero_grad()
        micros = next(self.batches().epoch(0))
        items = np.concatenate([micro.indices for micro in micros])
        pixels = torch.cat([micro.pixels for micro in micros])
        sizes, side = [len(m) for m in micros], pixels.shape[-1]
        mix = mixing.draw(items, sizes, self.config.augment, side=side, seed=0, step=0)
        text_batch = self.objective.texts_for(items, epoch=0, step=0)._replace(mix=mix)
        if mix is not None:
            pixels = mixed(pixels, mix)
        self.step._dropouts["image"].draw(step=0, items=items.tolist())
        image = F.normalize(self.encoder.image_features(pixels), dim=-1)
        repeated = [*text_batch.texts, *text_batch.texts]
        self.step._dropouts["text"].draw(step=0, items=repeated)
        text = F.normalize(self.encoder.text_features(self.encoder.backend.tokens(repeated)), dim=-1)
        text = (text[: len(text_batch.texts)] + text[len(text_batch.texts) :]) / 2
        base = self.base.batch(text_batch) if self.base else None
        loss = self.objective.loss(
            text_batch, image, text, scale=self.logit_scale.scale(), bias=self.logit_scale.bias, base=base
        ).loss
        loss.backward()
        return float(loss.detach()), self.collected()

    def collected(self) -> dict[str, torch.Tensor]:
        return {name: p.grad.clone() for name, p in self.parameters.items() if p.grad is not None}


def mixed(pixels: torch.Tensor, mix: mixing.Mix) -> torch.Tensor:
    """Every picture of a whole batch with its partner, one by one."""
    found = []
    for at, (share, partner) in enumerate(zip(mix.share.tolist(), mix.partner.tolist(), strict=True)):
        if mix.patch is None:
            found.append(torch.lerp(pixels[partner], pixels[at], share))
        else:
            left, top, right, bottom = mix.patch[at].tolist()
            picture = pixels[at].clone()
            picture[:, top:bottom, left:right] = pixels[partner, :, top:bottom, left:right]
            found.append(picture)
    return torch.stack(found)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


if __name__ == "__main__":
    bench = Bench(Config.load(sys.argv[1]), getattr(torch, sys.argv[3]))
    loss, gradients = bench.gradients()
    if bench.processes.main:
        save_file({"loss": torch.tensor(loss, dtype=torch.float64), **gradients}, sys.argv[2])
    leave()
