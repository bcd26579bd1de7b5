"""What only the journal on disk promises: durable before told, found again, alive after a failing disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import apsw
import msgspec
import pytest

from app.domain.lines import Entry, Referred, Shown, Verdict
from app.domain.refusals import Busy, Refused
from app.journal import sqlite
from app.journal.protocol import ID_LIFE_DAYS, Committed
from app.journal.reader import SqliteReader, ids_table
from app.journal.sqlite import SqliteJournal
from tests.journal.disks import Disk
from tests.journal.samples import HOUR, Listener, ad, clicked, event_id, shown, ticked

LEARNED = Verdict("learned", 5)
DAY = HOUR // 24
KEPT = 300  # lines that a journal which is being killed keeps


def eventually(holds: Callable[[], bool]) -> bool:
    until = monotonic() + 30
    while not holds() and monotonic() < until:
        sleep(0.002)
    return holds()


def test_durable_before_acknowledged(tmp_path: Path) -> None:
    """At the moment of `on_commit` another connection sees each line, and the sync has come before."""
    path, disk = tmp_path / "journal.db", Disk()
    seen: list[object] = []
    unsynced: list[int] = []

    def look(told: list[Committed]) -> None:
        with apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY) as other:
            query = "SELECT count(*) FROM lines WHERE position = ?"
            seen.extend(other.execute(query, (each.position,)).get for each in told)
        unsynced.append(disk.unsynced("journal.db-wal"))

    journal = SqliteJournal(path, look, vfs=disk.name)
    for number in range(600):
        journal.append(shown(number))
    journal.close()
    assert seen == [1] * 600
    assert unsynced == [0] * len(unsynced)


def test_what_was_written_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    first = SqliteJournal(path, threaded=False)
    for line in (shown(1, at_ms=50), clicked(1, at_ms=40), ticked(45)):
        first.append(line)
    first.commit()
    first.write_verdicts(2, [(event_id(shown(1)), LEARNED)])
    first.close()
    assert [name.name for name in tmp_path.iterdir()] == ["journal.db"], "the WAL is folded in at the close"
    second = SqliteJournal(path, listener := Listener(), threaded=False)
    assert (second.last_position, second.verdicts_through) == (3, 2)
    assert [second.position_at(at_ms) for at_ms in (49, 50)] == [0, 3]
    for line in (clicked(1), shown(1), ticked(1)):
        second.append(line)
    second.commit()
    assert [(each.position, each.repeat, each.verdict) for each in listener.told] == [
        (2, True, None),
        (1, True, LEARNED),
        (4, False, None),
    ]
    assert second.position_at(50) == 4, "the clock that stepped back over the restart counts as it was"
    second.close()


def test_another_process_may_follow(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = SqliteJournal(path, threaded=False)
    journal.append(shown(1))
    journal.append(clicked(1))
    journal.commit()
    reader = SqliteReader(path)
    assert reader.read(0, 10) == [Entry(1, shown(1)), Entry(2, clicked(1), Referred(1))]
    assert (reader.first_position, reader.last_position, reader.verdicts_through) == (1, 2, 0)
    assert reader.find(event_id(clicked(1))) == (2, None)
    reader.close()
    journal.close()


@pytest.mark.parametrize("left", [("journal.db", "journal.db-wal"), ("journal.db",)])
def test_a_command_may_read_what_a_dead_node_left(tmp_path: Path, left: tuple[str, ...]) -> None:
    """With its WAL after a power cut (shared memory gone), and without one after a clean stop."""
    (tmp_path / "node").mkdir()
    (tmp_path / "left").mkdir()
    journal = SqliteJournal(tmp_path / "node" / "journal.db", threaded=False)
    journal.append(shown(1))
    journal.commit()
    if len(left) == 1:
        journal.close()
    for name in left:
        (tmp_path / "left" / name).write_bytes((tmp_path / "node" / name).read_bytes())
    journal.close()
    reader = SqliteReader(tmp_path / "left" / "journal.db")
    assert reader.read(0, 10) == [Entry(1, shown(1))]
    reader.close()


FAILURES: list[tuple[str, type[apsw.Error]]] = [
    ("write", apsw.FullError),
    ("write", apsw.IOError),
    ("sync", apsw.IOError),
]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("operation", "failure"), FAILURES)
def test_a_failing_disk_leaves_nothing_behind_and_the_writer_lives_on(
    tmp_path: Path, operation: str, failure: type[apsw.Error]
) -> None:
    disk, listener = Disk(), Listener()
    journal = SqliteJournal(tmp_path / "journal.db", listener, vfs=disk.name)
    journal.append(shown(1), "before")
    listener.wait(1)
    disk.failing[operation] = failure
    journal.write_verdicts(1, [(event_id(shown(1)), LEARNED)])
    for number in range(5):
        journal.append(shown(10 + number, hour=HOUR + 24), number)
    failed = listener.wait(6)[1:]
    assert [each.ticket for each in failed] == list(range(5))
    for each in failed:
        assert isinstance(each.error, Busy)
        assert (each.error.code, each.error.retry_after_ms, each.position) == ("journal_unavailable", 1000, 0)
        assert isinstance(each.error.__cause__, failure)
    assert (journal.last_position, journal.verdicts_through) == (1, 0)
    assert journal.find(event_id(shown(10, hour=HOUR + 24))) is None
    disk.failing.clear()
    journal.append(shown(12, hour=HOUR + 24), "after")
    after = listener.wait(7)[6]
    assert (after.position, after.repeat, after.error) == (2, False, None)
    assert eventually(lambda: journal.verdicts_through == 1), "verdicts are kept until they are written"
    assert journal.find(event_id(shown(1))) == (1, LEARNED)
    journal.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_closing_on_a_failing_disk_ends(tmp_path: Path) -> None:
    disk, listener = Disk(), Listener()
    journal = SqliteJournal(tmp_path / "journal.db", listener, vfs=disk.name)
    disk.failing["write"] = apsw.FullError
    journal.write_verdicts(1, [])
    journal.append(shown(1))
    journal.close()
    assert isinstance(listener.told[0].error, Busy)


def test_a_days_ids_are_forgotten_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_FORGET_ROWS", 10)
    journal = SqliteJournal(tmp_path / "journal.db", listener := Listener())
    for number in range(25):
        journal.append(shown(number))
        journal.append(shown(number, hour=HOUR + 24))
    listener.wait(50)
    journal.forget(DAY + ID_LIFE_DAYS + 1)
    assert eventually(lambda: ids_table(DAY) not in tables(tmp_path / "journal.db"))
    assert tables(tmp_path / "journal.db") >= {ids_table(DAY + 1), "lines", "meta"}
    assert journal.find(event_id(shown(0))) is None
    assert journal.find(event_id(shown(0, hour=HOUR + 24))) == (2, None)
    assert journal.last_position == 50
    journal.close()


def test_ids_are_forgotten_under_load_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_FORGET_S", -1.0)
    journal = SqliteJournal(tmp_path / "journal.db", threaded=False)
    for hour in (HOUR, HOUR + 24):
        journal.append(shown(1, hour=hour))
    journal.commit()
    journal.forget(DAY + ID_LIFE_DAYS + 1)
    journal.append(shown(2, hour=HOUR + 24))
    journal.commit()
    assert ids_table(DAY) not in tables(tmp_path / "journal.db")
    assert journal.find(event_id(shown(1, hour=HOUR + 24))) == (2, None)
    journal.close()


def test_lines_are_trimmed_under_load_too_and_their_room_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_TRIM_S", -1.0)
    monkeypatch.setattr(SqliteJournal, "_rest", lambda _: None)
    path = tmp_path / "journal.db"
    journal = SqliteJournal(path, threaded=False)
    sizes = []
    for number in range(10_000):
        journal.append(ticked(number))
        if number % 100 == 99:
            journal.commit()
            journal.trim(number - 500)
            sizes.append(journal._number("PRAGMA page_count"))
    assert journal.trimmed_through == 9_900 - 501
    assert sizes[-1] == sizes[20], "what was trimmed made room for what came"
    journal.close()


def test_what_is_trimmed_is_off_the_disk(tmp_path: Path) -> None:
    """Whoever searches the file's bytes for a person finds nobody; before, the search found them.

    Ticks come before people, as on a node: a table's first page keeps a copy of its first rows when it grows.
    And they come after: pages go, and are zeroed whole, when the last line on them does.
    """
    path, key = tmp_path / "journal.db", b"a-person's-key"
    journal = SqliteJournal(path, threaded=False)
    for number in range(3_000):
        served = msgspec.structs.replace(ad(number), user=key)
        journal.append(Shown(at_ms=number, ad=served) if 100 <= number < 2_000 else ticked(number))
    journal.commit()
    journal.close()
    assert key in path.read_bytes()
    journal = SqliteJournal(path, threaded=False)
    journal.trim(2_200)
    while journal.trimmed_through < 2_200:
        journal.commit()
    journal.close()
    assert key not in path.read_bytes()


def test_the_wal_stays_bounded_under_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "WAL_BOUND_PAGES", 50)
    path = tmp_path / "journal.db"
    journal = SqliteJournal(path, threaded=False)
    for number in range(5_000):
        journal.append(shown(number))
    journal.commit()
    # A commit writes some thirty pages; the bound is passed by one commit at most.
    assert (tmp_path / "journal.db-wal").stat().st_size < 4_096 * (50 + 200)
    assert path.stat().st_size > 5_000 * 100
    journal.close()


def test_a_newer_journal_is_refused(tmp_path: Path) -> None:
    SqliteJournal(tmp_path / "journal.db").close()
    with apsw.Connection(str(tmp_path / "journal.db")) as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
    connection.close()
    with pytest.raises(Refused) as caught:
        SqliteJournal(tmp_path / "journal.db")
    assert caught.value.code == "journal_version"


def test_kill_minus_nine_loses_nothing_told(tmp_path: Path) -> None:
    """Thirty times one journal: a child appends and tells its parent through a pipe, until it is killed."""
    path, told = tmp_path / "journal.db", 0
    for life in range(30):
        told = max(told, one_life(path, life))
        journal = SqliteJournal(path, threaded=False)
        entries, trimmed = journal.read(0, 1_000_000), journal.trimmed_through
        assert [entry.position for entry in entries] == list(range(trimmed + 1, journal.last_position + 1))
        assert len({event_id(entry.line) for entry in entries}) == len(entries)
        assert journal.last_position >= told, "a line that was told of is lost"
        assert trimmed <= max(0, journal.last_position - KEPT), "a line is gone that was to stay"
        journal.close()
    assert told > 1_000
    assert trimmed > 500


def one_life(path: Path, life: int) -> int:
    """Fork a child that appends; kill it after it has told of some commits; tell its last position told."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            append_for_ever(path, life, sending)
        finally:
            os._exit(1)
    os.close(sending)
    received = b""
    while len(received) < 8 * (1 + 37 * (life % 9)):
        more = os.read(receiving, 4_096)
        assert more, "the child died by itself"
        received += more
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(receiving, 65_536):
        received += more
    os.close(receiving)
    whole = len(received) // 8 * 8
    return int.from_bytes(received[whole - 8 : whole], "big")


def append_for_ever(path: Path, life: int, sending: int) -> None:
    def tell(told: list[Committed]) -> None:
        for each in told:
            os.write(sending, each.position.to_bytes(8, "big"))
        journal.trim(told[-1].position - KEPT)

    sqlite._TRIM_LINES, sqlite._TRIM_S = 40, 0.0
    journal = SqliteJournal(path, tell)
    for number in range(1_000_000):
        journal.append(shown(life * 1_000_000 + number))
        if number % 100 == 0:
            sleep(0.01)


def tables(path: Path) -> set[object]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    return names
