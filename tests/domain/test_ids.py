"""Identities: they begin with the hour of issue, differ where they should, and are the same for a retry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import ids

TIMES = st.integers(0, 4_000_000_000_000)
RANDOM = st.binary(min_size=ids.RANDOM_BYTES, max_size=ids.RANDOM_BYTES)
KINDS = ("impression", "click", "conversion", "dismissal", "win", "loss")


@given(TIMES, RANDOM, st.integers(0, 19), st.integers(0, 19))
def test_every_id_tells_the_hour_and_day_of_issue(
    now_ms: int, randomness: bytes, ordinal: int, ad_index: int
) -> None:
    decision = ids.decision_id(ids.request_key(now_ms, randomness), ordinal)
    key = ids.ad_key(decision, ad_index)
    for identity in (decision, key, *(ids.event_id(key, kind) for kind in KINDS)):
        assert ids.issue_hour(identity) == now_ms // 3_600_000
        assert ids.issue_day(identity) == now_ms // 86_400_000


@given(TIMES, TIMES, RANDOM, RANDOM)
def test_ids_grow_with_the_hour(one_ms: int, other_ms: int, first: bytes, second: bytes) -> None:
    one, other = ids.request_key(one_ms, first), ids.request_key(other_ms, second)
    if one_ms // ids.HOUR_MS < other_ms // ids.HOUR_MS:
        assert one < other
        assert ids.event_id(ids.ad_key(one + b"\0", 0), "click") < ids.event_id(
            ids.ad_key(other + b"\0", 0), "click"
        )


@given(TIMES, RANDOM)
def test_the_decisions_ads_and_events_of_a_request_all_differ(now_ms: int, randomness: bytes) -> None:
    key = ids.request_key(now_ms, randomness)
    decisions = [ids.decision_id(key, ordinal) for ordinal in range(20)]
    ads = [ids.ad_key(decision, index) for decision in decisions for index in range(20)]
    events = [ids.event_id(ad, kind) for ad in ads for kind in KINDS]
    events += [ids.event_id(ads[0], "conversion", own) for own in ("a", "b", "ab")]
    assert len({*decisions}) == 20
    assert len({*ads}) == 400
    assert len({*events}) == len(events)
    assert {len(decision) for decision in decisions} == {ids.EVENT_BYTES}
    assert {len(event) for event in events} == {ids.EVENT_BYTES}


@given(TIMES, RANDOM, st.text(max_size=20))
def test_a_retry_has_the_same_id(now_ms: int, randomness: bytes, own: str) -> None:
    key = ids.ad_key(ids.decision_id(ids.request_key(now_ms, randomness), 0), 0)
    assert ids.event_id(key, "conversion", own) == ids.event_id(bytes(key), "conversion", str(own))


@given(st.binary(min_size=15, max_size=15))
def test_text_is_another_writing_of_an_id(identity: bytes) -> None:
    text = ids.to_text(identity)
    assert ids.from_text(text) == identity
    assert ids.ID_PATTERN.fullmatch(text)
    assert text == text.lower()


@pytest.mark.parametrize("text", ["", "a", "a" * 23, "a" * 25, "1" * 24, "ä" * 24, "=" * 24, " " * 24])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ids.from_text(text)
