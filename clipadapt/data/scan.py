"""Every picture of a catalogue decoded once, in parallel, to find those that cannot be.

Results come in the catalogue's order and few wait at a time, so memory does not grow with the catalogue. Nothing here
decides what to do about a broken picture.
"""

from collections.abc import Iterator
from typing import NamedTuple

from clipadapt import progress
from clipadapt.data import decode
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.pictures import content_digest
from clipadapt.errors import CatalogueError, listing
from clipadapt.threads import ordered


class Scanned(NamedTuple):
    """One picture as it was found."""

    item: int
    """Index into the catalogue."""
    digest: str
    """Of the encoded file; "" when it could not be read."""
    header: decode.Header | None
    """None when it could not be read."""
    fault: str
    """What is wrong and the remedy, without naming the item; "" when it decodes."""


def scan(catalogue: Catalogue, label: str = "pictures") -> Iterator[Scanned]:
    """Decodes every picture, in order, with a progress bar."""

    def look(index: int) -> Scanned:
        digest, header = "", None
        try:
            data = catalogue.pictures.read(index)
            digest = content_digest(data)
            header = decode.header(data)
            decode.decode(data, catalogue.decoding)
        except CatalogueError as error:
            return Scanned(index, digest, header, str(error))
        return Scanned(index, digest, header, "")

    pictures = ordered(look, range(len(catalogue)))
    yield from progress.track(pictures, total=len(catalogue), label=label, unit="pictures")


def broken(catalogue: Catalogue, label: str = "pictures") -> dict[int, str]:
    """Index -> a line that names item, file and fault, for every picture that cannot be decoded."""
    return {
        picture.item: f"item {catalogue.ids[picture.item]!r}, {catalogue.place(picture.item)}: {picture.fault}"
        for picture in scan(catalogue, label)
        if picture.fault
    }


def refuse_other_sizes(catalogue: Catalogue, size: int) -> None:
    """What `data.mixed_sizes: refuse` asks for: every picture, upright or not, has `size` x `size` pixels.

    Headers alone are read. A prepared cache has one size, its own, which is checked where it meets a model.

    Raises:
        CatalogueError: pictures of another size, the first few and their count, or one that cannot be read.
    """
    if catalogue.prepared is not None:
        return
    headers = ordered(lambda index: decode.header(catalogue.picture_bytes(index)), range(len(catalogue)))
    others = [(index, seen) for index, seen in enumerate(headers) if (seen.width, seen.height) != (size, size)]
    if others:
        lines = [
            f"item {catalogue.ids[index]!r}, {catalogue.place(index)}: {seen.width}x{seen.height}"
            for index, seen in others
        ]
        raise CatalogueError(
            f"{len(others)} picture(s) are not {size}x{size} and data.mixed_sizes refuses them:{listing(lines, 5)}"
            "\nresize them, or set data.mixed_sizes: resample"
        )
