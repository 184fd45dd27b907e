"""Which releases have to stay: the rules of purge, apart from any disk.

    reasons_to_keep(releases, now)                       what stays and why, whoever asks
    reasons_to_keep(releases, now, named=["000002"])     what stays when only these are to go

Nothing here removes anything, nor asks what time it is.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from clipadapt.deploy.lineage import ReleaseInfo

AGE = timedelta(days=30)
"""What is younger is never purged."""


class Release(NamedTuple):
    """One release of a store."""

    version: str
    folder: Path
    info: ReleaseInfo | None
    """null: its manifest.json cannot be read."""
    current: bool
    target: bool
    """Whether rollback would return to it."""


def reasons_to_keep(releases: Sequence[Release], now: datetime, named: Collection[str] | None = None) -> dict[str, str]:
    """Version -> why it stays, for every release that has to.

    Args:
        releases: oldest first.
        now: with a time zone.
        named: the only versions that may go; null: any.
    """
    why = {one.version: reason for one in releases if (reason := _own(one, releases[-1], now, named))}
    parents = {one.version: one.info.parent for one in releases if one.info is not None}
    waiting = list(why)
    while waiting:
        child = waiting.pop()
        parent = parents.get(child)
        if parent is not None and (parent not in why or why[parent] == _NOT_NAMED):
            if parent not in why:
                waiting.append(parent)
            why[parent] = f"{child}, which stays, was made from it"
    return why


_NOT_NAMED = "it was not named"


def _own(one: Release, newest: Release, now: datetime, named: Collection[str] | None) -> str | None:
    if one.current:
        return "it is the current release"
    if one.target:
        return "rollback returns to it"
    if one.info is None:
        return "its manifest.json cannot be read, so its age is not known; look at it, then remove it by hand"
    age = now - one.info.created
    if age < AGE:
        return f"it is {max(age.days, 0)} day(s) old, and releases are kept for {AGE.days}"
    if one is newest:
        return "it is the newest, from which the next one's number is counted"
    return _NOT_NAMED if named is not None and one.version not in named else None
