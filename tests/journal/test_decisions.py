"""The decision store: what is put is found by id and by request, samples are even, the file stays bounded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

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


def test_a_failing_disk_loses_records_and_counts_them(
    store: DecisionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_about: object) -> None:
        raise apsw.FullError("no room")

    fill(store, 10)
    monkeypatch.setattr("app.journal.decisions.execute_rows", fail)
    fill(store, 5)
    assert (store.lost, store.count()) == (5, 10)
    monkeypatch.undo()
    store.put(record(11))
    store.flush()
    assert (store.lost, store.count()) == (5, 11)
