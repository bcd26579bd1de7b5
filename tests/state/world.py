"""A state built by lines, as a node would write them: for tests of the fold and of choosing.

A world is the writer (positions, ids, what a line refers to), the clock and one state. Every invariant of the
state is held after every line. It holds no rule of the product, so that tests can state those themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from app.domain import ids
from app.domain.catalogue import (
    AdGroup,
    Advertiser,
    Campaign,
    Creative,
    Placement,
    Pricing,
    Publisher,
    Thing,
)  # fmt: skip
from app.domain.decisions import Choice, Placed, ServedAd
from app.domain.lines import (
    Catalogued,
    Clicked,
    Configured,
    Converted,
    Entry,
    FoldSettings,
    Line,
    Referred,
    Refunded,
    Shown,
    Ticked,
    Verdict,
    decode,
    encode,
)  # fmt: skip
from app.domain.requests import AdRequest, Ask
from app.rules.features import MAIN_ONLY_FROM, SCHEMA_VERSION
from app.state import saving
from app.state.apply import Outcome, Receipt, apply
from app.state.choose import Chooser
from app.state.state import State

NOW_MS = 1_800_000_000_000  # Friday 15 January 2027, 08:00 UTC: 17:00 in Seoul
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WON = 1_000_000
COLUMNS = 512
RECENT = 1_024


@dataclass
class Known:
    """What the journal knows of an event: where it stands, and the verdict where it was written back."""

    position: int
    verdict: Verdict | None = None


class World:
    """`write_back` says whether verdicts reach the id rows before the next line; `now_ms` is the clock."""

    def __init__(
        self,
        settings: FoldSettings | None = None,
        *,
        columns: int = COLUMNS,
        recent: int = RECENT,
        write_back: bool = True,
        now_ms: int = NOW_MS,
    ) -> None:
        self.columns, self.recent = columns, recent
        self.state = State(columns=columns, recent=recent)
        self.chooser = Chooser(self.state)
        self.now_ms = now_ms
        self.write_back = write_back
        self.known: dict[bytes, Known] = {}
        self.entries: list[Entry] = []
        self.decisions = 0
        self.settings = settings or FoldSettings()
        self.put(Configured(at_ms=now_ms, settings=self.settings))
        self.put(Ticked(at_ms=now_ms))

    # Lines.

    def put(self, line: Line, *, check: bool = True) -> Outcome:
        """Give a line its place, fold it and hold all invariants (for thousands, that is slow)."""
        refers_to: bytes | None = getattr(line, "refers_to", None)
        found = self.known.get(refers_to) if refers_to is not None else None
        referred = Referred(found.position, found.verdict) if found is not None else None
        entry = Entry(len(self.entries) + 1, line, referred)
        event: bytes | None = getattr(line, "event_id", None)
        assert event is None or event not in self.known, "a repeat never reaches the fold"
        self.entries.append(entry)
        if event is not None:
            self.known[event] = Known(entry.position)
        outcome = apply(self.state, entry)
        if self.write_back:
            for told, verdict in outcome.verdicts:
                self.known[told].verdict = verdict
        if check:
            self.state.check()
        return outcome

    def configure(self, **changed: Any) -> None:
        """Change settings."""
        self.settings = msgspec.structs.replace(self.settings, **changed)
        self.put(Configured(at_ms=self.now_ms, settings=self.settings))

    def add(self, *things: Thing) -> None:
        """Register or replace things, parents first."""
        for thing in things:
            self.state.catalogue.check(thing)
            self.put(Catalogued(at_ms=self.now_ms, thing=thing))

    def change(self, kind: str, identity: str, **changed: Any) -> None:
        """Replace some fields of a thing."""
        old: Any = self.state.catalogue.get(kind, identity)
        self.add(msgspec.structs.replace(old, **changed))

    def tick(self, elapsed_ms: int = 1_000, in_flight: Iterable[tuple[str, int]] = ()) -> Outcome:
        """Let time pass."""
        self.now_ms += elapsed_ms
        return self.put(Ticked(at_ms=self.now_ms, in_flight=tuple(in_flight)))

    def show(self, ad: ServedAd, at_ms: int | None = None) -> Receipt:
        """Report an impression."""
        return _receipt(self.put(Shown(at_ms=self.now_ms if at_ms is None else at_ms, ad=ad)))

    def click(self, ad: ServedAd, at_ms: int | None = None) -> Receipt:
        """Report a click."""
        return _receipt(self.put(Clicked(at_ms=self.now_ms if at_ms is None else at_ms, ad=ad)))

    def convert(self, ad: ServedAd, own_id: str | None = None, at_ms: int | None = None) -> Receipt:
        """Report a conversion."""
        at_ms = self.now_ms if at_ms is None else at_ms
        return _receipt(self.put(Converted(at_ms=at_ms, ad=ad, own_id=own_id)))

    def refund(self, receipt: Receipt) -> Receipt:
        """Take back an event, as the door would: with the line and where it and its impression stand."""
        target = self.entries[receipt.position - 1].line
        assert isinstance(target, Shown | Clicked | Converted)
        impression = self.known.get(target.refers_to or b"") if isinstance(target, Clicked) else None
        return _receipt(
            self.put(
                Refunded(
                    at_ms=self.now_ms, target_id=receipt.event_id, target_position=receipt.position,
                    target=target, impression_position=impression.position if impression else None,
                )
            )
        )  # fmt: skip

    # Decisions and what is served.

    def key(self) -> bytes:
        """Make the next request's key."""
        self.decisions += 1
        return ids.request_key(self.now_ms, self.decisions.to_bytes(ids.RANDOM_BYTES, "big"))

    def choose(self, request: AdRequest | None = None, key: bytes | None = None) -> Choice:
        """Decide; by default on one banner of plc-1."""
        return self.chooser.choose(request or ask_for("plc-1"), key or self.key(), self.now_ms)

    def winner(self, request: AdRequest | None = None, key: bytes | None = None) -> str | None:
        """Name the creative that wins the only slot of a request."""
        (placed,) = self.choose(request, key).placed
        return placed.wins[0].creative_id if placed.wins else None

    def reasons(self, request: AdRequest | None = None) -> dict[str, int]:
        """Count why ads lost on the only placement of a request."""
        (placed,) = self.choose(request).placed
        return placed.reasons

    def serve(self, request: AdRequest | None = None) -> ServedAd:
        """Decide, and give the top ad of the first placement as its tokens would seal it."""
        person = request.person if request is not None else None
        user = (person.key if person is not None else None) or b""
        choice = self.choose(request)
        return served(choice.placed[0], self.now_ms, user=user, variant=choice.variant)

    def ad(
        self, creative_id: str = "cr-1", price_micros: int = 1_000 * WON, kind: str = "cpc",
        pctr: float = 0.01, pcvr: float = 0.0, rows: Iterable[int] | None = None, placement_id: str = "plc-1",
    ) -> ServedAd:  # fmt: skip
        """Make an ad as if it had been chosen: its real columns, a price and a pCTR at will."""
        at = self.state.catalogue.ads.places.by_key[creative_id]
        lit = [0, self.state.row_of(placement_id), 2_310] if rows is None else list(rows)
        columns = self.state.catalogue.ads.columns[:, at].tolist()
        return ServedAd(
            decision_id=ids.decision_id(self.key(), 0), ad_index=0, creative_id=creative_id,
            creative_index=at, generation=0, placement_id=placement_id, publisher_id="pub-1",
            rows=struct.pack(f"<{len(lit)}H", *lit), columns=struct.pack(f"<{len(columns)}H", *columns),
            schema_version=SCHEMA_VERSION, price_micros=price_micros, price_kind=kind, pctr=pctr, variant=0,
            issued_at_ms=self.now_ms, pcvr=pcvr,
        )  # fmt: skip

    def pcvr(self, ad: ServedAd) -> float:
        """Predict an ad's conversion rate from the weights alone, as `p` does its click rate."""
        lit = np.ix_(np.frombuffer(ad.rows, "<u2"), np.frombuffer(ad.columns, "<u2"))
        weights = self.state.conversion_model.w[lit].astype(np.float64)
        logit = self.state.conversion_prior_of(ad.creative_id) + float(weights.sum())
        return float(1.0 / (1.0 + np.exp(-logit)))

    def p(self, ad: ServedAd) -> float:
        """Predict an ad's click rate from the weights alone: the sigmoid of the prior and all its cells."""
        rows, columns = np.frombuffer(ad.rows, "<u2"), np.frombuffer(ad.columns, "<u2")
        weights = self.state.model.w[np.ix_(rows, columns)].astype(np.float64)
        only_main = (rows >= MAIN_ONLY_FROM)[:, None] & (columns != 0)[None, :]
        logit = self.state.prior_of(ad.placement_id) + float(weights[~only_main].sum())
        return float(1.0 / (1.0 + np.exp(-logit)))

    # Money.

    def spent(self, campaign_id: str = "c-1") -> int:
        """What a campaign was billed, in micros."""
        catalogue = self.state.catalogue
        return int(catalogue.campaign_accounts.spent[catalogue.campaign_index[campaign_id]])

    def spent_by_group(self, group_id: str = "g-1") -> int:
        """What an ad group was billed, in micros."""
        catalogue = self.state.catalogue
        return int(catalogue.group_accounts.spent[catalogue.group_index[group_id]])

    # The same again.

    def copy(self) -> World:
        """Make a world of the same lines, position and clock, its state restored from parts."""
        other = World.__new__(World)
        other.__dict__.update(self.__dict__)
        other.known = {key: Known(known.position, known.verdict) for key, known in self.known.items()}
        other.entries = list(self.entries)
        other.state = State(columns=self.columns, recent=self.recent)
        saving.restore(other.state, self.state.position, saving.parts(self.state))
        other.chooser = Chooser(other.state)
        return other


def _receipt(outcome: Outcome) -> Receipt:
    assert outcome.receipt is not None
    return outcome.receipt


def served(
    placed: Placed, issued_at_ms: int, ad_index: int = 0, user: bytes = b"", variant: int = 0
) -> ServedAd:
    """Write what the tokens of a chosen ad seal; below the top slot the slot's row is lit, too."""
    win = placed.wins[ad_index]
    own = [win.own_row] if win.own_row else []
    rows = [*placed.rows, *own, *([MAIN_ONLY_FROM + win.slot] if win.slot else [])]
    return ServedAd(
        decision_id=placed.decision_id, ad_index=win.ad_index, creative_id=win.creative_id,
        creative_index=win.creative_index, generation=win.generation, placement_id=placed.placement_id,
        publisher_id=placed.publisher_id, rows=struct.pack(f"<{len(rows)}H", *rows),
        columns=struct.pack(f"<{len(win.columns)}H", *win.columns), schema_version=SCHEMA_VERSION,
        price_micros=win.price_micros, price_kind=win.kind, pctr=win.pctr, variant=variant,
        issued_at_ms=issued_at_ms, pcvr=win.pcvr, user=user,
    )  # fmt: skip


def ask_for(*placement_ids: str, **asked: Any) -> AdRequest:
    """Write a request for banners; what is asked of an `Ask` goes to each of them."""
    asks = tuple(Ask(name=f"slot-{n}", placement_id=key, **asked) for n, key in enumerate(placement_ids))
    return AdRequest(request_id="r-1", asks=asks)


def one_of_each(**campaign: Any) -> list[Thing]:
    """One publisher, placement, advertiser, campaign, ad group (CPC 2,000) and banner; no limits."""
    return [
        Publisher(id="pub-1"),
        placement("plc-1"),
        Advertiser(id="adv-1", domain="shop.example", category="IAB20"),
        Campaign(id="c-1", advertiser_id="adv-1", **campaign),
        group("g-1"),
        banner("cr-1"),
    ]


def placement(identity: str, publisher_id: str = "pub-1", **fields: Any) -> Placement:
    """A placement of 320x50 banners."""
    given = {"sizes": ((320, 50),), "formats": ("banner",), **fields}
    return Placement(id=identity, publisher_id=publisher_id, **given)


def group(
    identity: str, campaign_id: str = "c-1", bid: int = 2_000, kind: Any = "cpc", **fields: Any
) -> AdGroup:
    """An ad group with a bid in whole currency."""
    pricing = Pricing(kind=kind, bid_micros=bid * WON)
    return AdGroup(id=identity, campaign_id=campaign_id, pricing=pricing, **fields)


def banner(identity: str, ad_group_id: str = "g-1", **fields: Any) -> Creative:
    """A creative, by default a banner of 320x50."""
    given = {"format": "banner", "width": 320, "height": 50, "landing_url": "https://x.example", **fields}
    return Creative(id=identity, ad_group_id=ad_group_id, **given)


def fold(entries: Iterable[Entry], *, columns: int = COLUMNS, recent: int = RECENT, bytes_too: bool) -> State:
    """Fold entries into a new state; with `bytes_too` each line is first written and read again."""
    state = State(columns=columns, recent=recent)
    for entry in entries:
        line = decode(encode(entry.line)) if bytes_too else entry.line
        apply(state, Entry(entry.position, line, entry.referred))
    return state


def contents(state: State) -> dict[str, Any]:
    """Unpack a state's parts into plain values, which can be compared with ==."""
    plain: dict[str, Any] = {}
    for name, part in saving.parts(state).items():
        whole = msgspec.msgpack.decode(part) if isinstance(part, bytes) else part
        # A nan stands for "never learned": as bytes it equals itself.
        plain[name] = (
            (whole.dtype.str, whole.shape, whole.tobytes()) if isinstance(whole, np.ndarray) else whole
        )
    return plain
