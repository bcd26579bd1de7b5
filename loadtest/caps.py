"""`python -m loadtest caps`: 20,000,000 counters of caps and views, and what caps cost a request.

The counters are made as the fold makes them, three for each person's impression; then every step that a node
or its follower takes with them is timed. Then choosing among 10,000 live ads of which each
has a cap on itself, its group and its campaign: for nobody, for someone new and for someone who saw twenty
of them and may not see some again. Targets: every counter is found with the count that was made, a snapshot
gives them back, no step on the loop is longer than 2 ms, and caps cost a request at most 20 us.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from time import perf_counter

import msgspec
import numpy as np

from app.domain.catalogue import FrequencyCap
from app.domain.decisions import ServedAd
from app.domain.lines import Entry, Shown
from app.domain.requests import AdRequest
from app.rules import caps, features
from app.rules.counters import CAMPAIGN, CREATIVE, GROUP, SLOT_BYTES, what_of
from app.state.apply import apply
from app.state.choose import Chooser
from app.state.counters import SEGMENTS, UserCounters
from app.state.settling import settle
from app.state.state import State
from loadtest.client import percentile, quiet_collector
from loadtest.machine import SERVER_CORE, facts, on_core, say, target
from loadtest.states import NOW_MS, key_of, live_state, request_of

A_PERSON = 3  # counters of one person
STEP_MS, CAPS_US = 2.0, 20.0
WHATS = np.array(
    [
        what_of(caps.VIEWS, CREATIVE, 7), what_of(caps.code_for("day", 3), GROUP, 5),
        what_of(caps.code_for("hour", 5), CAMPAIGN, 2),
    ],
    dtype=np.int64,
)  # fmt: skip
DAY = NOW_MS // 86_400_000
SEEN, CHECKED, CHOICES = 20, 10_000, 1_000


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when every target is met."""
    parser = argparse.ArgumentParser(prog="loadtest caps", description=__doc__)
    parser.add_argument("--counters", type=int, default=20_000_000)
    parser.add_argument("--ads", type=int, default=10_000)
    options = parser.parse_args(argv)
    say(facts("caps", argv))
    with on_core(SERVER_CORE):
        met = [*_hold_counters(options.counters), *_choose(options.ads)]
    say()
    return 0 if all(met) else 1


def filled(wanted: int) -> UserCounters:
    """Make so many counters, or a few more, as the fold makes them."""
    held = UserCounters(limit=2 * wanted, kept_hours=719)
    for number in range(-(-wanted // A_PERSON)):
        held.count(_key(number), WHATS, NOW_MS, DAY)
    return held


def _hold_counters(wanted: int) -> list[bool]:
    """Make so many counters and go through their life."""
    filled(A_PERSON)  # compiled, or loaded, before it is timed
    people = -(-wanted // A_PERSON)
    with quiet_collector():
        started = perf_counter()
        held = filled(wanted)
        each_us = (perf_counter() - started) / people * 1e6
    total, size = held.total, held.size_bytes
    say(f"  {total:,} counters of {people:,} people: {size / 2**20:,.0f} MiB, {size / total:.1f} bytes each")
    say(f"  ({SLOT_BYTES} a slot, the rest is room to grow)\n")
    look_us = _timed_us(lambda n: held.of((_key(n % people),)))
    again_us = _timed_us(lambda n: held.count(_key(n % people), WHATS, NOW_MS + 1_000, DAY))
    sweep_ms = max(_timed_us(lambda n: held.sweep(NOW_MS), rounds=SEGMENTS // 4) / 1e3, 0.0)
    grow_ms = _timed_us(lambda n: held.grow(n % SEGMENTS), rounds=SEGMENTS) / 1e3
    started = perf_counter()
    packed = held.parts()
    parts_s, started = perf_counter() - started, perf_counter()
    restored = UserCounters(limit=2 * wanted, kept_hours=719)
    restored.restore(packed, held.facts())
    restore_s = perf_counter() - started
    sound = all_there(held, people) and all_there(restored, people) and restored.total == total
    say(f"  an impression counted under three    {each_us:8.1f} us, growing included")
    say(f"  growing one table                    {grow_ms:8.2f} ms (median)")
    say(f"  one more, of someone known           {again_us:8.1f} us (median)")
    say(f"  a person looked up                   {look_us:8.1f} us (median)")
    say(f"  a tick's sweep of {SEGMENTS // 256} tables           {sweep_ms:8.2f} ms (median)")
    say(f"  a snapshot's copy, by the follower   {parts_s:8.1f} s, {packed.nbytes / 2**20:,.0f} MiB")
    say(f"  and back                             {restore_s:8.1f} s\n")
    return [
        target(f"{total:,} counters, {CHECKED:,} people drawn: all found, before and after", sound),
        target(f"a tick's sweep and a table's growth within {STEP_MS:.0f} ms", sweep_ms + grow_ms <= STEP_MS),
    ]


def all_there(held: UserCounters, people: int) -> bool:
    """Draw people, and hold each one's counters against what was counted."""
    expected = sorted(int(what) for what in WHATS)
    chance = np.random.default_rng(1)
    for number in chance.integers(0, people, CHECKED).tolist():
        entries, count = held.of((_key(number),))
        if sorted((entries[:count, 0] >> 32).tolist()) != expected:
            return False
        counted = [
            caps.inside(what >> 26, meta & caps.STAMP_MASK, payload, DAY)
            for what, meta, payload in zip(
                (entries[:count, 0] >> 32).tolist(), entries[:count, 0].tolist(),
                entries[:count, 1].tolist(), strict=True,
            )
            if what >> 26 in (caps.VIEWS, caps.DAY)
        ]  # fmt: skip
        if min(counted) < 1:
            return False
    return True


def _key(number: int) -> bytes:
    """A person's key: spread like the keyed hash that it is."""
    return (number * 0x9E3779B97F4A7C15F39CC061 % (1 << 96)).to_bytes(12, "big")


def _timed_us(work: object, rounds: int = 2_000) -> float:
    times = []
    assert callable(work)
    with quiet_collector():
        for number in range(rounds):
            started = perf_counter()
            work(number)
            times.append((perf_counter() - started) * 1e6)
    return percentile(times, 0.5)


def _choose(ads: int) -> list[bool]:
    """Time choosing for nobody, for someone new, and for someone with a past, by turns."""
    state = live_state(ads)
    _cap_everything(state)
    known = _key(1)
    _let_see(state, known, SEEN)
    chooser = Chooser(state)
    people: dict[str, bytes | None] = {
        "nobody": None, "someone new": _key(2), f"someone who saw {SEEN} ads": known,
    }  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in people}
    with quiet_collector():
        for number in range(CHOICES + 50):
            turn = number % len(people)
            for name, key in [*people.items()][turn:] + [*people.items()][:turn]:
                request = _asked_by(key, number)
                started = perf_counter()
                chooser.choose(request, key_of(number), NOW_MS)
                if number >= CHOICES // 20:
                    times[name].append((perf_counter() - started) * 1e6)
    (placed,) = chooser.choose(_asked_by(known, 1), key_of(1), NOW_MS).placed
    say(f"  choosing among {ads:,} live ads, each with three caps, us          median       p90")
    for name, taken in times.items():
        say(f"  {name:60}{percentile(taken, 0.5):>10.1f}{percentile(taken, 0.9):>10.1f}")
    capped = placed.reasons.get("frequency", 0)
    more = percentile(times[f"someone who saw {SEEN} ads"], 0.5) - percentile(times["nobody"], 0.5)
    say(f"  {capped} ads were under a cap that was reached\n")
    return [target(f"caps and views cost a request at most {CAPS_US:.0f} us ({more:.1f})", more <= CAPS_US)]


def _asked_by(key: bytes | None, number: int) -> AdRequest:
    request = request_of(number)
    assert request.person is not None
    return msgspec.structs.replace(request, person=msgspec.structs.replace(request.person, key=key))


def _cap_everything(state: State) -> None:
    wanted = {"creative": (1, "day"), "ad_group": (3, "hour"), "campaign": (50, "week")}
    for kind in ("campaign", "ad_group", "creative"):
        count, per = wanted[kind]
        cap = FrequencyCap(count=count, per=per)  # type: ignore[arg-type] # one of its literals
        for thing in list(state.catalogue.things[kind].values()):
            new = msgspec.structs.replace(thing, frequency_cap=(cap,))
            state.catalogue.take(new, NOW_MS)
            settle(state.catalogue, new, NOW_MS, thing)
    state.restand()
    state.catalogue.caps.bound()


def _let_see(state: State, key: bytes, count: int) -> None:
    """Show someone some of the ads, all different."""
    ads = state.catalogue.ads
    live = [place for place, creative in enumerate(ads.creatives) if creative is not None][:count]
    for number, place in enumerate(live):
        creative = ads.creatives[place]
        assert creative is not None
        ad = ServedAd(
            decision_id=number.to_bytes(15, "big"), ad_index=0, creative_id=creative.id,
            creative_index=place, generation=0, placement_id="plc-1", publisher_id="pub",
            rows=bytes(2), columns=ads.columns[:, place].astype("<u2").tobytes(),
            schema_version=features.SCHEMA_VERSION, price_micros=1, price_kind="cpc", pctr=0.01, variant=0,
            issued_at_ms=NOW_MS, user=key,
        )  # fmt: skip
        apply(state, Entry(state.position + 1, Shown(at_ms=NOW_MS, ad=ad)))
