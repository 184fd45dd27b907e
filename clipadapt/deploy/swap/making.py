"""The index of a swap's new release, made beside the live one while that serves on and is changed.

    making = Making(work, source, pictures, most_missing=0)
    making.snapshot(live)               vectors stay valid: a copy of the live index
    making.embed(reference, "run:a")    they do not: all items encoded by the new model, in batches, then its quick form

A folder is made in the workplace, and copied into the release; one in Milvus is made where it stays, beside the old
one and under a name of its own. What a killed process had encoded is not encoded again. Knows nothing of pointers.
"""

import re
import secrets
import shutil
from pathlib import Path

from clipadapt.atomic import atomic_folder
from clipadapt.deploy.bundle import IndexPart, index_part
from clipadapt.deploy.swap.pair import refuse_missing
from clipadapt.deploy.swap.pictures import PicturesById
from clipadapt.deploy.swap.state import Workplace
from clipadapt.errors import UsageError
from clipadapt.manifest import listed, share
from clipadapt.progress import Bar, bar
from clipadapt.search.addresses import Reference
from clipadapt.search.backend import Backend
from clipadapt.search.index import Index
from clipadapt.search.ledger import Ledger, digests
from clipadapt.search.milvus.address import Address
from clipadapt.search.milvus.backend import Milvus
from clipadapt.search.mirror import BATCH, Encode, Mirror, read_present, select
from clipadapt.search.opening import is_index, open_backend
from clipadapt.search.vectors import Vectors
from clipadapt.store import Store

_SUFFIX = re.compile(r"_swap_[0-9a-f]{8}$")
_LONGEST = 180
"""Letters of a collection's name that are kept."""


def new_address(old: Address) -> Address:
    """An address for the index that replaces one, which nobody has used."""
    return Address(old.uri, f"{_SUFFIX.sub('', old.name)[:_LONGEST]}_swap_{secrets.token_hex(4)}")


class Making:
    """Of one swap.

    Args:
        source: the index of the release that is live, open.
        pictures: what its items look like, and the new model.
        most_missing: items that may be left out.
    """

    def __init__(self, work: Workplace, source: Backend, pictures: PicturesById, most_missing: int) -> None:
        self._work, self._source, self._pictures, self._most_missing = work, source, pictures, most_missing

    def snapshot(self, live: Path) -> IndexPart:
        """The live index as it is now; files are linked while nobody changes it, and read afterwards."""
        shutil.rmtree(self._work.index, ignore_errors=True)
        with self._source.frozen(), atomic_folder(self._work.snapshot) as linked:
            folder = Store(live).current()
            known = listed(folder)
            for name, entry in known.items():
                share(folder / name, linked / name, entry)
        with Store(self._work.index).write() as staging:
            for name, entry in known.items():
                share(self._work.snapshot / name, staging / name, entry)
        return index_part(self._work.index)

    def embed(self, reference: Reference | None, model: str) -> IndexPart:
        """Every item of the live index in an index of the new model, then that in its quick form.

        Args:
            reference: where Milvus keeps it; None: a folder.
            model: MODEL string that it remembers.

        Raises:
            UsageError: no items, or none of them has a picture.
            CatalogueError: more items than were allowed have none.
        """
        out = self._work.index if reference is None else str(reference.address)
        ledger, space, source = Ledger(self._work.pairs), self._pictures.encoder.image_space, self._source
        ids = source.ids()
        if not ids:
            raise UsageError(f"{source.name}: holds no items, so there is nothing to swap; add some first")
        with bar(max(len(ids) - len(ledger), 0), "embedding", "images") as shown:
            if not is_index(out):
                self._begin(out, ids, ledger, shown)
            encode = Encode(self._pictures.vectors, self._pictures.afresh)
            mirror = Mirror(source, open_backend(out, verify=False), encode, ledger)
            mirror.run(mirror.look(), shown)
        refuse_missing(mirror, self._most_missing)
        built = mirror.target
        whole = Vectors(built.vectors(built.ids()), built.items.compacted(), space, model, whole=built.meta.whole)
        made = Index.build(
            whole, out, encoder=self._pictures.encoder, target=source.meta.target, shown=self._pictures.data
        )
        if isinstance(made.backend, Milvus):
            made.backend.drop_others()
        return index_part(out, reference)

    def _begin(self, out: str | Path, ids: list[str], ledger: Ledger, shown: Bar) -> None:
        """An index of the first items that have a picture."""
        source = self._source
        shards = source.meta.shard_count if isinstance(out, Path) else None
        for start in range(0, len(ids), BATCH):
            part, theirs = read_present(source, ids[start : start + BATCH])
            made = self._pictures.vectors(part, shown)
            if made.ids:
                rows = source.items.taken(source.items.live_rows(made.ids))
                first = self._cut(Vectors(made.vectors, rows, self._pictures.encoder.image_space, None))
                built = Index.build(first, out, factory="Flat", shards=shards).backend
                ledger.add(made.ids, digests(select(made.ids, part, theirs)), digests(built.vectors(made.ids)))
                return
        raise UsageError(f"{source.name}: not one of its items has a picture in {self._pictures.data.source}")

    def _cut(self, vectors: Vectors) -> Vectors:
        """In as many dimensions as the live index keeps."""
        meta = self._source.meta
        return vectors.shortened(meta.dim) if meta.whole is not None else vectors
