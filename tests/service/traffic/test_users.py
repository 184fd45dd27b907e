"""Hashed users and signed query ids."""

import base64
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.errors import StoreError
from clipadapt.service.traffic.users import SECRET, Identity, Query

IDENTITY = Identity(b"k" * 32)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(["current", "candidate"]),
    st.none() | st.text(max_size=20),
)
def test_a_query_id_says_what_it_was_issued_for(release, arm, user):
    query = Query(release, arm, IDENTITY.hashed(user) if user is not None else None)
    query_id = IDENTITY.issue(query)
    assert IDENTITY.read(query_id) == query
    assert query_id.isascii() and query_id.replace("-", "").replace("_", "").isalnum()
    assert Identity(b"l" * 32).read(query_id) is None
    assert IDENTITY.issue(query) != query_id, "two answers are two queries"


@given(st.text(max_size=60))
def test_what_was_made_up_is_no_query_id(text):
    assert IDENTITY.read(text) is None


def test_a_query_id_with_any_bit_changed_is_none():
    query_id = IDENTITY.issue(Query("000004", "current", IDENTITY.hashed("user 17")))
    data = base64.urlsafe_b64decode(query_id + "=" * (-len(query_id) % 4))
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert IDENTITY.read(base64.urlsafe_b64encode(bytes(changed)).rstrip(b"=").decode()) is None


def test_a_hash_is_the_same_under_one_secret_and_tells_nothing_without(tmp_path):
    one, again = Identity.of(tmp_path / "log"), Identity.of(tmp_path / "log")
    other = Identity.of(tmp_path / "other")
    assert one.hashed("user 17") == again.hashed("user 17") != other.hashed("user 17")
    assert len(one.hashed("user 17")) == 32 and one.hashed("user 18") != one.hashed("user 17")
    assert stat.S_IMODE((tmp_path / "log" / SECRET).stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "log").iterdir()] == [SECRET]


@pytest.mark.parametrize("content", ["", "abcd", "not hexadecimal", "é"])
def test_a_damaged_secret_is_an_error_not_a_new_one(tmp_path, content):
    (tmp_path / SECRET).write_text(content)
    with pytest.raises(StoreError, match="secret"):
        Identity.of(tmp_path)
    assert (tmp_path / SECRET).read_text() == content
