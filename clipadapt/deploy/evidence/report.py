"""A packet as JSON and as a page. Nothing here measures."""

import importlib.metadata
import json

import jinja2

from clipadapt.deploy.evidence.packet import Packet


def as_json(packet: Packet) -> str:
    """The whole packet; it names no folder of this machine."""
    packet = packet.without_folders()
    document = {
        "schema_version": 1,
        "release": packet.release,
        "name": packet.name,
        "passed": not packet.failed,
        "failed": list(packet.failed),
        "conditions": [{"passed": one.passed, "reason": one.reason} for one in packet.outcomes],
        "not_measured": list(packet.missing),
        "sections": [
            {"title": one.title, "facts": [fact._asdict() for fact in one.facts], "missing": list(one.missing)}
            for one in packet.sections
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def as_page(packet: Packet) -> str:
    """A self-contained page, to be printed and signed; it names no folder of this machine."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clipadapt.deploy.evidence", "."), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    template = environment.get_template("page.html.jinja")
    return template.render(packet=packet.without_folders(), version=importlib.metadata.version("clipadapt"))
