"""The decision store: what is put is found by id and by request, samples are even, the file stays bounded.

Method: small tables; whole sections of the index, and hashes that meet; a list as the slower plain version.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.decisions import Record
from app.domain.requests import AdRequest
from app.journal import decisions
from app.journal.decisions import DecisionReader, DecisionStore
from tests.journal.samples import record


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DecisionStore]:
    made = DecisionStore(tmp_path / "decisions.db")
    yield made
    made.close()


def fill(store: DecisionStore, count: int) -> None:
    for number in range(1, count + 1):
        store.put(record(number))
    store.flush()


def test_a_record_is_found_by_any_decision_of_its_request(store: DecisionStore) -> None:
    fill(store, 50)
    first = record(7).choice.placed[0].decision_id
    assert store.get(first) == record(7)
    assert store.get(first[:14] + b"\x05") == record(7), "the last byte is the placement's place"
    assert store.get(record(51).request_key + b"\x00") is None


def test_requests_are_listed_latest_first(store: DecisionStore) -> None:
    fill(store, 50)
    assert store.by_request("r-10", 10) == [record(21), record(20)]
    assert store.by_request("r-10", 1) == [record(21)]
    assert store.by_request("r-99", 10) == []


def test_the_limit_counts_wanted_ones_alone(store: DecisionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 41):
        store.put(request_of(number, "same"))
    store.flush()

    def early(record: Record) -> bool:
        return record.choice.position <= 30

    def found(limit: int) -> list[int]:
        return [each.choice.position for each in store.by_request("same", limit, early)]

    assert found(3) == [30, 29, 28]
    monkeypatch.setattr(decisions, "MAX_LOOKED_AT", 11)
    assert found(3) == [30], "of one id with every request, the latest are looked at"


def test_the_wanted_of_a_time_are_found(store: DecisionStore) -> None:
    """A batch begins before the time that is asked for; whoever is not wanted is not told of."""
    fill(store, 450)
    keys = {record(number).request_key[:14] for number in (3, 201, 450)}
    times = [record(number).choice.clock_ms for number in (1, 450)]
    assert list(store.wanted(keys, times[0], times[1])) == [record(number) for number in (3, 201, 450)]
    middle = record(201).choice.clock_ms
    assert record(201) in list(store.wanted(keys, middle, middle))
    assert list(store.wanted(set(), times[0], times[1])) == []
    assert list(store.wanted(keys, 0, times[0] - 1)) == []


def test_an_empty_store_answers(store: DecisionStore) -> None:
    assert (store.count(), store.oldest_position(), store.sample(5, seed=1)) == (0, 0, [])
    store.flush()
    assert store.lost == 0


def test_a_sample_is_spread_evenly_in_the_order_of_positions(store: DecisionStore) -> None:
    fill(store, 1_003)
    drawn = [each.choice.position for each in store.sample(100, seed=7)]
    assert len(drawn) == 100
    assert all(1 + part * 1_003 // 100 <= position for part, position in enumerate(drawn))
    assert all(position <= (part + 1) * 1_003 // 100 for part, position in enumerate(drawn))
    assert drawn == [each.choice.position for each in store.sample(100, seed=7)]
    assert drawn != [each.choice.position for each in store.sample(100, seed=8)]


#  count  after  positions drawn                why
SAMPLES = [
    (5_000, 0, list(range(1, 101))),  # no more than there are: all of them
    (100, 0, list(range(1, 101))),
    (50, 60, list(range(61, 101))),  # behind a position
    (5, 99, [100]),
    (5, 100, []),
    (5, 5_000, []),
    (0, 0, []),
]


@pytest.mark.parametrize(("count", "after", "positions"), SAMPLES)
def test_samples_of_few(store: DecisionStore, count: int, after: int, positions: list[int]) -> None:
    fill(store, 100)
    assert [each.choice.position for each in store.sample(count, 1, after)] == positions


def test_a_sample_behind_a_position_that_many_decisions_share(store: DecisionStore) -> None:
    for number in range(1, 301):
        store.put(record(number, position=number // 100))
    store.flush()
    drawn = [each.choice.position for each in store.sample(40, seed=3, after_position=1)]
    assert drawn == [2] * 40 or drawn == [2] * 39 + [3]


def test_the_oldest_go_when_the_bound_is_reached(tmp_path: Path) -> None:
    bound = 1_000_000
    store = DecisionStore(tmp_path / "decisions.db", max_bytes=bound)
    for burst in range(20):
        for number in range(1_000):
            store.put(record(1 + burst * 1_000 + number))
        store.flush()
    assert (tmp_path / "decisions.db").stat().st_size < 1.5 * bound
    assert store.count() < 20_000
    assert store.oldest_position() == 20_000 - store.count() + 1
    assert store.get(record(20_000).request_key) == record(20_000), "the latest are kept"
    assert store.get(record(1).request_key) is None
    assert store.lost == 0
    store.close()


def test_what_was_put_before_a_close_is_found_again(tmp_path: Path) -> None:
    first = DecisionStore(tmp_path / "decisions.db")
    for number in range(1, 2_501):
        first.put(record(number))
    first.close()
    first.close()
    assert [path.name for path in tmp_path.iterdir()] == ["decisions.db"]
    second = DecisionStore(tmp_path / "decisions.db")
    assert (second.count(), second.oldest_position()) == (2_500, 1)
    second.put(record(2_501))
    second.flush()
    assert second.get(record(2_501).request_key) == record(2_501)
    second.close()


def test_another_process_may_ask(store: DecisionStore, tmp_path: Path) -> None:
    fill(store, 10)
    reader = DecisionReader(tmp_path / "decisions.db")
    assert reader.get(record(7).request_key) == record(7)
    assert [each.choice.position for each in reader.sample(3, 1, 7)] == [8, 9, 10]
    assert reader.count() == 10
    reader.close()


def test_too_many_are_lost_and_counted(tmp_path: Path) -> None:
    store = DecisionStore(tmp_path / "decisions.db", max_buffered=0)
    store.put(record(1))
    store.flush()
    assert (store.lost, store.count()) == (1, 0)
    store.close()


def test_a_failing_disk_loses_records_and_counts_them(store: DecisionStore) -> None:
    fill(store, 10)
    pages = store._connection.pragma("page_count")
    store._connection.execute(f"PRAGMA max_page_count={pages}")  # as a full disk
    fill(store, 500)
    assert (store.lost, store.count()) == (500, 10)
    assert store.get(record(500).request_key) is None
    store._connection.execute("PRAGMA max_page_count=1000000")
    store.put(record(11))
    store.flush()
    assert (store.lost, store.count()) == (500, 11)
    assert [each.choice.position for each in store.sample(20, seed=1)] == list(range(1, 12))


def request_of(number: int, request_id: str) -> Record:
    made = record(number)
    return msgspec.structs.replace(made, request=msgspec.structs.replace(made.request, request_id=request_id))


UNWRITABLE = [
    request_of(50, "\ud800"),  # half a character
    record(50, position=2**70),
    msgspec.structs.replace(record(50), request=cast(AdRequest, object())),
]


@pytest.mark.parametrize("bad", UNWRITABLE)
def test_a_record_that_cannot_be_written_is_lost_alone(store: DecisionStore, bad: Record) -> None:
    for each in [bad, *map(record, range(1, 11)), bad, record(11), bad]:
        store.put(each)
    store.flush()
    store.put(bad)
    store.flush()
    assert (store.lost, store.count()) == (4, 11)
    assert store.sample(100, seed=1) == [record(number) for number in range(1, 12)]
    assert all(store.get(record(number).request_key) == record(number) for number in range(1, 12))


def test_nothing_stops_the_writing(store: DecisionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_about: object) -> NoReturn:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(store, "_insert", fail)
    fill(store, 5)
    monkeypatch.undo()
    assert (store.lost, store.count()) == (5, 0)
    fill(store, 5)
    assert (store.lost, store.count()) == (5, 5)


def test_requests_are_found_in_every_section_of_the_index(store: DecisionStore) -> None:
    """Sections are of 4,096 records; three full ones and a piece."""
    last = 3 * 4_096 + 100
    wanted = [1, 2, 4_095, 4_096, 4_097, 8_192, 8_193, last - 1, last]
    for number in range(1, last + 1):
        store.put(request_of(number, "mine" if number in wanted else f"other-{number}"))
    store.flush()
    assert store.lost == 0
    positions = [each.choice.position for each in store.by_request("mine", 100)]
    assert positions == wanted[::-1]
    assert [each.choice.position for each in store.by_request("mine", 4)] == wanted[:-5:-1]
    for number in wanted:
        found = store.get(record(number).request_key)
        assert found is not None
        assert found.choice.position == number


def test_ids_of_one_hash_are_told_apart(store: DecisionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.journal.decisions._hash_of_key", lambda _key: 7)
    monkeypatch.setattr("app.journal.decisions._hash_of_request", lambda _request_id: 7)
    fill(store, 450)
    assert store.count() == 450
    assert store.get(record(123).request_key) == record(123)
    assert store.by_request("r-10", 10) == [record(21), record(20)]
    assert store.get(record(451).request_key) is None


def test_a_bound_below_all_keeps_nothing_and_goes_on(tmp_path: Path) -> None:
    store = DecisionStore(tmp_path / "decisions.db", max_bytes=0)
    for _ in range(3):
        fill(store, 5_000)
    assert (store.count(), store.oldest_position(), store.lost) == (0, 0, 0)
    assert store.get(record(5_000).request_key) is None
    entries = store._connection.execute("SELECT count(*) FROM entries").fetchall()[0][0]
    assert isinstance(entries, int)
    assert entries <= 2 * 4_096, "only the running section's"
    store.close()


@settings(deadline=None, max_examples=30)
@given(
    bursts=st.lists(st.lists(st.sampled_from("abc"), max_size=450), max_size=5),
    steps=st.integers(1, 300),
    reopened=st.booleans(),
    count=st.integers(0, 600),
    after=st.integers(-1, 20),
    limit=st.integers(0, 300),
)
def test_all_answers_are_those_of_a_list(
    bursts: list[list[str]], steps: int, reopened: bool, count: int, after: int, limit: int
) -> None:
    plain: list[Record] = []
    with TemporaryDirectory() as place:
        store = DecisionStore(Path(place) / "decisions.db")
        for burst in bursts:
            for request_id in burst:
                number = len(plain)
                made = request_of(number, request_id)
                choice = msgspec.structs.replace(made.choice, position=number // steps)
                plain.append(msgspec.structs.replace(made, choice=choice))
                store.put(plain[-1])
            store.flush()
            if reopened:
                store.close()
                store = DecisionStore(Path(place) / "decisions.db")
        assert store.count() == len(plain)
        assert store.oldest_position() == 0
        for request_id in "abcd":
            same = [each for each in reversed(plain) if each.request.request_id == request_id]
            assert store.by_request(request_id, limit) == same[:limit]
        for each in plain[:: 1 + len(plain) // 20]:
            assert store.get(each.request_key + b"\x00") == each
        behind = [each for each in plain if each.choice.position > after]
        drawn = store.sample(count, 1, after)
        if len(behind) <= count or not count:
            assert drawn == (behind if count else [])
        else:
            edges = [len(behind) * part // count for part in range(count + 1)]
            assert [behind.index(each) for each in drawn] == [
                behind.index(each, low, high)
                for each, low, high in zip(drawn, edges[:-1], edges[1:], strict=True)
            ]
        store.close()
