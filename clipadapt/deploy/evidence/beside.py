"""What was measured beside a release: label audit, licences, drift, shadow, experiment; each from the file it left.

What is not there is named with the command that measures it. A file that is about another release is no evidence for
this one, and is refused. Nothing here measures anything but how many items a licence allows.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from clipadapt.audit.label_error import LabelError
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.policy import Policy
from clipadapt.deploy.bundle import INDEX
from clipadapt.deploy.evidence.packet import Fact, Section, read_document
from clipadapt.errors import UsageError
from clipadapt.search.index import Index
from clipadapt.search.opening import is_index


def label_audit(file: Path | None) -> Section:
    """Label error by attribute.

    Raises:
        ConfigError: the file is something else.
    """
    title = "Label audit"
    if file is None:
        return Section(title, missing=("not done; clipadapt data audit SOURCE, then --label-audit",))
    about = LabelError.load(file).about
    audited = Fact("audited", f"{about.get('source')}, split {about.get('split')}", file.name)
    return Section(title, (*wrong_labels(file), audited))


def wrong_labels(file: Path) -> list[Fact]:
    """Label error of each audited attribute.

    Raises:
        ConfigError: the file is something else.
    """
    facts = []
    for number, row in enumerate(LabelError.load(file).rows):
        if row["value"] is None:
            shown = "no figure" if row["error"] is None else f"{100 * row['error']:.1f}%"
            if row["low"] is not None and row["high"] is not None:
                shown += f" [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
            facts.append(Fact(f"wrong labels, {row['attribute']}", shown, f"{file.name}, row {number}"))
    return facts


def licences(catalogue: Catalogue | None, policy: Policy | None, folder: Path) -> Section:
    """What the catalogue's licences allow, and whether the release's index keeps to them."""
    title = "Licences"
    if policy is None:
        return Section(title, missing=("no policy says which licences may be used; name one as data.policy",))
    facts, missing = [], []
    if catalogue is None:
        missing.append("the catalogue was not looked at; name it with --source or --config")
    else:
        texts = catalogue.texts(policy.column)
        counts = Counter(texts)
        for licence, count in counts.most_common():
            uses = [use for use in ("train", "index", "show") if policy.permits([licence], use)[0]]
            facts.append(
                Fact(licence or "none named", f"{count:,} items; may be used to {', '.join(uses) or 'nothing'}",
                     f"{catalogue.source}, column {policy.column}")
            )  # fmt: skip
        for use in ("train", "index", "show"):
            allowed = int(policy.permits(texts, use).sum())
            facts.append(
                Fact(f"may be used to {use}", f"{allowed:,} of {len(texts):,} items", "the policy and that column")
            )
    facts, missing = _of_index(policy, folder, facts, missing)
    return Section(title, tuple(facts), tuple(missing))


def drift(file: Path | None) -> Section:
    """Whether new pictures still look like the reference."""
    title = "Drift"
    if file is None:
        return Section(title, missing=("no report named; clipadapt drift VECTORS --reference VECTORS, then --drift",))
    document = read_document(file, ("alarms", "sentences", "drifts", "rates"))
    bad = document["alarms"] > 0
    facts = [Fact("result", sentence, f"{file.name}, sentences", bad) for sentence in document["sentences"]]
    worst = sorted(document["drifts"], key=lambda one: -one["effect"])[:5]
    facts += [
        Fact(f"{one['of']}: {one['segment']}, {one['window']}",
             f"effect {one['effect']:.4f}, p {one['p_corrected']:.3f} corrected", f"{file.name}, drifts")
        for one in worst
    ]  # fmt: skip
    facts += [
        Fact(f"{one['of']}: {one['attribute']}: {one['value']}, {one['window']}",
             f"{100 * one['reference_share']:.1f}% -> {100 * one['share']:.1f}%, p {one['p_corrected']:.3f} corrected",
             f"{file.name}, rates")
        for one in document["rates"][:5]
    ]  # fmt: skip
    return Section(title, tuple(facts))


def shadow(file: Path | None, release: str) -> Section:
    """What the candidate answered while nobody saw it."""
    title = "Shadow"
    if file is None:
        return Section(title, missing=("no report named; a flag of mode shadow, clipadapt shadow, then --shadow",))
    document = _about(read_document(file, ("candidate", "sentence", "gate")), file, release)
    facts = [Fact("verdict", document["sentence"], f"{file.name}, sentence")]
    verdicts = {True: "holds", False: "does not hold"}
    facts += [Fact(verdicts[one["passed"]], one["reason"], f"{file.name}, gate") for one in document["gate"]]
    return Section(title, tuple(facts))


def experiment(file: Path | None, release: str) -> Section:
    """What people clicked."""
    title = "Experiment"
    if file is None:
        return Section(
            title, missing=("no report named; a flag of mode split, clipadapt experiment, then --experiment",)
        )
    document = _about(read_document(file, ("candidate", "sentence", "verdict")), file, release)
    return Section(title, (Fact(document["verdict"], document["sentence"], f"{file.name}, sentence"),))


def _of_index(policy: Policy, folder: Path, facts: list[Fact], missing: list[str]) -> tuple[list[Fact], list[str]]:
    """Every item that can be found has a licence that allows it, as far as the index knows licences."""
    if not is_index(folder / INDEX):
        return facts, missing
    index = Index.open(folder / INDEX, verify=False)
    if policy.column not in index.columns:
        missing.append(f"the index keeps no column {policy.column!r}, so what is in it was not checked")
        return facts, missing
    cells = index.values(policy.column)
    refused = policy.kept_out([str(cell or "") for cell in cells], "index")
    says = f"of {len(cells):,} items in the index, " + (refused or "all may be indexed")
    facts.append(Fact("licences in the index", says, f"{INDEX}/, column {policy.column}", bad=bool(refused)))
    return facts, missing


def _about(document: dict[str, Any], file: Path, release: str) -> dict[str, Any]:
    if document["candidate"] != release:
        raise UsageError(f"{file}: is about {document['candidate']}, not about {release}; measure this one")
    return document
