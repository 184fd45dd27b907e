"""What a release's own files say: nothing is measured again, and every file is compared with its digest first.

Figures are quoted as they stand in report/results.json, with their row, so that a reviewer can look them up.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from clipadapt.deploy.bundle import INDEX, REPORT
from clipadapt.deploy.evidence.packet import Fact, Section
from clipadapt.deploy.lineage import ReleaseInfo
from clipadapt.errors import ClipadaptError, StoreError, listing
from clipadapt.evaluation.results import RESULTS, Results
from clipadapt.manifest import MANIFEST
from clipadapt.search.addresses import FILE as ADDRESS
from clipadapt.search.opening import is_index, located, meta_of
from clipadapt.statistics.rows import HEADLINE, Row, in_quoted_wording, interval_text, p_text, points
from clipadapt.store import Store, faults_of

_WORSE = 40
"""Rows that got worse, of which the packet shows the worst."""
_DATA = ("source", "revision", "product", "attributes", "splits", "policy", "holdout_pairs")
_PACKAGES = ("torch", "open_clip_torch", "timm", "peft", "transformers")
CONFIG, ENVIRONMENT = "config.yaml", "environment.json"


def checked(folder: Path) -> ReleaseInfo:
    """The release's own words, after every file of it was read and compared.

    Raises:
        StoreError: a file is missing or changed, or it is no release.
    """
    info = ReleaseInfo.read(folder)
    if faults := faults_of(folder, verify=True):
        raise StoreError(f"{folder}: was changed after it was created{listing(faults)}\nthere is no evidence for that")
    return info


def lineage(folder: Path, info: ReleaseInfo) -> Section:
    """What it is made of."""
    said = {
        "created": info.created.isoformat(timespec="seconds"),
        "note": info.note or "none",
        "base model": info.base,
        "made from release": info.parent or "none",
        "follows release": info.follows or "none",
        "image space": info.image_space,
        "text space": info.text_space or "no text tower",
        "strength of the adapters": ", ".join(f"{tower} {value:g}" for tower, value in info.strength.items()),
        "made with": f"clipadapt {info.clipadapt}",
        **{f"part: {part}": what for part, what in info.parts.items()},
    }
    return Section("What it is", tuple(Fact(what, says, f"{MANIFEST}, release") for what, says in said.items()))


def changes(folder: Path, info: ReleaseInfo) -> Section:
    """Settings that differ from those of the release that it follows."""
    title = "What changed"
    if info.follows is None:
        return Section(title, missing=("nothing was in use when it was created, so there is nothing to compare with",))
    before = folder.parent / info.follows
    try:
        old, new = (_flat(_yaml(place / CONFIG)) for place in (before, folder))
    except (OSError, yaml.YAMLError) as error:
        return Section(title, missing=(f"the settings of {info.follows} and of this one cannot be compared: {error}",))
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key) and key not in ("name", "output_dir")]
    where, unset = f"{CONFIG} of {info.follows} and of this one", "not set"
    facts = [Fact(key, f"{old.get(key, unset)} → {new.get(key, unset)}", where) for key in keys]
    return Section(title, tuple(facts) or (Fact("settings", "all the same", f"{CONFIG} of both"),))


def trained_on(folder: Path) -> Section:
    """The catalogue, the split, the seed and the versions."""
    facts, missing = [], []
    try:
        config = _yaml(folder / CONFIG)
        data = config.get("data") or {}
        named = (key for key in _DATA if data.get(key))
        facts += [Fact(key.replace("_", " "), _short(data[key]), f"{CONFIG}, data.{key}") for key in named]
        facts.append(Fact("seed", str(config.get("seed", "not set")), f"{CONFIG}, seed"))
    except (OSError, yaml.YAMLError) as error:
        missing.append(f"{CONFIG} cannot be read ({error})")
    try:
        starts = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))["starts"]
        environment = starts[-1]  # a run that was resumed started more than once
        facts.append(Fact("starts", str(len(starts)), f"{ENVIRONMENT}, starts"))
        known = (key for key in ("commit", "python") if environment.get(key))
        facts += [Fact(key, _short(environment[key]), f"{ENVIRONMENT}, the last start") for key in known]
        versions = environment.get("packages") or {}
        facts += [
            Fact(name, str(versions[name]), f"{ENVIRONMENT}, the last start") for name in _PACKAGES if name in versions
        ]
    except (OSError, ValueError, KeyError, IndexError) as error:
        missing.append(f"{ENVIRONMENT} cannot be read ({error})")
    return Section("What it was trained on", tuple(facts), tuple(missing))


def results(folder: Path) -> Results:
    """The report of the release.

    Raises:
        ConfigError: it cannot be read.
    """
    return Results.load(folder / REPORT)


def evaluation(found: Results, info: ReleaseInfo) -> Section:
    """What is quoted, and everything that got worse."""
    numbered = list(enumerate(found.rows))
    systems: Mapping[str, Mapping[str, Any]] = found.config["systems"]
    spaces = (info.image_space, info.text_space)
    ours = {name for name, one in systems.items() if (one["image_space"], one["text_space"]) == spaces}
    catalogue = found.config["catalogue"]
    where = f"{REPORT}/{RESULTS}"
    facts = [
        Fact("measured on", f"{catalogue['source']}, split {catalogue['split']}, {catalogue['items']:,} items of "
             f"{catalogue['products']:,} products", f"{where}, config.catalogue"),
    ]  # fmt: skip
    quoted = set(map(id, in_quoted_wording(found.rows)))
    own = [(number, row) for number, row in numbered if row.system in ours and id(row) in quoted]
    facts += [_of_row(number, row, where) for number, row in own if row.task == HEADLINE]
    worse = [(number, row) for number, row in own if row.paired and row.verdict() == "worse"]
    worse.sort(key=lambda pair: pair[1].gain)
    facts += [_of_row(number, row, where, "got worse: ") for number, row in worse[:_WORSE]]
    facts.append(Fact("rows that got worse", f"{len(worse)} of {sum(row.paired for _, row in own)}", where))
    missing = []
    if not any(row.task.partition(":")[0] == "retention" for _, row in own):
        missing.append("what the base could do elsewhere and may have forgotten; measure with eval/retention.yaml")
    return Section("Evaluation", tuple(facts), tuple(missing))


def gates(info: ReleaseInfo) -> Section:
    """What was demanded when it was created."""
    facts = [
        Fact(f"{verdict.gate}: {'passed' if verdict.passed else 'not passed'}", reason, f"{MANIFEST}, release.gates")
        for verdict in info.gates
        for reason in verdict.reasons
    ]
    return Section("Gates", tuple(facts), () if facts else ("no gate was applied",))


def index(folder: Path) -> Section:
    """The search index and its measured recall."""
    title = "Search index"
    try:
        if not is_index(folder / INDEX):
            return Section(title, missing=("the release has no index",))
        place, meta = located(folder / INDEX), meta_of(folder / INDEX)
    except ClipadaptError as error:
        return Section(title, missing=(str(error),))
    if isinstance(place, Path):
        where = f"{Store(place).current().relative_to(folder)}/index.json"
    else:
        where = f"{INDEX}/{ADDRESS}, properties of the collection"
    facts = [Fact("kind", f"{meta.factory}, {meta.dim} dimensions", where)]
    facts += [
        Fact(f"recall, {kind} queries", f"{one.recall:.3f} of {one.vectors:,} vectors", f"{where}, {kind}")
        for kind, one in meta.measured.items()
    ]
    return Section(title, tuple(facts), () if meta.measured else ("recall was not measured",))


def rollback(folder: Path, info: ReleaseInfo) -> Section:
    """How to undo it."""
    root = folder.parent.parent
    facts = [Fact("promote", f"clipadapt release promote RELEASES {folder.name}", MANIFEST)]
    there = info.follows is not None and (folder.parent / info.follows / MANIFEST).is_file()
    if there:
        facts.append(Fact("undo", f"clipadapt release rollback RELEASES    (returns to {info.follows})", MANIFEST))
        return Section("How to roll back", tuple(facts))
    return Section("How to roll back", tuple(facts), (f"no earlier release of {root.name} is there to return to",))


def digests(folder: Path) -> Section:
    """Every file with its sha256, all compared just now."""
    files = json.loads((folder / MANIFEST).read_bytes())["files"]
    listed = sorted(files.items())
    facts = [Fact(name, f"{one['bytes']:,} bytes, sha256 {one['sha256']}", MANIFEST) for name, one in listed]
    return Section("Files", tuple(facts))


def _of_row(number: int, row: Row, where: str, prefix: str = "") -> Fact:
    figure = f"{points(row.mean)}% {interval_text(row.low, row.high)}"
    if row.paired:
        figure += (
            f", {points(row.delta, signed=True)} points {interval_text(row.delta_low, row.delta_high, signed=True)} "
            f"against {row.against}, p {p_text(row.p)}"
        )
    behind = f"{row.n:,} items of {row.products:,} products"
    return Fact(f"{prefix}{row.label()}", f"{figure}; {behind}", f"{where}, row {number}")


def _yaml(file: Path) -> dict[str, Any]:
    raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    return raw if isinstance(raw, dict) else {}


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys."""
    if not isinstance(node, dict):
        return {prefix: node}
    found: dict[str, Any] = {}
    for name, inner in node.items():
        found |= _flat(inner, f"{prefix}.{name}" if prefix else str(name))
    return found


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {inner}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
