"""`/v1/users`: profiles of people, by the caller's own ids. An id is hashed here and goes no further."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Meta, Struct

from app.domain.people import MAX_WORDS, Profile
from app.domain.refusals import FieldError, Refused
from app.flows.node import Node
from app.flows.people import erase, profile_of, store_profiles
from app.web.admin.schemas import PROFILE, PROFILE_IN, PROFILES_STORED, answers
from app.web.catalogue.bulk import MAX_IMPORT_BYTES, read_body
from app.web.catalogue.schemas import body as described_body

MAX_PROFILE_BYTES = 1 << 16
MAX_ID_CHARS = 256
SLICE = 200  # lines read and stored at a time: about a millisecond of the loop

Word = Annotated[str, Meta(min_length=1, max_length=128)]
Words = Annotated[list[Word], Meta(max_length=MAX_WORDS)]
Identity = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]


class ProfileIn(Struct, kw_only=True, forbid_unknown_fields=True):
    """A profile as people send it; what is absent is unknown."""

    type: Literal["user"] = "user"
    id: Identity | None = None
    gender: Literal["M", "F", "O"] | None = None
    age: Annotated[int, Meta(ge=0, le=150)] | None = None
    region: Annotated[str, Meta(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")] | None = None
    interests: Words = []
    segments: Words = []

    def profile(self) -> Profile:
        """Take what is to be stored."""
        return Profile(
            gender=self.gender, age=self.age, region=self.region, interests=tuple(self.interests),
            segments=tuple(self.segments),
        )  # fmt: skip


_decoder = msgspec.json.Decoder(ProfileIn)
_encode = msgspec.json.Encoder().encode


def users_router(node: Node) -> APIRouter:
    """Make the routes over a node."""
    router = APIRouter(tags=["users"])
    identified = {"parameters": [_ID]}
    profiled = {"requestBody": described_body(PROFILE_IN, "application/json")}
    listed = {"requestBody": described_body(_NDJSON, "application/x-ndjson", required=False)}

    @router.put(
        "/v1/users/{id:path}", response_model=None, openapi_extra={**identified, **profiled},
        responses=answers(PROFILE, 200, 400, 413, 422, 503),
    )  # fmt: skip
    async def put_user(request: Request) -> Response:
        """Store a person's profile in place of what was there; it fades with the retention."""
        identity = _identity(request)
        told = read_profile(bytes(await read_body(request, MAX_PROFILE_BYTES)))
        if told.id is not None and told.id != identity:
            raise _invalid("id", "must be the id of the path, or left out")
        await store_profiles(node, [(identity, told.profile())])
        return _answer(_document(identity, told.profile()))

    @router.get(
        "/v1/users/{id:path}", response_model=None, openapi_extra=identified,
        responses=answers(PROFILE, 200, 404, 422),
    )  # fmt: skip
    async def get_user(request: Request) -> Response:
        """Tell what is stored of a person."""
        identity = _identity(request)
        profile = profile_of(node, identity)
        if profile is None:
            raise Refused("not_found", "nothing is stored of this person", "id")
        return _answer(_document(identity, profile))

    @router.delete(
        "/v1/users/{id:path}", response_model=None, status_code=204, openapi_extra=identified,
        responses=answers(None, 204, 422, 503),
    )  # fmt: skip
    async def delete_user(request: Request) -> Response:
        """Forget a person: profile, counters and acts. Safe to send twice, and for somebody unknown."""
        await erase(node, _identity(request))
        return Response(status_code=204)

    @router.post(
        "/v1/users", response_model=None, openapi_extra=listed,
        responses=answers(PROFILES_STORED, 200, 413, 503),
    )  # fmt: skip
    async def post_users(request: Request) -> Response:
        """Store the profile of each line; a refused line leaves the others in force."""
        body = await read_body(request, MAX_IMPORT_BYTES)
        return _answer(await _store_lines(node, bytes(body)))

    return router


_ID = {
    "name": "id", "in": "path", "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS,
               "description": "As `user.id` of an ad request"},
}  # fmt: skip
_NDJSON: dict[str, Any] = {"type": "string", "description": "One profile a line, with its id"}


def read_profile(body: bytes) -> ProfileIn:
    """Read one profile.

    Errors  Refused `not_json`, `invalid` naming the field.
    """
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$.")
        unknown = re.search("unknown field `(.+)`", text)
        field = unknown[1] if unknown else path.rstrip("`").replace("[...]", "")
        raise _invalid(field, text) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("not_json", "the body is not JSON") from error


async def _store_lines(node: Node, body: bytes) -> dict[str, Any]:
    stored, refused = 0, []
    lines = [(number, line) for number, line in enumerate(body.split(b"\n"), start=1) if line.strip()]
    for start in range(0, len(lines), SLICE):
        told: list[tuple[str, Profile]] = []
        for number, line in lines[start : start + SLICE]:
            try:
                read = read_profile(line)
                if read.id is None:
                    raise _invalid("id", "is required")
            except Refused as error:
                refused.append(
                    {"line": number, "code": error.code, "field": error.field, "message": error.message}
                )
            else:
                told.append((read.id, read.profile()))
        await store_profiles(node, told)
        stored += len(told)
        await asyncio.sleep(0)
    return {"counts": {"stored": stored, "refused": len(refused)}, "lines": refused}


def _document(identity: str, profile: Profile) -> dict[str, Any]:
    return {"type": "user", "id": identity, **msgspec.structs.asdict(profile)}


def _identity(request: Request) -> str:
    identity: str = request.path_params["id"]
    if not 1 <= len(identity) <= MAX_ID_CHARS:
        raise _invalid("id", f"must have 1 to {MAX_ID_CHARS} characters")
    return identity


def _invalid(field: str, message: str) -> Refused:
    return Refused(
        "invalid", message, field or None, (FieldError(field, "invalid", message),) if field else ()
    )


def _answer(document: dict[str, Any]) -> Response:
    return Response(_encode(document), media_type="application/json")
