"""`python -m loadtest invalid`: what the rules against invalid traffic find, and whom they accuse wrongly.

A labelled crowd (`crowd`) lives on a state: every event is judged by the door's lists and by the fold, with
the settings that a node has by default (but for accidental clicks, which are honest people's), and what is
found late is taken back at the ticks as a node does. Then each event's verdict is held against what it truly
was.
"""

from __future__ import annotations

import argparse
import struct
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from app.domain import ids
from app.domain.catalogue import AdGroup, Advertiser, Campaign, Creative, Placement, Pricing, Publisher, Thing
from app.domain.decisions import ServedAd
from app.domain.lines import (
    Catalogued,
    Clicked,
    Configured,
    Entry,
    Line,
    Referred,
    Refunded,
    Sender,
    Shown,
    Ticked,
    Verdict,
)
from app.flows.clients import Clients
from app.settings import Settings
from app.state.apply import apply
from app.state.state import State
from loadtest.crowd import ADS, CTR, DATA_CENTRES, HOT, PUBLISHERS, SEARCH, SELF, Act, Crowd, Person
from loadtest.machine import facts, say, target

NOW_MS = 1_800_000_000_000
PRICE_MICROS = 1_000_000_000
TAKEN_BACK_A_TICK = 200
# Which rule is there for which sort of the crowd. Clicks on what is invalid leave as `invalid_impression`.
RULE_FOR = {
    "robot": "bot", "hosted": "data_centre", "hurried": "too_soon", "double": "double_click",
    "clicker": "user_clicks", "reloader": "user_impressions", "self": "publisher_ctr",
}  # fmt: skip


@dataclass
class Score:
    """What the verdicts were, by what the events truly were, and what the node's money did."""

    found: Counter[tuple[str, str]] = field(default_factory=Counter)  # (label, code or "")
    billed_wrongly: int = 0
    billed: int = 0
    lines: int = 0
    seconds: float = 0.0

    def precision(self, code: str) -> float:
        """Of what a rule found, the share that was invalid."""
        accused = sum(count for (_, by), count in self.found.items() if by == code)
        return 1.0 - self.found["", code] / accused if accused else 1.0

    def recall(self, label: str, *codes: str) -> float:
        """Of what was invalid in some way, the share that some rules found, or any."""
        events = {by: count for (of, by), count in self.found.items() if of == label}
        hit = sum(count for by, count in events.items() if by and (not codes or by in codes))
        return hit / max(1, sum(events.values()))

    def wrongly_billed(self) -> float:
        """Of what is billed, the share that was for invalid clicks."""
        return self.billed_wrongly / max(1, self.billed)

    def honest(self) -> float:
        """The share of honest events that count."""
        total = sum(count for (of, _), count in self.found.items() if not of)
        return self.found["", ""] / max(1, total)


class Played:
    """A state, and the crowd's events as lines of its journal."""

    def __init__(self, settings: Settings) -> None:
        self.state = State(columns=1_024)
        self.clients = Clients(data_centres=DATA_CENTRES)
        self.senders: dict[Person, Sender] = {}
        self.positions: dict[bytes, int] = {}
        self.verdicts: dict[bytes, Verdict] = {}
        self.clicks: dict[int, Clicked] = {}
        self.put(Configured(at_ms=NOW_MS, settings=settings.fold()))
        for thing in _things():
            self.put(Catalogued(at_ms=NOW_MS, thing=thing))
        columns = self.state.catalogue.ads.columns
        self.columns = [struct.pack(f"<{len(columns)}H", *columns[:, at].tolist()) for at in range(ADS)]

    def put(self, line: Line) -> None:
        """Give a line its place, and keep what was made of it."""
        referred = None
        if isinstance(line, Clicked | Refunded):
            known = line.refers_to or b""
            if known in self.positions:
                referred = Referred(self.positions[known], self.verdicts.get(known))
        entry = Entry(self.state.position + 1, line, referred)
        if isinstance(line, Shown | Clicked):
            self.positions[line.event_id] = entry.position
            if isinstance(line, Clicked):
                self.clicks[entry.position] = line
        for event, verdict in apply(self.state, entry).verdicts:
            self.verdicts[event] = verdict

    def tick(self, at_ms: int) -> None:
        """Let a second pass, and take back what was found late."""
        self.put(Ticked(at_ms=at_ms))
        for position, waiting in list(self.state.traffic.pending.items())[:TAKEN_BACK_A_TICK]:
            target_line = self.clicks[position]
            self.put(
                Refunded(
                    at_ms=at_ms, target_id=target_line.event_id, target_position=position, target=target_line,
                    impression_position=waiting.impression_position, code=waiting.code,
                )
            )  # fmt: skip

    def sender(self, person: Person) -> Sender:
        """Say what the door says of somebody."""
        found = self.senders.get(person)
        if found is None:
            found = self.clients.sender(person.ip, person.agent, NOW_MS, direct=True)
            self.senders[person] = found
        return found

    def ad(self, number: int, act: Act) -> ServedAd:
        """Write the ad of an act as its token would seal it."""
        placement = f"plc-{act.publisher}"
        key = ids.request_key(NOW_MS, number.to_bytes(ids.RANDOM_BYTES, "big"))
        return ServedAd(
            decision_id=ids.decision_id(key, 0), ad_index=0, creative_id=f"cr-{act.ad}",
            creative_index=act.ad, generation=0, placement_id=placement, publisher_id=act.publisher,
            rows=struct.pack("<2H", 0, self.state.row_of(placement)), columns=self.columns[act.ad],
            schema_version=1, price_micros=PRICE_MICROS, price_kind="cpc", pctr=CTR, variant=0,
            issued_at_ms=NOW_MS, user=act.person.user,
        )  # fmt: skip


def play(crowd: Crowd, settings: Settings) -> Score:
    """Let a crowd live, and score the verdicts.

    Cost    some 60 us an event.
    """
    played, score = Played(settings), Score()
    labels: dict[bytes, str] = {}
    started, second = time.perf_counter(), NOW_MS
    for at_ms, line, label in _lines(played, crowd.acts()):
        while second + 1_000 <= at_ms:
            second += 1_000
            played.tick(second)
        played.put(line)
        labels[line.event_id] = label
    while played.state.traffic.pending:
        second += 1_000
        played.tick(second)
    score.seconds, score.lines = time.perf_counter() - started, played.state.position
    for event, label in labels.items():
        verdict = played.verdicts[event]
        score.found[label, verdict.code or ""] += 1
        score.billed += verdict.billed_micros
        score.billed_wrongly += verdict.billed_micros if label else 0
    played.state.check()
    return score


def _lines(played: Played, acts: Sequence[Act]) -> Iterator[tuple[int, Shown | Clicked, str]]:
    """Write everything as lines, in the order in which it happens."""
    events = []
    for number, act in enumerate(acts):
        events.append((act.at_ms, 0, number))
        if act.clicked_after_ms is not None:
            events.append((act.at_ms + act.clicked_after_ms, 1, number))
    ads: dict[int, ServedAd] = {}
    for after_ms, is_click, number in sorted(events):
        act, at_ms = acts[number], NOW_MS + after_ms
        sender = played.sender(act.person)
        if is_click:
            yield at_ms, Clicked(at_ms=at_ms, ad=ads.pop(number), sender=sender), act.click_label
        else:
            ad = played.ad(number, act)
            if act.clicked_after_ms is not None:
                ads[number] = ad
            yield at_ms, Shown(at_ms=at_ms, ad=ad, sender=sender), act.label


def _things() -> Iterator[Thing]:
    yield Advertiser(id="a")
    yield Campaign(id="c", advertiser_id="a")
    yield AdGroup(id="g", campaign_id="c", pricing=Pricing(kind="cpc", bid_micros=2 * PRICE_MICROS))
    for number in range(ADS):
        yield Creative(id=f"cr-{number}", ad_group_id="g", format="banner", landing_url="https://a.example/")
    for name in (HOT, SEARCH, *SELF, *(f"pub-{number}" for number in range(PUBLISHERS))):
        yield Publisher(id=name)
        prior_ctr = 10 * CTR if name == SEARCH else None
        yield Placement(id=f"plc-{name}", publisher_id=name, prior_ctr=prior_ctr)


def show(score: Score) -> None:
    """Print a line for each sort of the crowd, and one for each rule."""
    say(f"{score.lines:,} lines in {score.seconds:.0f} s")
    say()
    say("| what it truly is | events | its rule | recall of the rule | of all rules |")
    say("|---|---|---|---|---|")
    for label, rule in RULE_FOR.items():
        events = sum(count for (of, _), count in score.found.items() if of == label)
        own = score.recall(label, rule, "invalid_impression")
        say(f"| {label} | {events:,} | `{rule}` | {own:.1%} | {score.recall(label):.1%} |")
    say()
    say("| rule | found | precision |")
    say("|---|---|---|")
    codes = sorted({code for _, code in score.found if code})
    for code in codes:
        accused = sum(count for (_, by), count in score.found.items() if by == code)
        say(f"| `{code}` | {accused:,} | {score.precision(code):.1%} |")
    say()
    say(f"honest events that count: {score.honest():.3%}")
    say(f"of what is billed, invalid: {score.wrongly_billed():.2%}")


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when every target is met."""
    parser = argparse.ArgumentParser(prog="python -m loadtest invalid")
    parser.add_argument("--impressions", type=int, default=200_000, help="honest ones")
    parser.add_argument("--hours", type=float, default=6.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    say(facts("invalid", argv))
    settings = Settings(invalid_traffic="on", accidental_click_ms=0)
    score = play(Crowd(options.impressions, options.hours, options.seed), settings)
    show(score)
    say()
    met = [
        target("honest events that count >= 99.9 %", score.honest() >= 0.999),
        target("precision of every rule >= 95 %", min(map(score.precision, RULE_FOR.values())) >= 0.95),
        target("recall of every sort >= 70 %", min(map(score.recall, RULE_FOR)) >= 0.70),
        target("of what is billed, invalid <= 5 %", score.wrongly_billed() <= 0.05),
    ]
    return 0 if all(met) else 1
