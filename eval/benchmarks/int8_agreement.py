"""What INT8 costs on real photos: decisions that stay, files, and the paired loss over rare items.

    CLIPADAPT_REAL_DATA=FOLDER python eval/benchmarks/int8_agreement.py [--model MODEL] [--quick]

FOLDER holds data/fashion and models/fashion-base. Ranges are measured and exceptions chosen on the training split; the
figures are of validation, with the headline attributes' value texts (prompts/fashion.yaml) over values of at least five
items there. A decision is one picture's nearest value of one attribute, whether or not its true value is known. The
loss is that of recognition over all items of rare values (100 training items or fewer), clustered by product.
About four minutes on 2 cores. --quick takes few pictures, less than a minute, and writes no file.
"""

import argparse
import json
import os
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from machine import publish

from clipadapt.data.bins import rare
from clipadapt.data.catalogue import Catalogue
from clipadapt.export import export
from clipadapt.export.calibration import PICTURES, TUNE, Calibration, agreement
from clipadapt.export.onnx_encoder import OnnxEncoder
from clipadapt.metrics.intervals import paired_balanced
from clipadapt.prompts import Prompts
from clipadapt.recognition.predict import recognise
from clipadapt.recognition.values import Classifier, value_vectors
from clipadapt.towers.encode import encode_catalogue, encode_texts_batched

ATTRIBUTES = ("Pattern", "Fabric", "Sleeve Length", "Neck", "Fit")
FEWEST = 5


def main() -> None:
    """Exports, measures, writes eval/results/int8_agreement.json and prints the headline."""
    real = Path(os.environ.get("CLIPADAPT_REAL_DATA", "."))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=f"local-dir:{real / 'models' / 'fashion-base'}")
    parser.add_argument("--prompts", default="prompts/fashion.yaml")
    parser.add_argument("--quick", action="store_true", help="few pictures, to see that it runs; no file")
    parser.add_argument("--name", default="int8_agreement", help="of the file in eval/results")
    arguments = parser.parse_args()
    source, prompts = str(real / "data" / "fashion"), Prompts.load(arguments.prompts)
    judged = Catalogue.load(source, "validation")
    pictures, tune = (32, 8) if arguments.quick else (PICTURES, TUNE)
    if arguments.quick:
        judged = judged.subset(range(60))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "onnx")
        calibration = Calibration.of(
            source, prompts=arguments.prompts, attributes=ATTRIBUTES, pictures=pictures, tune=tune
        )
        export(arguments.model, "onnx", folder, calibration=calibration)
        encoders = {"float": OnnxEncoder(folder), "int8": OnnxEncoder(folder, "int8")}
        vectors = {name: encode_catalogue(one, judged) for name, one in encoders.items()}
        report = encoders["int8"].card["int8"]
        texts: dict[str, dict[str, np.ndarray]] = {}
        values: dict[str, list[str]] = {}
        for attribute in ATTRIBUTES:
            counts = judged.counts(attribute)
            values[attribute] = sorted(value for value, count in counts.items() if count >= FEWEST)
            texts[attribute] = {
                name: value_vectors(prompts, attribute, values[attribute], partial(encode_texts_batched, one))
                for name, one in encoders.items()
            }
    stays = agreement(
        (vectors["int8"], vectors["float"]), {name: (one["int8"], one["float"]) for name, one in texts.items()}
    )
    train = Catalogue.load(source, "train")
    lost, products = [], []
    accuracy = {}
    for attribute in ATTRIBUTES:
        classifiers = {name: Classifier.cosine(of_values) for name, of_values in texts[attribute].items()}
        predictions = recognise(attribute, values[attribute], judged.value_sets(attribute), vectors, classifiers)
        accuracy[attribute] = {name: float(predictions.hit[name].mean()) for name in encoders}
        scarce = rare(train.counts(attribute))
        cases = np.array([values[attribute][value] in scarce for value in predictions.cases[:, 1]], bool)
        lost.append(np.stack([predictions.hit["float"][cases], predictions.hit["int8"][cases]]).astype(np.float64))
        products.append(judged.products[predictions.rows[cases]])
    pair, clusters = np.concatenate(lost, axis=1), np.concatenate(products)
    loss = paired_balanced(pair[0], pair[1], np.zeros(len(clusters), np.int64), clusters)
    headline = {
        "agreement": round(stays["all"], 4),
        "bytes": round(report["bytes"], 4),
        "rare_loss": round(loss.delta, 4),
        "rare_loss_at_most": round(loss.delta_high, 4),
        "met": bool(stays["all"] >= 0.99 and report["bytes"] <= 0.3 and loss.delta_high <= 0.02),
    }
    if arguments.quick:
        print(json.dumps(headline))
        return
    publish(
        arguments.name,
        headline,
        {
            "agreement": stays,
            "accuracy": accuracy,
            "pictures": len(judged),
            "rare": {"items": pair.shape[1], "products": len(set(clusters)), **loss._asdict()},
            "tuning": {key: value for key, value in report.items() if key != "calibration"},
        },
    )


if __name__ == "__main__":
    main()
