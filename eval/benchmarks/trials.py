"""What comparisons of trainings share: runs that are kept, measured on the same items, and the figures that count.

A trained run is kept in its folder and not trained again; two systems that were measured once are read from their
report. Nothing here knows which trainings are compared: baselines.py and ablation.py do.
"""

import json
import time
from pathlib import Path
from statistics import mean
from typing import Any

from clipadapt.atomic import atomic_write
from clipadapt.config import Config
from clipadapt.data.bins import training_counts
from clipadapt.data.splits import Splits, load_splits
from clipadapt.evaluation.evaluate import evaluate
from clipadapt.evaluation.results import RESULTS as FILE
from clipadapt.evaluation.results import Results
from clipadapt.evaluation.suite import Suite
from clipadapt.evaluation.tasks.retention import Retention
from clipadapt.inputs import Inputs
from clipadapt.places import public
from clipadapt.prompts import Prompts
from clipadapt.recognition.vectors import VectorCache
from clipadapt.runs import Run
from clipadapt.statistics.rows import Row, in_quoted_wording, select
from clipadapt.towers.encoder import Encoder
from clipadapt.training.trainer import train

DONE = "finished.json"


class Trials:
    """One config's data, words and suite, and the folder that runs are kept in."""

    def __init__(self, config: Config, out: Path, vectors: VectorCache) -> None:
        self.config = config
        self.out = out
        self.suite = Suite.load(config.eval.suite or "eval/attributes.yaml")
        self.prompts = Prompts.load(config.prompts)
        self.vectors = vectors

    def splits(self, seed: int) -> Splits:
        """As a run of that seed has them."""
        return load_splits(self.config.data, seed)

    def train(self, config: Config, *, passes: int, inputs: Inputs | None = None) -> None:
        """Trains what is not there yet, and notes how long it took and how many pictures it saw.

        `inputs`: None: what the config names.
        """
        if not Path(config.output_dir, DONE).exists():
            started = time.perf_counter()
            run = train(config, inputs=inputs)
            notes = {"seconds": round(time.perf_counter() - started, 1), "passes": passes}
            atomic_write(run.path / DONE, json.dumps(notes) + "\n")

    def kept(self, place: str | Path) -> Run | None:
        """The run in a folder; None where it is not finished."""
        return Run.open(place) if Path(place, DONE).exists() else None

    def notes(self, run: Run) -> dict[str, float]:
        """Seconds and picture passes of a finished run."""
        return json.loads((run.path / DONE).read_text())

    def tuned(self, run: Run) -> float:
        """Tune's best score of a run after training."""
        metric = f"tune_{self.config.eval.select_on}"
        scores = [row[metric] for row in run.metrics() if row.get("when") not in (None, "before") and metric in row]
        return max(scores, default=-1.0)

    def measure(self, encoder: Encoder, against: Encoder, names: tuple[str, str], seed: int) -> Results:
        """Two systems on validation; read from `out` where these very two were measured before."""
        place = self.out / "reports" / f"{names[0]}-{names[1]}-seed{seed}"
        if (place / FILE).exists():
            kept = Results.load(place)
            told = [kept.config["systems"].get(name, {}) for name in names]
            same = [(one.image_space, one.text_space) for one in (encoder, against)]
            if (
                kept.config["prompts"]["digest"] == self.prompts.digest
                and kept.config["suite"] == public(self.suite.model_dump(mode="json"))
                and [(one.get("image_space"), one.get("text_space")) for one in told] == same
            ):
                return kept
        splits = self.splits(seed)
        return evaluate(
            encoder,
            splits.validation,
            self.prompts,
            self.suite,
            split="validation",
            against=against,
            systems=names,
            train_counts=training_counts(splits.train, splits.tune),
            headline=self.config.eval.headline,
            fitted_on={"weights": "train", "epoch": "tune"},
            cache=self.vectors,
            broken=self.config.data.broken,
            out=place,
        )

    def figures(self, results: Results, name: str) -> dict[str, float]:
        """Figure -> one system's, a mean over attributes where no one row says it."""
        own = {key: [row.mean for row in rows if row.system == name] for key, rows in self._rows(results).items()}
        return {key: mean(some) for key, some in own.items() if some}

    def differences(self, results: Results) -> dict[str, Any]:
        """Figure -> the first system minus the second: with interval and p where one row says it, else the mean."""
        found: dict[str, Any] = {}
        for key, rows in self._rows(results).items():
            pairs = [row for row in rows if row.paired]
            if len(pairs) == 1:
                row = pairs[0]
                figures = {"delta": row.delta, "low": row.delta_low, "high": row.delta_high, "p": row.p}
                found[key] = {name: None if value is None else round(value, 4) for name, value in figures.items()}
            elif pairs:
                found[key] = {"delta": round(mean(row.delta or 0.0 for row in pairs), 4)}
        return found

    def _rows(self, results: Results) -> dict[str, list[Row]]:
        """Figure -> its rows of both systems: one each, or one for each headline attribute."""
        rows, headline = in_quoted_wording(results.rows), {"task": "headline"}
        alone = [row for row in results.rows if row.wording == "texts"]
        found = {
            "headline": select(rows, **headline, metric="balanced_accuracy"),
            "rare": select(rows, **headline, metric="rare_balanced_accuracy"),
            "mAP": select(rows, **headline, metric="average_precision"),
            "P@10": [
                row
                for row in select(rows, task="text_to_image", metric="precision", k=10, value=None, bin="all")
                if row.attribute in results.config["headline"]
            ],
        }
        found["texts"] = select(alone, **headline, metric="balanced_accuracy")
        found["texts mAP"] = select(alone, **headline, metric="average_precision")
        for task in self.suite.tasks:
            if isinstance(task, Retention):
                about = {"attribute": task.attribute, "value": None, "bin": "all", "metric": "balanced_accuracy"}
                found["retention"] = select(results.rows, task=f"retention:{task.name}", **about)
                break
        return {key: rows for key, rows in found.items() if rows}
