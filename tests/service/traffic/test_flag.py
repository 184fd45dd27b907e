"""Who gets the candidate, and a file that people edit while it is used."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.errors import ConfigError
from clipadapt.service.traffic.flag import Flag, FlagFile, place


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def watched(path, text: str) -> tuple[FlagFile, Clock]:
    path.write_text(text, encoding="utf-8")
    clock = Clock()
    return FlagFile(path, clock=clock), clock


@pytest.mark.parametrize("salt", ["autumn", "winter"])
def test_5_percent_of_100_000_users_are_5_percent(salt):
    flag = Flag(share=0.05, salt=salt)
    share = sum(flag.arm_of(f"user-{number}") == "candidate" for number in range(100_000)) / 100_000
    assert abs(share - 0.05) <= 0.002


@given(st.text(max_size=30), st.text(min_size=1, max_size=10), st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_nobody_changes_sides_while_the_share_grows(user, salt, shares):
    arms = [Flag(share=share, salt=salt).arm_of(user) for share in sorted(shares)]
    assert arms == sorted(arms, reverse=True), "current, then candidate, and never back"
    assert (
        Flag(share=1.0, salt=salt).arm_of(user) == "candidate" and Flag(share=0.0, salt=salt).arm_of(user) == "current"
    )


def test_a_user_has_one_place_under_one_salt_for_ever():
    assert place("autumn", "user 17") == pytest.approx(PLACE, abs=1e-12), (
        "a change would move users of running services"
    )


PLACE = 0.1263491236847585


def test_two_salts_choose_their_users_independently():
    one, other = Flag(share=0.5, salt="autumn"), Flag(share=0.5, salt="winter")
    both = sum(one.chosen(str(user)) and other.chosen(str(user)) for user in range(10_000))
    assert abs(both / 10_000 - 0.25) < 0.02


def test_in_a_shadow_the_current_release_answers_everybody():
    flag = Flag(share=1.0, mode="shadow", salt="autumn")
    assert flag.chosen("anyone") and flag.arm_of("anyone") == "current"


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("0.05", 0.05), ("'12.5 %'", 0.125), ("0", 0.0), ("1", 1.0), ("100%", 1.0)]
)
def test_a_share_is_written_in_percent_or_as_a_fraction(tmp_path, text, share):
    flag, _ = watched(tmp_path / "flag.yaml", f"{{share: {text}, salt: autumn}}")
    assert flag.flag == Flag(share=share, mode="split", salt="autumn")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{share: 5, salt: a}", "share: could mean 5% or 5 times the whole; write 5%"),
        ("{share: 5 percent, salt: a}", "share: write it as 5% or as 0.05"),
        ("{share: true, salt: a}", "share: write it as 5% or as 0.05"),
        ("{share: 101%, salt: a}", "share: Input should be less than or equal to 1"),
        ("{share: -1%, salt: a}", "share: Input should be greater than or equal to 0"),
        ("{share: nan, salt: a}", "share"),
        ("{share: 5%}", "salt: missing"),
        ("{share: 5%, salt: ''}", "salt: "),
        ("{share: 5%, salt: a, mod: shadow}", "mod: unknown key; did you mean mode"),
        ("{share: 5%, salt: a, mode: shadows}", "mode: "),
        ("share: 5%: 3", "not valid YAML"),
        ("", "expected a mapping"),
    ],
)
def test_a_faulty_flag_is_refused_at_the_start_and_later_leaves_the_last_good_one(tmp_path, text, fault):
    path = tmp_path / "flag.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=fault.replace("(", r"\(")):
        FlagFile(path)
    flag, clock = watched(path, "{share: 5%, salt: autumn}")
    path.write_text(text + " ")
    clock.now += 2
    assert flag.flag == Flag(share=0.05, salt="autumn")
    assert flag.error and fault in flag.error and "stays in force" in flag.error
    path.write_text("{share: 10%, salt: autumn, mode: shadow}")
    clock.now += 2
    assert flag.flag == Flag(share=0.1, salt="autumn", mode="shadow") and flag.error is None


def test_the_file_is_looked_at_once_a_second_and_read_when_it_changed(tmp_path, monkeypatch):
    path = tmp_path / "flag.yaml"
    flag, clock = watched(path, "{share: 5%, salt: autumn}")
    path.write_text("{share: 50%, salt: autumn}")
    clock.now += 0.9
    assert flag.flag.share == 0.05
    clock.now += 0.2
    assert flag.flag.share == 0.5
    monkeypatch.setattr(Flag, "load", lambda path: pytest.fail("read though nothing changed"))
    clock.now += 2
    assert flag.flag.share == 0.5


def test_a_file_that_is_replaced_or_vanishes(tmp_path):
    path = tmp_path / "flag.yaml"
    flag, clock = watched(path, "{share: 5%, salt: autumn}")
    state = path.stat()
    path.unlink()
    clock.now += 2
    assert flag.flag.share == 0.05 and "no such file" in (flag.error or "")
    clock.now += 2
    assert "no such file" in (flag.error or "")
    other = tmp_path / "other.yaml"
    other.write_text("{share: 6%, salt: autumn}")  # as many bytes, the same time: a new file all the same
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.replace(path)
    clock.now += 2
    assert flag.flag.share == 0.06 and flag.error is None
