"""How long an editor waits for the new table after editing one template, with the vectors at hand.

    python eval/benchmarks/prompt_edit.py --source FOLDER --model local-dir:PATH [--prompts prompts/fashion.yaml]
    python eval/benchmarks/prompt_edit.py --quick          # small numbers: whether it runs, not how fast

Twice, each from the saved file's text to the finished table, program start aside: with the validation photos of a real
source and its real prompts file, one edit in each of its attributes; and with generated vectors of 100,000 pictures and
ten attributes of 8 to 60 values, one edit in the largest. Without --source only the second is measured. Texts go
through the model's own text tower. Edits alternate with tables made from nothing but the pictures: "ratio" is the
median of those over the median edit, on the generated vectors. An edit that repeats is never the same text, for a text
seen before would cost nothing. Processor time over all cores stands beside, for a machine with other work. About five
minutes on 2 cores, and the photos are encoded before that when the cache lacks them.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from clouds import draw
from machine import publish

from clipadapt.data.catalogue import Catalogue
from clipadapt.places import default_folder
from clipadapt.prompt_scoring.table import LabelledPictures, PromptScorer
from clipadapt.prompts import Prompts
from clipadapt.recognition.vectors import VectorCache
from clipadapt.towers.encoder import Encoder
from clipadapt.towers.load import load

VALUES = (60, 40, 30, 20, 15, 12, 10, 8, 8, 8)
"""Values of each generated attribute; the first is the one that is edited."""
TEMPLATES = ("a photo of {a value} thing", "a picture of something {value}", "{a value} item", "clothing, {value}")
WORDS = ("tiny", "modern", "brightly lit", "old", "beautiful", "cheap", "second-hand")
"""Of different lengths, so that the random-word control has to be encoded anew, too."""


class Taken(NamedTuple):
    """What a table took."""

    seconds: float
    processor: float
    """Seconds of all cores together."""


def main() -> None:
    """Measures, writes eval/results/prompt_edit.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", help="catalogue of real photos with a validation split")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--prompts", default="prompts/fashion.yaml", help="that words the source's attributes")
    parser.add_argument("--model", default="EVA02-B-16:random")
    parser.add_argument("--count", type=int, default=100_000, help="generated vectors")
    parser.add_argument("--edits", type=int, default=len(WORDS), choices=range(1, len(WORDS) + 1), metavar="N")
    parser.add_argument("--quick", action="store_true", help="5,000 vectors, 2 edits")
    parser.add_argument("--name", default="prompt_edit", help="of the file in eval/results")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.count, arguments.edits = min(arguments.count, 5_000), min(arguments.edits, 2)
    encoder = load(arguments.model)
    generated = on_generated(encoder, arguments.count, arguments.edits)
    headline = {
        "ratio": round(generated["whole"]["median"] / generated["edit"]["median"], 1),
        "generated_count": arguments.count,
        "generated_edit_seconds": generated["edit"]["median"],
        "generated_slowest_edit_seconds": generated["edit"]["slowest"],
        "generated_small_edit_seconds": generated["edit_of_a_small_attribute"]["median"],
        "generated_whole_seconds": generated["whole"]["median"],
    }
    result: dict[str, Any] = {"generated": generated}
    if arguments.source is not None:
        text = Path(arguments.prompts).read_text(encoding="utf-8")
        photos = result["photos"] = on_photos(encoder, arguments.source, arguments.split, text, arguments.edits)
        headline |= {
            "photos": photos["items"],
            "photos_edit_seconds": photos["edit"]["median"],
            "photos_slowest_edit_seconds": photos["edit"]["slowest"],
            "photos_whole_seconds": photos["whole"]["median"],
        }
    publish(arguments.name, headline, {"architecture": encoder.name, **result})


def on_generated(encoder: Encoder, count: int, edits: int) -> dict[str, Any]:
    """Edits of the largest and of a small attribute among ten."""
    found = labelled(count, encoder.dim)

    def fresh() -> PromptScorer:
        cache = VectorCache()
        return PromptScorer(found, lambda texts: cache.texts(encoder, texts))

    scorer = fresh()
    first = timed(scorer, file())
    large, small, whole = [], [], []
    for number, word in enumerate(WORDS[:edits]):
        large.append(timed(scorer, file(word=word)))
        small.append(timed(scorer, file(word=word, last=word)))
        if number < 3:
            whole.append(timed(fresh(), file(word=word)))
    return {
        "edit": summary(large), "edit_of_a_small_attribute": summary(small), "whole": summary(whole),
        "first": first._asdict(), "values": VALUES, "templates": TEMPLATES,
    }  # fmt: skip


def on_photos(encoder: Encoder, source: str, split: str, text: str, edits: int) -> dict[str, Any]:
    """Edits of the first template of each attribute that the source has."""
    prompts = Prompts.parse(text)
    columns = Catalogue.load(source, split, attributes=[]).columns
    names = [name for name in prompts.attributes if name in columns and not prompts.wording(name).separator]
    catalogue = Catalogue.load(source, split, attributes=names)
    pictures = VectorCache(default_folder() / "vectors").pictures(encoder, catalogue, broken="count")
    found = LabelledPictures.of(catalogue, pictures, names)

    def fresh() -> PromptScorer:
        cache = VectorCache()
        return PromptScorer(found, lambda texts: cache.texts(encoder, texts))

    scorer = fresh()
    whole = [timed(scorer, text)]
    scored = [name for name in names if not isinstance(scorer.scorable(name), str)]
    taken: dict[str, list[Taken]] = {}
    for name in scored:
        taken[name] = [timed(scorer, edited(text, prompts, name, word)) for word in WORDS[:edits]]
    again = timed(scorer, "# a comment moves every line\n" + edited(text, prompts, scored[-1], WORDS[edits - 1]))
    return {
        "items": len(catalogue), "attributes": len(scored),
        "edit": summary([one for some in taken.values() for one in some]),
        "whole": summary(whole), "comment": again._asdict(),
        "by_attribute": {name: summary(some) for name, some in taken.items()},
    }  # fmt: skip


def labelled(count: int, dim: int) -> LabelledPictures:
    """Vectors in a cone, as pictures' are, with labels that have a long tail."""
    cloud = draw(count, dim=dim, queries=1)
    random = np.random.default_rng(0)
    values = {}
    for number, size in enumerate(VALUES):
        shares = 1 / np.arange(1, size + 1)
        codes = random.choice(size, size=count, p=shares / shares.sum())
        values[f"attribute {number}"] = [f"value {code}" for code in codes]
    return LabelledPictures(cloud.items, values, (np.arange(count) // 2).astype(str))


def file(word: str = "thing", last: str = "thing") -> str:
    """The prompts file; `word` stands in the first attribute's first template, `last` in the last attribute's."""
    lines = ["attributes:"]
    for number in range(len(VALUES)):
        said = word if number == 0 else last if number == len(VALUES) - 1 else "thing"
        texts = [TEMPLATES[0].replace("thing", said), *TEMPLATES[1:]]
        lines += [f"  attribute {number}:", f"    templates: {json.dumps(texts)}"]
    return "\n".join(lines)


def edited(text: str, prompts: Prompts, attribute: str, word: str) -> str:
    """The file with a word before an attribute's first template, typed where an editor would."""
    entry = prompts.wording(attribute).templates[0]
    lines = text.split("\n")
    line = lines[entry.place.line - 1]
    lines[entry.place.line - 1] = line.replace(entry.what.text, f"{word} {entry.what.text}", 1)
    changed = "\n".join(lines)
    if changed == text:
        raise SystemExit(f"line {entry.place.line}: the first template of {attribute!r} is not on one line")
    return changed


def timed(scorer: PromptScorer, text: str) -> Taken:
    """From the saved text to the table."""
    start, processor = time.perf_counter(), time.process_time()
    scorer.table(Prompts.parse(text))
    return Taken(time.perf_counter() - start, time.process_time() - processor)


def summary(taken: Sequence[Taken]) -> dict[str, float]:
    """Seconds, and those of all cores."""
    seconds = [one.seconds for one in taken]
    return {
        "median": round(statistics.median(seconds), 3),
        "slowest": round(max(seconds), 3),
        "processor": round(statistics.median(one.processor for one in taken), 3),
        "runs": len(seconds),
    }


if __name__ == "__main__":
    main()
