"""An ad request: decide, record, and gather what the next tick tells the fold. Never awaits."""

from __future__ import annotations

import struct
from time import perf_counter

from app.domain import ids
from app.domain.decisions import Choice, Placed, Record, ServedAd, Win
from app.domain.requests import AdRequest, Person
from app.flows.node import Gathered, Node
from app.rules.features import MAIN_ONLY_FROM, SCHEMA_VERSION
from app.rules.pricing import expected_charge_micros
from app.rules.splitting import seat_of
from app.rules.standing import moment_at
from app.state.choose import Preview

_NOT_ASKED = frozenset({"unknown_placement", "placement_paused"})

MOST_ADMITTED = 2_000  # words a tick: more are not lost, they are drawn again


def serve(node: Node, request: AdRequest, *, is_test: bool = False) -> Choice:
    """Decide on an enriched request at the present journal position, and keep the decision for its trace.

    A test's answer shows nobody an ad: it holds no budget in flight and is in no count.
    """
    now_ms = node.now_ms()
    key = ids.request_key(now_ms, node.random_bytes(ids.RANDOM_BYTES))
    started = perf_counter()
    choice = node.chooser.choose(request, key, now_ms)
    took_s = perf_counter() - started
    node.counters.choose_seconds.observe(took_s)
    node.decisions.put(Record(request_key=key, request=request, choice=choice))
    if not is_test:
        _gather(node, choice)
        if choice.variant or choice.shadows:
            gather_exposure(node.gathered, choice)
            node.decision_times.add(choice.variant, took_s, alone=not choice.shadows)
        _remember(node, request, choice)
        _admit(node, request, key)
    return choice


def _admit(node: Node, request: AdRequest, key: bytes) -> None:
    """Draw which strange words of the person are to light rows from the next tick on."""
    if request.person is not None and len(node.gathered.admitted) < MOST_ADMITTED:
        node.gathered.admitted.update(node.state.admission.drawn(request.person, key))


def _remember(node: Node, request: AdRequest, choice: Choice) -> None:
    """Remember the ads that were given, of those that a cap may bind, until their impressions come."""
    person = request.person
    if person is None or person.key is None:
        return
    capped = node.state.catalogue.caps.bound().capped
    for placed in choice.placed:
        for win in placed.wins:
            if capped[win.creative_index]:
                ad_key = ids.ad_key(placed.decision_id, win.ad_index)
                node.just_served.remember(person.key, ad_key, win.creative_index, choice.clock_ms)


def preview(node: Node, request: AdRequest, at_ms: int) -> Choice:
    """Decide as if it were another time, on the present state; leaves no record and counts nothing."""
    moments = [moment_at(zone, at_ms) for zone in node.state.catalogue.zones]
    standing = node.state.standing_at(at_ms, moments)
    key = ids.request_key(at_ms, node.random_bytes(ids.RANDOM_BYTES))
    return node.chooser.choose(request, key, at_ms, Preview(moments, standing))


def _gather(node: Node, choice: Choice) -> None:
    gathered, registered = node.gathered, node.state.catalogue.things["placement"]
    for placed in choice.placed:
        if placed.code == "unknown_placement":
            continue
        name = placed.placement_id
        if name not in registered:
            name = node.place_names.told(name, choice.clock_ms)
        counts = gathered.requests.setdefault(name, [0, 0])
        counts[0] += 1
        counts[1] += placed.candidates
        node.counters.candidates.observe(placed.candidates)
        if placed.greedy_ecpm_micros:
            _gather_exploration(gathered, placed, seat_of(choice.variant)[0])
        for win in placed.wins:
            value = expected_charge_micros(win.kind, win.price_micros, win.pctr, win.pcvr)
            gathered.in_flight[win.ad_group_id] = gathered.in_flight.get(win.ad_group_id, 0.0) + value
            gathered.wins[win.ad_group_id] = gathered.wins.get(win.ad_group_id, 0) + 1


def _gather_exploration(gathered: Gathered, placed: Placed, seat: int) -> None:
    """Note what exploring cost one decision that was measured, and whose ads were tried."""
    greedy, chosen = placed.greedy_ecpm_micros, placed.chosen_ecpm_micros
    sums = gathered.explored_by_variant.setdefault(seat, [0, 0]) if seat else gathered.explored
    sums[0] += greedy
    sums[1] += chosen
    campaign_id = placed.wins[0].campaign_id
    costs = gathered.explored_by_campaign
    costs[campaign_id] = costs.get(campaign_id, 0) + greedy - chosen


def gather_exposure(gathered: Gathered, choice: Choice) -> None:
    """Note who decided, for which bucket of users, and what shadows would have chosen."""
    asked = [at for at, placed in enumerate(choice.placed) if placed.code not in _NOT_ASKED]
    if choice.variant:
        counts = gathered.exposed.setdefault(choice.variant, [0, 0])
        counts[0] += len(asked)
        counts[1] += sum(bool(choice.placed[at].wins) for at in asked)
    for number, would_be in choice.shadows:
        sums = gathered.shadowed.setdefault(number, [0, 0, 0, 0])
        for at in asked:
            wins, other = choice.placed[at].wins, would_be[at]
            sums[0] += 1
            sums[1] += other.creative_index != (wins[0].creative_index if wins else -1)
            sums[2] += wins[0].cleared_ecpm_micros if wins else 0
            sums[3] += other.cleared_ecpm_micros


def _lit(shared: bytes, win: Win) -> bytes:
    """Add to the rows that all ads light those of one ad: its earlier views, and its slot."""
    if win.own_row:
        shared += struct.pack("<H", win.own_row)
    return shared + struct.pack("<H", MAIN_ONLY_FROM + win.slot) if win.slot else shared


def served_ads(
    choice: Choice, placed: Placed, person: Person | None = None, flaw: str = ""
) -> list[ServedAd]:
    """Write what the tokens of a placement's ads seal; `person` and `flaw` are the request's.

    An ad that the person saw before also lights its own row. One below the top slot lights its slot's row: it
    was scored as if on top, and is learned as shown.
    """
    shared = struct.pack(f"<{len(placed.rows)}H", *placed.rows)
    user = (person.key if person is not None else None) or b""
    former_user = (person.former_key if person is not None else None) or b""
    return [
        ServedAd(
            decision_id=placed.decision_id, ad_index=win.ad_index, creative_id=win.creative_id,
            creative_index=win.creative_index, generation=win.generation,
            placement_id=placed.placement_id, publisher_id=placed.publisher_id,
            rows=_lit(shared, win),
            columns=struct.pack(f"<{len(win.columns)}H", *win.columns), schema_version=SCHEMA_VERSION,
            price_micros=win.price_micros, price_kind=win.kind, pctr=win.pctr, variant=choice.variant,
            issued_at_ms=choice.clock_ms, deal_id=win.deal_id, user=user, former_user=former_user,
            pcvr=win.pcvr, flaw=flaw,
        )
        for win in placed.wins
    ]  # fmt: skip
