"""A placement as people watch it: what was asked, shown and paid there, and how prices stand to its floor.

Counts are those of reports; what was answered and paid is read off the latest decisions (`paid`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from app.domain.catalogue import AdGroup, Creative, Placement, Publisher
from app.domain.ids import HOUR_MS
from app.domain.keys import Caller
from app.domain.requests import Ask
from app.flows.campaigns import Row, read_report
from app.flows.catalogue import find, seen
from app.flows.paid import Prices, prices_at
from app.flows.reporting import Asked, report, reports
from app.state.arms import reserve_of

if TYPE_CHECKING:
    from app.flows.node import Node


class PlacementRow(Struct, frozen=True, kw_only=True):
    """A placement in a list, and its row of the report; None where it is not registered, or was silent."""

    id: str
    placement: Placement | None
    publisher: str
    measures: Row | None


class PlacementDay(Struct, frozen=True, kw_only=True):
    """One placement's last hours: rows as in a report, by hour and by creative, and what was paid.

    `floor_micros` is what it takes now, before what a request may add: its own floor or the node's.
    `known` has the name and the campaign of each of these creatives.
    """

    placement: Placement
    publisher: Publisher | None
    hours: list[Row]
    creatives: list[Row]
    known: dict[str, tuple[str, str]]
    total: Row
    floor_micros: int
    prices: Prices


async def placement_list(node: Node, caller: Caller, hours: int = 24, text: str = "") -> list[PlacementRow]:
    """List placements with what happened there lately, those with most impressions first.

    A bound caller's placements are those where its ads were shown, and the counts are of these ads.
    Errors  Busy as of `report`.
    """
    now_ms = node.now_ms()
    bound = None if caller.advertiser_ids is None else tuple(sorted(caller.advertiser_ids))
    asked = Asked(
        from_ms=max(0, now_ms + 1 - hours * HOUR_MS), to_ms=now_ms + 1, by=("placement",),
        zone=node.settings.fold.time_zone, advertisers=bound,
    )  # fmt: skip
    measured = {row["placement"]: row for row in read_report(await report(node, asked))["rows"]}
    things = {
        thing.id: thing
        for thing in seen(node, caller, node.state.catalogue.things["placement"].values())
        if isinstance(thing, Placement) and (thing.status != "archived" or thing.id in measured)
    }
    needle, rows = text.casefold().strip(), []
    for identity in {*things, *measured}:
        placement = things.get(identity)
        name = placement.name if placement is not None else ""
        if needle in identity.casefold() or needle in name.casefold():
            publisher = placement.publisher_id if placement is not None else ""
            row = PlacementRow(
                id=identity, placement=placement, publisher=publisher, measures=measured.get(identity)
            )
            rows.append(row)
    return sorted(rows, key=lambda row: (-(row.measures or {}).get("impressions", 0), row.id))


async def placement_day(node: Node, caller: Caller, placement_id: str, hours: int = 24) -> PlacementDay:
    """Tell what happened on one placement in the last hours.

    Errors  Refused `not_found`; Busy as of `report`.
    """
    placement = find(node, "placement", placement_id, caller).thing
    assert isinstance(placement, Placement)
    publisher = node.state.catalogue.get("publisher", placement.publisher_id)
    now_ms = node.now_ms()
    asked = Asked(
        from_ms=max(0, now_ms + 1 - hours * HOUR_MS), to_ms=now_ms + 1, by=("hour",),
        zone=node.settings.fold.time_zone, only=("placement", placement_id),
    )  # fmt: skip
    bodies = await reports(node, [asked, msgspec.structs.replace(asked, by=("creative",))])
    settings = node.state.settings
    ask = Ask(name="", placement_id=placement_id)
    floor = reserve_of(ask, placement.floor_micros, settings.floor_factor, settings.floor_micros)
    by_hour, by_creative = (read_report(body) for body in bodies)
    ranked = sorted(by_creative["rows"], key=lambda row: (-row["impressions"], row["creative"]))
    return PlacementDay(
        placement=placement, publisher=publisher if isinstance(publisher, Publisher) else None,
        hours=by_hour["rows"], total=by_hour["totals"], creatives=ranked, floor_micros=floor,
        known=_known(node, [row["creative"] for row in ranked]),
        prices=await prices_at(node, placement_id, asked.from_ms, floor),
    )  # fmt: skip


def _known(node: Node, creative_ids: list[str]) -> dict[str, tuple[str, str]]:
    found = {}
    for identity in creative_ids:
        creative = node.state.catalogue.get("creative", identity)
        if isinstance(creative, Creative):
            group = node.state.catalogue.get("ad_group", creative.ad_group_id)
            assert isinstance(group, AdGroup)
            found[identity] = (creative.name, group.campaign_id)
    return found
