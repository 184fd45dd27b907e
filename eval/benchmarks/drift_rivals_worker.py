"""What other libraries say of streams that drift_rivals.py wrote; run by their own Python, which knows no clipadapt.

    python eval/benchmarks/drift_rivals_worker.py FOLDER evidently|alibi_detect

FOLDER holds KIND-NUMBER.reference.npy and KIND-NUMBER.new.npy, vectors [items, dim]. Prints one JSON object: versions,
and method -> kind -> alarms, in order. Methods are called as each library's documentation does, at 5%.
"""

import importlib.metadata
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PERMUTATIONS = 99
Method = Callable[[np.ndarray, np.ndarray], bool]


def main() -> None:
    """Judges every stream by every method of the library."""
    folder, library = Path(sys.argv[1]), sys.argv[2]
    warnings.simplefilter("ignore")
    methods = {"evidently": evidently, "alibi_detect": alibi_detect}[library]()
    found: dict[str, dict[str, list[bool]]] = {name: {} for name in methods}
    for file in sorted(folder.glob("*.reference.npy")):
        kind = file.name.rsplit("-", 1)[0]
        reference = np.load(file)
        new = np.load(file.with_name(file.name.replace(".reference.", ".new.")))
        for name, method in methods.items():
            found[name].setdefault(kind, []).append(bool(method(reference, new)))
    packages = [
        library.replace("_", "-"),
        "numpy",
        "pandas",
        "scikit-learn",
        *(["torch"] if library == "alibi_detect" else []),
    ]
    versions = {name: importlib.metadata.version(name) for name in packages}
    print(json.dumps({"versions": versions, "alarms": found}))


def evidently() -> dict[str, Method]:
    """The default of EmbeddingsDrift is a classifier, bootstrapped where the reference has fewer than 1,000 rows."""
    import pandas as pd
    from evidently.legacy.metrics.data_drift import embedding_drift_methods as own  # pyright: ignore[reportMissingImports]

    def by(make: Callable[[int], Any]) -> Method:
        def judge(reference: np.ndarray, new: np.ndarray) -> bool:
            frames = [pd.DataFrame(part, columns=[f"d{n}" for n in range(part.shape[1])]) for part in (new, reference)]
            return make(len(reference))(*frames)[1]

        return judge

    return {
        "classifier (default)": by(lambda rows: own.model(bootstrap=rows < 1000)),
        "MMD, bootstrap=True": by(lambda _: own.mmd(bootstrap=True)),
        "MMD, quantile_probability=0.95": by(lambda _: own.mmd(bootstrap=True, quantile_probability=0.95)),
        "distance, bootstrap=True": by(lambda _: own.distance(bootstrap=True)),
        "share of drifted components": by(lambda _: own.ratio()),
    }


def alibi_detect() -> dict[str, Method]:
    """MMD with permutations, and a Kolmogorov-Smirnov test per dimension with Bonferroni's correction."""
    import torch
    from alibi_detect.cd import KSDrift, MMDDrift  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(1)

    def mmd(reference: np.ndarray, new: np.ndarray) -> bool:
        return MMDDrift(reference, backend="pytorch", n_permutations=PERMUTATIONS).predict(new)["data"]["is_drift"]

    def each_dimension(reference: np.ndarray, new: np.ndarray) -> bool:
        return KSDrift(reference).predict(new)["data"]["is_drift"]

    return {"MMD": mmd, "Kolmogorov-Smirnov": each_dimension}


if __name__ == "__main__":
    main()
