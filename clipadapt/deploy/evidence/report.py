"""A packet as JSON and as a page. Nothing here measures."""

import json

from clipadapt.deploy.evidence.packet import Packet
from clipadapt.deploy.pages import render


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
    return render("evidence/page.html.jinja", packet=packet.without_folders())
