"""`/v1/audiences/{id}/members`: an audience's people, uploaded as ids and never told again.

How many they are is told from `k_anonymity` on; below it an audience matches nobody.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from app.domain.catalogue import Audience
from app.domain.refusals import Refused
from app.flows.audiences import is_targetable, upload, withdraw
from app.flows.catalogue import find
from app.flows.lookalikes import in_use
from app.flows.node import Node
from app.web.access import caller_in
from app.web.admin.schemas import MEMBERS, answers
from app.web.catalogue.bulk import MAX_IMPORT_BYTES, read_body
from app.web.catalogue.schemas import body as described_body

_encode = msgspec.json.Encoder().encode
_PATH = "/v1/audiences/{id}/members"
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_TEXT: dict[str, Any] = {"type": "string", "description": "One id a line, as `user.id` of an ad request"}


def audiences_router(node: Node) -> APIRouter:
    """Make the routes over a node."""
    router = APIRouter(tags=["audiences"])
    identified: dict[str, Any] = {"parameters": [_ID]}
    sent = {"requestBody": described_body(_TEXT, "text/plain", required=False)}

    @router.put(
        _PATH, response_model=None, openapi_extra={**identified, **sent},
        responses=answers(MEMBERS, 200, 404, 413, 422, 503),
    )  # fmt: skip
    async def put_members(request: Request) -> Response:
        """Make these people the audience's members, in place of those before. Live when answered."""
        audience = _audience(node, request)
        await upload(node, audience, await read_body(request, MAX_IMPORT_BYTES))
        return _members(node, audience)

    @router.get(
        _PATH, response_model=None, openapi_extra=identified, responses=answers(MEMBERS, 200, 404)
    )  # fmt: skip
    async def get_members(request: Request) -> Response:
        """Tell how many members there are, where they are enough, and since when; never who."""
        return _members(node, _audience(node, request))

    @router.delete(
        _PATH, response_model=None, status_code=204, openapi_extra=identified,
        responses=answers(None, 204, 404, 503),
    )  # fmt: skip
    async def delete_members(request: Request) -> Response:
        """Take the members away. Safe to send twice."""
        await withdraw(node, _audience(node, request))
        return Response(status_code=204)

    return router


def _audience(node: Node, request: Request) -> Audience:
    audience = find(node, "audience", request.path_params["id"], caller_in(request.scope)).thing
    assert isinstance(audience, Audience)
    if audience.status == "archived" and request.method == "PUT":
        raise Refused("archived_parent", f"audience {audience.id} is archived", "id")
    if audience.lookalike is not None and request.method == "PUT":
        raise Refused("invalid", f"{audience.id} is whoever is like {audience.lookalike.of}", "id")
    return audience


def _alike(node: Node, audience: Audience) -> Response:
    """Tell of a look-alike audience how it was found, where there are enough people in it."""
    line = node.state.likenesses.lines.get(audience.id)
    document: dict[str, Any] = {"audience_id": audience.id, "count": None, "targetable": False}
    document |= {"uploaded_at": None, "lookalike": None}
    if line is not None:
        document["targetable"] = in_use(node, audience.id)
        document["lookalike"] = {
            "by": line.by, "members_known": line.members, "share": line.people / max(1, line.sampled),
            "auc": line.auc, "found_at": _instant(line.at_ms),
        }  # fmt: skip
    return Response(_encode(document), media_type="application/json")


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _members(node: Node, audience: Audience) -> Response:
    if audience.lookalike is not None:
        return _alike(node, audience)
    listed = node.state.audiences.lists.get(audience.id)
    enough = listed is not None and listed.count >= node.settings.k_anonymity
    document = {
        "audience_id": audience.id,
        "count": listed.count if listed is not None and enough else None,
        "targetable": is_targetable(node, audience.id),
        "uploaded_at": _instant(listed.at_ms) if listed is not None else None,
    }
    return Response(_encode(document), media_type="application/json")
