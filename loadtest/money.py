"""`python -m loadtest money [--events N]`: does the money add up, to the micro?

A simulated fortnight of all four kinds of price on a real journal: budgets that run out, late and held
clicks, conversions hours after, repeats, refunds, edits and midnights in several zones. Then five tellings of
the same money are held against one another: the report, the verdicts in the journal, the budgets' accounts,
the ledger, and a plain second pair of books (`loadtest.books`).
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from app.domain import ids
from app.domain.catalogue import (
    AdGroup,
    Advertiser,
    Campaign,
    Creative,
    Placement,
    Pricing,
    PricingKind,
    Publisher,
    Thing,
)
from app.domain.decisions import ServedAd
from app.domain.lines import (
    Catalogued,
    Clicked,
    Configured,
    Converted,
    Entry,
    FoldSettings,
    Line,
    Refunded,
    Shown,
    Ticked,
    Verdict,
)
from app.flows.reporting import Asked, run_reports
from app.flows.traffic import refund_of
from app.journal.protocol import Committed
from app.journal.sqlite import SqliteJournal
from app.state.apply import apply
from app.state.state import State
from loadtest.books import Books

EVENTS = 1_000_000
COLUMNS = 1_024
BATCH = 250
DAYS = 14
START_MS = 1_798_700_000_000  # the last days of 2026
MICROS = 1_000_000
ZONES = ("Asia/Seoul", "UTC", "America/New_York", "Asia/Kolkata")
KINDS: tuple[PricingKind, ...] = ("cpm", "cpc", "cpa", "ocpm")
CAMPAIGNS = 12


def catalogue(chance: random.Random, events: int) -> list[Thing]:
    """Campaigns in several zones, an ad group of each kind in each; most with budgets that will run out."""
    things: list[Thing] = [
        Publisher(id="pub-1"),
        Placement(id="plc-1", publisher_id="pub-1", sizes=((320, 50),), formats=("banner",)),
        Advertiser(id="adv-1"),
    ]
    scale = MICROS * events // CAMPAIGNS // DAYS  # about a currency unit an event is spent
    for number in range(CAMPAIGNS):
        campaign = f"c-{number}"
        things.append(
            Campaign(
                id=campaign, advertiser_id="adv-1", time_zone=ZONES[number % len(ZONES)],
                budget_daily_micros=chance.choice([None, scale // 2, 3 * scale]),
                budget_total_micros=chance.choice([None, 5 * scale]),
            )
        )  # fmt: skip
        for kind in KINDS:
            daily = chance.choice([None, None, scale // 5])
            pricing = Pricing(kind=kind, bid_micros=10**9)
            group = f"{campaign}-{kind}"
            things.append(AdGroup(id=group, campaign_id=campaign, pricing=pricing, budget_daily_micros=daily))
            things.append(
                Creative(
                    id=f"{group}-cr", ad_group_id=group, format="banner", width=320, height=50,
                    landing_url="https://shop.example/",
                )
            )  # fmt: skip
    return things


class Simulation:
    """One journal and its fold; `take` commits lines in batches, as a node's writer and loop would."""

    def __init__(self, data: Path, seed: int, events: int) -> None:
        self.chance, self.events = random.Random(seed), events
        self.state, self.books = State(COLUMNS), Books()
        self.journal = SqliteJournal(data / "journal.db", self._committed, threaded=False)
        self.verdicts: dict[bytes, Verdict] = {}
        self.positions: dict[bytes, int] = {}
        self.waiting: list[Line] = []
        self.now_ms = START_MS
        self.decisions = 0

    def put(self, line: Line) -> None:
        """Queue a line; a batch is committed and folded at once."""
        self.waiting.append(line)
        if len(self.waiting) >= BATCH:
            self.commit()

    def commit(self) -> None:
        """Make the waiting lines durable, fold them, and write their verdicts."""
        for line in self.waiting:
            self.journal.append(line)
        self.waiting.clear()
        self.journal.commit()

    def _committed(self, told: list[Committed]) -> None:
        verdicts: list[tuple[bytes, Verdict]] = []
        for one in told:
            assert one.error is None
            if one.repeat:
                continue
            self.books.take(one.line)
            event: bytes | None = getattr(one.line, "event_id", None)
            if event is not None:
                self.positions[event] = one.position
            verdicts += apply(self.state, Entry(one.position, one.line, one.referred)).verdicts
        self.verdicts.update(verdicts)
        self.journal.write_verdicts(self.state.position, verdicts)

    def play(self) -> None:
        """Live the fortnight."""
        self.put(Configured(at_ms=self.now_ms, settings=FoldSettings()))
        things = catalogue(self.chance, self.events)
        for thing in things:
            self.put(Catalogued(at_ms=self.now_ms, thing=thing))
        self.put(Ticked(at_ms=self.now_ms))
        self.commit()
        step_ms = DAYS * 86_400_000 // self.events
        for number, line in enumerate(self._events([t for t in things if isinstance(t, Creative)])):
            self.now_ms += step_ms
            self.put(line)
            if number % 200 == 0:
                self.put(Ticked(at_ms=self.now_ms))
            if number % 5_000 == 4_999:
                self._edit(self.chance.choice([t for t in things if isinstance(t, Campaign)]))
            if number % 50_000 == 0:
                self.commit()
                self.state.check()
        self.now_ms += 3_600_000
        self.put(Ticked(at_ms=self.now_ms))
        self.commit()
        self.journal.commit()
        self.state.check()

    def _events(self, creatives: list[Creative]) -> Iterator[Line]:
        """Write events by turns: impressions, their clicks (some first, some late), conversions, refunds."""
        chance, open_ads = self.chance, [self._ad(creatives[0])]
        clicked: list[ServedAd] = []
        past: list[Shown | Clicked | Converted] = []
        for _ in range(self.events):
            draw, now = chance.random(), self.now_ms
            if draw < 0.55 or not clicked or not past:
                ad = self._ad(chance.choice(creatives))
                open_ads.append(ad)
                line: Line = Shown(at_ms=now, ad=ad) if chance.random() < 0.95 else Clicked(at_ms=now, ad=ad)
            elif draw < 0.62:
                line = Shown(at_ms=now, ad=chance.choice(open_ads))  # often a repeat; else settles a click
            elif draw < 0.80:
                line = Clicked(at_ms=now, ad=chance.choice(open_ads))
            elif draw < 0.96:
                line = Converted(at_ms=now, ad=chance.choice(clicked), own_id=str(chance.randrange(3)))
            else:
                refund = self._owed() or self._refund(chance.choice(past))
                line = refund if refund is not None else Ticked(at_ms=now)
            if isinstance(line, Clicked):
                clicked.append(line.ad)
            if isinstance(line, Shown | Clicked | Converted):
                past.append(line)
            self._forget(open_ads, clicked, past)
            yield line

    def _owed(self) -> Refunded | None:
        """Refund a conversion whose click was taken back, as a node does at its ticks."""
        for position in self.state.conversions.owed:
            entry = self.journal.entry_at(position)
            assert entry is not None
            return refund_of(self.state, position, entry.line, self.now_ms)[0]
        return None

    @staticmethod
    def _forget(*memories: list[Any]) -> None:
        for memory in memories:
            if len(memory) > 3_000:  # some hours' worth, at a million events
                del memory[: len(memory) // 2]

    def _ad(self, creative: Creative) -> ServedAd:
        self.decisions += 1
        kind = creative.ad_group_id.rsplit("-", 1)[1]
        pctr, pcvr = self.chance.uniform(0.005, 0.3), self.chance.uniform(0.01, 0.3)
        worth = {"cpm": 1_000.0, "cpc": 4.0, "cpa": 5.0, "ocpm": 1 / pctr / pcvr}[kind]
        key = ids.request_key(self.now_ms, self.decisions.to_bytes(ids.RANDOM_BYTES, "big"))
        columns = self.state.catalogue.ads.columns[:, self._index(creative)].tolist()
        return ServedAd(
            decision_id=ids.decision_id(key, 0), ad_index=0, creative_id=creative.id,
            creative_index=self._index(creative), generation=0, placement_id="plc-1", publisher_id="pub-1",
            rows=struct.pack("<2H", 0, 5), columns=struct.pack(f"<{len(columns)}H", *columns),
            schema_version=1, price_micros=round(MICROS * worth * self.chance.uniform(0.5, 1.5)),
            price_kind=kind, pctr=pctr, variant=0, issued_at_ms=self.now_ms,
            pcvr=pcvr if kind in {"cpa", "ocpm"} else 0.0,
        )  # fmt: skip

    def _index(self, creative: Creative) -> int:
        return self.state.catalogue.ads.places.by_key[creative.id]

    def _refund(self, target: Shown | Clicked | Converted) -> Refunded | None:
        position = self.positions.get(target.event_id)
        if position is None:  # it waits for its commit
            return None
        impression = self.positions.get(target.refers_to or b"") if isinstance(target, Clicked) else None
        first = self.journal.entry_at(position)
        assert first is not None
        line = first.line  # of repeats the one that counted
        assert isinstance(line, Shown | Clicked | Converted)
        return Refunded(
            at_ms=self.now_ms, target_id=target.event_id, target_position=position, target=line,
            impression_position=impression,
        )  # fmt: skip

    def _edit(self, campaign: Campaign) -> None:
        """Change a budget, or pause or archive a campaign: what it has shown is paid for all the same."""
        old = self.state.catalogue.get("campaign", campaign.id)
        assert isinstance(old, Campaign)
        scale = MICROS * self.events // CAMPAIGNS // DAYS
        change: dict[str, Any] = self.chance.choice(
            [
                {"budget_daily_micros": self.chance.choice([None, scale // 4, 2 * scale])},
                {"budget_total_micros": self.chance.choice([None, 2 * scale, 9 * scale])},
                {"status": self.chance.choice(["active", "paused"])},
            ]
        )
        self.put(Catalogued(at_ms=self.now_ms, thing=msgspec.structs.replace(old, **change)))


def report(data: Path, simulation: Simulation, by: tuple[str, ...]) -> dict[str, Any]:
    """Have the report's worker add up the whole journal."""
    catalogue = simulation.state.catalogue
    parents = {}
    for creative_id in catalogue.things["creative"]:
        group, campaign = catalogue.payers(creative_id)
        parents[creative_id] = (group.id, campaign.id, campaign.advertiser_id)
    pack = msgspec.msgpack.encode
    asked = Asked(from_ms=0, to_ms=2**53, by=by)
    packed = pack([asked]), [pack(parents)], pack({"plc-1": "pub-1"})
    body = run_reports(data, simulation.state.position, *packed)[0]
    return json.loads(body, parse_float=Decimal)  # type: ignore[no-any-return]


def micros(amount: Decimal | int) -> int:
    """Read a report's amount; more than six decimals would be a fault of its own."""
    exact = Decimal(amount) * MICROS
    assert exact == int(exact), amount
    return int(exact)


def check(data: Path, simulation: Simulation) -> dict[str, int]:
    """Hold every telling of the money against the plain books.

    Errors  AssertionError naming what differs.
    """
    books, catalogue = simulation.books, simulation.state.catalogue
    for event, charge in books.charges.items():
        verdict = simulation.verdicts[event]
        told = (verdict.billed_micros, verdict.unbilled_micros)
        assert told == (charge.billed, charge.unbilled), (event.hex(), told, charge)
    expected: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for charge in books.charges.values():
        for payer in charge.payers:
            expected[payer.id][0] += charge.billed
            expected[payer.id][1] += charge.unbilled
    for name, accounts, index in (
        ("campaign", catalogue.campaign_accounts, catalogue.campaign_index),
        ("ad_group", catalogue.group_accounts, catalogue.group_index),
    ):
        rows = {row[name]: row for row in report(data, simulation, (name,))["rows"] if row[name]}
        for account, at in index.items():
            spent, unbilled = expected[account]
            assert int(accounts.spent[at]) == spent == books.spent[account, None], account
            row = rows.get(account, {"spend": 0, "unbilled": 0})
            assert (micros(row["spend"]), micros(row["unbilled"])) == (spent, unbilled), account
    by_day = report(data, simulation, ("day", "campaign"))
    spend = sum(charge.billed for charge in books.charges.values())
    unbilled = sum(charge.unbilled for charge in books.charges.values())
    assert sum(micros(row["spend"]) for row in by_day["rows"]) == micros(by_day["totals"]["spend"]) == spend
    assert micros(by_day["totals"]["unbilled"]) == unbilled
    ledger = simulation.state.ledger
    assert int(ledger.receivable_debits.sum() - ledger.receivable_credits.sum()) == spend
    return {
        "events": simulation.events, "counted": len(books.charges), "spend_micros": spend,
        "unbilled_micros": unbilled, "refunds_micros": int(ledger.refund_debits.sum()),
    }  # fmt: skip


def run(argv: Sequence[str]) -> int:
    """Play and check; prints what was compared."""
    parser = argparse.ArgumentParser(prog="python -m loadtest money")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(argv)
    started = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        simulation = Simulation(Path(folder), asked.seed, asked.events)
        simulation.play()
        told = check(Path(folder), simulation)
        simulation.journal.close()
    print("money: report = verdicts = budgets = ledger = plain books, to the micro")
    for name, value in told.items():
        print(f"  {name:16} {value:>20,}")
    print(f"  in {perf_counter() - started:.0f} s")
    return 0
