"""The journals against a plain dict and list, through any story that hypothesis can think of."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.domain.lines import Entry, Event, Line, Referred, Verdict
from app.journal.memory import MemoryJournal
from app.journal.protocol import Committed
from app.journal.sqlite import SqliteJournal
from tests.journal.samples import HOUR, Listener, clicked, converted, event_id, shown, ticked

small = st.integers(0, 6)
hours = st.sampled_from((HOUR, HOUR + 24))
lines: st.SearchStrategy[Line] = st.one_of(
    st.builds(shown, small, at_ms=st.integers(0, 50), hour=hours),
    st.builds(clicked, small, at_ms=st.integers(0, 50), hour=hours),
    st.builds(converted, small, st.sampled_from((None, "a"))),
    st.builds(ticked, st.integers(0, 50)),
)


class JournalsAgainstADict(RuleBasedStateMachine):
    """Two journals and a model do the same; what is told, kept and found has to be the same."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "journal.db"
        self.told_by_disk, self.told_by_memory = Listener(), Listener()
        self.disk = SqliteJournal(self.path, self.told_by_disk, threaded=False)
        self.memory = MemoryJournal(self.told_by_memory, threaded=False)
        self.waiting: list[Line] = []
        self.verdicts: list[tuple[int, bytes, Verdict]] = []
        self.kept: list[Entry] = []
        self.times_ms: list[int] = []
        self.ids: dict[bytes, tuple[int, Verdict | None]] = {}
        self.through = 0
        self.told: list[Committed] = []

    @rule(some=st.lists(lines, min_size=1, max_size=8))
    def append(self, some: list[Line]) -> None:
        for line in some:
            self.waiting.append(line)
            self.disk.append(line)
            self.memory.append(line)

    @precondition(lambda self: self.kept)
    @rule(data=st.data(), fate=st.sampled_from(("learned", "invalid")))
    def judge(self, data: st.DataObject, fate: str) -> None:
        through = data.draw(st.integers(1, len(self.kept)))
        entry = self.kept[through - 1]
        verdict = Verdict(fate, through)
        some = [(event_id(entry.line), verdict)] if isinstance(entry.line, Event) else []
        self.verdicts += [(through, *each) for each in some] or [(through, b"", verdict)]
        self.disk.write_verdicts(through, some)
        self.memory.write_verdicts(through, some)

    @rule()
    def commit(self) -> None:
        self.disk.commit()
        self.memory.commit()
        for through, identity, verdict in self.verdicts:
            self.through = max(self.through, through)
            if identity:
                self.ids[identity] = (self.ids[identity][0], verdict)
        for line in self.waiting:
            self.told.append(self.take(line))
        self.verdicts, self.waiting = [], []
        assert self.told_by_disk.told == self.told
        assert self.told_by_memory.told == self.told

    def take(self, line: Line) -> Committed:
        identity, refers_to = (line.event_id, line.refers_to) if isinstance(line, Event) else (None, None)
        if identity is not None and identity in self.ids:
            position, verdict = self.ids[identity]
            return Committed(None, line, position, repeat=True, verdict=verdict)
        referred = Referred(*self.ids[refers_to]) if refers_to in self.ids and refers_to is not None else None
        position = len(self.kept) + 1
        self.kept.append(Entry(position, line, referred))
        self.times_ms.append(max(line.at_ms, *self.times_ms[-1:], 0))
        if identity is not None:
            self.ids[identity] = (position, None)
        return Committed(None, line, position, referred=referred)

    @rule()
    def restart(self) -> None:
        self.commit()
        self.disk.close()
        self.disk = SqliteJournal(self.path, self.told_by_disk, threaded=False)

    @rule(after=st.integers(-1, 60), limit=st.integers(0, 20))
    def follow(self, after: int, limit: int) -> None:
        want = self.kept[max(after, 0) :][:limit]
        assert self.disk.read(max(after, 0), limit) == want
        assert self.memory.read(max(after, 0), limit) == want

    @rule(at_ms=st.integers(-1, 60))
    def look_back(self, at_ms: int) -> None:
        want = sum(time_ms <= at_ms for time_ms in self.times_ms)
        assert self.disk.position_at(at_ms) == want
        assert self.memory.position_at(at_ms) == want

    @rule(number=small, hour=hours)
    def find(self, number: int, hour: int) -> None:
        for identity in (event_id(shown(number, hour=hour)), event_id(clicked(number, hour=hour))):
            assert self.disk.find(identity) == self.ids.get(identity)
            assert self.memory.find(identity) == self.ids.get(identity)

    @invariant()
    def agree(self) -> None:
        assert self.disk.last_position == self.memory.last_position == len(self.kept)
        assert self.disk.verdicts_through == self.memory.verdicts_through == self.through

    def teardown(self) -> None:
        self.disk.close()
        self.folder.cleanup()


TestJournalsAgainstADict = JournalsAgainstADict.TestCase
TestJournalsAgainstADict.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
