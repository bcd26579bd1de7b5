"""`GET|POST /v1/forecast`: the traffic to come for a targeting, and what of it a bid would win."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.domain.keys import Caller
from app.domain.refusals import FieldError, Refused
from app.flows.catalogue import owner_of
from app.flows.forecasting import HOUR_MS, LONGEST_MS, Estimate, Forecast, asked_of_group, forecast_for
from app.flows.node import Node
from app.flows.sampling import Asked
from app.web.access import caller_in
from app.web.admin.auth import MAX_BODY_BYTES
from app.web.admin.decisions import time_of
from app.web.admin.schemas import answers
from app.web.admin.times import HOW, read_time
from app.web.catalogue import fields as f
from app.web.catalogue import schemas
from app.web.catalogue.bulk import read_body
from app.web.catalogue.parsing import decode, field_errors, refused
from app.web.catalogue.schemas import Schema
from app.web.catalogue.targeting_in import TargetingIn
from app.web.explain import number

Chance = Annotated[float, Field(gt=0, le=1)]
_JSON_IN_QUERY = frozenset({"targeting", "bid", "width", "height", "pctr", "pcvr"})


class ForecastIn(BaseModel):
    """What to forecast: a targeting and a bid, or those of an ad group as it stands."""

    model_config = ConfigDict(extra="forbid", strict=True)

    start: str | None = Field(default=None, alias="from")
    end: str | None = Field(default=None, alias="to")
    ad_group_id: f.Id | None = None
    targeting: TargetingIn | None = None
    time_zone: f.TimeZone | None = None
    kind: Literal["cpm", "cpc", "cpa", "ocpm"] | None = None
    bid: f.PositiveMicros | None = None
    format: Literal["banner", "video", "audio", "native"] | None = None
    width: Annotated[int, Field(ge=0, le=100_000)] | None = None
    height: Annotated[int, Field(ge=0, le=100_000)] | None = None
    pctr: Chance | None = None
    pcvr: Chance | None = None


def _object(**fields: Schema) -> Schema:
    return {"type": "object", "required": sorted(fields), "properties": fields}


_NULLABLE: Schema = {"anyOf": [{"type": "number"}, {"type": "null"}]}
_ESTIMATE = {
    **_object(expected=_NULLABLE, low={"type": "number"}, high=_NULLABLE),
    "description": "With its 95 % interval; null where `suppressed`",
}
_MAYBE: Schema = {"anyOf": [_ESTIMATE, {"type": "null"}]}
_HOUR = _object(at={"type": "string"}, requests={"type": "number"})
_BASIS = _object(hours_seen={"type": "integer"}, sampled={"type": "integer"}, hourly_error={"type": "number"})
FORECAST: Schema = {
    **_object(requests=_ESTIMATE, eligible=_ESTIMATE, wins=_MAYBE, spend=_MAYBE, basis=_BASIS),
}
_FEW = _object(reason={"const": "k_anonymity"}, least_users={"type": "integer"})
FORECAST["properties"] |= {
    "suppressed": {
        "anyOf": [_FEW, {"type": "null"}],
        "description": "Fewer people than that fit: what is eligible, won and spent is not told",
    },
    "from": {"type": "string"}, "to": {"type": "string"}, "by_hour": {"type": "array", "items": _HOUR},
}  # fmt: skip
_TOLD = {
    "from": "RFC 3339, or a date (midnight in the zone of the answer); default: now",
    "to": "RFC 3339 or a date, exclusive; default: 24 hours after `from`, at most 366 days",
    "ad_group_id": "an ad group, with its targeting, bid and creatives; the rest overrides it",
    "targeting": "as an ad group's; in a query as JSON",
    "time_zone": "whose hours `targeting.hour` means; default: the node's",
    "kind": "cpm (default), cpc, cpa or ocpm",
    "bid": "per 1,000 impressions, click or action",
    "format": "of the creative; without it any shape will do",
    "width": "of a banner",
    "height": "of a banner",
    "pctr": "the click rate to count with; default: what was predicted, or ADJUDGE_PRIOR_CTR",
    "pcvr": "actions per click; default 0.02",
}
_PARAMETERS = [
    {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
    for name, text in _TOLD.items()
]
_IN_BODY: Schema = {
    "type": "object",
    "properties": {
        name: {
            "type": {"targeting": "object", "width": "integer", "height": "integer"}.get(
                name, "number" if name in _JSON_IN_QUERY else "string"
            ),
            "description": text,
        }
        for name, text in _TOLD.items()
    },
    "additionalProperties": False,
}


def forecast_router(node: Node) -> APIRouter:
    """Make the routes over a node."""
    router = APIRouter(tags=["reports"])
    described = answers(FORECAST, 200, 404, 422, 503)

    @router.get(
        "/v1/forecast", response_model=None, responses=described, openapi_extra={"parameters": _PARAMETERS}
    )
    async def get_forecast(request: Request) -> Response:
        """Forecast for what the query asks."""
        return await _answer(node, request, _from_query(request))

    @router.post(
        "/v1/forecast", response_model=None,
        responses=answers(FORECAST, 200, 400, 404, 413, 422, 503),
        openapi_extra={"requestBody": schemas.body(_IN_BODY, "application/json")},
    )  # fmt: skip
    async def post_forecast(request: Request) -> Response:
        """Forecast for what the body asks: the same names as in the query, `targeting` as an object."""
        document = decode(bytes(await read_body(request, MAX_BODY_BYTES)))
        if not isinstance(document, dict):
            raise refused([FieldError("", "not_an_object", "the body must be a JSON object")])
        return await _answer(node, request, document)

    return router


def _from_query(request: Request) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, text in request.query_params.items():
        if name not in _JSON_IN_QUERY:
            document[name] = text
            continue
        try:
            document[name] = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            message = "must be JSON" if name == "targeting" else "must be a number"
            raise refused([FieldError(name, "not_json", message)]) from error
    return document


async def _answer(node: Node, request: Request, document: dict[str, Any]) -> Response:
    try:
        wanted = ForecastIn.model_validate(document)
    except ValidationError as error:
        raise refused(field_errors(error)) from None
    asked = _asked(node, request, wanted)
    found = await forecast_for(node, asked)
    return Response(msgspec.json.encode(_told(asked, found)), media_type="application/json")


def _asked(node: Node, request: Request, wanted: ForecastIn) -> Asked:
    caller = caller_in(request.scope)
    asked = Asked(from_ms=0, to_ms=0, zone=node.settings.fold.time_zone)
    if wanted.ad_group_id is not None:
        group = node.state.catalogue.get("ad_group", wanted.ad_group_id)
        if group is None or not caller.sees(owner_of(node, group)):
            raise Refused("not_found", f"there is no ad group {wanted.ad_group_id}", "ad_group_id")
        asked = asked_of_group(node, wanted.ad_group_id)
    if wanted.targeting is not None:
        _check_audiences(node, caller, wanted.targeting)
    changed: dict[str, Any] = {
        "targeting": None if wanted.targeting is None else wanted.targeting.to_domain(),
        "zone": wanted.time_zone, "kind": wanted.kind, "bid_micros": wanted.bid, "pctr": wanted.pctr,
        "pcvr": wanted.pcvr,
        "shapes": None if wanted.format is None else ((wanted.format, wanted.width, wanted.height),),
    }  # fmt: skip
    asked = msgspec.structs.replace(
        asked, **{key: value for key, value in changed.items() if value is not None}
    )
    from_ms, to_ms = _between(wanted, asked.zone, node.now_ms())
    return msgspec.structs.replace(asked, from_ms=from_ms, to_ms=to_ms)


def _between(wanted: ForecastIn, zone: str, now_ms: int) -> tuple[int, int]:
    wrong: list[FieldError] = []

    def read(name: str, text: str | None, otherwise_ms: int) -> int:
        try:
            at_ms = otherwise_ms if text is None else read_time(text, zone)
        except ValueError:
            wrong.append(FieldError(name, "not_a_time", HOW))
            return otherwise_ms
        if at_ms >= f.MAX_INSTANT_MS:
            wrong.append(FieldError(name, "out_of_range", "must lie between 1970 and 9999"))
        return at_ms

    from_ms = read("from", wanted.start, now_ms)
    to_ms = read("to", wanted.end, from_ms + 24 * HOUR_MS)
    if not wrong and not from_ms < to_ms <= from_ms + LONGEST_MS:
        wrong.append(FieldError("to", "out_of_range", "must be after `from`, by at most 366 days"))
    if wrong:
        raise refused(wrong)
    return from_ms, to_ms


def _check_audiences(node: Node, caller: Caller, wanted: TargetingIn) -> None:
    """Refuse audiences that are not there, or another advertiser's: nobody may count those by forecasts."""
    rule = wanted.to_domain().audience
    for identity in map(str, (*rule.include, *rule.exclude)):
        audience = node.state.catalogue.get("audience", identity)
        if audience is None or not caller.sees(owner_of(node, audience)):
            raise Refused("unknown_audience", f"there is no audience {identity}", "targeting.audience")


def _told(asked: Asked, found: Forecast) -> dict[str, Any]:
    return {
        "from": time_of(asked.from_ms, asked.zone),
        "to": time_of(asked.to_ms, asked.zone),
        "requests": _estimate(found.requests),
        "eligible": _estimate(found.eligible),
        "suppressed": None
        if found.least_people is None
        else {"reason": "k_anonymity", "least_users": found.least_people},
        "wins": found.wins and _estimate(found.wins),
        "spend": found.spend and _money(found.spend),
        "by_hour": [
            {"at": time_of(at_ms, asked.zone), "requests": round(count, 1)} for at_ms, count in found.by_hour
        ],
        "basis": {"hours_seen": found.hours_seen, "sampled": found.sampled, "hourly_error": found.error},
    }


def _estimate(one: Estimate) -> dict[str, Any]:
    return {"expected": one.expected, "low": one.low, "high": one.high}


def _money(one: Estimate) -> dict[str, Any]:
    if one.expected is None or one.high is None:
        return _estimate(one)
    return {name: number(round(getattr(one, name))) for name in ("expected", "low", "high")}
