"""`/console/campaigns/{id}`: where a campaign's day stands, what keeps its ads from winning, its edits.

Money comes with the first answer. What is read from the journal (hours, creatives, losses, edits) is there as
soon as it can be (`later`).
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, cast

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.domain.catalogue import Campaign, Kind, kind_of, parent_of
from app.domain.decisions import LOSS_CODES, REASONS
from app.domain.refusals import Refused
from app.flows import catalogue
from app.flows.campaigns import CampaignDay, CampaignRow, campaign_day, pace_of, standing_of
from app.flows.delivery import Delivery, delivery_now
from app.flows.edits import Edits, edits_of
from app.flows.funnels import funnel
from app.state.money import CampaignMoney, money_of
from app.web.console.campaigns import PATH, STANDINGS, state_of
from app.web.console.changes import changes_of
from app.web.console.figures import Cell, Chart, Column, Link, Mark, Table
from app.web.console.frame import caller_of, form_of, may, node_of, page, problems_of
from app.web.console.later import WAIT_S, Later
from app.web.console.measures import WHY_THIN, aligned, is_thin, micros, rate, share
from app.web.problems import status_of

PARTS = ("day", "lost", "edits")
STATUSES = frozenset({"active", "paused", "archived"})
KINDS = frozenset({"campaign", "ad_group", "creative"})


async def campaign(request: Request) -> Response:
    """Show one campaign."""
    return await show_campaign(request)


async def set_status(request: Request) -> Response:
    """Pause, resume or archive a campaign or something under it, if it is still what the visitor saw."""
    node, form, identity = node_of(request), form_of(request), request.path_params["id"]
    kind, status = cast(Kind, form.get("kind", "")), form.get("status", "")
    which, caller = form.get("which", ""), caller_of(request)
    try:
        _demand_sound(request, kind, which, status)
        match = revision_in(form.get("revision", ""))
        if status == "archived":
            await catalogue.archive(node, kind, which, match, caller)
        else:
            change = partial(msgspec.structs.replace, status=status)
            await catalogue.patch(node, kind, which, match, change, caller)
    except Refused as refused:
        return await show_campaign(request, refused)
    later_of(request).forget()
    return RedirectResponse(f"{PATH}/{identity}", 303)


def _demand_sound(request: Request, kind: Kind, which: str, status: str) -> None:
    identity = request.path_params["id"]
    if status not in STATUSES:
        raise Refused("invalid", "must be active, paused or archived", "status")
    if kind not in KINDS or campaign_of(request, kind, which) != identity:
        raise Refused("not_found", f"there is no such thing in campaign {identity}", "id")


async def show_campaign(request: Request, refused: Refused | None = None) -> Response:
    """Render a campaign, with what was refused, if anything was.

    Errors  Refused `not_found`.
    """
    node, identity, caller = node_of(request), request.path_params["id"], caller_of(request)
    stored = catalogue.find(node, "campaign", identity, caller)
    assert isinstance(stored.thing, Campaign)
    reads = caller.may("reports")
    values: dict[str, Any] = {"campaign": stored.thing, "revision": stored.revision, "reads": reads}
    delivery = delivery_now(node, identity) if reads else None
    values |= {"delivery": delivery, "state": _state(request, stored.thing, delivery)}
    values["starting"] = delivery is not None and pace_of(delivery.plan) == "starting"
    part = request.query_params.get("part", "")
    if "live" in request.query_params and part not in PARTS:
        return page(request, "campaign.html", live="now", **values)
    values |= await _parts(request, identity, part) if reads else dict.fromkeys(PARTS)
    day, lost, edits = values["day"], values["lost"], values["edits"]
    return page(
        request, "campaign.html", live=part or "now", status=status_of(refused.code) if refused else 200,
        **values, problems=problems_of(refused) if refused else {}, refused=refused,
        spent=spent_chart(day, edits, node.settings.currency) if day is not None else None,
        creatives=creatives_table(day) if day is not None else None,
        funnel=funnel_table(lost) if lost is not None else None,
        history=edits_table(edits, identity) if edits is not None else None,
        groups=groups_table(request, delivery, money_of(node.state, identity)) if delivery else None,
        may_write=may(request, "PATCH", f"/v1/campaigns/{identity}"),
    )  # fmt: skip


async def _parts(request: Request, identity: str, wanted: str) -> dict[str, Any]:
    """Read what can be read in a moment; a part or a file that is asked for is waited for."""
    node, later = node_of(request), later_of(request)
    query = request.query_params
    whole = "csv" in query or "table" in query
    found = delivery_now(node, identity)
    makers = {
        "day": lambda: campaign_day(node, identity),
        "lost": lambda: funnel(node, identity, found.funnel_from_ms, node.now_ms() + 1),
        "edits": lambda: edits_of(node, identity),
    }
    if "live" in query:
        makers = {wanted: makers[wanted]}
    answers = await asyncio.gather(
        *(
            later.get(("campaign", identity, name), make, None if whole or name == wanted else WAIT_S)
            for name, make in makers.items()
        )
    )
    return dict.fromkeys(PARTS) | dict(zip(makers, answers, strict=True))


def later_of(request: Request) -> Later:
    """Find the application's answers that are still to come."""
    later: Later = request.app.state.later
    return later


def campaign_of(request: Request, kind: Kind, identity: str) -> str | None:
    """Name the campaign that something is, or stands under.

    Errors  Refused `not_found`.
    """
    thing = catalogue.find(node_of(request), kind, identity, caller_of(request)).thing
    while kind_of(thing) != "campaign":
        link = parent_of(thing)
        above = node_of(request).state.catalogue.get(*link) if link is not None else None
        if above is None:
            return None
        thing = above
    return thing.id


def revision_in(text: str) -> frozenset[int]:
    """Read the revision that a form was made from; what is none matches nothing.

    >>> revision_in("3"), revision_in("x")
    (frozenset({3}), frozenset())
    """
    return frozenset({int(text)}) if text.isascii() and text.isdigit() and len(text) < 18 else frozenset()


def _state(request: Request, thing: Campaign, delivery: Delivery | None) -> str:
    row = CampaignRow(
        campaign=thing, advertiser="", standing=standing_of(node_of(request), thing.id), spent_today=0,
        pace=pace_of(delivery.plan) if delivery is not None else None,
    )  # fmt: skip
    return state_of(row)


# What the page shows.


def spent_chart(day: CampaignDay, edits: Edits | None, currency: str) -> Chart:
    """Draw the day: what was spent, what the plan wants, and where it is heading; edits as marks."""
    lines = {"spent": day.spent, "planned": day.course.planned, "heading to": day.course.ahead}
    x, series = aligned({name: line for name, line in lines.items() if line})
    daily = day.delivery.campaign.budget_daily_micros
    own = [] if edits is None else [
        Mark(edit.at_ms / 1000, f"{kind_of(edit.after).replace('_', ' ')} {edit.after.id} edited")
        for edit in edits.edits
        if not edit.created and edit.at_ms >= day.course.from_ms
    ]  # fmt: skip
    return Chart(
        id="spent", title="The day's money", unit=currency, x=x, series=series,
        dashed=[name for name in ("planned", "heading to") if name in series], marks=own[::-1],
        limits={} if daily is None else {"daily budget": daily / 1e6},
        zone=day.delivery.campaign.time_zone, decimals=0,
    )  # fmt: skip


def creatives_table(day: CampaignDay) -> Table:
    """Lay out what each creative did today."""
    columns = [
        Column("creative"), Column("ad group"), Column("format"), Column("status"),
        Column("impressions", "number"), Column("clicks", "number"), Column("CTR", "percent"),
        Column("conversions", "number"), Column("CVR", "percent"), Column("spend", "money"),
    ]  # fmt: skip
    base = f"{PATH}/{day.delivery.campaign.id}"
    rows: list[list[Cell]] = []
    for each in day.creatives:
        creative, row = each.creative, each.measures or {}
        size = f" {creative.width}x{creative.height}" if creative.width else ""
        rows.append([
            Link(creative.name or creative.id, f"{base}/creatives/{creative.id}"),
            Link(each.group.name or each.group.id, f"{base}/ad-groups/{each.group.id}"),
            f"{creative.format}{size}", creative.status, row.get("impressions", 0), row.get("clicks", 0),
            rate(each.measures, "ctr"), row.get("conversions", 0), rate(each.measures, "cvr"),
            micros(row.get("spend", 0)),
        ])  # fmt: skip
    return Table(
        id="creatives", title="Creatives today", columns=columns, rows=rows, why_thin=WHY_THIN,
        thin=frozenset(at for at, each in enumerate(day.creatives) if is_thin(each.measures)),
        empty="No creative yet: an ad group needs one to serve.",
    )  # fmt: skip


def groups_table(request: Request, delivery: Delivery, money: CampaignMoney) -> Table:
    """Lay out the ad groups: what each bids, may spend and has spent, and why it stands aside."""
    columns = [
        Column("ad group"), Column("pricing"), Column("bids", "money"), Column("daily budget", "money"),
        Column("spent today", "money"), Column("spent", "money"), Column("state"),
    ]  # fmt: skip
    its = {each.ad_group_id: each for each in money.groups}
    rows: list[list[Cell]] = []
    for each in delivery.groups:
        group, bid = each.group, its[each.group.id]
        state = STANDINGS.get(each.standing, each.standing) if each.standing else "serving"
        rows.append([
            Link(group.name or group.id, f"{PATH}/{delivery.campaign.id}/ad-groups/{group.id}"),
            bid.kind.upper().replace("OCPM", "oCPM"), bid.bid_micros, group.budget_daily_micros,
            each.spent_today, each.spent, group.status if group.status != "active" else state,
        ])  # fmt: skip
    return Table(id="groups", title="Ad groups", columns=columns, rows=rows, empty="No ad group yet.")


def funnel_table(losses: dict[str, int]) -> Table:
    """Lay out what kept the campaign's ads from winning, the commonest first."""
    counted = sorted(
        ((code, count) for code, count in losses.items() if code and count),
        key=lambda pair: (-pair[1], pair[0]),
    )
    total = sum(count for _, count in counted)
    rows: list[list[Cell]] = [
        [code, REASONS.get(code, ""), count, share(count, total), LOSS_CODES.get(code, 500)]
        for code, count in counted
    ]
    columns = [
        Column("reason"), Column("what it means"), Column("ads lost", "number"), Column("share", "percent"),
        Column("OpenRTB code", "number"),
    ]  # fmt: skip
    return Table(
        id="funnel", title="What kept its ads from winning today", columns=columns, rows=rows,
        empty="No ad of it has lost an auction today.",
    )  # fmt: skip


def edits_table(found: Edits, campaign_id: str) -> Table:
    """Lay out who the campaign was: each edit with what it changed."""
    rows: list[list[Cell]] = []
    for edit in found.edits:
        kind, identity = kind_of(edit.after), edit.after.id
        folder = {"ad_group": f"/ad-groups/{identity}", "creative": f"/creatives/{identity}"}.get(kind, "")
        link = Link(f"{kind.replace('_', ' ')} {identity}", f"{PATH}/{campaign_id}{folder}")
        rows.append([edit.at_ms, link, changes_of(edit), edit.revision])
    columns = [Column("when", "time"), Column("what"), Column("change"), Column("revision", "number")]
    return Table(
        id="edits", title="History of edits", columns=columns, rows=rows, empty="No edit is kept any more."
    )
