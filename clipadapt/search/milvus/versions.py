"""Versions of an index in Milvus: collections behind an alias, each with what it is bound to in its properties.

    shop -> shop_v000002        the alias, and the collection that it points to
    shop_v000001                the version before, kept for a rollback
    shop_v000002_queries        text vectors that recall is measured with

Properties: clipadapt.meta (meta.py's JSON), clipadapt.columns (fields.py's), clipadapt.image_space, clipadapt.state
("building", "whole", or "writing" while a change of several requests is under way), clipadapt.frozen (until when nobody
changes it), clipadapt.changes_go_to (which other index takes changes, see twins.py) and clipadapt.change, drawn anew by
every change, by which readers see that there was one. Switching the alias is one request: a search sees one collection
or the other. Milvus has no locks, so whoever changes an index looks at these again afterwards, and counts nothing as
done that may have come too late. Knows nothing of conditions or searches.
"""

import contextlib
import json
import logging
import math
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import ValidationError

from clipadapt.atomic import refuse_unwritable
from clipadapt.errors import StoreError
from clipadapt.search.items import VECTOR
from clipadapt.search.meta import Meta
from clipadapt.search.milvus.address import Address
from clipadapt.search.milvus.fields import Fields, require_columns
from clipadapt.search.milvus.kinds import Kind
from clipadapt.search.milvus.server import AbsentError, Server

log = logging.getLogger(__name__)

_META, _COLUMNS, _SPACE, _STATE, _CHANGE, _FROZEN, _TWIN = (
    f"clipadapt.{name}" for name in ("meta", "columns", "image_space", "state", "change", "frozen", "changes_go_to")
)
_KEPT = 2
_FREEZE, _SWITCH = 3_600, 60
"""Seconds after which a freeze, or a switch of the alias, is taken to be of a process that was killed."""
_SHARDS, _SHARD = 16, 50_000_000
PAGE = 1_000
"""Rows of one request that carries vectors."""


class Version(NamedTuple):
    """One collection, as its properties say."""

    collection: str
    change: str
    meta: Meta
    fields: Fields
    kind: Kind
    state: str
    frozen: float
    """Until when nobody changes it, in seconds of the epoch; 0: anybody may."""
    twin: str | None
    """The release whose index takes changes in place of this one; empty: this one does; None: it is not one of two."""

    @property
    def closed(self) -> bool:
        """Whether nobody may change it now."""
        return time.time() < self.frozen


class Versions:
    """All versions of one index.

    Args:
        twin: changes may be made while they go to another index (twins.py), and only then: whoever keeps both the same.
    """

    def __init__(self, server: Server, *, twin: bool = False) -> None:
        self.server, self.name = server, server.address.name
        self._twin = twin
        self._form = re.compile(rf"{re.escape(self.name)}_v([0-9]{{6}})")

    def current(self) -> Version:
        """What the alias points to.

        Raises:
            AbsentError: nothing is there.
            StoreError: a collection that was made by others.
        """
        found = self.pointed()
        if found is None:
            if self.name in self.server.call("list_collections"):
                raise StoreError(
                    f"{self.server.address}: is a collection that was not made by clipadapt index build, which makes "
                    f"an alias of that name; choose another name"
                )
            raise AbsentError(
                f"{self.server.address}: nothing was written here yet; build one with clipadapt index build"
            )
        return self.read(found)

    def pointed(self) -> str | None:
        """The collection that the alias points to; None where there is no alias."""
        try:
            return self.server.call("describe_alias", self.name)["collection_name"]
        except AbsentError:
            return None

    def change(self, collection: str) -> str | None:
        """By what a change of it would be seen; None where it is not there."""
        try:
            about = self.server.call("describe_collection", collection)
        except AbsentError:
            return None
        return (about.get("properties") or {}).get(_CHANGE)

    def read(self, collection: str) -> Version:
        """A version.

        Raises:
            StoreError: it was made by others, or changed by them.
        """
        about = self.server.call("describe_collection", collection)
        properties = about.get("properties") or {}
        owner = f"{self.server.address}: collection {collection}"
        if _META not in properties:
            raise StoreError(
                f"{owner} was made by others: it does not say which image space its vectors are of; choose another "
                "name, and build there with clipadapt index build"
            )
        try:
            meta = Meta.model_validate(json.loads(properties[_META]))
            fields = Fields.from_json(properties[_COLUMNS])
            change, state = properties[_CHANGE], properties[_STATE]
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise StoreError(f"{owner} has properties that cannot be read ({error}); build the index again") from error
        if meta.image_space != properties.get(_SPACE):
            raise StoreError(f"{owner} says two image spaces; it was changed by others; build the index again")
        require_columns(owner, [field["name"] for field in about["fields"]], fields)
        dims = [field["params"].get("dim") for field in about["fields"] if field["name"] == VECTOR]
        if [int(dim) for dim in dims] != [meta.dim]:
            raise StoreError(f"{owner} has vectors of {dims[0]} dimensions and says {meta.dim}; build the index again")
        if state == "writing":
            log.warning(
                "%s: a change is being written, or was cut off and may be there in part; if no process is writing, do "
                "it again with --replace", self.server.address,
            )  # fmt: skip
        self.server.call("load_collection", collection)  # milvus-lite's are released when its process ends
        kind = Kind.named(meta.factory, 0, lite=False)
        frozen = float(properties.get(_FROZEN) or 0)
        return Version(collection, change, meta, fields, kind, state, frozen, properties.get(_TWIN))

    def names(self) -> list[str]:
        """Versions that are whole, oldest first."""
        return [number for number, state in sorted(self._states().items()) if state not in ("", "building")]

    def collection(self, version: str) -> str:
        """A version's collection."""
        return f"{self.name}_v{version}"

    def number(self, collection: str) -> str:
        """A collection's version."""
        match = self._form.fullmatch(collection)
        if match is None:
            raise StoreError(f"{self.server.address}: points to {collection}, which is no version of it; build again")
        return match[1]

    @contextlib.contextmanager
    def made(self, fields: Fields, dim: int, count: int) -> Iterator[str]:
        """A new collection for so many items, without an index, which is dropped again when the work on it fails.

        Raises:
            StoreError: the server refuses it, or a collection of the index's own name is in the way.
        """
        if self.pointed() is None and self.name in self.server.call("list_collections"):
            self.current()
        states = self._states()
        for number in (number for number, state in states.items() if state == "building"):
            log.warning(
                "%s: %s is being built, or was left by a build that was cut off; drop it if none is running",
                self.server.address, self.collection(number),
            )  # fmt: skip
        name = self.collection(f"{max(map(int, states), default=0) + 1:06}")
        schema = self.server.client.create_schema(auto_id=False, enable_dynamic_field=False)
        fields.add_to(schema, dim)
        self.server.call(
            "create_collection", name, schema=schema, consistency_level="Strong", properties={_STATE: "building"},
            num_shards=shards(count),
        )  # fmt: skip
        try:
            yield name
        except BaseException:
            with contextlib.suppress(StoreError):
                self.drop(name)
            raise

    def finish(self, collection: str, meta: Meta, fields: Fields) -> None:
        """Says that a collection is whole, and what it is."""
        content = {
            _META: meta.to_json(), _COLUMNS: fields.to_json(), _SPACE: meta.image_space, _STATE: "whole",
            _CHANGE: secrets.token_hex(8),
        }  # fmt: skip
        self.server.call("alter_collection_properties", collection, content)

    def require_open(self, version: Version) -> None:
        """Before a change.

        Raises:
            StoreError: another process holds it still, or changes go to another index; for a twin, they go here.
        """
        if self._twin:
            if version.twin == "":
                raise StoreError(f"{self.server.address}: takes changes itself now; see what is current, then go on")
            return
        if version.closed:
            raise StoreError(
                f"{self.server.address}: another process keeps it from being changed, as when it is copied; try again "
                "when that is done"
            )
        if version.twin:
            raise StoreError(
                f"{self.server.address}: changes go to the index of {version.twin}; nothing was changed. Name the "
                "folder of releases as the INDEX, which is always the one that takes changes; where a swap of them was "
                "cut off, do it again; where they are gone, docs/swap.md says how to take this mark away"
            )

    def require_undisturbed(self, before: Version, now: Version) -> None:
        """After a change: that it was made while nobody held the index still or handed it over.

        Raises:
            StoreError: somebody did, so that the change may not have reached the other index.
        """
        if self._twin:
            self.require_open(now)
        elif now.collection != before.collection or now.closed or now.twin != before.twin:
            raise StoreError(
                f"{self.server.address}: was built again, held still or replaced by another index while the change was "
                "written, so it is not counted as done; do it again (index add --replace, or remove)"
            )

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Changes by clipadapt are refused meanwhile, in any process.

        Raises:
            StoreError: another process holds it still; one that keeps two indexes the same takes over what was killed.
        """
        version = self.current()
        if not self._twin:
            self.require_open(version)
        try:
            self._say(version.collection, {_FROZEN: f"{time.time() + _FREEZE:.0f}"})
            if self.pointed() != version.collection:
                raise StoreError(f"{self.server.address}: is being built again; try again when that is done")
            yield
        finally:
            self._thaw(version.collection)

    def mark(self, twin: str) -> None:
        """Says of which release the index takes changes from now on; empty: this one.

        Raises:
            StoreError: the server refuses.
        """
        now = self.current()
        if now.twin != twin:
            self._say(now.collection, {_TWIN: twin})

    def thaw(self) -> None:
        """Ends a freeze, whoever began it; the moments that a switch of the alias takes end by themselves.

        Raises:
            StoreError: the server refuses.
        """
        now = self.current()
        if now.frozen > time.time() + _SWITCH:
            self._say(now.collection, {_FROZEN: ""})

    def begin_writing(self, collection: str) -> None:
        """Before a change that takes several requests."""
        self.server.call("alter_collection_properties", collection, {_STATE: "writing"})

    def changed(self, collection: str) -> str:
        """After a change; by what others see it."""
        change = secrets.token_hex(8)
        self.server.call("alter_collection_properties", collection, {_STATE: "whole", _CHANGE: change})
        return change

    def publish(self, collection: str, *, made_of: Version | None = None) -> None:
        """Makes a collection the one that is searched, and drops those that are neither it nor one of the newest two.

        Args:
            made_of: the version that it was made of, which nobody may have changed since.

        Raises:
            StoreError: the server refuses, or the version before was changed or held still; it stays current then.
        """
        before = self.pointed()
        if before is None:
            self.server.call("create_alias", collection, self.name)
        elif before != collection:
            self._replace(before, collection, made_of)
        kept = {collection, before, *map(self.collection, self.names()[-_KEPT:])}
        for name in map(self.collection, self.names()):
            if name not in kept:
                with contextlib.suppress(StoreError):  # the next version's turn comes, too
                    self.drop(name)

    def _replace(self, before: str, collection: str, made_of: Version | None) -> None:
        """Switches the alias; nobody changes the new version before it is sure that nobody changed the one before."""
        seen = self.read(before)
        self.require_open(seen)
        changed = made_of is not None and (seen.collection, seen.change) != (made_of.collection, made_of.change)
        if not changed:
            marks = {_FROZEN: f"{time.time() + _SWITCH:.0f}"} | ({} if seen.twin is None else {_TWIN: seen.twin})
            self._say(collection, marks)
            self.server.call("alter_alias", collection, self.name)
            now = self.read(before)
            changed = now.closed or now.twin != seen.twin or (made_of is not None and now.change != seen.change)
            if changed:
                self.server.call("alter_alias", before, self.name)
            self._say(collection, {_FROZEN: ""})
        if changed:
            raise StoreError(
                f"{self.server.address}: was changed while it was built again; the change stays, do it again"
            )

    def drop(self, collection: str) -> None:
        """Drops a version that is not the current one.

        Raises:
            StoreError: it is, or the server refuses.
        """
        if self.pointed() == collection:  # milvus-lite drops it, and the alias with it
            raise StoreError(f"{self.server.address}: {collection} is what is searched; publish another before")
        there = self.server.call("list_collections")
        for name in (f"{collection}_queries", collection):
            if name in there:
                self.server.call("drop_collection", name)

    def drop_all(self) -> bool:
        """Drops the alias and every version; whether it did: not where this is the one of two that takes changes.

        Raises:
            StoreError: the server refuses.
        """
        found = self.pointed()
        if found is not None:
            if self.read(found).twin == "":
                return False
            self.server.call("drop_alias", self.name)
        for number in self._states():
            self.drop(self.collection(number))
        return True

    def drop_others(self) -> None:
        """Drops every version but the current one, what a killed build left included; nobody else may be building."""
        current = self.pointed()
        for name in map(self.collection, self._states()):
            if name != current:
                self.drop(name)

    def _say(self, collection: str, properties: dict[str, str]) -> None:
        self.server.call("alter_collection_properties", collection, properties)

    def _thaw(self, collection: str) -> None:
        try:
            self._say(collection, {_FROZEN: ""})
        except StoreError as error:  # it was dropped, or the server is away; what was done stands
            log.warning("%s: stays closed to changes for %d minutes (%s)", self.server.address, _FREEZE // 60, error)

    def _states(self) -> dict[str, str]:
        """Version -> its state; of a collection that others made, an empty text."""
        found = {}
        for name in self.server.call("list_collections"):
            match = self._form.fullmatch(name)
            if match is not None:
                properties: dict[str, Any] = self.server.call("describe_collection", name).get("properties") or {}
                found[match[1]] = properties.get(_STATE, "")
        return found


def shards(count: int) -> int:
    """Channels that a collection of so many items is written through; Milvus has 16 at most."""
    return min(_SHARDS, max(1, math.ceil(count / _SHARD)))


def refuse_unusable(address: str) -> None:
    """Before any work whose result is to become a version there.

    Raises:
        UsageError, StoreError: no such address, no answer, or a collection that others made.
    """
    found = Address.parse(address)
    if found.lite:
        refuse_unwritable(found.folder)
        if not found.folder.exists():
            return
    versions = Versions(Server.connect(found))
    if versions.pointed() is not None or versions.name in versions.server.call("list_collections"):
        versions.require_open(versions.current())
