"""clipadapt evidence: what a reviewer needs before a release goes live, in one packet.

    clipadapt evidence releases/versions/000005 --policy sensitive.yaml --label-audit audit/label_error.json \
        --drift drift/drift.json --shadow shadow/shadow.json --experiment experiment/experiment.json --out evidence

RELEASE is a release's folder, or a folder of releases, of which the promoted one is meant. The policy is a gate file:
conditions on the report's rows about sensitive categories. Writes OUT/evidence.json and evidence.html; 3 where a
condition does not hold or the index holds what its licence forbids. What was not measured is named.
"""

from pathlib import Path
from typing import Annotated

import typer

from clipadapt.cli import options


@options.with_catalogue
def command(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="A release, or a folder of releases.")],
    catalogue: options.Catalogue,
    split: options.Split = None,
    policy: Annotated[str | None, typer.Option("--policy", help="Gate file on sensitive categories.")] = None,
    licences: Annotated[
        str | None, typer.Option("--licences", help="Policy of licences; default: the config's data.policy.")
    ] = None,
    label_audit: Annotated[Path | None, typer.Option("--label-audit", help="label_error.json of an audit.")] = None,
    drift: Annotated[Path | None, typer.Option("--drift", help="drift.json.")] = None,
    shadow: Annotated[Path | None, typer.Option("--shadow", help="shadow.json.")] = None,
    experiment: Annotated[Path | None, typer.Option("--experiment", help="experiment.json.")] = None,
    captions: Annotated[Path | None, typer.Option("--captions", help="Folder that clipadapt captions wrote.")] = None,
    captions_audit: Annotated[
        Path | None, typer.Option("--captions-audit", help="Its sample.csv with yes or no under `right`.")
    ] = None,
    prepared: Annotated[
        Path | None, typer.Option("--prepared", help="What clipadapt data prepare --json printed.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("evidence"),
) -> None:
    """Gather what was measured of a release, each figure with its file, and what was not."""
    from clipadapt.atomic import atomic_write
    from clipadapt.data.policy import Policy
    from clipadapt.deploy.evidence import beside, published
    from clipadapt.deploy.evidence import release as own
    from clipadapt.deploy.evidence.packet import Packet
    from clipadapt.deploy.evidence.report import as_json, as_page
    from clipadapt.deploy.loading import release_folder
    from clipadapt.errors import GateError, listing
    from clipadapt.evaluation.gate import Gate, judge
    from clipadapt.inputs import resolve

    conditions = Gate.load(policy) if policy is not None else None
    folder = release_folder(release.removeprefix("release:")).resolve()
    info = own.checked(folder)
    measured = own.results(folder)
    items, rules = None, Policy.load(licences) if licences is not None else None
    if catalogue["source"] is not None or catalogue["config"] is not None:
        inputs = resolve(**catalogue)
        items = inputs.items(split or inputs.data.splits.train)
        rules = rules or items.policy
    packet = Packet(
        folder.name,
        info.name,
        (
            own.lineage(folder, info),
            own.changes(folder, info),
            own.trained_on(folder),
            beside.licences(items, rules, folder),
            beside.label_audit(label_audit),
            own.evaluation(measured, info),
            own.gates(info),
            own.index(folder),
            beside.drift(drift),
            beside.shadow(shadow, folder.name),
            beside.experiment(experiment, folder.name),
            published.prepared(prepared),
            published.captions(captions, captions_audit, info.image_space, label_audit),
            own.rollback(folder, info),
            own.digests(folder),
        ),
        tuple(judge(conditions, measured.rows)) if conditions is not None else (),
    )
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(out / "evidence.json", as_json(packet))
    atomic_write(out / "evidence.html", as_page(packet))
    for line in packet.missing:
        typer.echo(f"not measured: {line}", err=True)
    typer.echo(f"wrote evidence.json and evidence.html in {out}", err=True)
    if packet.failed:
        raise GateError(f"{folder.name}: {len(packet.failed)} reason(s) not to release{listing(packet.failed)}")
    held = f"{len(packet.outcomes)} condition(s) hold; " if packet.outcomes else ""
    typer.echo(f"{folder.name}: {held}{len(packet.missing)} part(s) not measured")
