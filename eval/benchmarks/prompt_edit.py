"""How long an editor waits for the new table after editing one template, with 100,000 pictures' vectors at hand.

    python eval/benchmarks/prompt_edit.py [--count 100000] [--model EVA02-B-16:random] [--edits 7]

Pictures are generated vectors with ten attributes of 8 to 60 values; texts go through the model's own text tower, whose
weights do not matter for time. Each edit changes a word of one template of the largest attribute and is compared, in
the same run and alternating, with a table made from nothing but the pictures: "ratio" is the median of that over the
median edit. Both are timed from the file's text to the finished table; processor time over all cores stands beside, for
a machine with other work. About five minutes on 2 cores.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from clouds import draw

from clipadapt.evaluation.prompts.table import Subjects, Workshop
from clipadapt.evaluation.vectors import VectorCache
from clipadapt.prompts import Prompts
from clipadapt.runs import environment
from clipadapt.towers.load import load

RESULTS = Path(__file__).parent.parent / "results"
VALUES = (60, 40, 30, 20, 15, 12, 10, 8, 8, 8)
"""Values of each attribute; the first is the one that is edited."""
TEMPLATES = ("a photo of {a value} thing", "a picture of something {value}", "{a value} item", "clothing, {value}")
WORDS = ("tiny", "modern", "brightly lit", "old", "beautiful", "cheap", "second-hand")
"""Of different lengths, so that the random-word control has to be encoded anew, too."""


def main() -> None:
    """Measures, writes eval/results/prompt_edit.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--model", default="EVA02-B-16:random")
    parser.add_argument("--edits", type=int, default=7)
    arguments = parser.parse_args()
    encoder = load(arguments.model, precision="bf16")
    found = subjects(arguments.count, encoder.dim)
    cache = VectorCache()
    workshop = Workshop(found, lambda texts: cache.texts(encoder, texts))
    start = time.perf_counter()
    workshop.table(Prompts.parse(file()))
    first = time.perf_counter() - start
    edits, small, whole = [], [], []
    for number in range(arguments.edits):
        edits.append(timed(workshop, file(word=WORDS[number])))
        small.append(timed(workshop, file(word=WORDS[number], last=WORDS[number])))
        if number < 3:
            fresh = VectorCache()
            anew = Workshop(found, lambda texts, fresh=fresh: fresh.texts(encoder, texts))
            whole.append(timed(anew, file(word=WORDS[number])))
    headline = {
        "ratio": round(median(whole) / median(edits), 1),
        "edit_seconds": round(median(edits), 3),
        "edit_processor_seconds": round(statistics.median(one.processor for one in edits), 3),
        "slowest_edit_seconds": round(max(one.seconds for one in edits), 3),
        "edit_of_a_small_attribute_seconds": round(median(small), 3),
        "whole_table_seconds": round(median(whole), 2),
        "count": arguments.count,
    }
    result = {
        "headline": headline, "edits": edits, "small_edits": small, "whole": whole, "first": first,
        "model": arguments.model, "values": VALUES, "templates": TEMPLATES, "machine": environment(0),
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "prompt_edit.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(headline))


def subjects(count: int, dim: int) -> Subjects:
    """Vectors in a cone, as pictures' are, with labels that have a long tail."""
    cloud = draw(count, dim=dim, queries=1)
    random = np.random.default_rng(0)
    values = {}
    for number, size in enumerate(VALUES):
        shares = 1 / np.arange(1, size + 1)
        codes = random.choice(size, size=count, p=shares / shares.sum())
        values[f"attribute {number}"] = [f"value {code}" for code in codes]
    return Subjects(cloud.items, values, (np.arange(count) // 2).astype(str))


def file(word: str = "thing", last: str = "thing") -> str:
    """The prompts file; `word` stands in the first attribute's first template, `last` in the last attribute's."""
    lines = ["attributes:"]
    for number in range(len(VALUES)):
        said = word if number == 0 else last if number == len(VALUES) - 1 else "thing"
        texts = [TEMPLATES[0].replace("thing", said), *TEMPLATES[1:]]
        lines += [f"  attribute {number}:", f"    templates: {json.dumps(texts)}"]
    return "\n".join(lines)


class Taken(NamedTuple):
    """What a table took."""

    seconds: float
    processor: float
    """Seconds of all cores together."""


def timed(workshop: Workshop, text: str) -> Taken:
    """From the saved text to the table."""
    start, processor = time.perf_counter(), time.process_time()
    workshop.table(Prompts.parse(text))
    return Taken(time.perf_counter() - start, time.process_time() - processor)


def median(taken: Sequence[Taken]) -> float:
    """Of the seconds."""
    return statistics.median(one.seconds for one in taken)


if __name__ == "__main__":
    main()
