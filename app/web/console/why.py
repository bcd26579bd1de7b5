"""Why this ad: a stored decision, by its id or its request's, or a request tried now, and what it weighed."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.domain import ids
from app.domain.decisions import REASONS, Record
from app.domain.refusals import Busy, Refused
from app.flows.node import Node
from app.flows.replaying import find_by_request, replay, what_if
from app.flows.workings import Workings, workings_of
from app.web.admin.decisions import Words, bid_micros_of, concerns, describe, find_for, what_if_words
from app.web.console.auction import (
    Auction,
    candidates_table,
    funnel_of,
    funnel_table,
    parts_of,
    sentence_of_record,
    sentence_of_slot,
    standing_table,
)
from app.web.console.figures import Column, Link, Table
from app.web.console.frame import caller_of, form_of, may, node_of, page, problems_of
from app.web.console.pages import ROOT
from app.web.console.trying import FIELDS, form_shown, tried
from app.web.explain import placement_words
from app.web.problems import status_of

WHY = f"{ROOT}/why"
LISTED = 20


async def why(request: Request) -> Response:
    """Ask for a decision, or try a request."""
    sought = request.query_params.get("q", "").strip()
    if not sought:
        return _asking(request)
    node, caller = node_of(request), caller_of(request)
    decision_id = _decision_id(sought)
    missing: Refused | None = None
    if decision_id is not None:
        try:
            await find_for(node, decision_id, caller)
            return RedirectResponse(f"{WHY}/{ids.to_text(decision_id)}", 303)
        except Refused as refused:
            missing = refused
    records = await find_by_request(node, sought, LISTED, partial(concerns, caller=caller))
    if len(records) == 1:
        return RedirectResponse(f"{WHY}/{ids.to_text(records[0].choice.placed[0].decision_id)}", 303)
    if not records:
        message = "no decision is kept under this id, and none for such a request"
        if missing is not None and missing.code == "too_old":
            message = missing.message
        code = "too_old" if missing is not None and missing.code == "too_old" else "unknown_decision"
        problems = problems_of(Refused(code, message, "q"))
        return _asking(request, sought, status=status_of(code), problems=problems)
    return _asking(request, sought, found=_listed(records, sought))


async def why_tried(request: Request) -> Response:
    """Try a request now, or as if it were another time: a preview, which counts nothing."""
    form = form_of(request)
    try:
        told = tried(request, form)
    except Refused as refused:
        problems = problems_of(refused)
        return _asking(request, form=dict(form), status=status_of(refused.code), problems=problems)
    auctions = [told.auction]
    tables = [*_tables(auctions), told.standing]
    return _asking(request, form=dict(form), auctions=auctions, tables=tables, standing=told.standing)


async def decision(request: Request) -> Response:
    """Show a decision; `?workings` holds its auction again, `?creative_id` asks what another bid had done."""
    node, caller = node_of(request), caller_of(request)
    decision_id = _decision_id(request.path_params["id"])
    if decision_id is None:
        raise Refused("unknown_decision", "this is not a decision's id", "id")
    record = await find_for(node, decision_id, caller)
    document = await describe(node, record, caller)
    weighs = caller.advertiser_ids is None and "workings" in request.query_params
    problems: dict[str, str] = {}
    workings, told, asked = None, None, None
    try:
        workings = await workings_of(node, record) if weighs else None
        told = await _replayed(request, node, record) if request.method == "POST" else None
        asked = await _what_if(request, node, record, decision_id)
    except (Refused, Busy) as error:
        problems = problems_of(error) if isinstance(error, Refused) else {"": "the workers are busy"}
    auctions = _auctions(node, document, workings)
    own = next((each for each in auctions if each.decision_id == ids.to_text(decision_id)), auctions[0])
    standing = standing_table(workings.campaigns, node.settings.currency) if workings else None
    return page(
        request, "decision.html", live="workings", document=document, decision_id=ids.to_text(decision_id),
        own=own, auctions=auctions, events=_events(own, node.settings.currency), workings=workings,
        standing=standing, tables=_tables([own]), replayed=told, asked=asked, problems=problems,
        weighable=caller.advertiser_ids is None, creatives=_creatives(own, workings),
        bound=caller.advertiser_ids is not None, sought=request.query_params,
    )  # fmt: skip


def _decision_id(text: str) -> bytes | None:
    """Read a decision's id, or that of an OpenRTB bid, which has the ad's number behind it."""
    try:
        return ids.from_text(text.partition("-")[0])
    except ValueError:
        return None


def _asking(
    request: Request, sought: str = "", *, status: int = 200, problems: dict[str, str] | None = None,
    form: dict[str, str] | None = None, found: Table | None = None, auctions: list[Auction] | None = None,
    tables: list[Table] | None = None, standing: Table | None = None,
) -> Response:  # fmt: skip
    tries = caller_of(request).advertiser_ids is None and may(request, "POST", "/v1/ads")
    return page(
        request, "why.html", status=status, sought=sought, problems=problems or {}, found=found,
        fields=form_shown(node_of(request)) if tries else [], form=form or {}, auctions=auctions or [],
        tables=tables or [], standing=standing, names=[field.name for field in FIELDS],
    )  # fmt: skip


def _listed(records: list[Record], sought: str) -> Table:
    columns = [
        Column("time", "time"), Column("decision"), Column("placement"), Column("result"),
        Column("candidates", "number"),
    ]  # fmt: skip
    rows: list[list[Any]] = []
    for record in records:
        for placed in record.choice.placed:
            identity = ids.to_text(placed.decision_id)
            won = ", ".join(win.creative_id for win in placed.wins) or f"no ad: {placed.code}"
            link = Link(identity, f"{WHY}/{identity}")
            rows.append([record.choice.clock_ms, link, placed.placement_id, won, placed.candidates])
    return Table(id="decisions", title=f"Decisions for request {sought}", columns=columns, rows=rows)


def _auctions(node: Node, document: dict[str, Any], workings: Workings | None) -> list[Auction]:
    """Bring together what is kept of each placement and, where it is there, what was weighed."""
    currency = node.settings.currency
    explained = {each.placement: placement_words(each) for each in workings.explained} if workings else {}
    found = []
    for at, placed in enumerate(document["placements"]):
        ads, told = placed["ads"], explained.get(placed["name"])
        sentences = [sentence_of_record(ad, currency) for ad in ads]
        slots = {slot["ad_index"]: slot for slot in told["slots"]} if told else {}
        weighed = [
            sentence_of_slot(ad, slots[ad["ad_index"]], currency) for ad in ads if ad["ad_index"] in slots
        ]
        reasons = {each["code"]: each["count"] for each in placed["reasons"]}
        funnel = funnel_of(reasons, len({ad["creative_id"] for ad in ads})) if reasons else []
        found.append(
            Auction(
                at=at, name=placed["name"], placement_id=placed["placement_id"],
                decision_id=placed["decision_id"], ads=ads, sentences=sentences, no_ad=placed["no_ad"],
                why_no_ad=REASONS.get(placed["no_ad"] or "", ""), candidates=placed["candidates"],
                funnel=funnel, funnel_table=funnel_table(at, funnel), rows=placed["rows"],
                exploration=placed["exploration"],
                table=candidates_table(at, told, currency) if told and told["best"] else None,
                parts=parts_of(at, told) if told else [],
                weighed=weighed if weighed != sentences else [],
            )
        )  # fmt: skip
    return found


def _tables(auctions: list[Auction]) -> list[Table]:
    tables = []
    for each in auctions:
        tables += [each.funnel_table, *([each.table] if each.table else [])]
        tables += [part.table for part in each.parts]
    return tables


def _events(auction: Auction, currency: str) -> Table:
    columns = [
        Column("ad"), Column("event"), Column("at"), Column("verdict"),
        Column("billed", "money", currency, 2), Column("unbilled", "money", currency, 2),
        Column("position", "number"), Column("event id"),
    ]  # fmt: skip
    rows = [
        [
            ad["creative_id"], event["kind"], event["at"],
            " ".join(filter(None, [event["verdict"], event["code"] and f"({event['code']})"])),
            _micros(event["billed"]), _micros(event["unbilled"]), event["position"], event["event_id"],
        ]
        for ad in auction.ads
        for event in ad["events"]
    ]  # fmt: skip
    empty = (
        "No event has come for this decision yet." if auction.ads else "Without an ad there are no events."
    )
    return Table(id="events", title="What came of it", columns=columns, rows=rows, empty=empty)


def _micros(amount: float | None) -> int | None:
    return None if amount is None else round(amount * 1_000_000)


def _creatives(auction: Auction, workings: Workings | None) -> list[str]:
    """Name the ads that one may ask a what-if of: those shown here; others can be typed."""
    names = [ad["creative_id"] for ad in auction.ads]
    names += [part.creative_id for part in auction.parts] if workings else []
    return list(dict.fromkeys(names))


async def _replayed(request: Request, node: Node, record: Record) -> dict[str, Any]:
    """Replay, as the API does; where it disagrees, tell what differs."""
    found = await replay(node, record)
    words = Words(node, record, caller_of(request))
    then, now = words.choice(found.then), words.choice(found.now)
    return {
        "agrees": found.agrees, "position": found.then.position,
        "then": "" if found.agrees else _pretty(then), "now": "" if found.agrees else _pretty(now),
    }  # fmt: skip


def _pretty(document: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


async def _what_if(request: Request, node: Node, record: Record, decision_id: bytes) -> dict[str, Any] | None:
    creative_id = request.query_params.get("creative_id", "").strip()
    if not creative_id:
        return None
    bid = bid_micros_of(request.query_params.get("bid", "").strip().replace(",", "") or None)
    found = await what_if(node, record, decision_id[-1], creative_id, bid)
    if not caller_of(request).sees(found.advertiser_id):
        raise Refused("unknown_creative", "there was no such creative at that position", "creative_id")
    told = what_if_words(decision_id, record, creative_id, found)
    most = max(told["pricing"]["bid_then"], told["pricing"]["bid"], told["pricing"]["least_bid"] or 0)
    return told | {"most": _round_up(2 * most)}


def _round_up(amount: float) -> float:
    """Find a round number that is not below an amount, for the end of a slider.

    >>> _round_up(4000), _round_up(4100), _round_up(0.3)
    (4000, 5000, 0.3)
    """
    step = 10.0 ** (len(str(int(amount))) - 1) if amount >= 1 else 0.1
    most = round(-(-amount // step) * step, 6)
    return int(most) if most == int(most) else most
