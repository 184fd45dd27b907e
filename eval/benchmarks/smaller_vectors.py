"""Recognition and search by the first dimensions of vectors, trained for it or not, beside the base's.

    python eval/benchmarks/smaller_vectors.py --nested runs/nested --plain runs/fashion --out runs/smaller

--nested was trained with `loss.dims`, --plain is the same run without it. Each is measured whole and by its first
dimensions on the same items, in held-out wording; rows are paired: nested against plain, and against the base, at the
same length. Bytes are those of an index per item: exact vectors, and the codes that `auto` keeps in memory (two bits a
dimension). The last line has, per length, the figures of all three.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from machine import publish
from trials import Trials

from clipadapt.data.catalogue import Catalogue
from clipadapt.recognition.vectors import VectorCache
from clipadapt.runs import Run
from clipadapt.search.vectors import first
from clipadapt.towers.encoder import Encoder, TorchEncoder
from clipadapt.towers.load import load
from clipadapt.towers.value_vectors import Cloud, Learned, ValueVectors


@dataclass(frozen=True)
class FirstDims:
    """A model whose vectors are cut; what it learned of values, too."""

    inner: TorchEncoder
    dim: int
    value_vectors: ValueVectors | None

    @property
    def name(self) -> str:
        return f"{self.inner.name}, first {self.dim}"

    @property
    def preprocess(self) -> Any:
        return self.inner.preprocess

    @property
    def context_length(self) -> int | None:
        return self.inner.context_length

    @property
    def image_space(self) -> str:
        return f"{self.inner.image_space}-first{self.dim}"

    @property
    def text_space(self) -> str | None:
        return f"{self.inner.text_space}-first{self.dim}"

    @property
    def scale(self) -> float:
        return self.inner.scale

    def encode_images(self, pictures: Any) -> torch.Tensor:
        return torch.from_numpy(first(self.inner.encode_images(pictures).cpu().numpy(), self.dim))

    def encode_texts(self, texts: Any) -> torch.Tensor:
        return torch.from_numpy(first(self.inner.encode_texts(texts).cpu().numpy(), self.dim))


class CutVectors(VectorCache):
    """Pictures are encoded once for all lengths."""

    def pictures(self, encoder: Encoder, catalogue: Catalogue, **more: Any) -> Float[np.ndarray, "n dim"]:
        if isinstance(encoder, FirstDims):
            return first(super().pictures(encoder.inner, catalogue, **more), encoder.dim)
        return super().pictures(encoder, catalogue, **more)


def cut(encoder: Encoder, dim: int, tune: Catalogue, cache: VectorCache) -> Encoder:
    """The model at a length; as it is at its own."""
    if dim >= encoder.dim:
        return encoder
    assert isinstance(encoder, TorchEncoder), "runs and bases hold torch weights"
    known = encoder.value_vectors
    if known is not None:
        learned = {
            name: Learned(one.values, first(one.vectors, dim), one.weight) for name, one in known.attributes.items()
        }
        cloud = Cloud.of(first(cache.pictures(encoder, tune), dim))
        known = ValueVectors(learned, f"{encoder.image_space}-first{dim}", known.fitted, cloud)
    return FirstDims(encoder, dim, known)


def main() -> None:
    """Measures every length, and writes eval/results/NAME.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nested", type=Path, required=True, help="run that was trained with loss.dims")
    parser.add_argument("--plain", type=Path, required=True, help="the same run without")
    parser.add_argument("--suite", default="eval/fashion_small.yaml")
    parser.add_argument("--dims", type=int, nargs="+", default=[128, 64, 32])
    parser.add_argument("--out", type=Path, required=True, help="folder of the reports")
    parser.add_argument("--name", default="smaller_vectors")
    arguments = parser.parse_args()
    runs = {"nested": Run.open(arguments.nested), "plain": Run.open(arguments.plain)}
    config = runs["nested"].config
    config = config.model_copy(update={"eval": config.eval.model_copy(update={"suite": arguments.suite})})
    cache = CutVectors(arguments.out / "vectors")
    trials = Trials(config, arguments.out, cache)
    models = {name: load(f"run:{run.path}") for name, run in runs.items()} | {"base": load(config.model.name)}
    tune, found = trials.splits(config.seed).tune, {}
    for dim in (models["base"].dim, *arguments.dims):
        at = {name: cut(encoder, dim, tune, cache) for name, encoder in models.items()}
        found[str(dim)] = {"bytes": 4 * dim, "bytes_in_memory": dim // 4}
        for other in ("plain", "base"):
            results = trials.measure(at["nested"], at[other], (f"nested_{dim}", f"{other}_{dim}"), config.seed)
            found[str(dim)] |= {
                "nested": trials.figures(results, f"nested_{dim}"),
                other: trials.figures(results, f"{other}_{dim}"),
                f"nested - {other}": trials.differences(results),
            }
    headline = {
        dim: {name: {figure: round(one[name][figure], 3) for figure in ("headline", "rare", "mAP")} for name in models}
        for dim, one in found.items()
    }
    publish(arguments.name, headline, {"dims": found, "trained": list(config.loss.dims)})


if __name__ == "__main__":
    main()
