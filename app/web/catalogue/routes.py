"""The catalogue's routes on the admin port. A door: bytes to words, words to bytes, nothing decided here.

Bodies are read by hand and not by FastAPI, so that a refusal names its fields our way and a document is
checked once. Refusals leave as exceptions; the application's handlers turn them into problems.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.params import Depends

from app.domain.catalogue import Kind, Thing
from app.domain.refusals import FieldError, Refused
from app.flows import catalogue as flow
from app.web.access import caller_in
from app.web.catalogue import schemas
from app.web.catalogue.bulk import in_slices, read_body, take_import, write_export
from app.web.catalogue.parsing import decode, parse, refused
from app.web.catalogue.render import Document, to_document

if TYPE_CHECKING:
    from app.flows.node import Node

MAX_DOCUMENT_BYTES = 1 << 20
_REVISION = re.compile(r'"([1-9][0-9]{0,17})"')
MERGE_PATCH = "application/merge-patch+json"
PATHS: dict[Kind, str] = {
    "advertiser": "/v1/advertisers",
    "audience": "/v1/audiences",
    "campaign": "/v1/campaigns",
    "ad_group": "/v1/ad-groups",
    "creative": "/v1/creatives",
    "publisher": "/v1/publishers",
    "placement": "/v1/placements",
    "experiment": "/v1/experiments",
}
Endpoint = Callable[[Request], Awaitable[Response]]


def catalogue_router(
    node: Node, zone: str, read: Sequence[Depends] = (), write: Sequence[Depends] = ()
) -> APIRouter:
    """Make the routes over a node. `zone` is its default time zone; `read` and `write` guard the scopes."""
    router = APIRouter(tags=["catalogue"])
    for kind, path in PATHS.items():
        _add_kind(router, _Doors(node, kind, zone), path, read, write)
    _add_bulk(router, node, zone, read, write)
    return router


class _Doors:
    """The six operations on one kind."""

    def __init__(self, node: Node, kind: Kind, zone: str) -> None:
        self.node, self.kind, self.zone = node, kind, zone

    async def list_page(self, request: Request) -> Response:
        """List things by id; `next` is the cursor of the next page, null at the end."""
        limit = page_limit(request.query_params.get("limit", "100"))
        catalogue, caller = self.node.state.catalogue, caller_in(request.scope)
        ids = list(catalogue.ids(self.kind))
        if caller.advertiser_ids is not None:
            known = catalogue.things[self.kind]
            ids = [thing.id for thing in flow.seen(self.node, caller, (known[key] for key in ids))]
        start = bisect_right(ids, request.query_params.get("cursor", ""))
        page = ids[start : start + limit]
        following = page[-1] if start + limit < len(ids) else None
        things = [thing for identity in page if (thing := catalogue.get(self.kind, identity))]
        items = [piece async for piece in in_slices(things, b",")]
        body = b'{"items":[' + b",".join(items) + b'],"next":' + msgspec.json.encode(following) + b"}"
        return Response(body, media_type="application/json")

    async def post(self, request: Request) -> Response:
        """Create a thing; without an id it gets one."""
        thing = self._parse(await _document(request), self.node.fresh_id())
        return self._answer(await flow.create(self.node, thing, caller_in(request.scope)))

    async def get(self, request: Request) -> Response:
        """Read a thing; the ETag is its revision."""
        return self._answer(flow.find(self.node, self.kind, _identity(request), caller_in(request.scope)))

    async def put(self, request: Request) -> Response:
        """Create a thing under this id, or replace it whole (If-Match)."""
        identity = _identity(request)
        thing = self._parse(await _document(request), identity, fixed=True)
        caller = caller_in(request.scope)
        return self._answer(await flow.put(self.node, thing, _if_match(request), caller))

    async def patch(self, request: Request) -> Response:
        """Change the fields that are named (RFC 7396: null takes a field back to its default)."""
        identity, changes = _identity(request), await _document(request)

        def edit(thing: Thing) -> Thing:
            return self._parse(merged(to_document(thing), changes), identity, fixed=True)

        match, caller = _if_match(request), caller_in(request.scope)
        stored = await flow.patch(self.node, self.kind, identity, match, edit, caller)
        return self._answer(stored)

    async def delete(self, request: Request) -> Response:
        """Archive a thing; refused while children are in use."""
        match, caller = _if_match(request), caller_in(request.scope)
        stored = await flow.archive(self.node, self.kind, _identity(request), match, caller)
        return Response(status_code=204, headers={"ETag": f'"{stored.revision}"'})

    def _parse(self, document: Any, identity: str, fixed: bool = False) -> Thing:
        thing = parse(self.kind, document, self.zone, identity).thing
        if fixed and thing.id != identity:
            raise refused([FieldError("id", "mismatch", "must be the id of the path, or left out")])
        return thing

    def _answer(self, stored: flow.Stored) -> Response:
        created = stored.outcome == "created"
        headers = {"ETag": f'"{stored.revision}"'}
        if created:
            headers["Location"] = f"{PATHS[self.kind]}/{stored.thing.id}"
        body = msgspec.json.encode(to_document(stored.thing))
        return Response(body, 201 if created else 200, headers, media_type="application/json")


def merged(target: Document, changes: Any) -> Any:
    """Apply a JSON merge patch.

    Source  RFC 7396, section 2.
    Errors  Refused `invalid` when it is nested too deeply.

    >>> merged({"a": 1, "b": {"c": 2, "d": 3}}, {"a": None, "b": {"c": 4}})
    {'b': {'c': 4, 'd': 3}}
    """
    try:
        return _merged(target, changes)
    except RecursionError as error:
        raise Refused("invalid", "the patch is nested too deeply") from error


def _merged(target: Any, changes: Any) -> Any:
    if not isinstance(changes, dict):
        return changes
    result = dict(target) if isinstance(target, dict) else {}
    for name, change in changes.items():
        if change is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), change)
    return result


async def _document(request: Request) -> Any:
    return decode(bytes(await read_body(request, MAX_DOCUMENT_BYTES)))


def _identity(request: Request) -> str:
    identity: str = request.path_params["id"]
    return identity


def _if_match(request: Request) -> flow.IfMatch:
    """Read If-Match as revisions; a tag that is none of ours (or weak) matches nothing."""
    sent = request.headers.getlist("if-match")
    if not sent:
        return None
    tags = [tag.strip() for line in sent for tag in line.split(",")]
    if "*" in tags:
        return flow.ANY_REVISION
    return frozenset(int(match[1]) for tag in tags if (match := _REVISION.fullmatch(tag)))


def page_limit(sent: str) -> int:
    """Read how long a page may be, 1 to 1,000."""
    if not (sent.isascii() and sent.isdigit() and len(sent) <= 4 and 1 <= int(sent) <= 1000):
        raise refused([FieldError("limit", "out_of_range", "must be a whole number from 1 to 1000")])
    return int(sent)


def _flag(name: str, sent: str) -> bool:
    if sent.lower() not in ("true", "false", "1", "0"):
        raise refused([FieldError(name, "not_a_boolean", "must be true or false")])
    return sent.lower() in ("true", "1")


def _add_kind(
    router: APIRouter, doors: _Doors, path: str, read: Sequence[Depends], write: Sequence[Depends]
) -> None:
    kind = doors.kind
    schema, answers = schemas.schema_of(kind), schemas.answers
    sent, matched = {"requestBody": schemas.body(schema, "application/json")}, [schemas.IF_MATCH]
    patched = {"requestBody": schemas.body(schemas.patch_of(kind), MERGE_PATCH, "application/json")}

    def add(
        verb: str, path: str, endpoint: Endpoint, responses: dict[int | str, schemas.Schema], **extra: Any
    ) -> None:
        router.add_api_route(
            path,
            endpoint,
            methods=[verb],
            status_code=min(status for status in responses if isinstance(status, int)),
            responses=responses,
            response_model=None,
            dependencies=list(read if verb == "GET" else write),
            operation_id=f"{endpoint.__name__}_{kind}",
            summary=f"{endpoint.__name__.replace('_', ' ').capitalize()}: {kind.replace('_', ' ')}",
            openapi_extra=extra,
        )

    one = path + "/{id}"
    identified = {"name": "id", "in": "path", "required": True, "schema": _ID_SCHEMA}
    add("GET", path, doors.list_page, answers(schemas.page_of(kind), 200, 422), parameters=schemas.PAGE)
    add("POST", path, doors.post, answers(schema, 201, 400, 409, 413, 422, 503, etag=True), **sent)
    add("GET", one, doors.get, answers(schema, 200, 404, etag=True), parameters=[identified])
    both = [identified, *matched]
    add("PUT", one, doors.put, answers(schema, 200, 201, 400, 409, 412, 413, 422, 428, 503, etag=True),
        parameters=both, **sent)  # fmt: skip
    add("PATCH", one, doors.patch, answers(schema, 200, 400, 404, 409, 412, 413, 422, 428, 503, etag=True),
        parameters=both, **patched)  # fmt: skip
    add("DELETE", one, doors.delete, answers(None, 204, 404, 409, 412, 428, 503, etag=True),
        parameters=both)  # fmt: skip


_ID_SCHEMA = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$"}


def _add_bulk(
    router: APIRouter, node: Node, zone: str, read: Sequence[Depends], write: Sequence[Depends]
) -> None:
    async def import_lines(request: Request) -> Response:
        """Create or replace the thing of each line, in order, parents first; no If-Match."""
        quiet = _flag("quiet", request.query_params.get("quiet", "false"))
        return await take_import(node, zone, request, quiet)

    async def export_lines(request: Request) -> Response:
        """Everything, as lines that an import would take, parents first."""
        return write_export(node, caller_in(request.scope))

    ndjson: schemas.Schema = {"type": "string", "description": "One document a line, with type and id"}
    router.add_api_route(
        "/v1/import",
        import_lines,
        methods=["POST"],
        responses=schemas.answers(schemas.IMPORTED, 200, 413, 422, 503),
        response_model=None,
        dependencies=list(write),
        operation_id="import",
        openapi_extra={
            "requestBody": schemas.body(ndjson, "application/x-ndjson", required=False),
            "parameters": [schemas.QUIET],
        },
    )
    exported = schemas.answers(None, 200)
    exported[200]["content"] = {"application/x-ndjson": {"schema": ndjson}}
    router.add_api_route(
        "/v1/export",
        export_lines,
        methods=["GET"],
        responses=exported,
        response_model=None,
        dependencies=list(read),
        operation_id="export",
    )
