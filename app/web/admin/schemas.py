"""What the OpenAPI document says about decisions, refunds and reports."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from app.domain.keys import SCOPES
from app.flows.tallies import DIMENSIONS
from app.rules.attribution import NAMES
from app.web.catalogue.schemas import PROBLEM, Schema

_NULLABLE_NUMBER: Schema = {"anyOf": [{"type": "number"}, {"type": "null"}]}
_NULLABLE_TEXT: Schema = {"anyOf": [{"type": "string"}, {"type": "null"}]}
_COUNT: Schema = {"type": "integer", "minimum": 0}


def _object(required: bool = True, **fields: Any) -> Schema:
    return {"type": "object", "required": sorted(fields) if required else [], "properties": fields}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


_EVENT = _object(
    kind={"type": "string"}, event_id={"type": "string"}, position={"type": "integer"}, at=_NULLABLE_TEXT,
    verdict=_NULLABLE_TEXT, code=_NULLABLE_TEXT, billed=_NULLABLE_NUMBER, unbilled=_NULLABLE_NUMBER,
)  # fmt: skip
_AD = _object(
    ad_index=_COUNT, advertiser_id={"type": "string"}, campaign_id={"type": "string"},
    ad_group_id={"type": "string"}, creative_id={"type": "string"}, deal_id=_NULLABLE_TEXT,
    pricing={"type": "object"}, pctr={"type": "number"}, propensity=_NULLABLE_NUMBER,
)  # fmt: skip
_AD["properties"]["events"] = _list(_EVENT)
_REASON = _object(code={"type": "string"}, count=_COUNT, why={"type": "string"}, loss_code=_COUNT)
_PLACEMENT = _object(
    decision_id={"type": "string"}, name={"type": "string"}, placement_id={"type": "string"},
    publisher_id=_NULLABLE_TEXT, candidates=_COUNT, rows=_list({"type": "string"}), ads=_list(_AD),
    no_ad=_NULLABLE_TEXT, reasons=_list(_REASON), exploration={"type": ["object", "null"]},
)  # fmt: skip
_SHADOW = _object(
    variant=_COUNT,
    placements=_list(
        _object(creative_id=_NULLABLE_TEXT, pctr=_NULLABLE_NUMBER, cleared_ecpm={"type": "number"})
    ),
)
_CHOICE = _object(
    position=_COUNT, clock={"type": "string"}, variant={"type": "integer"}, shadows=_list(_SHADOW),
    placements=_list(_PLACEMENT),
)  # fmt: skip
_PERSONAL: Schema = {
    "anyOf": [_object(used=_list({"type": "string"}), withheld=_NULLABLE_TEXT), {"type": "null"}]
}
DECISION = _object(
    **_CHOICE["properties"], request={"type": "object"}, personal={"anyOf": [_PERSONAL, {"type": "null"}]}
)
DECISION["properties"]["decision_id"] = {"type": "string"}
DECISIONS = _object(items=_list(DECISION))
WHAT_IF = _object(
    decision_id={"type": "string"}, placement_id={"type": "string"}, position=_COUNT,
    advertiser_id={"type": "string"}, ad_group_id={"type": "string"}, creative_id={"type": "string"},
    pricing=_object(
        kind={"type": "string"}, bid_then={"type": "number"}, bid={"type": "number"},
        price=_NULLABLE_NUMBER, ecpm=_NULLABLE_NUMBER, least_bid=_NULLABLE_NUMBER,
    ),
    won={"type": "boolean"}, would_win={"type": "boolean"}, ad_index=_NULLABLE_NUMBER,
    deal_id=_NULLABLE_TEXT, pctr=_NULLABLE_NUMBER, eligible={"type": "boolean"},
    sibling_creative_id=_NULLABLE_TEXT, reason=_NULLABLE_TEXT,
    why=_NULLABLE_TEXT, loss_code=_NULLABLE_NUMBER,
)  # fmt: skip
REPLAY = _object(agrees={"type": "boolean"}, then=_CHOICE, now=_CHOICE)

_MEASURES: Schema = {
    "requests": {"anyOf": [_COUNT, {"type": "null"}]},
    **dict.fromkeys(("impressions", "clicks", "conversions"), _COUNT),
    "spend": {"type": "number"},
    "unbilled": {"type": "number"},
    **dict.fromkeys(("ecpm", "ctr", "ctr_low", "ctr_high"), _NULLABLE_NUMBER),
    "predicted_clicks": {"type": "number"},
    "calibration": _NULLABLE_NUMBER,
    "log_loss": {**_NULLABLE_NUMBER, "description": "Of the pCTR that was told, in nats an impression"},
    "ne": {**_NULLABLE_NUMBER, "description": "The log loss over that of the row's own click rate"},
    "cvr": _NULLABLE_NUMBER,
    "cvr_low": _NULLABLE_NUMBER,
    "cvr_high": _NULLABLE_NUMBER,
    "cpa": {**_NULLABLE_NUMBER, "description": "Spend per conversion, whatever was charged for"},
    **{
        f"{part}_{kind}": _COUNT
        for part in ("gross", "net")
        for kind in ("impressions", "clicks", "conversions")
    },
    "invalid": {"type": "object", "additionalProperties": _COUNT},
}
_TOTALS = _object(**_MEASURES)
_ROW: Schema = {
    **_TOTALS,
    "properties": {**{name: {"type": ["string", "integer"]} for name in DIMENSIONS}, **_MEASURES},
}
REPORT = _object(rows=_list(_ROW), totals=_TOTALS)
_LOSS = _object(
    reason={"type": "string"}, loss_code={"type": "integer"}, count=_COUNT, why={"type": "string"}
)
_BUCKET = _object(
    raw_pctr={"type": "number"}, calibrated_pctr={"type": "number"}, clicks={"type": "number"},
    predicted_clicks={"type": "number"},
)  # fmt: skip
RELIABILITY = _object(
    placement_id=_NULLABLE_TEXT, variant=_NULLABLE_TEXT, memory_clicks=_COUNT, in_use={"type": "boolean"},
    clicks={"type": "number"}, predicted_clicks={"type": "number"}, buckets=_list(_BUCKET),
)  # fmt: skip
FUNNEL = _object(campaign_id={"type": "string"}, to={"type": "string"}, losses=_list(_LOSS))
FUNNEL["properties"]["from"] = {"type": "string"}

_SCOPES: Schema = _list({"enum": list(SCOPES)})
_ADVERTISERS: Schema = {"anyOf": [_list({"type": "string"}), {"type": "null"}]}
KEY_IN: Schema = {
    "type": "object",
    "required": ["name", "scopes"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 200},
        "scopes": {**_SCOPES, "minItems": 1, "maxItems": len(SCOPES)},
        "advertiser_ids": {**_ADVERTISERS, "description": "Sees these advertisers' things alone; null: all"},
        "expires_at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
    },
    "additionalProperties": False,
}
KEY = _object(
    id={"type": "string"}, name={"type": "string"}, prefix={"type": "string"}, scopes=_SCOPES,
    advertiser_ids=_ADVERTISERS, created_at={"type": "string"}, expires_at=_NULLABLE_TEXT,
)  # fmt: skip
NEW_KEY = _object(**KEY["properties"], key={"type": "string", "description": "Shown once"})
KEYS = _object(items=_list(KEY), next=_NULLABLE_TEXT)

REFUNDS_IN: Schema = {
    "type": "object",
    "required": ["event_ids"],
    "properties": {
        "event_ids": {"type": "array", "items": {"type": "string"}, "maxItems": 1000},
        "reason": {"type": "string", "maxLength": 1000, "default": ""},
    },
}
REFUNDS = _object(
    results=_list(
        _object(
            event_id={"type": "string"}, status={"enum": ["refunded", "repeat", "refused"]},
            refunded={"type": "number"}, unlearned={"type": "boolean"}, code=_NULLABLE_TEXT,
        )
    )
)  # fmt: skip

_WORDS = _list({"type": "string", "minLength": 1, "maxLength": 128})
_PROFILE: Schema = {
    "type": {"const": "user"},
    "id": {"type": "string"},
    "gender": {"enum": ["M", "F", "O", None]},
    "age": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 150}, {"type": "null"}]},
    "region": _NULLABLE_TEXT,
    "interests": _WORDS,
    "segments": _WORDS,
}
_CREDITS: Schema = {
    "touches": {**_COUNT, "description": "On paths to conversions"},
    **{rule: {"type": "number"} for rule in NAMES},
}
_MAYBE_MS: Schema = {"type": ["integer", "null"]}
ATTRIBUTION = _object(
    archived_from_ms=_MAYBE_MS, archived_to_ms=_MAYBE_MS,
    rows=_list(_object(advertiser={"type": "string"}, **_CREDITS)),
    totals=_object(conversions=_COUNT, **_CREDITS),
)  # fmt: skip
MODEL = _object(
    sha256={"type": "string"}, position=_COUNT, loaded_at={"type": "string", "format": "date-time"},
    cells_unknown=_COUNT, impressions_since=_COUNT, clicks_since=_COUNT,
    positions_missed={"anyOf": [_COUNT, {"type": "null"}]},
)  # fmt: skip
MODELS = _object(items=_list(MODEL))
MEMBERS = _object(
    audience_id={"type": "string"}, count={"anyOf": [_COUNT, {"type": "null"}]},
    targetable={"type": "boolean"}, uploaded_at=_NULLABLE_TEXT,
)  # fmt: skip
MEMBERS["properties"]["lookalike"] = {
    "anyOf": [
        _object(
            by={"enum": ["model", "cluster"]}, members_known=_COUNT, share={"type": "number"},
            auc=_NULLABLE_NUMBER, found_at={"type": "string"},
        ),
        {"type": "null"},
    ],
    "description": "Of look-alike audiences alone: how they were found, and the share of people in them",
}  # fmt: skip
MEMORY = _object(
    kinds=_list(
        _object(kind={"type": "string"}, rows=_COUNT, main_cells=_COUNT, cross_cells=_COUNT, bytes=_COUNT)
    ),
    cells=_COUNT, cell_bytes=_COUNT, rows_pruned=_COUNT, profiles=_COUNT, user_counters=_COUNT,
    user_counter_bytes=_COUNT,
)  # fmt: skip
PROFILE = _object(**_PROFILE)
PROFILE_IN = {**_object(required=False, **_PROFILE), "additionalProperties": False}
PROFILES_STORED = _object(
    counts=_object(stored=_COUNT, refused=_COUNT),
    lines=_list(_object(line=_COUNT, code={"type": "string"}, field=_NULLABLE_TEXT, message=_NULLABLE_TEXT)),
)

_WHY = {
    400: "The body is not JSON",
    401: "No key",
    403: "The key lacks the scope",
    404: "There is no such thing",
    410: "Older than what is kept",
    413: "Too large",
    422: "It does not fit; errors name every wrong field",
    503: "Not now; see Retry-After",
}


def answers(schema: Schema | None, *statuses: int) -> dict[int | str, Schema]:
    """Describe what an operation may answer: under 300 with the schema, others as problems."""
    problem = {"application/problem+json": {"schema": PROBLEM}}
    found: dict[int | str, Schema] = {}
    for status in sorted({*statuses, 401, 403}):
        if status >= 300:
            found[status] = {"description": _WHY[status], "content": problem}
        else:
            found[status] = {"description": HTTPStatus(status).phrase}
            if status != 204:
                found[status]["content"] = {"application/json": {"schema": schema}} if schema else {}
    return found
