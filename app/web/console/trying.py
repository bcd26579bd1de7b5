"""A request tried from a form: the API's own door answers it, with its workings, as a preview."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from starlette.requests import Request

from app.domain.catalogue import Placement
from app.domain.decisions import REASONS
from app.domain.refusals import Refused
from app.flows.node import Node
from app.flows.workings import Standing, standing_of
from app.rules.features import DEVICES, GENDERS, SYSTEMS
from app.web.asgi import Asked
from app.web.console.auction import (
    Auction,
    candidates_table,
    funnel_of,
    funnel_table,
    parts_of,
    sentence_of_slot,
    standing_table,
)
from app.web.console.figures import Table
from app.web.console.frame import Form, demand, node_of

NAME = "preview"
OFFERED = 200  # placements to choose from; others can be typed
CONCERNED = 5  # campaigns whose budget is told


class Field(NamedTuple):
    """A field of the form, by the API's own name of it. `kind`: text, whole, list, choice."""

    name: str
    label: str
    kind: str = "text"
    hint: str = ""
    choices: tuple[str, ...] = ()


FIELDS = (
    Field("placements[0].placement_id", "Placement", "text"),
    Field("placements[0].count", "Ads", "whole", "how many, 1 to 20; empty: 1"),
    Field("user.gender", "Gender", "choice", "", GENDERS),
    Field("user.age", "Age", "whole"),
    Field("user.region", "Region", "text", "such as KR-11"),
    Field("user.interests", "Interests", "list", "apart by commas"),
    Field("user.segments", "Segments", "list", "apart by commas"),
    Field("user.id", "User id", "text", "for audiences and frequency caps"),
    Field("context.device", "Device", "choice", "", DEVICES),
    Field("context.os", "Operating system", "choice", "", SYSTEMS),
    Field("context.url", "Page"),
    Field("at", "At", "text", "such as 2026-01-31T09:00:00+09:00; empty: now"),
)


class Tried(NamedTuple):
    """What came of it."""

    auction: Auction
    standing: Table


def form_shown(node: Node) -> list[tuple[Field, list[Any]]]:
    """List the fields, each with what may be chosen or is suggested."""
    things = node.state.catalogue.things["placement"].values()
    live = [thing.id for thing in things if isinstance(thing, Placement) and thing.status == "active"]
    return [
        (
            field,
            sorted(live)[:OFFERED]
            if field.name == "placements[0].placement_id"
            else [(each, each) for each in field.choices],
        )
        for field in FIELDS
    ]


def tried(request: Request, form: Form) -> Tried:
    """Have the door of `/v1/ads` answer with `explain` and `at`.

    Errors  Refused as the API's: `out_of_scope`, `invalid`, …
    """
    demand(request, "POST", "/v1/ads")
    node, door = node_of(request), request.app.state.ads_door
    if door is None:
        raise Refused("not_found", "this node answers no ads")
    answer = door(Asked(request.scope, json.dumps(body_of(form, node.now_ms())).encode()))
    return told(node, json.loads(answer.body), form.get("placements[0].placement_id", ""))


def body_of(form: Form, now_ms: int) -> dict[str, Any]:
    """Write the body of `POST /v1/ads`; what is no number where one belongs is left for the door to refuse.

    >>> from starlette.datastructures import ImmutableMultiDict
    >>> body_of(ImmutableMultiDict({"placements[0].placement_id": "p", "user.age": "x"}), 0)["user"]
    {'age': 'x'}
    """
    placement: dict[str, Any] = {"name": NAME}
    parts: dict[str, dict[str, Any]] = {"placements[0]": placement, "user": {}, "context": {}}
    moment = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds")
    body = {
        "request_id": NAME, "explain": True, "at": form.get("at", "").strip() or moment,
        "placements": [placement], "user": parts["user"], "context": parts["context"],
    }  # fmt: skip
    for field in FIELDS:
        typed = form.get(field.name, "").strip()
        part, _, name = field.name.rpartition(".")
        if not part or not (typed or name == "placement_id"):
            continue
        parts[part][name] = _value(field.kind, typed)
    return body


def _value(kind: str, typed: str) -> Any:
    match kind:
        case "whole" if typed.lstrip("-").isdigit() and len(typed) <= 12:
            return int(typed)
        case "list":
            return [each.strip() for each in typed.split(",") if each.strip()]
        case _:
            return typed


def told(node: Node, answer: dict[str, Any], placement_id: str) -> Tried:
    """Bring an explained answer into the page's form."""
    explained = answer["explain"][NAME]
    ads, nothing = answer["decisions"].get(NAME, []), answer["no_ad"].get(NAME)
    slots = {slot["ad_index"]: slot for slot in explained["slots"]}
    currency = node.settings.currency
    code = nothing["code"] if nothing else None
    funnel = funnel_of(explained["reasons"], len({ad["creative_id"] for ad in ads}))
    auction = Auction(
        at=0, name=NAME, placement_id=placement_id, decision_id="", ads=ads,
        sentences=[sentence_of_slot(ad, slots[ad["ad_index"]], currency) for ad in ads], no_ad=code,
        why_no_ad=REASONS.get(code or "", ""), candidates=explained["candidates"], funnel=funnel,
        funnel_table=funnel_table(0, funnel), rows=explained["rows"],
        table=candidates_table(0, explained, currency) if explained["best"] else None,
        parts=parts_of(0, explained),
    )  # fmt: skip
    concerned = dict.fromkeys(each["campaign_id"] for each in (*ads, *explained["best"]))
    standings: list[Standing] = [standing_of(node.state, each) for each in [*concerned][:CONCERNED]]
    return Tried(auction, standing_table(standings, currency))
