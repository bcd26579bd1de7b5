"""A second pair of books: folds a journal from empty, keeps the money by itself, and compares.

Nothing here trusts what a node said or a snapshot holds; both are held against the journal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from app.domain import ids
from app.domain.catalogue import AdGroup, Campaign, Creative
from app.domain.decisions import ServedAd
from app.domain.lines import Clicked, Converted, Dismissed, Entry, Event, Noticed, Refunded, Shown, Verdict
from app.flows.follow import fold
from app.flows.snapshotting import load
from app.journal.reader import SqliteReader
from app.rules.standing import moment_at
from app.state import saving
from app.state.apply import Receipt, apply
from app.state.state import State
from tests.journeys.load import Acknowledged, Memory

PAGE_LINES = 5_000


@dataclass
class Billing:
    """What an event cost whom, on which of their days."""

    campaign: str
    group: str
    day: int
    micros: int = 0


@dataclass
class Books:
    """Everything that a journal says, folded from its first line."""

    state: State
    positions: dict[bytes, int] = field(default_factory=dict)
    receipts: dict[bytes, Receipt] = field(default_factory=dict)
    verdicts: dict[bytes, tuple[int, Verdict]] = field(default_factory=dict)  # and who gave it: position
    billings: dict[bytes, Billing] = field(default_factory=dict)
    running: defaultdict[tuple[str, int | None], int] = field(default_factory=lambda: defaultdict(int))
    names: dict[str, int] = field(default_factory=dict)

    def take(self, entry: Entry, through: int) -> None:
        """Fold one line and write down what it did."""
        line = entry.line
        outcome = apply(self.state, entry)
        if isinstance(line, Event):
            assert line.event_id not in self.positions, "an event is there twice"
            self.positions[line.event_id] = entry.position
            assert outcome.receipt is not None
            self.receipts[line.event_id] = outcome.receipt
            if isinstance(line, Shown | Clicked | Converted | Dismissed | Noticed):
                self.billings[line.event_id] = self._payer(line.ad, line.at_ms)
        for event_id, verdict in outcome.verdicts:
            if entry.position <= through:
                self.verdicts[event_id] = entry.position, verdict
            if event_id in self.billings:
                self._book(self.billings[event_id], verdict)
        if isinstance(line, Refunded):
            assert self.billings[line.target_id].micros == 0

    def _payer(self, ad: ServedAd, at_ms: int) -> Billing:
        things = self.state.catalogue.things
        creative = things["creative"][ad.creative_id]
        assert isinstance(creative, Creative)
        group = things["ad_group"][creative.ad_group_id]
        assert isinstance(group, AdGroup)
        campaign = things["campaign"][group.campaign_id]
        assert isinstance(campaign, Campaign)
        return Billing(campaign.id, group.id, moment_at(campaign.time_zone, at_ms).day)

    def _book(self, billing: Billing, verdict: Verdict) -> None:
        change = verdict.billed_micros - billing.micros
        billing.micros = verdict.billed_micros
        if change:
            for account in (billing.campaign, billing.group):
                for day in (None, billing.day):
                    self.running[account, day] += change
            if change > 0:
                self._hold_budgets(billing)

    def _hold_budgets(self, billing: Billing) -> None:
        for kind, account in (("campaign", billing.campaign), ("ad_group", billing.group)):
            thing = self.state.catalogue.things[kind][account]
            assert isinstance(thing, Campaign | AdGroup)
            if thing.budget_daily_micros is not None:
                assert self.running[account, billing.day] <= thing.budget_daily_micros, (account, billing)
            if thing.budget_total_micros is not None:
                assert self.running[account, None] <= thing.budget_total_micros, (account, billing)


def read_books(data: Path, columns: int) -> Books:
    """Fold a journal from its first line to its last."""
    reader = SqliteReader(data / "journal.db")
    books, through = Books(State(columns)), reader.verdicts_through
    while entries := reader.read(books.state.position, PAGE_LINES):
        for entry in entries:
            books.take(entry, through)
    books.state.check()
    check_verdicts(reader, books)
    check_money(books)
    reader.close()
    return books


def check_verdicts(reader: SqliteReader, books: Books) -> None:
    """What was written back to the id rows is what the fold says, up to the watermark."""
    kept = reader.verdicts(books.positions)
    assert kept == {event_id: verdict for event_id, (_, verdict) in books.verdicts.items()}


def check_money(books: Books) -> None:
    """Billed and given back, line by line, is what the accounts hold."""
    catalogue = books.state.catalogue
    for index, accounts in (
        (catalogue.campaign_index, catalogue.campaign_accounts),
        (catalogue.group_index, catalogue.group_accounts),
    ):
        for key, at in index.items():
            assert int(accounts.spent[at]) == books.running[key, None], key
            assert int(accounts.spent_today[at]) == books.running[key, int(accounts.day[at])], key


def check_acknowledged(books: Books, memory: Memory) -> None:
    """Every acknowledged event is there, once, where it was said to be, and was billed as said."""
    for each in memory.acknowledged.values():
        event_id = ids.from_text(each.event_id)
        assert books.positions.get(event_id) == each.position, each
        _check_receipt(books.receipts[event_id], each)
    journal_positions = set(books.positions.values())
    assert set(memory.repeats.values()) <= journal_positions
    for text, micros in memory.refunded.items():
        refund = ids.from_text(text)
        refund_id = Refunded(
            at_ms=0, target_id=refund, target_position=0, target=_NO_TARGET
        ).event_id  # by the target's id alone
        assert books.receipts[refund_id].billed_micros == micros, text
    things = books.state.catalogue.things["creative"]
    for key, number in memory.names.items():
        stored = things[key]
        assert isinstance(stored, Creative)
        assert number <= int(stored.name or 0) <= memory.sent_names[key], (key, number, stored.name)


_NO_TARGET = Shown(
    at_ms=0,
    ad=ServedAd(
        decision_id=bytes(15), ad_index=0, creative_id="", creative_index=0, generation=0, placement_id="",
        publisher_id="", rows=b"", columns=b"", schema_version=1, price_micros=0, price_kind="cpm", pctr=0.0,
        variant=0, issued_at_ms=0,
    ),
)  # fmt: skip


def _check_receipt(folded: Receipt, told: Acknowledged) -> None:
    assert folded.status == told.status, (folded, told)
    if folded.code is None:  # else the answer conceals what was found
        assert (folded.billed_micros, folded.learned) == (told.billed_micros, told.learned), (folded, told)


def restored(data: Path, columns: int) -> tuple[State, list[str]]:
    """Come up as a node does: the last sound snapshot and the rest of the journal."""
    state, damaged = load(data / "snapshots", columns)
    reader = SqliteReader(data / "journal.db")
    fold(state, reader)
    reader.close()
    return state, damaged


def differences(one: State, other: State) -> list[str]:
    """Name everything in which two states differ; nothing, if they are one."""
    facts = {
        "position": (one.position, other.position),
        "hash": (one.hash, other.hash),
        "clock_ms": (one.clock_ms, other.clock_ms),
        "settings": (one.settings, other.settings),
        "held": (one.held, other.held),
        "complaints": (one.complaints, other.complaints),
        "progress": (one.progress, other.progress),
        "moments": (one.moments, other.moments),
        "group_standing": (one.group_standing.tobytes(), other.group_standing.tobytes()),
        "placement_prior": (one.placement_prior, other.placement_prior),
        "prior_logit": (one.prior_logit, other.prior_logit),
        "weights": (one.model.w.tobytes(), other.model.w.tobytes()),
        "rates": (one.model.hyper.tobytes(), other.model.hyper.tobytes()),
        **{f"ads.{name}": pair for name, pair in _ads(one, other).items()},
    }
    differing = [name for name, (mine, yours) in facts.items() if mine != yours]
    mine, yours = saving.parts(one), saving.parts(other)
    differing += [f"part {name}" for name in mine if not _same(mine[name], yours[name])]
    return differing


def _ads(one: State, other: State) -> dict[str, tuple[Any, Any]]:
    """Pair what the auction reads of the ads."""
    mine, yours = one.catalogue.ads, other.catalogue.ads
    n = mine.count
    arrays = ("bid", "log_score", "per_click", "quality", "group", "campaign", "advertiser", "own", "reason")
    pairs: dict[str, tuple[Any, Any]] = {
        name: (getattr(mine, name)[:n].tobytes(), getattr(yours, name)[:n].tobytes()) for name in arrays
    }
    pairs["columns"] = mine.columns[:, :n].tobytes(), yours.columns[:, :n].tobytes()
    pairs["count"] = n, yours.count
    return pairs


def _same(mine: Any, yours: Any) -> bool:
    if isinstance(mine, bytes):
        return mine == yours or bool(_unordered(mine) == _unordered(yours))
    return bool(np.asarray(mine).tobytes() == np.asarray(yours).tobytes())


def _unordered(packed: bytes) -> Any:
    """Read the packed part; maps with text keys compare without their order."""
    return msgspec.msgpack.decode(packed)


def log_events(data: Path) -> list[dict[str, Any]]:
    """Read what the nodes of a data directory logged.

    What is not a log line is passed over: a library's words, and a line that a kill cut (a write that crosses
    a page's edge stops there), with the next node's first one behind it.
    """
    events = []
    for line in Path(f"{data}.log").read_text(errors="replace").splitlines():
        with suppress(msgspec.DecodeError):
            events.append(msgspec.json.decode(line, type=dict[str, Any]))
    return events


def logged(events: Iterable[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Pick the log lines of one event."""
    return [event for event in events if event["event"] == name]
