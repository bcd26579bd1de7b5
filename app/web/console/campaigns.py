"""`/console/campaigns`: all campaigns, what each has spent of its day, and whether that is as planned."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.flows.campaigns import CampaignList, CampaignRow, campaign_list
from app.web.console.figures import Cell, Column, Link, Table
from app.web.console.frame import caller_of, may, node_of, page
from app.web.console.measures import share
from app.web.console.pages import ROOT

PATH = f"{ROOT}/campaigns"
STATUSES = (("", "in use"), ("active", "active"), ("paused", "paused"), ("archived", "archived"))
PACES = {
    "unplanned": "serving", "starting": "serving", "behind": "behind plan", "on_plan": "on plan",
    "ahead": "ahead of plan",
}  # fmt: skip
STANDINGS = {
    "no_ads": "no ad group yet", "paused": "paused", "archived": "archived", "budget": "budget reached",
    "ended": "flight over", "not_started": "not begun", "hour": "outside its hours",
    "weekday": "outside its weekdays", "no_conversions": "stopped: no conversions",
}  # fmt: skip
_CATALOGUE = (Column("campaign"), Column("id"), Column("advertiser"), Column("state"))
_MONEY = (
    Column("spent today", "money"), Column("daily budget", "money"), Column("of budget", "percent"),
    Column("planned by now", "money"), Column("in flight", "money"), Column("takes part in", "percent"),
)  # fmt: skip


async def campaigns(request: Request) -> Response:
    """List campaigns, those that spent most today first."""
    node, query = node_of(request), request.query_params
    status, text, number = query.get("status", ""), query.get("q", ""), query.get("page", "1")
    wanted = int(number) if number.isascii() and number.isdigit() and len(number) < 6 else 1
    found = campaign_list(node, caller_of(request), status=status, text=text[:100], page=wanted)
    return page(
        request, "campaigns.html", live="list", found=found, chosen=status, text=text, statuses=STATUSES,
        campaigns=table_of(found, money=caller_of(request).may("reports")),
        may_create=may(request, "POST", "/v1/campaigns"),
    )  # fmt: skip


def table_of(found: CampaignList, *, money: bool) -> Table:
    """Lay out a list; money is for those who may read reports."""
    return Table(
        id="campaigns", title="Campaigns", columns=[*_CATALOGUE, *(_MONEY if money else ())],
        rows=[[*_named(row), *(_spent(row) if money else ())] for row in found.rows],
        empty="No campaign fits.",
    )  # fmt: skip


def state_of(row: CampaignRow) -> str:
    """Say in a few words how a campaign stands."""
    if row.campaign.status != "active":
        return row.campaign.status
    if row.standing:
        return STANDINGS.get(row.standing, row.standing)
    return PACES[row.pace or "unplanned"]


def _named(row: CampaignRow) -> list[Cell]:
    campaign = row.campaign
    link = Link(campaign.name or campaign.id, f"{PATH}/{campaign.id}")
    return [link, campaign.id, row.advertiser, state_of(row)]


def _spent(row: CampaignRow) -> list[Cell]:
    plan, daily = row.plan, row.campaign.budget_daily_micros
    if plan is None:
        return [row.spent_today, daily, None, None, None, None]
    planned = None if plan.planned is None else round(plan.planned)
    of_budget = share(plan.spent_today, daily)
    return [plan.spent_today, daily, of_budget, planned, plan.in_flight, plan.throttle]
