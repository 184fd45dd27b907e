"""A folder that stands for an index in Milvus: what a release holds in place of an index that is kept elsewhere.

    RELEASE/index/address.json    {"schema_version": 1, "uri": "http://10.0.0.7:19530", "collection": "shop"}

The path of a milvus-lite file is from the folder, so that both can be moved together; a token is never part of it.
`made_by` stands there where a swap of releases made the index, and says of which folder of releases: nobody else may
drop it. Nothing here opens anything.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from clipadapt import places
from clipadapt.atomic import atomic_write
from clipadapt.errors import ClipadaptError, StoreError
from clipadapt.search.milvus.address import Address

FILE = "address.json"


class Reference(NamedTuple):
    """Where the index of a folder lies."""

    address: Address
    made_by: str | None = None
    """The folder of releases whose swap made it, as it calls itself; None: a person named it."""

    def to_json(self, folder: Path) -> dict[str, Any]:
        """For a file of `folder`."""
        uri = self.address.uri
        if self.address.lite:
            uri = places.portable(str(Path(uri).expanduser().resolve()), folder)
        document = {"schema_version": 1, "uri": uri, "collection": self.address.name}
        return document if self.made_by is None else {**document, "made_by": self.made_by}

    @classmethod
    def from_json(cls, document: Any, folder: Path) -> "Reference":
        """The inverse.

        Raises:
            KeyError, TypeError, ValueError, UsageError: it is no address.
        """
        if document["schema_version"] != 1:
            raise ValueError(f"schema_version {document['schema_version']!r}")
        uri, name, made_by = document["uri"], document["collection"], document.get("made_by")
        parsed = Address.parse(str(Address(uri, name)))
        if parsed.lite:
            parsed = Address(places.from_folder(parsed.uri, folder), parsed.name)
        return cls(parsed, made_by if made_by is None else str(made_by))


def write_address(folder: Path, reference: Reference, place: Path | None = None) -> None:
    """Makes a folder stand for an index.

    Args:
        place: where the folder will lie, if it is not there yet.

    Raises:
        StoreError: the disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / FILE, json.dumps(reference.to_json(place or folder)) + "\n")


def address_in(folder: Path) -> Reference | None:
    """Where the index lies that a folder stands for; None: it stands for none.

    Raises:
        StoreError: its address.json cannot be read.
    """
    file = folder / FILE
    try:
        return Reference.from_json(json.loads(file.read_bytes()), folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, ClipadaptError) as error:
        raise StoreError(
            f"{file}: cannot be read as the address of an index ({error}); create the release again, or put back "
            '{"schema_version": 1, "uri": ..., "collection": ...}'
        ) from error
