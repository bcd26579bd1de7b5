"""The OpenAPI 3.1 document of the public port, written by hand: what `/openapi-public.json` shows.

It must not know how the doors work, only what they promise. Shapes stand in `public_schemas`.
The examples ask for what the demo's catalogue has, so that they work against a demo as they stand.
"""

from __future__ import annotations

from typing import Any

from app import __version__
from app.domain.dismissals import DISMISSALS
from app.web.public_schemas import SCHEMAS, TOKEN, Schema, ref

DESCRIPTION = """\
Ads, bids, tracking and feedback. Bodies are UTF-8 JSON of at most 1 MiB, plain or gzip; answers are gzip
where the caller accepts it. Money is in the account currency. Refusals are `application/problem+json`
with a stable `code`, but for `/openrtb2/bid`, which answers as its trade does: a status and no content.
Bound to loopback, or with `ADJUDGE_OPEN_DOORS=true`, the ad and event doors need no key; elsewhere one with
scope `ads` or `events`, as X-API-Key. `pricing` is shown in full to keys with scope `pricing` and where no
key is needed, else `price` and `currency` alone. Every answer carries `X-Request-ID`: the caller's, if it
sent one of up to 64 letters, digits and `._:-`, else one of ours; the log names it.
"""

ADS_EXAMPLE: Schema = {
    "request_id": "r-1",
    "placements": [{"name": "top", "placement_id": "plc-0", "sizes": ["320x50"], "count": 1}],
    "user": {"id": "u-1", "gender": "F", "age": 27, "region": "KR-11", "interests": ["travel"]},
    "context": {"url": "https://news.example/1", "device": "mobile", "os": "ios"},
}
BID_EXAMPLE: Schema = {
    "id": "auction-1",
    "imp": [
        {"id": "1", "tagid": "plc-0", "banner": {"w": 320, "h": 50}, "bidfloor": 0.5, "bidfloorcur": "KRW"}
    ],
    "site": {"page": "https://news.example/1", "publisher": {"id": "pub-0"}},
    "device": {"devicetype": 4, "os": "iOS", "geo": {"country": "KOR", "region": "11"}},
    "cur": ["KRW"],
}
EVENTS_EXAMPLE: Schema = {"events": [{"token": "paste-a-token-of-an-answer", "kind": "impression"}]}

_NO_STORE = {"Cache-Control": {"required": True, "schema": {"type": "string", "const": "no-store, private"}}}
_VERSION = {"x-openrtb-version": {"required": True, "schema": {"type": "string", "const": "2.6"}}}
_RETRY = {"Retry-After": {"required": True, "schema": {"type": "string", "pattern": "^[0-9]+$"}}}
_ALLOW = {"Allow": {"required": True, "schema": {"type": "string"}}}


def _json(name: str) -> Schema:
    return {"application/json": {"schema": ref(name)}}


def _problem(description: str, **headers: Any) -> Schema:
    problem = {"application/problem+json": {"schema": ref("Problem")}}
    return {"description": description, "content": problem, **({"headers": headers} if headers else {})}


def _bare(description: str, **headers: Any) -> Schema:
    return {"description": description, "headers": headers} if headers else {"description": description}


# Responses that many routes share, in the order of their statuses.
RESPONSES: Schema = {
    "Unreadable": _problem("`not_json`, `not_gzip`"),
    "BadToken": _problem("`forged`, `wrong_kind`: never redirected, never counted"),
    "KeyRequired": _problem("`key_required`: not bound to loopback, and no partner key was sent"),
    "AdminDoorOnly": _problem(
        "`admin_door_only`: `explain` and `at` are answered on the admin port alone; `out_of_scope`: the key "
        "lacks the scope"
    ),
    "OutOfScope": _problem("`out_of_scope`: the key lacks the scope"),
    "MethodNotAllowed": _problem("`method_not_allowed`", **_ALLOW),
    "TooLarge": _problem("`too_large`, `too_many`: over 1 MiB as sent or unpacked, or over 1,000 events"),
    "WrongMediaType": _problem("`unsupported_media_type`: neither plain nor gzip"),
    "Misfit": _problem("`invalid`, `duplicate_name`: it is JSON and does not fit; `field` says where"),
    "Busy": _problem("`not_ready`, `overloaded`, `journal_full`, `journal_unavailable`: try again", **_RETRY),
}


def _shared(**named: str) -> Schema:
    return {status[1:]: {"$ref": f"#/components/responses/{name}"} for status, name in named.items()}


def _post(
    identity: str, summary: str, body: str, example: Schema, responses: Schema, tag: str = "ads"
) -> Schema:
    content = {"application/json": {"schema": ref(body), "examples": {"demo": {"value": example}}}}
    return {
        "post": {
            "operationId": identity, "summary": summary, "tags": [tag],
            "requestBody": {"required": True, "content": content}, "responses": responses,
        }
    }  # fmt: skip


def _get(identity: str, summary: str, tag: str, responses: Schema, *parameters: Schema) -> Schema:
    """Describe a route that looks at no key. HEAD is answered as GET is, and counts nothing."""
    shared: Schema = {"summary": summary, "tags": [tag], "security": []}
    if parameters:
        shared["parameters"] = list(parameters)
    bare = {
        status: {key: value for key, value in told.items() if key != "content"}
        for status, told in responses.items()
    }
    return {
        "get": {**shared, "operationId": identity, "responses": responses},
        "head": {**shared, "operationId": identity + "Head", "responses": bare},
    }


def _path(kind: str) -> Schema:
    return {
        "name": "token", "in": "path", "required": True, "schema": TOKEN,
        "description": f"The {kind} token, as it stands in the URL that an answer gave",
    }  # fmt: skip


def _query(name: str, description: str) -> Schema:
    return {"name": name, "in": "query", "schema": {"type": "string"}, "description": description}


def _header(name: str, description: str) -> Schema:
    return {"name": name, "in": "header", "schema": {"type": "string"}, "description": description}


_DEVICE = (
    _header(
        "X-Device-IP",
        "Whose act it was, where a trusted proxy or a partner (X-API-Key, scope events) reports it: the "
        "device's address; never kept",
    ),
    _header("X-Device-User-Agent", "And its user agent"),
)
_PRICE = _query("price", "What the exchange cleared at; noted as media cost")
_REASON = _query("reason", "Why, by the exchange's loss codes or in a word of your own")
_WORDS = "Why: " + ", ".join(DISMISSALS) + "; anything else counts as other"
_DWELL = _query("dwell_ms", "How long the landing page was looked at; default: the time since the click")
_PIXEL = {
    "200": {
        "description": "A 1x1 GIF, whatever the token; counted once",
        "headers": _NO_STORE,
        "content": {"image/gif": {"schema": {"type": "string", "contentMediaType": "image/gif"}}},
    },
    **_shared(_405="MethodNotAllowed", _503="Busy"),
}
_CLICK = {
    "302": {
        "description": "To the creative's landing page, also when the token is repeated or expired",
        "headers": {**_NO_STORE, "Location": {"required": True, "schema": {"type": "string"}}},
    },
    **_shared(_400="BadToken", _405="MethodNotAllowed", _503="Busy"),
}
_NOTICE = {
    "204": _bare("Noted, or uncounted when the token has expired", **_NO_STORE),
    **_shared(_400="BadToken", _405="MethodNotAllowed", _503="Busy"),
}
_HEALTH = _shared(_405="MethodNotAllowed")

PATHS: Schema = {
    "/v1/ads": _post(
        "askForAds",
        "Pick the ads worth most for each placement, with prices and tracking URLs",
        "AdsIn",
        ADS_EXAMPLE,
        {
            "200": {"description": "Ads, or why there is none", "content": _json("AdsOut")},
            **_shared(
                _400="Unreadable", _401="KeyRequired", _403="AdminDoorOnly", _405="MethodNotAllowed",
                _413="TooLarge", _415="WrongMediaType", _422="Misfit", _503="Busy",
            ),
        },
    ),
    "/openrtb2/bid": _post(
        "bid",
        "Answer an OpenRTB 2.6 bid request",
        "BidRequest",
        BID_EXAMPLE,
        {
            "200": {"description": "Bids; or, for whoever asks, why not", "headers": _VERSION,
                    "content": _json("BidResponse")},
            "204": _bare("No bid", **_VERSION),
            "400": _bare("Malformed or unreadable", **_VERSION),
            "401": _bare("Not bound to loopback, and no partner key was sent", **_VERSION),
            "403": _bare("The key lacks scope `ads`", **_VERSION),
            **_shared(_405="MethodNotAllowed"),
            "413": _bare("Over 1 MiB, as sent or unpacked", **_VERSION),
            "503": _bare("Not now; try again", **_VERSION),
        },
    ),
    "/v1/events": _post(
        "reportEvents",
        "Report up to 1,000 events; answered when they are durable and applied",
        "EventsIn",
        EVENTS_EXAMPLE,
        {
            "200": {"description": "One result per event, in its order", "content": _json("EventsOut")},
            **_shared(
                _400="Unreadable", _401="KeyRequired", _403="OutOfScope", _405="MethodNotAllowed",
                _413="TooLarge", _415="WrongMediaType", _422="Misfit", _503="Busy",
            ),
        },
        "feedback",
    ),
    "/i/{token}": _get(
        "impression", "Impression, by a page", "tracking", _PIXEL, _path("impression"), *_DEVICE
    ),
    "/b/{token}": _get(
        "billing", "The same, by an exchange", "tracking", _PIXEL, _path("impression"), _PRICE, *_DEVICE
    ),
    "/c/{token}": _get("click", "Click", "tracking", _CLICK, _path("click")),
    "/w/{token}": _get("win", "Win notice", "tracking", _NOTICE, _path("win"), _PRICE),
    "/l/{token}": _get("loss", "Loss notice", "tracking", _NOTICE, _path("loss"), _REASON, _PRICE),
    "/x/{token}": _get(
        "dismissal", "Do not show me this ad", "tracking", _NOTICE, _path("dismissal"),
        _query("reason", _WORDS),
    ),
    "/r/{token}": _get(
        "return", "The person left the landing page; back too soon, the click is refunded", "tracking",
        _NOTICE, _path("conversion"), _DWELL,
    ),
    "/healthz": _get(
        "alive", "Is the loop alive?", "health",
        {"200": {"description": "It is", "content": _json("Alive")}, **_HEALTH},
    ),
    "/readyz": _get(
        "ready", "May traffic come?", "health",
        {
            "200": {"description": "It may", "content": _json("Ready")},
            **_HEALTH,
            "503": {"description": "Not yet: `missing` says what for", "headers": _RETRY,
                    "content": _json("Ready")},
        },
    ),
}  # fmt: skip

PUBLIC_OPENAPI: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Adjudge, public port", "version": __version__, "description": DESCRIPTION},
    "security": [{}, {"partnerKey": []}],
    "tags": [
        {"name": "ads", "description": "Asking for ads"},
        {"name": "feedback", "description": "Events, by servers"},
        {"name": "tracking", "description": "Events, by URL"},
        {"name": "health", "description": "Is the node well?"},
    ],
    "paths": PATHS,
    "components": {
        "schemas": SCHEMAS,
        "responses": RESPONSES,
        "securitySchemes": {"partnerKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
    },
}
