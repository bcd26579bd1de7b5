"""The laws of every journal, run over both: the SQLite one and its twin in memory.

Method: append, wait until told, compare with what the protocol promises.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from app.domain.lines import Entry, Line, Referred, Verdict
from app.domain.refusals import Busy
from app.journal.memory import MemoryJournal
from app.journal.protocol import ID_LIFE_DAYS, Committed, Journal
from app.journal.sqlite import SqliteJournal
from tests.journal.samples import (
    HOUR,
    Listener,
    clicked,
    configured,
    converted,
    event_id,
    refunded,
    shown,
    ticked,
)

Make = Callable[..., Journal]
LEARNED = Verdict("learned", 1_764_705_883)
INVALID = Verdict("invalid", code="bot")


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    made: list[Journal] = []

    def build(**options: object) -> Journal:
        journal: Journal
        if request.param == "memory":
            journal = MemoryJournal(**options)  # type: ignore[arg-type]
        else:
            journal = SqliteJournal(tmp_path / f"journal-{len(made)}.db", **options)  # type: ignore[arg-type]
        made.append(journal)
        return journal

    yield build
    for journal in made:
        journal.close()


def put(journal: Journal, *lines: Line) -> list[Committed]:
    """Append lines and wait for what became of them."""
    listener = Listener()
    journal.on_commit = listener
    for number, line in enumerate(lines):
        journal.append(line, number)
    told = listener.wait(len(lines))
    assert [each.ticket for each in told] == list(range(len(lines)))
    assert [each.line for each in told] == list(lines)
    return told


def eventually(holds: Callable[[], bool]) -> bool:
    until = monotonic() + 30
    while not holds() and monotonic() < until:
        sleep(0.002)
    return holds()


def test_positions_start_at_one_and_have_no_gaps(make: Make) -> None:
    journal = make()
    assert (journal.last_position, journal.read(0, 10), journal.entry_at(1)) == (0, [], None)
    lines: list[Line] = [
        configured(),
        ticked(),
        *(shown(number) for number in range(600)),
        shown(7),
        clicked(7),
    ]
    told = put(journal, *lines)
    kept = [each for each in told if not each.repeat]
    assert [each.position for each in kept] == list(range(1, 604))
    assert journal.last_position == 603
    assert [(e.position, e.line) for e in journal.read(0, 10_000)] == [(e.position, e.line) for e in kept]


def test_what_appenders_on_several_threads_wait_for_comes_in_each_ones_order(make: Make) -> None:
    listener = Listener()
    journal = make(on_commit=listener)

    def append(thread: int) -> None:
        for number in range(200):
            journal.append(shown(thread * 1_000 + number), (thread, number))

    threads = [threading.Thread(target=append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = listener.wait(800)
    assert [each.position for each in told] == list(range(1, 801))
    for thread_number in range(4):
        mine = [
            each.ticket for each in told if isinstance(each.ticket, tuple) and each.ticket[0] == thread_number
        ]
        assert mine == [(thread_number, number) for number in range(200)]


def test_a_repeat_has_the_first_ones_position_and_adds_nothing(make: Make) -> None:
    journal = make()
    first = put(journal, shown(1), clicked(1), shown(2))
    assert [each.repeat for each in first] == [False, False, False]
    again = put(journal, shown(2, at_ms=99), ticked(), clicked(1), shown(1))
    assert [(each.repeat, each.position) for each in again] == [(True, 3), (False, 4), (True, 2), (True, 1)]
    assert journal.last_position == 4


def test_a_repeat_within_one_batch_is_a_repeat(make: Make) -> None:
    told = put(make(), *[shown(number % 3) for number in range(100)])
    assert [each.position for each in told] == [1 + number % 3 for number in range(100)]
    assert [each.repeat for each in told] == [number >= 3 for number in range(100)]


def test_conversions_of_one_click_are_told_apart_by_their_own_ids(make: Make) -> None:
    told = put(make(), converted(1), converted(1, "a"), converted(1, "b"), converted(1, "a"))
    assert [(each.position, each.repeat) for each in told] == [(1, False), (2, False), (3, False), (2, True)]


@pytest.mark.parametrize("limit", [1, 7, 1_000])
@pytest.mark.parametrize("after", [0, 1, 299, 300, 301])
def test_follow_from_any_position(make: Make, after: int, limit: int) -> None:
    journal = make()
    put(journal, *(shown(number) for number in range(300)))
    want = [Entry(position, shown(position - 1)) for position in range(after + 1, 301)][:limit]
    assert journal.read(after, limit) == want
    assert journal.entry_at(after + 1) == (want[0] if want else None)


def test_a_line_carries_what_it_refers_to(make: Make) -> None:
    """In one batch, over batches, over days, and where there is nothing yet."""
    journal = make()
    late = HOUR + 48
    told = put(journal, shown(1), clicked(1), clicked(2), shown(2), shown(3, hour=late))
    assert [each.referred for each in told] == [None, Referred(1), None, None, None]
    told = put(journal, converted(1), clicked(3, hour=late), refunded(clicked(2), 3))
    assert [each.referred for each in told] == [Referred(2), Referred(5), Referred(3)]
    assert [each.referred for each in journal.read(0, 10)][5:] == [Referred(2), Referred(5), Referred(3)]


def test_a_verdict_written_back_is_seen_by_later_lines_and_repeats(make: Make) -> None:
    journal = make()
    put(journal, shown(1), shown(2), shown(3))
    assert journal.find(event_id(shown(1))) == (1, None)
    journal.write_verdicts(3, [(event_id(shown(1)), LEARNED), (event_id(shown(2)), INVALID)])
    # The very next commit has them: no waiting in between.
    told = put(journal, clicked(1), clicked(2), clicked(3), shown(2), shown(3))
    assert [each.referred for each in told[:3]] == [Referred(1, LEARNED), Referred(2, INVALID), Referred(3)]
    assert [(each.repeat, each.position, each.verdict) for each in told[3:]] == [
        (True, 2, INVALID),
        (True, 3, None),
    ]
    assert [entry.referred for entry in journal.read(3, 3)] == [each.referred for each in told[:3]]
    assert journal.find(event_id(shown(2))) == (2, INVALID)
    assert journal.find(event_id(shown(9))) is None


def test_verdicts_are_written_though_no_line_comes_and_move_the_watermark(make: Make) -> None:
    journal = make()
    put(journal, *(shown(number) for number in range(300)))
    assert journal.verdicts_through == 0
    journal.write_verdicts(200, [(event_id(shown(number)), LEARNED) for number in range(200)])
    journal.write_verdicts(250, [])
    assert eventually(lambda: journal.verdicts_through == 250)
    assert all(journal.find(event_id(shown(number))) == (number + 1, LEARNED) for number in range(200))
    assert journal.find(event_id(shown(200))) == (201, None)


def test_verdicts_may_come_twice_change_and_be_of_strangers(make: Make) -> None:
    journal = make()
    put(journal, shown(1))
    stranger, of_no_day = event_id(shown(2)), event_id(shown(1, hour=HOUR + 1_000))
    journal.write_verdicts(1, [(event_id(shown(1)), LEARNED), (stranger, LEARNED), (of_no_day, LEARNED)])
    journal.write_verdicts(1, [(event_id(shown(1)), LEARNED), (event_id(shown(1)), INVALID)])
    assert eventually(lambda: journal.find(event_id(shown(1))) == (1, INVALID))
    assert journal.find(stranger) is None
    assert journal.find(of_no_day) is None
    assert put(journal, shown(2))[0] == Committed(0, shown(2), 2)


def test_ids_are_forgotten_when_every_token_of_their_day_is_dead(make: Make) -> None:
    journal = make()
    put(journal, shown(1), shown(1, hour=HOUR + 24))
    last_day = HOUR // 24 + ID_LIFE_DAYS
    journal.forget(last_day)
    sleep(0.15)
    assert journal.find(event_id(shown(1))) == (1, None), "its last day is not over"
    journal.forget(last_day + 1)
    assert eventually(lambda: journal.find(event_id(shown(1))) is None)
    assert journal.find(event_id(shown(1, hour=HOUR + 24))) == (2, None)
    assert (journal.last_position, len(journal.read(0, 9))) == (2, 2), "lines stay"


def test_trimmed_lines_are_gone_and_their_ids_stay(make: Make) -> None:
    journal = make()
    put(journal, *(shown(number, at_ms=number) for number in range(700)))
    journal.write_verdicts(700, [(event_id(shown(7)), LEARNED)])
    journal.trim(600)
    assert eventually(lambda: journal.trimmed_through == 600)
    assert [entry.position for entry in journal.read(0, 1_000)] == list(range(601, 701))
    assert [entry.position for entry in journal.read(650, 1_000)] == list(range(651, 701))
    assert (journal.entry_at(600), journal.entry_at(601)) == (None, Entry(601, shown(600, at_ms=600)))
    told = put(journal, shown(7), clicked(7), shown(1_000))
    assert [(each.position, each.repeat) for each in told] == [(8, True), (701, False), (702, False)]
    assert (told[0].verdict, told[1].referred) == (LEARNED, Referred(8, LEARNED))
    assert journal.find(event_id(shown(7))) == (8, LEARNED)
    assert {at_ms: journal.position_at(at_ms) for at_ms in (-1, 598, 599, 600, 650)} == {
        -1: 600, 598: 600, 599: 600, 600: 601, 650: 651,
    }  # fmt: skip
    journal.trim(100)
    journal.wipe(650)
    put(journal, ticked(900))
    assert journal.trimmed_through == 600, "it never goes back"


def test_the_last_line_is_never_trimmed(make: Make) -> None:
    journal = make()
    put(journal, *(ticked(number) for number in range(10)))
    journal.trim(1 << 40)
    assert eventually(lambda: journal.trimmed_through == 9)
    assert put(journal, ticked(10))[0].position == 11
    assert eventually(lambda: journal.trimmed_through == 10), "what was last is so no more"
    assert journal.position_at(1 << 40) == 11


def test_times_never_fall_with_the_position(make: Make) -> None:
    journal = make()
    assert journal.position_at(1 << 50) == 0
    put(journal, ticked(100), ticked(300), ticked(200), ticked(300), ticked(400))
    #        at_ms: position       why
    table = {
        99: 0,  # before all
        100: 1,
        250: 1,  # the third line's clock had stepped back: it counts as 300
        300: 4,  # the last of that time
        399: 4,
        1 << 50: 5,
    }
    assert {at_ms: journal.position_at(at_ms) for at_ms in table} == table


def test_a_line_that_cannot_be_written_fails_alone(make: Make) -> None:
    journal = make()
    told = put(journal, shown(1), ticked(1 << 70), converted(1, "\ud800"), shown(2))
    assert [(each.position, each.error is None) for each in told] == [
        (1, True),
        (0, False),
        (0, False),
        (2, True),
    ]
    assert journal.last_position == 2


def test_too_many_waiting_are_refused_and_nothing_blocks(make: Make) -> None:
    journal = make(max_waiting=10)
    entered, leave = threading.Event(), threading.Event()

    def hold(_told: list[Committed]) -> None:
        entered.set()
        assert leave.wait(30)

    journal.on_commit = hold
    journal.append(ticked())
    assert entered.wait(30)
    for _ in range(10):
        journal.append(ticked())
    with pytest.raises(Busy) as caught:
        journal.append(ticked())
    assert (caught.value.code, caught.value.retry_after_ms) == ("journal_full", 1000)
    leave.set()
    journal.on_commit = None
    assert eventually(lambda: journal.last_position == 11)


def test_a_listener_that_fails_does_not_end_the_writer(make: Make) -> None:
    def fail(_told: list[Committed]) -> None:
        raise RuntimeError("the loop is closed")

    journal = make(on_commit=fail)
    journal.append(shown(1))
    assert eventually(lambda: journal.last_position == 1)
    assert put(journal, shown(2))[0].position == 2


def test_closing_writes_what_waits(make: Make) -> None:
    listener = Listener()
    seconds: list[float] = []
    journal = make(on_commit=listener, on_commit_seconds=seconds.append)
    for number in range(1_000):
        journal.append(shown(number))
    journal.close()
    assert [each.position for each in listener.told] == list(range(1, 1_001))
    assert max(listener.commits) <= 256
    assert len(seconds) == len(listener.commits)
    with pytest.raises(Busy):
        journal.append(shown(1))
    journal.close()


def test_unthreaded_nothing_happens_before_it_is_asked_for(make: Make) -> None:
    listener = Listener()
    journal = make(on_commit=listener, threaded=False)
    assert isinstance(journal, MemoryJournal | SqliteJournal)
    journal.append(shown(1))
    assert (journal.last_position, listener.told) == (0, [])
    assert (journal.commit(), journal.last_position, len(listener.told)) == (1, 1, 1)
    journal.write_verdicts(1, [(event_id(shown(1)), LEARNED)])
    assert (journal.commit(), journal.verdicts_through) == (0, 1)
