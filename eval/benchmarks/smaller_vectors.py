"""Recognition and search by the first dimensions of vectors that were trained for it, beside the base's.

    python eval/benchmarks/smaller_vectors.py --nested runs/seed0 runs/seed1 --out runs/smaller
    ... --plain runs/plain0 runs/plain1

--nested were trained with `loss.dims`, each with a seed of its own; --plain are the same runs without it, in the same
order, where there are any. Each is measured whole and by its first dimensions on the same items, in held-out wording;
rows are paired: nested against the base, and against plain, at the same length and seed. Bytes are those of an index
per item: exact vectors, and the codes that `auto` keeps in memory (two bits a dimension). The last line has, per
length, the means over the seeds.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
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
    """Measures every run at every length, and writes eval/results/NAME.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nested", type=Path, nargs="+", required=True, help="runs that were trained with loss.dims")
    parser.add_argument("--plain", type=Path, nargs="+", default=[], help="the same runs without, in the same order")
    parser.add_argument("--suite", default="eval/fashion_small.yaml")
    parser.add_argument("--dims", type=int, nargs="+", default=[128, 64, 32])
    parser.add_argument("--out", type=Path, required=True, help="folder of the reports")
    parser.add_argument("--name", default="smaller_vectors")
    arguments = parser.parse_args()
    nested, plain = ([Run.open(place) for place in places] for places in (arguments.nested, arguments.plain))
    if plain and [run.config.seed for run in plain] != [run.config.seed for run in nested]:
        parser.error("--plain: name one run for each of --nested, of the same seeds in the same order")
    dims = (load(nested[0].config.model.name).dim, *arguments.dims)
    seeds = {}
    for at, run in enumerate(nested):
        config = run.config.model_copy(update={"eval": run.config.eval.model_copy(update={"suite": arguments.suite})})
        trials = Trials(config, arguments.out, CutVectors(arguments.out / "vectors"))
        runs = {"nested": run} | ({"plain": plain[at]} if plain else {})
        seeds[config.seed] = of_a_seed(trials, runs, dims)
    names = [name for name in ("nested", "plain", "base") if name in next(iter(seeds.values()))[dims[0]]]
    headline = {
        str(dim): {
            name: {
                figure: round(mean(one[dim][name][figure] for one in seeds.values()), 3)
                for figure in ("headline", "rare", "mAP", "P@10", "retention")
            }
            for name in names
        }
        for dim in dims
    }
    size = {str(dim): {"bytes": 4 * dim, "bytes_in_memory": dim // 4} for dim in dims}
    publish(arguments.name, headline, {"index": size, "seeds": seeds, "trained": list(nested[0].config.loss.dims)})


def of_a_seed(trials: Trials, runs: dict[str, Run], dims: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Dimensions -> each model's figures, and the differences of nested from the others."""
    models = {name: load(f"run:{run.path}") for name, run in runs.items()} | {"base": load(trials.config.model.name)}
    seed = trials.config.seed
    tune, found = trials.splits(seed).tune, {}
    for dim in dims:
        at = {name: cut(encoder, dim, tune, trials.vectors) for name, encoder in models.items()}
        found[dim] = {}
        for other in [name for name in models if name != "nested"]:
            results = trials.measure(at["nested"], at[other], (f"nested_{dim}", f"{other}_{dim}"), seed)
            found[dim] |= {
                "nested": trials.figures(results, f"nested_{dim}"),
                other: trials.figures(results, f"{other}_{dim}"),
                f"nested - {other}": trials.differences(results),
            }
    return found


if __name__ == "__main__":
    main()
