"""The shapes of the public port's bodies, as OpenAPI 3.1 components: what `public_openapi` refers to.

Written by hand beside the doors, which decode with msgspec; a test holds the two together by fuzzing.
Requests tolerate unknown fields; what is documented of an answer is all that it holds.
"""

from __future__ import annotations

from typing import Any

from app.domain.dismissals import DISMISSALS

Schema = dict[str, Any]

ID = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$"}
TOKEN = {"type": "string", "minLength": 1, "maxLength": 4096, "pattern": "^[A-Za-z0-9_-]+$"}
FORMAT = {"type": "string", "enum": ["banner", "video", "audio", "native"]}
MONEY = {"type": "number", "minimum": 0, "description": "Account currency, at most six decimals"}
WORD = {"type": "string", "maxLength": 256}
WORDS = {"type": "array", "items": WORD, "maxItems": 1000}
COUNT = {"type": "integer", "minimum": 0}


def ref(name: str) -> Schema:
    """Refer to a component's schema.

    >>> ref("Problem")
    {'$ref': '#/components/schemas/Problem'}
    """
    return {"$ref": f"#/components/schemas/{name}"}


def maybe(schema: Schema) -> Schema:
    """Allow null beside a schema.

    >>> maybe({"type": "string", "maxLength": 3})
    {'type': ['string', 'null'], 'maxLength': 3}
    """
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


def record(required: list[str], properties: Schema, **more: Any) -> Schema:
    """Describe an object."""
    return {"type": "object", "required": required, "properties": properties, **more}


def answer(properties: Schema, optional: tuple[str, ...] = (), **more: Any) -> Schema:
    """Describe an object of ours: it holds all of these, and nothing else."""
    required = [name for name in properties if name not in optional]
    return record(required, properties, additionalProperties=False, **more)


AD_REQUEST: Schema = {
    "DealIn": record(
        ["id"],
        {
            "id": {**WORD, "minLength": 1, "description": "As in an ad group's `targeting.deal`"},
            "floor_cpm": {
                "type": ["number", "null"], "minimum": 0, "maximum": 1_000_000_000, "multipleOf": 0.000001,
                "description": "The deal's own floor, whatever the placement's",
            },
            "currency": {
                "type": ["string", "null"], "pattern": "^[A-Z]{3}$",
                "description": "Of the floor; absent: the account's. Without a rate for it: 422",
            },
            "at": {
                "type": "integer", "enum": [1, 2, 3], "default": 2,
                "description": "3: the floor is the price; 1 and 2: the deal's own second price",
            },
            "seats": {**WORDS, "description": "Buyer seats that it was made with; empty: any"},
            "advertisers": {**WORDS, "description": "Ids or domains that it was made with; empty: any"},
        },
    ),
    "PlacementIn": record(
        ["name", "placement_id"],
        {
            "name": {**WORD, "minLength": 1, "description": "Unique in the request"},
            "placement_id": ID,
            "sizes": {
                "type": "array",
                "items": {"type": "string", "pattern": "^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$"},
                "maxItems": 1000,
                "description": "Narrow the placement's own",
            },
            "formats": {"type": "array", "items": FORMAT, "maxItems": 4},
            "count": {"type": "integer", "minimum": 1, "maximum": 20, "default": 1},
            "floor_cpm": {
                "type": ["number", "null"], "minimum": 0, "maximum": 1_000_000_000, "multipleOf": 0.000001,
                "description": "Only raises the placement's floor",
            },
            "deals": {
                "type": "array", "items": ref("DealIn"), "maxItems": 200,
                "description": "An auction each, among the ads that target it, beside the open one",
            },
            "private_auction": {
                "type": "boolean", "default": False, "description": "Only the deals are sold",
            },
        },
    ),
    "UserIn": record(
        [],
        {
            "id": maybe(WORD), "gender": maybe(WORD),
            "age": {"type": ["integer", "null"], "minimum": 0, "maximum": 150},
            "region": {**maybe(WORD), "description": "ISO 3166-2"},
            "interests": {**WORDS, "description": "The first 16 count in the score"},
            "segments": {**WORDS, "description": "The first 16 count in the score"},
            "keywords": {**WORDS, "description": "For `targeting.keyword`"},
        },
    ),
    "ContextIn": record(
        [],
        {
            "url": {"type": ["string", "null"], "maxLength": 4096},
            "site_category": WORDS,
            "device": maybe(WORD), "os": maybe(WORD), "browser": maybe(WORD),
            "site": {**maybe(WORD), "description": "Domain; default: that of the url"},
            "app": {**maybe(WORD), "description": "Bundle"},
            "keywords": {**WORDS, "description": "For `targeting.keyword`"},
            "ip": {**maybe(WORD), "description": "Looked up for a region where none is told; not kept"},
            "sua": {"anyOf": [ref("HintsIn"), {"type": "null"}]},
            "user_agent": {"type": ["string", "null"], "maxLength": 4096},
            "keys": {
                "type": "object",
                "description": "Your own key-values, for targeting",
                "additionalProperties": {
                    "anyOf": [ref("KeyValue"), {"type": "array", "items": ref("KeyValue")}]
                },
            },
        },
    ),
    "HintsIn": record(
        [],
        {
            "browsers": {"type": "array", "items": ref("BrandIn"), "maxItems": 64},
            "platform": {"anyOf": [ref("BrandIn"), {"type": "null"}]},
            "mobile": {"enum": [0, 1, True, False, None]},
        },
    ),
    "BrandIn": record([], {"brand": WORD}),
    "KeyValue": {
        "anyOf": [
            {"type": "string"},
            {"type": "number", "minimum": -9_007_199_254_740_991, "maximum": 9_007_199_254_740_991},
        ]
    },
    "BlockedIn": record(
        [],
        {
            "categories": {**WORDS, "description": "A category blocks its children"},
            "advertisers": {**WORDS, "description": "Ids or domains"},
            "creatives": WORDS,
        },
    ),
    "ConsentIn": record(
        [],
        {
            **{name: {"type": "boolean", "default": False} for name in ("gdpr", "coppa", "dnt", "lmt")},
            "personal": {"type": ["boolean", "null"]},
            "tcf": {"type": "string", "maxLength": 8192, "description": "TCF v2"},
            "gpp": {"type": "string", "maxLength": 8192},
            "gpp_sid": {"type": "array", "items": {"type": "integer"}, "maxItems": 64},
            "us_privacy": WORD,
        },
    ),
    "AdsIn": record(
        ["placements"],
        {
            "request_id": maybe(WORD),
            "placements": {"type": "array", "minItems": 1, "maxItems": 20, "items": ref("PlacementIn")},
            "user": maybe(ref("UserIn")), "context": maybe(ref("ContextIn")),
            "blocked": maybe(ref("BlockedIn")), "consent": maybe(ref("ConsentIn")),
            "tmax_ms": {"type": ["integer", "null"], "minimum": 0},
            "explain": {"type": ["boolean", "null"], "default": False, "description": "Admin port alone"},
            "at": {
                "type": ["string", "null"], "format": "date-time",
                "description": "Admin port alone: decide as if it were then; a preview without tokens",
            },
        },
    ),
}  # fmt: skip

AD_ANSWER: Schema = {
    "Ad": answer(
        {
            "format": FORMAT,
            "width": {"type": "integer"}, "height": {"type": "integer"}, "duration_s": {"type": "integer"},
            "native": {"type": "object"}, "markup": {"type": "string"},
        },
        optional=("width", "height", "duration_s", "native", "markup"),
    ),
    "Pricing": answer(
        {
            "kind": {"type": "string", "enum": ["cpm", "cpc", "cpa", "ocpm"]},
            "bid": MONEY,
            "price": {**MONEY, "description": "What one charged action costs"},
            "ecpm": {**MONEY, "description": "The ad's own worth per 1,000 impressions"},
            "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
        },
        optional=("kind", "bid", "ecpm"),
        description="Only price and currency without scope `pricing`",
    ),
    "Tokens": answer(dict.fromkeys(("impression", "click", "conversion", "dismissal"), TOKEN)),
    "Decision": answer(
        {
            "decision_id": {"type": "string", "pattern": "^[0-9a-f]{30}$"},
            "ad_index": {**COUNT, "description": "The place on the page; deals' ads come behind"},
            "deal_id": {"type": "string", "description": "The deal that the ad was sold by"},
            "advertiser_id": ID, "campaign_id": ID, "ad_group_id": ID, "creative_id": ID,
            "ad": ref("Ad"), "pricing": ref("Pricing"),
            "pctr": {"type": "number", "minimum": 0, "maximum": 1},
            "pcvr": {
                "type": "number", "minimum": 0, "maximum": 1,
                "description": "Conversions expected of a click; where conversions are paid for (cpa, ocpm)",
            },
            "impression_url": {"type": "string"}, "click_url": {"type": "string"},
            "dismiss_url": {"type": "string"}, "tokens": ref("Tokens"),
        },
        optional=("deal_id", "pcvr", "impression_url", "click_url", "dismiss_url", "tokens"),
        description="A preview (`at`) has no URLs and no tokens",
    ),
    "NoAd": answer(
        {
            "code": {"type": "string", "description": "The reason that took most ads"},
            "reasons": {
                "type": "object", "additionalProperties": COUNT, "description": "How many ads each took",
            },
        }
    ),
    "Personal": answer(
        {
            "used": {
                "type": "array", "items": {"type": "string"}, "description": "What of the person was used",
            },
            "withheld": {
                "enum": [None, "declined", "coppa", "gpp", "us_privacy", "gdpr", "consent"],
                "description": "The signal for which nothing more than the country was used",
            },
        }
    ),
    "AdsOut": answer(
        {
            "request_id": {"type": "string"},
            "decisions": {
                "type": "object",
                "additionalProperties": {"type": "array", "minItems": 1, "items": ref("Decision")},
            },
            "no_ad": {"type": "object", "additionalProperties": ref("NoAd")},
            "personal": ref("Personal"),
            "explain": {"type": "object", "description": "Admin port alone, when asked for"},
        },
        optional=("explain",),
        description="Each placement, by its name, is in exactly one of `decisions` and `no_ad`",
    ),
}  # fmt: skip

_FLOOR = {"type": "number", "minimum": 0, "default": 0}
_STREAM = {"mimes": {"type": "array", "minItems": 1, "items": {"type": "string"}}}
_SIDE = {"type": "integer", "minimum": 0}
_NAME = {"type": "string", "minLength": 1}

BIDS: Schema = {
    "Imp": record(
        ["id"],
        {
            "id": {**_NAME, "description": "Unique in the request"},
            "banner": record([], {
                "w": _SIDE, "h": _SIDE,
                "format": {"type": "array", "items": record([], {"w": _SIDE, "h": _SIDE})},
            }),
            "video": record([], {**_STREAM, "w": _SIDE, "h": _SIDE}),
            "audio": record([], _STREAM),
            "native": record([], {"request": {"type": ["string", "object"], "description": "Native 1.x"}}),
            "tagid": {"type": "string", "description": "Names the placement"},
            "bidfloor": _FLOOR,
            "bidfloorcur": {"type": "string", "default": "USD"},
            "pmp": record([], {
                "private_auction": {"type": "integer", "enum": [0, 1]},
                "deals": {"type": "array", "items": record(["id"], {
                    "id": _NAME, "bidfloor": _FLOOR, "bidfloorcur": {"type": "string", "default": "USD"},
                    "at": {"type": "integer", "description": "3: the floor is the price"},
                    "wseat": {"type": "array", "items": {"type": "string"}},
                    "wadomain": {"type": "array", "items": {"type": "string"}},
                })},
            }),
        },
        anyOf=[{"required": [kind]} for kind in ("banner", "video", "audio", "native")],
    ),
    "BidRequest": record(
        ["id", "imp"],
        {
            "id": {"type": "string", "minLength": 1},
            "imp": {"type": "array", "minItems": 1, "items": ref("Imp")},
            "site": {"type": "object"}, "app": {"type": "object"}, "dooh": {"type": "object"},
            "device": {"type": "object"}, "user": {"type": "object"},
            "regs": record([], {"gdpr": {"type": "integer", "enum": [0, 1]}}),
            "cur": {"type": "array", "items": {"type": "string"}, "description": "Absent: USD"},
            "test": {
                "type": "integer", "enum": [0, 1], "default": 0,
                "description": "1: nobody pays for it; its notices and events are answered, not counted",
            },
            "tmax": {"type": "integer", "minimum": 0},
        },
        description="OpenRTB 2.6, or 2.5; at most one of site, app, dooh. Only what matters most is listed.",
    ),
    "Bid": answer(
        {
            "id": {"type": "string"}, "impid": {"type": "string"},
            "price": {"type": "number", "minimum": 0, "description": "Cleared eCPM in `cur`"},
            "adid": {"type": "string"}, "nurl": {"type": "string"}, "burl": {"type": "string"},
            "lurl": {"type": "string"}, "adm": {"type": "string"},
            "adomain": {"type": "array", "items": {"type": "string"}},
            "cid": {"type": "string"}, "crid": {"type": "string"},
            "cat": {"type": "array", "items": {"type": "string"}},
            "attr": {"type": "array", "items": {"type": "integer"}},
            "apis": {"type": "array", "items": {"type": "integer"}},
            "protocol": {"type": "integer"}, "language": {"type": "string"}, "dealid": {"type": "string"},
            "w": {"type": "integer"}, "h": {"type": "integer"}, "dur": {"type": "integer"},
            "mtype": {"type": "integer", "enum": [1, 2, 3, 4]}, "exp": {"type": "integer", "minimum": 1},
        },
        optional=("adomain", "cat", "attr", "apis", "protocol", "language", "dealid", "w", "h", "dur"),
    ),
    "SeatBid": answer(
        {"bid": {"type": "array", "minItems": 1, "items": ref("Bid")}, "seat": {"type": "string"}}
    ),
    "BidResponse": answer(
        {
            "id": {"type": "string"},
            "seatbid": {"type": "array", "minItems": 1, "items": ref("SeatBid")},
            "bidid": {"type": "string"}, "cur": {"type": "string"},
            "ext": record([], {"personal": ref("Personal"), "seatnonbid": {
                "type": "array", "description": "The imps without a bid, to whoever asks (as `nbr`)",
                "items": {"type": "object", "required": ["seat", "nonbid"], "properties": {
                    "seat": {"type": "string"},
                    "nonbid": {"type": "array", "items": {
                        "type": "object", "required": ["impid", "statuscode"],
                        "properties": {"impid": {"type": "string"}, "statuscode": {"type": "integer"}},
                    }},
                }},
            }}),
            "nbr": {
                "type": "integer",
                "description": "Why there is no bid at all; only to `test` requests and to those with "
                "`ext.prebid.returnallbidstatus`. OpenRTB's list, and from 500: no ad (500), no known "
                "currency (501), nothing offered that we can fill (502), several of site, app and dooh "
                "(503), none or nameless (504)",
            },
        },
        optional=("seatbid", "bidid", "cur", "ext", "nbr"),
    ),
}  # fmt: skip

EVENTS: Schema = {
    "EventIn": record(
        ["token", "kind"],
        {
            "token": {"type": "string", "description": "From an answer, or the last segment of its URL"},
            "kind": {"type": "string", "enum": ["impression", "click", "conversion", "dismissal", "return"],
                     "description": "A return goes by the conversion's token"},
            "at": {
                "type": ["string", "null"], "format": "date-time",
                "description": "Your own time, kept for reports",
            },
            "value": {"type": ["number", "null"], "description": "Of a conversion"},
            "id": {
                "type": ["string", "null"], "minLength": 1, "maxLength": 256,
                "description": "Tells the several conversions of one click apart",
            },
            "ip": {"type": ["string", "null"]},
            "user_agent": {"type": ["string", "null"]},
            "reason": {
                "type": ["string", "null"], "maxLength": 64,
                "description": "Of a dismissal: " + ", ".join(DISMISSALS),
            },
            "dwell_ms": {
                "type": ["integer", "null"], "minimum": 0, "exclusiveMaximum": 1_000_000_000,
                "description": "Of a return: how long the page was looked at; default: since the click",
            },
        },
    ),
    "EventsIn": record(
        ["events"],
        {
            "events": {
                "type": "array", "maxItems": 1000,
                # Whatever an item is, it has a result of its own; what it should be is said beside.
                "items": {"anyOf": [ref("EventIn"), {"description": "Anything else is `malformed`"}]},
            }
        },
    ),
    "EventResult": answer(
        {
            "status": {"type": "string", "enum": ["counted", "repeat", "held", "refused"]},
            "billed": {**MONEY, "description": "What this call charged"},
            "learned": {"type": "boolean"},
            "code": {
                "type": ["string", "null"],
                "description": "malformed, forged, wrong_kind, expired; view_through: a conversion that "
                "counts and bills nothing, unless a click of its ad soon comes; and to who may know what "
                "makes an event invalid",
            },
            "position": {"type": ["integer", "null"], "minimum": 1, "description": "In the journal"},
            "event_id": {"type": ["string", "null"], "pattern": "^[0-9a-f]{30}$"},
        }
    ),
    "EventsOut": answer(
        {"results": {"type": "array", "items": ref("EventResult")}},
        description="One result per event, in its order",
    ),
}  # fmt: skip

OTHERS: Schema = {
    "FieldError": answer(
        {
            "field": {"type": "string", "description": "As placements[0].sizes[1]"},
            "code": {"type": "string"}, "message": {"type": "string"},
        }
    ),
    "Problem": answer(
        {
            "type": {"type": "string"}, "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": ["string", "null"]},
            "code": {"type": "string", "description": "Stable: what programs should look at"},
            "field": {"type": ["string", "null"]},
            "errors": {"type": "array", "items": ref("FieldError")},
        },
        description="A refusal (RFC 9457)",
    ),
    "Alive": answer({"alive": {"type": "boolean", "const": True}}),
    "Ready": answer(
        {"ready": {"type": "boolean"}, "missing": {"type": "array", "items": {"type": "string"}}},
        optional=("missing",),
    ),
}  # fmt: skip

SCHEMAS: Schema = {**AD_REQUEST, **AD_ANSWER, **BIDS, **EVENTS, **OTHERS}
