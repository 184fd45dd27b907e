"""Purge's rules, by a table that can be read."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from clipadapt.deploy.lineage import ReleaseInfo
from clipadapt.deploy.retention_policy import Release, reasons_to_keep

NOW = datetime(2030, 6, 1, tzinfo=UTC)


def release(version: str, days: float, parent: str | None = None, *, current: bool = False, target: bool = False):
    info = ReleaseInfo(NOW - timedelta(days=days), "x", "b", parent, None, "i", "t", {}, (), {}, "", "0")
    return Release(version, Path(version), info, current, target)


def test_what_may_go_and_why_the_rest_stays() -> None:
    releases = [
        release("000001", 200),
        release("000002", 150),
        release("000003", 140, parent="000002"),
        release("000004", 100, current=True),
        release("000005", 90, target=True),
        release("000006", 60, parent="000003"),
        release("000007", 29.999, parent="000006"),
        release("000008", 30),
    ]
    why = reasons_to_keep(releases, NOW)
    assert set(why) == {f"00000{number}" for number in range(2, 9)}
    assert why["000002"] == "000003, which stays, was made from it"
    assert why["000006"] == "000007, which stays, was made from it"
    assert why["000004"] == "it is the current release"
    assert why["000005"] == "rollback returns to it"
    assert why["000007"] == "it is 29 day(s) old, and releases are kept for 30"
    assert "newest" in why["000008"]


def test_thirty_days_to_the_second() -> None:
    def stays(days: float) -> bool:
        return "000001" in reasons_to_keep([release("000001", days), release("000002", 0)], NOW)

    assert stays(30 - 1 / 86_400)
    assert not stays(30)
    assert stays(-5), "a clock that went back makes nothing old"


def test_of_those_named_only_the_unneeded_may_go() -> None:
    releases = [release("000001", 90), release("000002", 80, parent="000001"), release("000003", 0)]
    assert set(reasons_to_keep(releases, NOW, ["000001"])) == {"000001", "000002", "000003"}
    assert "made from it" in reasons_to_keep(releases, NOW, ["000001"])["000001"]
    assert set(reasons_to_keep(releases, NOW, ["000001", "000002"])) == {"000003"}


def test_a_release_of_unknown_age_stays() -> None:
    unknown = Release("000001", Path("000001"), None, current=False, target=False)
    assert "cannot be read" in reasons_to_keep([unknown, release("000002", 0)], NOW)["000001"]
