"""JSON of WebDataset shards, read as it stands there; datasets reads the pictures.

datasets infers types from five samples: keys that only later samples have vanish without a word, "2024-01-15" becomes
a timestamp, lists and objects become Python's spelling of them. So the JSON members are read here, skipping over the
pictures, and put beside datasets' rows by shard and key. Source: datasets 5.2, packaged_modules/webdataset.
"""

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import datasets
import pyarrow as pa

from clipadapt.data.folders import PICTURE_ENDINGS
from clipadapt.data.records import table_of
from clipadapt.errors import CatalogueError

KEY, URL = "__key__", "__url__"
"""WebDataset's own columns: the key is the sample's name, the URL holds a path of this machine."""


class Samples(NamedTuple):
    """What stands in the JSON members of shards."""

    features: datasets.Features
    """Of everything else, for datasets."""
    texts: dict[tuple[str, str], bytes]
    """(shard, key) -> the JSON of a sample."""

    def table(self, urls: Sequence[str], keys: Sequence[str]) -> pa.Table:
        """A row per sample, in that order; `urls` are the shards.

        Raises:
            CatalogueError: no sample of these is known, as when shards were moved since datasets cached them.
        """
        resolved = {url: _resolved(url) for url in set(urls)}
        found = [self.texts.get((resolved[url], key)) for url, key in zip(urls, keys, strict=True)]
        if found and not any(found):
            raise CatalogueError(
                f"{urls[0]}: none of its samples has its JSON in the shards that were read; were they moved? Name the "
                "folder where they are, or delete datasets' cache of them"
            )
        return table_of([json.loads(text) if text is not None else {} for text in found])


def read_samples(source: str, shards: Sequence[str]) -> Samples | None:
    """The JSON of all samples; None when there is none.

    Raises:
        CatalogueError: a shard that cannot be read, or JSON that is no object.
    """
    texts: dict[tuple[str, str], bytes] = {}  # a few hundred bytes each, and as they stand there: parsed for a split
    endings: set[str] = set()
    for shard in shards:
        try:
            for key, ending, text in _members(shard):
                endings.add(ending)
                if text is not None:
                    if not isinstance(json.loads(text), dict):
                        raise ValueError(f"{key}.json holds no object")
                    texts[_resolved(shard), key] = text
        except (tarfile.TarError, OSError, ValueError) as error:
            raise CatalogueError(f"{source}: shard {shard} cannot be read: {error}; write it again") from error
    if not texts:
        return None
    media = {ending: datasets.Image() for ending in sorted(endings) if f".{ending}".endswith(PICTURE_ENDINGS)}
    others = {ending: datasets.Value("string") for ending in ("cls", "txt") if ending in endings}
    return Samples(datasets.Features(media | others | {name: datasets.Value("string") for name in (KEY, URL)}), texts)


def _resolved(path: str) -> str:
    return str(Path(path).resolve())


def _members(shard: str) -> Iterator[tuple[str, str, bytes | None]]:
    """(key, ending, the JSON or nothing) of each file: the ending begins at the first dot of its name."""
    with tarfile.open(shard) as members:
        for member in members:
            folder, slash, name = member.name.rpartition("/")
            stem, _, ending = name.partition(".")
            file = members.extractfile(member) if ending == "json" else None
            yield folder + slash + stem, ending, file.read() if file is not None else None
