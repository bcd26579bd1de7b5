"""`/v1/keys`: make API keys, list them, take them back. A key's text is told once, when it is made."""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from app.domain.ids import ID_PATTERN
from app.domain.keys import SCOPES, ApiKey
from app.domain.refusals import FieldError
from app.flows.keys import find_key, make_key, revoke_key
from app.flows.node import Node
from app.web.admin.auth import MAX_BODY_BYTES
from app.web.admin.decisions import time_of
from app.web.admin.schemas import KEY, KEY_IN, KEYS, NEW_KEY, answers
from app.web.catalogue import schemas
from app.web.catalogue.bulk import read_body
from app.web.catalogue.parsing import decode, field_errors, refused
from app.web.catalogue.routes import page_limit

MAX_ADVERTISERS = 1_000
Scope = Literal["ads", "events", "pricing", "catalogue:read", "catalogue:write", "reports", "admin"]
AdvertiserId = Annotated[str, StringConstraints(pattern=f"^{ID_PATTERN.pattern}$")]


class KeyIn(BaseModel):
    """The body of a POST."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, StringConstraints(min_length=1, max_length=200, strict=True)]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))]
    advertiser_ids: Annotated[list[AdvertiserId], Field(min_length=1, max_length=MAX_ADVERTISERS)] | None = (
        None
    )
    expires_at: AwareDatetime | None = None


def keys_router(node: Node) -> APIRouter:
    """Make the routes over a node."""
    router = APIRouter(tags=["keys"])

    @router.get(
        "/v1/keys", response_model=None, responses=answers(KEYS, 200, 422),
        openapi_extra={"parameters": schemas.PAGE},
    )  # fmt: skip
    async def list_keys(request: Request) -> Response:
        """List the keys that were not taken back; never their text."""
        limit = page_limit(request.query_params.get("limit", "100"))
        ids = sorted(node.state.keys.by_id)
        start = bisect_right(ids, request.query_params.get("cursor", ""))
        page = ids[start : start + limit]
        following = page[-1] if start + limit < len(ids) else None
        items = [_shown(node, node.state.keys.by_id[identity]) for identity in page]
        return _answer({"items": items, "next": following})

    @router.post(
        "/v1/keys", response_model=None, status_code=201,
        responses=answers(NEW_KEY, 201, 400, 413, 422, 503),
        openapi_extra={"requestBody": schemas.body(KEY_IN, "application/json")},
    )  # fmt: skip
    async def post_key(request: Request) -> Response:
        """Make a key. Its text is in this answer and nowhere else."""
        wanted = _read(bytes(await read_body(request, MAX_BODY_BYTES)))
        expires_at_ms = _expiry(wanted.expires_at, node.now_ms())
        bound = tuple(wanted.advertiser_ids) if wanted.advertiser_ids is not None else None
        scopes = tuple(scope for scope in SCOPES if scope in wanted.scopes)
        key, text = await make_key(node, wanted.name, scopes, bound, expires_at_ms)
        headers = {"Location": f"/v1/keys/{key.id}", "Cache-Control": "no-store"}
        return _answer({**_shown(node, key), "key": text}, 201, headers)

    @router.get(
        "/v1/keys/{id}", response_model=None, responses=answers(KEY, 200, 404),
        openapi_extra={"parameters": [_ID]},
    )  # fmt: skip
    async def get_key(request: Request) -> Response:
        """Read what a key may do."""
        return _answer(_shown(node, find_key(node, request.path_params["id"])))

    @router.delete(
        "/v1/keys/{id}", response_model=None, status_code=204, responses=answers(None, 204, 404, 503),
        openapi_extra={"parameters": [_ID]},
    )  # fmt: skip
    async def delete_key(request: Request) -> Response:
        """Take a key back: whoever sends it from here on is a stranger."""
        await revoke_key(node, request.path_params["id"])
        return Response(status_code=204)

    return router


_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


def _answer(document: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(document), status, headers, media_type="application/json")


def _shown(node: Node, key: ApiKey) -> dict[str, Any]:
    zone = node.settings.fold.time_zone
    expires_at = time_of(key.expires_at_ms, zone) if key.expires_at_ms is not None else None
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "advertiser_ids": key.advertiser_ids,
        "created_at": time_of(key.made_at_ms, zone),
        "expires_at": expires_at,
    }


def _read(body: bytes) -> KeyIn:
    document = decode(body)
    if not isinstance(document, dict):
        raise refused([FieldError("", "not_an_object", "the body must be a JSON object")])
    try:
        return KeyIn.model_validate(document)
    except ValidationError as error:
        raise refused(field_errors(error)) from None


def _expiry(moment: datetime | None, now_ms: int) -> int | None:
    if moment is None:
        return None
    at_ms = int(moment.timestamp() * 1000)
    if at_ms <= now_ms:
        raise refused([FieldError("expires_at", "out_of_range", "must lie ahead")])
    return at_ms
