"""Lines and records for the journal's tests, and a listener that keeps what it was told."""

from __future__ import annotations

import threading

from app.domain import ids
from app.domain.decisions import Choice, Placed, Record, ServedAd
from app.domain.lines import (
    Clicked,
    Configured,
    Converted,
    Event,
    FoldSettings,
    Line,
    Refunded,
    Shown,
    Ticked,
)
from app.domain.requests import AdRequest, Ask
from app.journal.protocol import Committed

HOUR = 480_000  # hours since 1970: a day in 2024, and midnight UTC


def ad(number: int, hour: int = HOUR) -> ServedAd:
    return ServedAd(
        decision_id=ids.decision_id(ids.request_key(hour * ids.HOUR_MS, number.to_bytes(10, "big")), 0),
        ad_index=0,
        creative_id=f"cr-{number}",
        creative_index=number % 60_000,
        generation=1,
        placement_id="plc-1",
        publisher_id="pub-1",
        rows=bytes(range(32)),
        columns=bytes(12),
        schema_version=1,
        price_micros=1_764_705_883,
        price_kind="cpc",
        pctr=0.017,
        variant=0,
        issued_at_ms=hour * ids.HOUR_MS,
    )


def shown(number: int, at_ms: int = 0, hour: int = HOUR) -> Shown:
    return Shown(at_ms=at_ms, ad=ad(number, hour))


def clicked(number: int, at_ms: int = 0, hour: int = HOUR) -> Clicked:
    return Clicked(at_ms=at_ms, ad=ad(number, hour))


def converted(number: int, own_id: str | None = None) -> Converted:
    return Converted(at_ms=0, ad=ad(number), own_id=own_id)


def refunded(target: Shown | Clicked | Converted, position: int) -> Refunded:
    return Refunded(at_ms=0, target_id=target.event_id, target_position=position, target=target)


def ticked(at_ms: int = 0) -> Ticked:
    return Ticked(at_ms=at_ms, requests=(("plc-1", 3, 2),))


def configured() -> Configured:
    return Configured(at_ms=0, settings=FoldSettings())


def event_id(line: Line) -> bytes:
    assert isinstance(line, Event)
    return line.event_id


def record(number: int, position: int | None = None) -> Record:
    key = ids.request_key(HOUR * ids.HOUR_MS, number.to_bytes(10, "big"))
    placed = Placed(
        name="top",
        placement_id="plc-1",
        publisher_id="pub-1",
        decision_id=ids.decision_id(key, 0),
        wins=(),
        code="size",
        reasons={"size": 812, "budget": 3},
        rows=(0, 5, 17),
        candidates=815,
    )
    return Record(
        request_key=key,
        request=AdRequest(request_id=f"r-{number // 2}", asks=(Ask(name="top", placement_id="plc-1"),)),
        choice=Choice(
            position=number if position is None else position, clock_ms=number, variant=0, placed=(placed,)
        ),
    )


class Listener:
    """Keeps what `on_commit` tells, and lets a test wait for it."""

    def __init__(self) -> None:
        self.told: list[Committed] = []
        self.commits: list[int] = []
        self._changed = threading.Condition()

    def __call__(self, told: list[Committed]) -> None:
        with self._changed:
            self.told += told
            self.commits.append(len(told))
            self._changed.notify_all()

    def wait(self, count: int) -> list[Committed]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.told) >= count, 30), "the journal did not answer"
            return list(self.told)
