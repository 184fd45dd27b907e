"""What is kept of a user, and the query ids by which clicks come back: both need a secret, and no memory.

    identity = Identity.of(folder)                           # the secret lies in the log's folder
    identity.hashed("user 17")                               # 32 hexadecimal digits, all that is ever kept
    query_id = identity.issue(Query("000004", "candidate", user=identity.hashed("user 17")))
    identity.read(query_id)                                  # the same Query; None for one that was made up

A query id carries the release, the arm and the hashed user of its answer, signed, so that an event is attributed to the
right release by any worker, after any restart, and nobody can report a click for an answer that was never given. The
trade: a hundred characters instead of sixteen. Nothing here writes events.
Source: BLAKE2's keyed mode, RFC 7693.
"""

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import random
import secrets
from pathlib import Path
from typing import NamedTuple, Self

from clipadapt.errors import StoreError
from clipadapt.service.traffic.flag import Arm

SECRET = "secret"
_KEY, _USER, _NONCE, _SIGNATURE = 32, 16, 9, 9
_CANDIDATE, _HAS_USER = 1, 2


class Query(NamedTuple):
    """What a query id says."""

    release: str
    arm: Arm
    user: str | None
    """Hashed; null for nobody's."""


class Identity:
    """Hashes users and signs query ids with one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._nonces = random.Random(secrets.randbits(128))
        """Query ids must differ; that nobody else makes one is the signature's matter. The system's own randomness is a
        call that lets other threads go first, which takes a busy service a millisecond."""

    @classmethod
    def of(cls, folder: Path | None) -> Self:
        """With the secret of a log's folder, made where there is none yet; without a folder, one that nobody keeps.

        Raises:
            StoreError: the secret cannot be read or written, or is damaged.
        """
        if folder is None:
            return cls(secrets.token_bytes(_KEY))
        file = folder / SECRET
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                _write_once(file)
            key = bytes.fromhex(file.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise StoreError(f"{file}: the secret that users are hashed with cannot be read: {error}") from error
        if len(key) != _KEY:
            raise StoreError(
                f"{file}: holds {len(key)} bytes instead of {_KEY}; put it back from a copy, or remove it: users then "
                "get other hashes than before"
            )
        return cls(key)

    def hashed(self, user: str) -> str:
        """A user's id as the log has it."""
        data = user.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=self._secret, digest_size=_USER, person=b"user").hexdigest()

    def issue(self, query: Query) -> str:
        """A new query id."""
        bits = _CANDIDATE * (query.arm == "candidate") | _HAS_USER * (query.user is not None)
        head = self._nonces.randbytes(_NONCE) + bytes([bits])
        payload = head + bytes.fromhex(query.user or "") + query.release.encode("utf-8")
        return base64.urlsafe_b64encode(payload + self._signature(payload)).rstrip(b"=").decode("ascii")

    def read(self, query_id: str) -> Query | None:
        """What `issue` was given; None where this secret did not sign it."""
        try:
            data = base64.b64decode(query_id + "=" * (-len(query_id) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        payload, signature = data[:-_SIGNATURE], data[-_SIGNATURE:]
        if len(payload) <= _NONCE or not hmac.compare_digest(signature, self._signature(payload)):
            return None
        bits, rest = payload[_NONCE], payload[_NONCE + 1 :]
        size = _USER if bits & _HAS_USER else 0
        user = rest[:size].hex() if size else None
        arm: Arm = "candidate" if bits & _CANDIDATE else "current"
        return Query(rest[size:].decode("utf-8"), arm, user)

    def _signature(self, payload: bytes) -> bytes:
        return hashlib.blake2b(payload, key=self._secret, digest_size=_SIGNATURE, person=b"query").digest()


def _write_once(file: Path) -> None:
    """Of several workers that start at once, one writes, whole; the others read what it wrote."""
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as new:
            new.write(secrets.token_hex(_KEY))
            new.flush()
            os.fsync(new.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
