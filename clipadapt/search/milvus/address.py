"""Where an index in Milvus lies: `milvus:URI/COLLECTION`.

    milvus:http://10.0.0.7:19530/shop          a server; its database goes before the collection: .../19530/retail/shop
    milvus:indexes/shop.db/shop                a file of milvus-lite, which one process at a time may open

COLLECTION is an alias: it points to one of the collections shop_v000001, shop_v000002, ..., each a version of the
index. A token is never part of an address, which is printed and logged: it comes from CLIPADAPT_MILVUS_TOKEN.
"""

import re
from pathlib import Path
from typing import NamedTuple, Self

from clipadapt.errors import UsageError

SCHEME = "milvus:"
TOKEN = "CLIPADAPT_MILVUS_TOKEN"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")
ADDRESSED = re.compile(rf"{SCHEME}(?:https?://\S*|[^\n]*?\.db)/({_NAME.pattern})(?![\w/]|\.db)")
"""An address in a message, and its collection."""
_FORMS = "write milvus:http://HOST:19530/COLLECTION for a server, or milvus:FILE.db/COLLECTION for milvus-lite"


class Address(NamedTuple):
    """One index."""

    uri: str
    """As pymilvus takes it: a URL, or the path of a file."""
    name: str
    """The alias."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From what a person typed.

        Raises:
            UsageError: it is no address; says what one looks like.
        """
        uri, slash, name = text.removeprefix(SCHEME).rpartition("/")
        if not text.startswith(SCHEME) or not slash or not uri:
            raise UsageError(f"{text}: names no collection of Milvus; {_FORMS}")
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{text}: {name!r} is no name of a collection: letters, digits and _, up to 200, no digit first"
            )
        if "://" in uri:
            scheme, _, rest = uri.partition("://")
            if scheme not in ("http", "https") or not rest.strip("/"):
                raise UsageError(f"{text}: {uri!r} is no server's URL; {_FORMS}")
            if "@" in rest:
                raise UsageError(f"milvus address with a password in it: put the token (USER:PASSWORD) into {TOKEN}")
        elif not uri.endswith(".db"):
            raise UsageError(f"{text}: {uri!r} is neither a URL nor a file that ends in .db; {_FORMS}")
        return cls(uri, name)

    def __str__(self) -> str:
        return f"{SCHEME}{self.uri}/{self.name}"

    @property
    def lite(self) -> bool:
        """Whether milvus-lite keeps it, inside this process."""
        return "://" not in self.uri

    @property
    def folder(self) -> Path:
        """Where paths that the index remembers are from: beside milvus-lite's file; for a server, the root."""
        return Path(self.uri).expanduser() if self.lite else Path("/")
