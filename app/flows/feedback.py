"""A feedback event: a token's ad becomes a line; its receipt comes when that is durable and applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter

from app.domain.decisions import ServedAd
from app.domain.dismissals import reason_of
from app.domain.keys import EVERYONE, Caller
from app.domain.lines import (
    ACCIDENTAL,
    Clicked,
    Converted,
    Dismissed,
    Feedback,
    Line,
    Noticed,
    Refunded,
    Returned,
    Sender,
    Shown,
)  # fmt: skip
from app.domain.refusals import Refused
from app.flows.catalogue import seen
from app.flows.node import Node
from app.flows.past import past_events
from app.state.apply import Receipt

EVENT_KINDS = ("impression", "click", "conversion", "dismissal", "return", "win", "loss")
# A return reported later than this after its click takes nothing back, whatever it claims.
RETURN_WITHIN_MS = 600_000


def line_of(
    kind: str,
    ad: ServedAd,
    at_ms: int,
    *,
    own_id: str | None = None,
    value: float | None = None,
    sent_at_ms: int | None = None,
    reason: str | None = None,
    price_micros: int | None = None,
    sender: Sender | None = None,
    dwell_ms: int | None = None,
) -> Feedback:
    """Write the line of an event. Prices and reasons are what an exchange said, noted and never billed."""
    match kind:
        case "impression":
            return Shown(
                at_ms=at_ms, ad=ad, sent_at_ms=sent_at_ms, media_cost_micros=price_micros, sender=sender
            )
        case "click":
            return Clicked(at_ms=at_ms, ad=ad, sent_at_ms=sent_at_ms, sender=sender)
        case "conversion":
            return Converted(
                at_ms=at_ms, ad=ad, own_id=own_id, value=value, sent_at_ms=sent_at_ms, sender=sender
            )
        case "dismissal":
            return Dismissed(at_ms=at_ms, ad=ad, reason=reason_of(reason), sender=sender)
        case "return":
            return Returned(at_ms=at_ms, ad=ad, dwell_ms=dwell_ms, sender=sender)
        case "win" | "loss":
            return Noticed(at_ms=at_ms, ad=ad, kind=kind, reason=reason, price_micros=price_micros)
        case _:
            raise Refused("malformed", f"unknown kind {kind}", "kind")


async def take_event(node: Node, line: Feedback) -> Receipt:
    """Take one event; done when it is durable and every later ad request sees it.

    Errors  Busy when the journal cannot take it now.
    """
    started = perf_counter()
    receipt = await node.submit(line)
    assert receipt is not None
    node.counters.visible_seconds.observe(perf_counter() - started)
    if isinstance(line, Returned) and receipt.code is None:
        await _take_back_accident(node, receipt)
    return receipt


async def _take_back_accident(node: Node, returned: Receipt) -> None:
    """Refund and un-learn the click of a return that came too soon for the click to have been meant.

    Judged by the return that was counted first, so that a retry after a crash finishes the same work.
    """
    entry = node.journal.entry_at(returned.position)
    if entry is None:  # a retry of one that was counted days ago
        return
    line = entry.line
    assert isinstance(line, Returned)
    click = node.journal.entry_at(entry.referred.position) if entry.referred is not None else None
    if click is None or not isinstance(click.line, Clicked):
        return
    since_click_ms = line.at_ms - click.line.at_ms
    dwell_ms = since_click_ms if line.dwell_ms is None else line.dwell_ms
    soon = 0 <= dwell_ms < node.state.settings.accidental_return_ms
    if soon and 0 <= since_click_ms <= RETURN_WITHIN_MS:
        await refund(node, [click.line.event_id], ACCIDENTAL)


async def refund(
    node: Node, event_ids: Sequence[bytes], reason: str, caller: Caller = EVERYONE
) -> list[Receipt | Refused]:
    """Give money back and un-learn, event by event. Safe to send twice: an event is refunded once.

    Refused items: `unknown_event` (another advertiser's too, to a bound caller), `not_refundable` (only
    impressions, clicks and conversions are), `too_old` where neither journal nor archive has the event.
    """
    lines: list[Line] = []
    results: list[Receipt | Refused | int] = []
    found = {event_id: node.journal.find(event_id) for event_id in event_ids}
    past = await past_events(node, [known[0] for known in found.values() if known is not None])
    for event_id in event_ids:
        known = found[event_id]
        line = (
            _refund_line(node, event_id, known[0], past, reason, caller)
            if known is not None
            else Refused("unknown_event", "there is no such event", "event_ids")
        )
        if isinstance(line, Refused):
            results.append(line)
        else:
            results.append(len(lines))
            lines.append(line)
    receipts = await node.submit_many(lines)
    answers: list[Receipt | Refused] = []
    for result in results:
        answer = receipts[result] if isinstance(result, int) else result
        assert answer is not None
        answers.append(answer)
    return answers


def _refund_line(
    node: Node,
    event_id: bytes,
    position: int,
    past: Mapping[int, Shown | Clicked | Converted],
    reason: str,
    caller: Caller,
) -> Refunded | Refused:
    entry = node.journal.entry_at(position)
    target = entry.line if entry is not None else past.get(position)
    if target is None:
        if caller.advertiser_ids is not None:  # whose it was cannot be told any more
            return Refused("unknown_event", "there is no such event", "event_ids")
        return Refused("too_old", "neither the journal nor the archive has this event", "event_ids")
    if not sees_ad(node, caller, getattr(target, "ad", None)):
        return Refused("unknown_event", "there is no such event", "event_ids")
    if not isinstance(target, Shown | Clicked | Converted):
        return Refused("not_refundable", "only impressions, clicks and conversions are", "event_ids")
    refers_to = target.refers_to if isinstance(target, Clicked) else None
    impression = node.journal.find(refers_to) if refers_to else None
    return Refunded(
        at_ms=node.now_ms(), target_id=event_id, target_position=position, target=target,
        reason=reason, impression_position=impression[0] if impression else None,
    )  # fmt: skip


def sees_ad(node: Node, caller: Caller, ad: ServedAd | None) -> bool:
    """Say whether an ad is there for a caller, so that its events may be reported or taken back."""
    if caller.advertiser_ids is None:
        return True
    creative = node.state.catalogue.get("creative", ad.creative_id) if ad is not None else None
    return creative is not None and bool(seen(node, caller, [creative]))
