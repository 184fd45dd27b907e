"""One item in the words of schema.org: an ImageObject with its licence, and the Product that it shows.

    structured(card)      # {"@context": "https://schema.org", "@graph": [{"@type": "ImageObject", ...}, ...]}

What is not known has no key. A licence that is an address, or one of Creative Commons under its SPDX name, is given as
an address, which search engines ask for; any other as a named CreativeWork. Nothing here writes HTML.
Source: schema.org 29.0, ImageObject and Product; Google Search Central, "Image metadata" (license, creditText);
SPDX licence list, for the names of Creative Commons licences.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clipadapt.data.metadata import Metadata

_CREATIVE_COMMONS = re.compile(r"cc-(by(?:-nc)?(?:-(?:sa|nd))?)-(\d\.\d)", re.IGNORECASE)


@dataclass(frozen=True)
class Card:
    """What is published of one item."""

    item: str
    product: str
    title: str
    """The catalogue's own; may be empty."""
    caption: str
    alt_text: str
    values: Mapping[str, str]
    """Attribute -> its confident value."""
    metadata: Metadata
    address: str
    """Of the picture."""
    size: tuple[int, int] | None
    """Width and height in pixels; None where the picture is not ours to write."""

    @property
    def name(self) -> str:
        """What the product is called."""
        return self.title or self.alt_text


def structured(card: Card) -> dict[str, Any]:
    """JSON-LD of one item."""
    metadata = card.metadata
    licence, place = licence_address(metadata.licence), _place(metadata)
    image: dict[str, Any] = {
        "@type": "ImageObject",
        "@id": f"{card.address}#image",
        "contentUrl": card.address,
        "name": card.name,
        "caption": card.caption,
        "representativeOfPage": False,
    }
    if card.size is not None:
        image |= {"width": card.size[0], "height": card.size[1]}
    if metadata.licence:
        image["license"] = licence or {"@type": "CreativeWork", "name": metadata.licence}
    if metadata.licensor:
        image["provider"] = {"@type": "Organization", "name": metadata.licensor}
    if metadata.credit:
        image["creditText"] = metadata.credit
    if metadata.captured:
        image["dateCreated"] = metadata.captured
    if place:
        image["contentLocation"] = place
    product = {
        "@type": "Product",
        "name": card.name,
        "description": card.caption,
        "productID": card.product,
        "image": {"@id": image["@id"]},
        "additionalProperty": [
            {"@type": "PropertyValue", "name": name, "value": value} for name, value in card.values.items()
        ],
    }
    return {"@context": "https://schema.org", "@graph": [image, product]}


def licence_address(licence: str) -> str:
    """Where a licence can be read; "" where that is not known."""
    if licence.lower().startswith(("https://", "http://")):
        return licence
    if licence.casefold() == "cc0-1.0":
        return "https://creativecommons.org/publicdomain/zero/1.0/"
    named = _CREATIVE_COMMONS.fullmatch(licence.strip())
    return f"https://creativecommons.org/licenses/{named[1].lower()}/{named[2]}/" if named else ""


def _place(metadata: Metadata) -> dict[str, Any]:
    place: dict[str, Any] = {}
    if metadata.place:
        place["name"] = metadata.place
    if metadata.latitude and metadata.longitude:
        geo = {"latitude": float(metadata.latitude), "longitude": float(metadata.longitude)}
        place["geo"] = {"@type": "GeoCoordinates", **geo}
    return {"@type": "Place", **place} if place else {}
