"""Would the tests notice? Stated faults, put into a copy of the code one at a time, and the tests that should fail.

    python eval/benchmarks/mutations.py                       # all of them, on one core; minutes
    python eval/benchmarks/mutations.py --only search         # one package; the others keep their last figures

A mutation replaces one short piece of code that stands in its file exactly once. It is killed when one of its tests
fails, and survives when they all pass: then a test is missing. The same tests must pass on the unchanged copy first.
The checkout itself is never changed: mutations are made in a temporary copy of the files that git knows.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from machine import RESULTS, publish

ROOT = Path(__file__).parent.parent.parent
LIMIT = 300
"""Seconds that the tests of one mutation may take; longer counts as killed, for a test that hangs is noticed."""
TESTS_FAILED = 1
"""pytest's exit code; 0: all passed; any other: the tests themselves could not run."""


class Mutation(NamedTuple):
    """One fault and the tests that should notice it."""

    package: str
    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


LAUNCH, INPUTS = "tests/test_launch.py", "tests/test_inputs.py"
EVAL_VERB, SUMMARY, INDEX_VERB = "tests/cli/test_eval.py", "tests/cli/test_summary.py", "tests/cli/test_index.py"
PREDICT, NEAREST, ACCURACY = (f"tests/recognition/test_{name}.py" for name in ("predict", "nearest", "accuracy"))
VALUES, CALIBRATION = "tests/recognition/test_values.py", "tests/recognition/test_calibration.py"
EVALUATE, GATE = "tests/evaluation/test_evaluate.py", "tests/evaluation/test_gate.py"
SUITE, TASKS = "tests/evaluation/test_suite.py", "tests/evaluation/test_tasks.py"
FILTERS, INDEX, QUERY, TOPK, ENGINE = (
    f"tests/search/test_{name}.py" for name in ("filters", "index", "query", "topk", "engine")
)
BUNDLE, RELEASES = "tests/deploy/test_bundle.py", "tests/deploy/test_releases.py"
RETENTION = "tests/deploy/test_retention_policy.py"


def _of(package: str, *stated: tuple[str, str, str, str, str]) -> list[Mutation]:
    """(what, file inside clipadapt, old, new, test file) each."""
    return [Mutation(package, what, f"clipadapt/{file}", old, new, (test,)) for what, file, old, new, test in stated]


MUTATIONS = [
    *_of(
        "main job",
        ("the job raises at once", "launch.py", "config = Config.load(path, overrides)", "raise RuntimeError", LAUNCH),
        ("a failed step's exit code is lost", "launch.py", "    if code:\n", "    if not code:\n", LAUNCH),
        ("a suite is not compared with the catalogue", "launch.py",
         "_collect(faults, suite.check, inputs.splits.validation)", "pass", LAUNCH),
        ("a gate on rows that nobody measures is let in", "launch.py", "if condition.row not in measured", "if False",
         LAUNCH),
        ("exports are not looked at before training", "launch.py", "callbacks=[ending]", "callbacks=[]", LAUNCH),
        ("the gain is said with the wrong sign", "cli/summary.py", "difference {row.delta:+.1%}",
         "difference {-row.delta:+.1%}", SUMMARY),
        ("the base is worked out in the wrong direction", "cli/summary.py", "row.mean - row.delta",
         "row.mean + row.delta", SUMMARY),
        ("ends of the interval are exchanged", "cli/summary.py", "{_percent(row.delta_low)} to",
         "{_percent(row.delta_high)} to", SUMMARY),
        ("tune for a report of tune itself", "inputs.py", "return None if split == self.tune_name else self.tune",
         "return self.tune", INPUTS),
        ("another product column of a run is let in", "inputs.py", 'if role == "product" and trained and',
         'if role == "product" and not trained and', INPUTS),
        ("a run brings no choices that were fitted", "inputs.py", "if self.trained else {}", "if False else {}",
         INPUTS),
        ("rare values are counted without tune", "inputs.py",
         "training_counts(self.splits.train, self.splits.tune)", "training_counts(self.splits.train)", INPUTS),
        ("a column may have two roles", "inputs.py", "    if faults:\n", "    if not roles:\n", INPUTS),
    ),
    *_of(
        "evaluation",
        ("the split of choices is reported", "evaluation/evaluate.py",
         "    refuse_fitted(catalogue, split, fitted_on or {}, tune)\n", "", EVALUATE),
        ("weights of texts are measured where they were fitted", "evaluation/evaluate.py",
         "    prompts.refuse_fitted(catalogue.fingerprint)\n", "", EVAL_VERB),
        ("choices are not recorded", "evaluation/evaluate.py", "{**fitted_on, **(", "{**(", EVALUATE),
        ("eval drops fitted_on", "cli/eval.py", "        fitted_on=inputs.fitted_on,\n", "", EVAL_VERB),
        ("eval drops tune", "cli/eval.py", "        tune=inputs.tune_beside(split),\n", "", EVAL_VERB),
        ("eval drops headline", "cli/eval.py", "        headline=inputs.headline,\n", "", EVAL_VERB),
        ("eval drops train_counts", "cli/eval.py", "        train_counts=inputs.training_counts(train_split),\n", "",
         EVAL_VERB),
        ("eval judges no gate", "cli/eval.py", "if conditions is not None:", "if False:", EVAL_VERB),
        ("an empty condition holds", "evaluation/gate.py", "if not about and condition.optional:", "if not about:",
         GATE),
        ("a bound counts as above itself", "evaluation/gate.py", "return figure > self.above",
         "return figure >= self.above", GATE),
        ("one good row of many is enough", "evaluation/gate.py", "condition, not worst, f",
         "condition, len(worst) < len(about), f", GATE),
    ),
    *_of(
        "recognition",
        ("the least similar value is taken", "recognition/nearest.py", "scores.argmax(axis=1), scores.max",
         "scores.argmin(axis=1), scores.max", PREDICT),
        ("close calls stay in float32", "recognition/nearest.py", "        if len(close):\n", "        if False:\n",
         NEAREST),
        ("more values are named than an item has", "recognition/nearest.py", ">= allowed[:, None]",
         "> allowed[:, None]", NEAREST),
        ("several values are ranked worst first", "recognition/nearest.py", "np.argsort(-(", "np.argsort((", NEAREST),
        ("values with too few items count", "recognition/accuracy.py",
         "enough = [one.counts >= min_items for one in scored]", "enough = [one.counts >= 1 for one in scored]",
         ACCURACY),
        ("every value is rare", "recognition/accuracy.py", "scarce = rare(counts, predictions.values)",
         "scarce = predictions.values", ACCURACY),
        ("a value that never occurs counts as wrong", "recognition/accuracy.py",
         "weights = (counts > 0) / (counts > 0).sum()", "weights = np.full(len(counts), 1 / len(counts))", ACCURACY),
        ("offered values are in order of name", "recognition/accuracy.py", "(-pair[1], pair[0])", "pair[0]", ACCURACY),
        ("shares of texts are ignored", "recognition/values.py", "(shares, (rows", "(np.ones(len(rows)), (rows",
         VALUES),
        ("the bias of a head is ignored", "recognition/values.py", " + self.bias.astype(np.float32)", "", VALUES),
        ("a temperature multiplies", "recognition/calibration.py", "return Scale(float(np.exp(found.x)), prior=prior)",
         "return Scale(float(np.exp(-found.x)), prior=prior)", CALIBRATION),
        ("how frequent values are is forgotten", "recognition/calibration.py",
         "return scaled + np.array(self.prior) if self.prior else scaled", "return scaled", CALIBRATION),
        ("calibration error is not weighted by items", "recognition/calibration.py",
         "(items * np.abs(stated - true)).sum()", "np.abs(stated - true).sum()", CALIBRATION),
    ),
    *_of(
        "search",
        ("index search ignores --where", "cli/index.py", "where=conditions, collapse", "where=None, collapse",
         INDEX_VERB),
        ("index search ignores -k", "cli/index.py", "opened.search(query, k,", "opened.search(query, 10,", INDEX_VERB),
        ("index search says nothing of a filter that no item meets", "cli/index.py",
         "    for reason in reasons:\n", "    for reason in ():\n", INDEX_VERB),
        ("search ignores conditions", "search/searcher.py", "matching(self.items, conditions) & ~", "~", INDEX),
        ("removed items are found", "search/searcher.py", " & ~self.items.removed)", ")", INDEX),
        ("a product comes twice", "search/searcher.py", "seen.add(product)", "pass", INDEX),
        ("one of several conditions is enough", "search/filters.py", "mask &= _numbers", "mask = _numbers", FILTERS),
        ("unknown is unlike any value", "search/filters.py", "return known & ~matches", "return ~matches", FILTERS),
        ("words and pictures change their weights", "search/query.py", "((share, words), (1 - share, others))",
         "((1 - share, words), (share, others))", QUERY),
        ("negatives attract", "search/query.py", "target -= query.negative_weight", "target += query.negative_weight",
         QUERY),
        ("a short cell leads to everything", "search/engine.py", "while len(short) and self.ivf is not None",
         "while False and self.ivf is not None", ENGINE),
        ("a query finds itself", "search/topk.py", "excluded = indices == exclude[:, None]",
         "excluded = indices == -2 - exclude[:, None]", TOPK),
        ("an encoder of another space is let in", "search/index.py", "if space != self.meta.image_space:", "if False:",
         INDEX),
    ),
    *_of(
        "deploy",
        ("a report below the gate is released", "deploy/bundle.py", "    if not verdict.passed:\n", "    if False:\n",
         BUNDLE),
        ("another run's export is let in", "deploy/bundle.py", "        if one != other:\n", "        if False:\n",
         BUNDLE),
        ("an index of another model is let in", "deploy/bundle.py", "if space != wanted.image:", "if False:", BUNDLE),
        ("a report with other prompts is let in", "deploy/bundle.py",
         'if results.config["prompts"]["digest"] != prompts.digest:', "if False:", BUNDLE),
        ("a report against another base is let in", "deploy/bundle.py", "        if spaces != base:\n",
         "        if False:\n", BUNDLE),
        ("files are not read before promotion", "deploy/releases.py", "manifest, verify=verify)",
         "manifest, verify=False)", RELEASES),
        ("rollback returns to the oldest", "deploy/releases.py", "target = left[0]\n", "target = left[-1]\n",
         RELEASES),
        ("the current release may be purged", "deploy/retention_policy.py", "if one.current:", "if False:", RETENTION),
        ("what rollback returns to may be purged", "deploy/retention_policy.py", "if one.target:", "if False:",
         RETENTION),
        ("one day too early", "deploy/retention_policy.py", "timedelta(days=30)", "timedelta(days=29)", RETENTION),
        ("parents of what stays may be purged", "deploy/retention_policy.py", "    waiting.append(parent)\n",
         "    pass\n", RETENTION),
        ("a full disk is not looked at", "deploy/creation.py", "if size + _SPARE > free:", "if False:", RELEASES),
    ),
]  # fmt: skip


def main() -> None:
    packages = list(dict.fromkeys(one.package for one in MUTATIONS))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=packages, metavar="PACKAGE", help=f"one of {', '.join(packages)}")
    only = parser.parse_args().only
    chosen = [one for one in MUTATIONS if only in (None, one.package)]
    refuse_vague(chosen)
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copy = Path(folder) / "checkout"
        copy_tracked(copy)
        rows = run_all(chosen, copy)
    kept = [] if only is None else [row for row in _last() if row["package"] != only and row["package"] in packages]
    rows = sorted([*kept, *rows], key=lambda row: packages.index(row["package"]))
    outcomes = Counter(row["outcome"] for row in rows)
    by_package = {
        name: f"{sum(row['outcome'] == 'killed' for row in mine)}/{len(mine)}"
        for name in packages
        if (mine := [row for row in rows if row["package"] == name])
    }
    headline = {
        "mutations": len(rows),
        "killed": outcomes["killed"],
        "survived": [row["what"] for row in rows if row["outcome"] == "survived"],
        "by_package": by_package,
        "seconds": round(sum(row["seconds"] for row in rows)),
    }
    publish("mutations", headline, {"rows": rows})
    if outcomes["survived"]:
        raise SystemExit(1)


def refuse_vague(mutations: list[Mutation]) -> None:
    """Ends with every mutation whose old text does not stand in its file exactly once, or whose tests are not there."""
    faults = []
    for one in mutations:
        times = (ROOT / one.file).read_text(encoding="utf-8").count(one.old) if (ROOT / one.file).is_file() else 0
        if times != 1:
            faults.append(f"{one.file}: {one.old!r} stands there {times} times, not once ({one.what})")
        faults += [f"{test}: no such file ({one.what})" for test in one.tests if not (ROOT / test).is_file()]
    if faults:
        raise SystemExit("mutations that cannot be made; correct the list in this file:\n  " + "\n  ".join(faults))


def copy_tracked(copy: Path) -> None:
    """The files that git knows, as they are now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)


def run_all(mutations: list[Mutation], copy: Path) -> list[dict[str, Any]]:
    """A row per mutation; ends where tests fail without any."""
    for test in dict.fromkeys(test for one in mutations for test in one.tests):
        code, seconds, said = run_tests(copy, (test,))
        if code != 0:
            raise SystemExit(f"{test} does not pass on unchanged code, so nothing can be said:\n{said}")
        print(f"passes       {seconds:5.1f} s  {test}", file=sys.stderr, flush=True)
    rows = []
    for one in mutations:
        file = copy / one.file
        before = file.read_text(encoding="utf-8")
        file.write_text(before.replace(one.old, one.new), encoding="utf-8")
        code, seconds, said = run_tests(copy, one.tests)
        file.write_text(before, encoding="utf-8")
        if code not in (0, TESTS_FAILED, None):
            raise SystemExit(f"{one.what}: pytest ended with {code}, so the tests did not run:\n{said}")
        outcome = "survived" if code == 0 else "killed"
        noticed = next((line.split()[1] for line in said.splitlines() if line.startswith(("FAILED", "ERROR "))), None)
        print(f"{outcome:12} {seconds:5.1f} s  {one.package}: {one.what}", file=sys.stderr, flush=True)
        rows.append({**one._asdict(), "outcome": outcome, "by": noticed, "seconds": round(seconds, 1)})
    return rows


def run_tests(copy: Path, tests: tuple[str, ...]) -> tuple[int | None, float, str]:
    """pytest's exit code, None beyond the limit; the seconds it took; the end of what it printed."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow and not gpu",
        *tests,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    started = time.perf_counter()
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return None, time.perf_counter() - started, ""
    return done.returncode, time.perf_counter() - started, (done.stdout + done.stderr)[-4000:]


def _last() -> list[dict[str, Any]]:
    """Rows of the last run."""
    file = RESULTS / "mutations.json"
    return json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []


if __name__ == "__main__":
    main()
