"""Power cuts between any two writes, life after life: what comes up is the fold of what is on the disk.

Method: journal, fold, verdicts and snapshots run in one process and in one order, by a seed, on a disk that
forgets, tears and reorders what was not synced (`tests/journal/disks.py`). The power goes at a seeded
operation; the next life starts on what is left: the last snapshot and the rest. Its state is held against a
fold from the first line, its invariants are checked, and every acknowledged line has to be there.
With a disk that lies about syncing the same test has to fail.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import apsw
import msgspec
import pytest

from app.domain import ids
from app.domain.catalogue import kind_of
from app.domain.decisions import ServedAd
from app.domain.lines import (
    Catalogued,
    Clicked,
    Configured,
    Entry,
    Event,
    FoldSettings,
    Line,
    Refunded,
    Shown,
    Ticked,
)
from app.domain.requests import Person
from app.flows.follow import fold
from app.flows.serve import served_ads
from app.flows.snapshotting import load, save
from app.journal import snapshots, sqlite
from app.journal.protocol import Committed
from app.journal.sqlite import SqliteJournal
from app.state.apply import apply
from app.state.choose import Chooser
from app.state.state import State
from tests.journal.disks import Disk, _File
from tests.journeys.ledger import differences
from tests.journeys.nursery import COLUMNS
from tests.node import ask_for, small_catalogue

# A connection that is closed on a dead disk has errors that it can tell nobody.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SEEDS = 16
LIVES = 4
LIES = 6
TURNS = 14
LONGEST = 500  # operations of a life, at most; its story has about so many
BUDGET_MICROS = 9_000_000_000
START_MS = 1_790_000_000_000


class UsedDisk(Disk):
    """A disk on which a folder's files are already, surely."""

    def __init__(self, folder: Path, seed: int, power_cut_at: int | None, lies: bool) -> None:
        super().__init__(seed, power_cut_at, lies)
        self.over = False  # what it held is known: let connections close in peace
        for path in folder.glob("journal.db*"):
            if not path.name.endswith("-shm"):
                file = self._files[path.name] = _File()
                file.synced = path.read_bytes()

    def step(self, kind: str) -> None:
        if not self.over:
            super().step(kind)


class Life:
    """One life on one disk: from coming up to the power cut. `told` is what was acknowledged in it."""

    def __init__(self, folder: Path, disk: Disk, seed: str) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.told: list[Committed] = []
        self.served: list[ServedAd] = []
        self.journal = SqliteJournal(folder / "journal.db", self._hear, vfs=disk.name, threaded=False)
        self.state, self.damaged = load(folder / "snapshots", COLUMNS)
        self.chooser = Chooser(self.state)
        self.came_up_at = self.state.position
        verdicts = fold(self.state, self.journal)
        if self.state.position > self.journal.verdicts_through:
            self.journal.write_verdicts(self.state.position, verdicts)

    def _hear(self, batch: list[Committed]) -> None:
        """Apply what was committed, and have its verdicts written with the next commit."""
        verdicts = []
        for each in batch:
            if each.error is not None:
                continue
            self.told.append(each)
            if not each.repeat:
                verdicts += apply(self.state, Entry(each.position, each.line, each.referred)).verdicts
        self.journal.write_verdicts(self.state.position, verdicts)

    def live(self) -> None:
        """Live the story to its end, or until the power goes."""
        if self.state.position == 0:
            self._append(Configured(at_ms=START_MS, settings=FoldSettings(in_flight_s=5, held_s=3)))
        for thing in small_catalogue(budget_daily_micros=BUDGET_MICROS):
            if self.state.catalogue.get(kind_of(thing), thing.id) is None:
                self._append(Catalogued(at_ms=START_MS, thing=thing))
        self._append(Ticked(at_ms=max(START_MS, self.state.clock_ms)))
        self.journal.commit()
        for _ in range(TURNS):
            for _ in range(self.chance.randrange(1, 8)):
                self._append(self._line())
            self.journal.commit()
            if self.chance.random() < 0.25:
                self._snapshot()
        self.journal.close()

    def _append(self, line: Line) -> None:
        self.journal.append(line)

    def _snapshot(self) -> None:
        """Keep the state, once its verdicts are durable: lines behind it are never folded again."""
        self.journal.commit()
        if self.journal.verdicts_through < self.state.position:
            return  # the disk is dead
        save(self.folder / "snapshots", self.state, self.state.clock_ms)

    def _line(self) -> Line:
        chance, at_ms = self.chance, self.state.clock_ms + self.chance.randrange(1_500)
        if chance.random() < 0.2:
            return Ticked(at_ms=at_ms, in_flight=self._in_flight())
        if chance.random() < 0.1:
            thing = chance.choice(small_catalogue(budget_daily_micros=BUDGET_MICROS)[3:])
            return Catalogued(at_ms=at_ms, thing=msgspec.structs.replace(thing, name=str(at_ms)))
        if len(self.served) < 5 or chance.random() < 0.5:
            self._decide(at_ms)
        if not self.served:  # the budget is gone: the next day opens it again
            return Ticked(at_ms=at_ms + ids.DAY_MS)
        ad = chance.choice(self.served[-12:])
        if chance.random() < 0.25:
            return self._refund(at_ms, ad)
        return Shown(at_ms=at_ms, ad=ad) if chance.random() < 0.5 else Clicked(at_ms=at_ms, ad=ad)

    def _in_flight(self) -> tuple[tuple[str, int], ...]:
        return ((self.chance.choice(list(self.state.catalogue.group_index)), 1_000_000),)

    def _decide(self, at_ms: int) -> None:
        key = ids.request_key(at_ms, self.chance.randbytes(ids.RANDOM_BYTES))
        request = ask_for("plc-1", "plc-2", count=2, person=Person(age=self.chance.randrange(15, 70)))
        choice = self.chooser.choose(request, key, at_ms)
        self.served += [ad for placed in choice.placed for ad in served_ads(choice, placed)]

    def _refund(self, at_ms: int, ad: ServedAd) -> Line:
        target: Shown | Clicked = self.chance.choice((Shown, Clicked))(at_ms=at_ms, ad=ad)
        found = self.journal.find(target.event_id)
        entry = self.journal.entry_at(found[0]) if found else None
        if entry is None or not isinstance(entry.line, Shown | Clicked):
            return Shown(at_ms=at_ms, ad=ad)
        refers_to = entry.line.refers_to
        impression = self.journal.find(refers_to) if refers_to else None
        return Refunded(
            at_ms=at_ms, target_id=target.event_id, target_position=entry.position, target=entry.line,
            impression_position=impression[0] if impression else None,
        )  # fmt: skip


def check_what_came_up(life: Life, acknowledged: list[Committed]) -> None:
    """Nothing acknowledged is lost, nothing is there twice, and the state is the fold of it all."""
    entries = life.journal.read(0, 1_000_000)
    assert [entry.position for entry in entries] == list(range(1, len(entries) + 1))
    events = [entry.line.event_id for entry in entries if isinstance(entry.line, Event)]
    assert len(events) == len(set(events))
    for each in acknowledged:
        assert each.position <= len(entries), "an acknowledged line is lost"
        if not each.repeat:
            assert entries[each.position - 1] == Entry(each.position, each.line, each.referred)
    assert life.damaged == []
    assert life.came_up_at <= life.journal.last_position, "a snapshot is ahead of the journal"
    fresh = State(COLUMNS)
    for entry in entries:
        apply(fresh, entry)
    fresh.check()
    assert differences(life.state, fresh) == []


def survive(seed: int, folder: Path, *, lies: bool = False) -> list[Life]:
    """Live several lives, each on what the power cut before it left."""
    chance, acknowledged, lives = random.Random(seed), list[Committed](), list[Life]()
    here = folder / "0"
    here.mkdir(parents=True)
    for number in range(LIVES):
        disk = UsedDisk(here, seed, chance.randrange(20, LONGEST), lies)
        life = None
        try:
            life = Life(here, disk, f"{seed}:{number}")
            check_what_came_up(life, acknowledged)
            lives.append(life)
            life.live()
        except apsw.Error:
            assert disk.image is not None, "only a dead disk may refuse"
        finally:
            disk.over = True
            if life is not None:
                life.journal.close()
                life.journal._connection.close()  # where closing failed with the disk
        acknowledged += life.told if life is not None else []
        if disk.image is not None:
            here = _what_is_left(disk, here, folder / str(number + 1))
    life = Life(here, Disk(), "last")
    check_what_came_up(life, acknowledged)
    life.journal.close()
    return [*lives, life]


def _what_is_left(disk: Disk, here: Path, there: Path) -> Path:
    """Move to what the disk holds; a snapshot has its name only when it is synced, so all are there."""
    disk.save_image(there)
    if (here / "snapshots").exists():
        shutil.copytree(here / "snapshots", there / "snapshots")
    return there


@pytest.fixture(autouse=True)
def small_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "WAL_BOUND_PAGES", 40)


def test_the_story_is_worth_telling(tmp_path: Path) -> None:
    disk = Disk()
    life = Life(tmp_path, disk, "story")
    life.live()
    kinds = {type(each.line) for each in life.told if not each.repeat}
    assert kinds == {Configured, Catalogued, Ticked, Shown, Clicked, Refunded}
    assert any(each.repeat for each in life.told)
    assert any(each.referred for each in life.told)
    assert disk.operations > 150
    assert snapshots.listing(tmp_path / "snapshots")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_comes_up_after_power_cuts_is_the_fold_of_the_journal(seed: int, tmp_path: Path) -> None:
    lives = survive(seed, tmp_path)
    assert lives[-1].state.position > 20


def test_a_disk_that_lies_about_syncing_is_found_out(tmp_path: Path) -> None:
    found_out = 0
    for seed in range(LIES):
        try:
            survive(seed, tmp_path / f"lie-{seed}", lies=True)
        except (AssertionError, apsw.Error):
            found_out += 1
    assert found_out >= LIES // 2
