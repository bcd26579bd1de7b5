"""A node with nothing but a catalogue, plainly written: what the flow is held against.

Each line goes through the journal's encoding, as on a real node, before it is applied.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import msgspec

from app.domain.catalogue import PARENTS, Creative, Kind, Thing, kind_of, parent_of
from app.domain.lines import Catalogued, Line, decode, encode
from app.domain.refusals import Refused
from app.flows.limiter import Limiter

Key = tuple[Kind, str]


class FakeCatalogue:
    """Things by kind and id."""

    def __init__(self, capacity: int = 10**9) -> None:
        self.things: dict[Key, Thing] = {}
        self.revisions: dict[Key, int] = {}
        self.capacity = capacity

    def room(self) -> int:
        """Count what certainly finds a place."""
        return self.capacity - len(self.things)

    def get(self, kind: Kind, identity: str) -> Thing | None:
        return self.things.get((kind, identity))

    def revision(self, kind: Kind, identity: str) -> int:
        return self.revisions.get((kind, identity), 0)

    def ids(self, kind: Kind) -> list[str]:
        return sorted(identity for of, identity in self.things if of == kind)

    def in_order(self, kind: Kind) -> list[str]:
        return self.ids(kind)

    def live_children(self, kind: Kind, identity: str) -> int:
        return sum(
            thing.status != "archived"
            for thing in self.things.values()
            if parent_of(thing) == (kind, identity)
        )

    def check(self, thing: Thing) -> None:
        kind, link = kind_of(thing), parent_of(thing)
        old = self.get(kind, thing.id)
        if link is not None:
            field, parent = PARENTS[kind][0], self.get(*link)
            if parent is None:
                raise Refused("unknown_parent", "no such parent", field)
            if parent.status == "archived" and thing.status != "archived":
                raise Refused("archived_parent", "the parent is archived", field)
            if old is not None and parent_of(old) != link:
                raise Refused("parent_fixed", "stands elsewhere", field)
        if isinstance(old, Creative) and isinstance(thing, Creative) and old.format != thing.format:
            raise Refused("format_fixed", "keeps its format", "format")
        if old is None and len(self.things) >= self.capacity:
            raise Refused("catalogue_full", "no place is left", "type")

    def take(self, line: Line) -> None:
        assert isinstance(line, Catalogued)
        key = kind_of(line.thing), line.thing.id
        self.things[key] = line.thing
        assert len(self.things) <= self.capacity, "a line that the fold cannot take"
        self.revisions[key] = self.revision(*key) + 1


class FakeState:
    """The part of the state that the flow reads."""

    def __init__(self, catalogue: FakeCatalogue) -> None:
        self.catalogue = catalogue


class FakeNode:
    """Applies each line at once; `lines` and `commits` tell what was submitted and how often."""

    def __init__(self, things: Sequence[Thing] = (), capacity: int = 10**9) -> None:
        self.state = FakeState(FakeCatalogue(capacity))
        self.catalogue_lock = asyncio.Lock()
        self.limiter = Limiter()
        self.workers: Executor = ThreadPoolExecutor(max_workers=1)
        self.lines: list[Line] = []
        self.commits = 0
        self.named = 0
        for thing in things:
            self.state.catalogue.take(Catalogued(at_ms=0, thing=thing))

    async def submit(self, line: Line) -> None:
        await self.submit_many([line])

    async def submit_many(self, lines: Sequence[Line]) -> None:
        assert self.catalogue_lock.locked(), "what was checked must still hold"
        self.commits += 1
        await asyncio.sleep(0)
        for line in lines:
            self.lines.append(line)
            self.state.catalogue.take(decode(encode(line)))

    def now_ms(self) -> int:
        return 1_700_000_000_000

    def fresh_id(self) -> str:
        self.named += 1
        return f"fresh-{self.named}"

    def snapshot(self) -> bytes:
        """All that is in force, as bytes that compare."""
        things = self.state.catalogue.things
        return msgspec.json.encode([(*key, things[key]) for key in sorted(things)])
