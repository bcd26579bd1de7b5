"""Many things at once: import, export and pages, in slices, so that ad requests are answered between.

What a slice may cost is a millisecond or two of the loop (DESIGN, "One thread decides and applies").
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from app.domain.catalogue import Thing
from app.domain.keys import EVERYONE, Caller
from app.domain.refusals import Busy, Refused
from app.flows import catalogue as flow
from app.web.access import caller_in
from app.web.catalogue.importing import parse_lines, pieces, unpack
from app.web.catalogue.models_in import MODELS
from app.web.catalogue.render import to_document

if TYPE_CHECKING:
    from app.flows.node import Node

MAX_IMPORT_BYTES = 64 << 20
# At 5 to 20 us for rendering and encoding one, a slice stays around a millisecond.
THINGS_PER_SLICE = 50
RESULTS_PER_SLICE = 500
_encoder = msgspec.json.Encoder()


async def read_body(request: Request, limit_bytes: int) -> bytearray:
    """Read a body up to a limit.

    Errors  Refused `too_large`, as soon as it is known.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit_bytes:
        raise _too_large(limit_bytes)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            raise _too_large(limit_bytes)
    return body


def _too_large(limit_bytes: int) -> Refused:
    return Refused("too_large", f"the body may have {limit_bytes} bytes")


async def take_import(node: Node, zone: str, request: Request, quiet: bool) -> Response:
    """Validate a body in the workers, bring it into force slice by slice, and tell what became of it."""
    body = await read_body(request, MAX_IMPORT_BYTES)
    head, results = await import_body(node, zone, body, caller_in(request.scope))
    shown = [result for result in results if not quiet or result.status == "refused"]
    return StreamingResponse(_report(head, shown), media_type="application/json")


async def import_body(
    node: Node, zone: str, body: bytes | bytearray, caller: Caller = EVERYONE
) -> tuple[dict[str, int], list[flow.ImportedLine]]:
    """Bring a body's lines into force; returns how many fared how, and how each fared."""
    results = await flow.import_things(node, _parsed(body, zone, node.workers), caller)
    counts = Counter(result.status for result in results)
    return {status: counts[status] for status in ("created", "updated", "unchanged", "refused")}, results


async def _parsed(
    body: bytes | bytearray, zone: str, workers: Executor
) -> AsyncIterator[Sequence[flow.ParsedLine]]:
    """Parse piece after piece, one ahead of what is being brought into force."""
    loop = asyncio.get_running_loop()
    waiting = iter(pieces(body))
    ahead = [
        loop.run_in_executor(workers, parse_lines, piece, zone, line) for piece, line in islice(waiting, 2)
    ]
    try:
        while ahead:
            packed = await ahead.pop(0)
            ahead += [
                loop.run_in_executor(workers, parse_lines, piece, zone, line)
                for piece, line in islice(waiting, 1)
            ]
            for part in packed:
                yield unpack(part)
    except BrokenExecutor as error:  # a worker was killed; what is in force stays, and may be sent again
        raise Busy("workers_unavailable", 1000) from error
    finally:
        for future in ahead:
            future.cancel()


async def _report(counts: dict[str, int], lines: Sequence[flow.ImportedLine]) -> AsyncIterator[bytes]:
    yield b'{"counts":' + _encoder.encode(counts) + b',"lines":['
    separator = b""
    for start in range(0, len(lines), RESULTS_PER_SLICE):
        yield separator + _encoder.encode(lines[start : start + RESULTS_PER_SLICE])[1:-1]
        separator = b","
        await asyncio.sleep(0)
    yield b"]}"


def write_export(node: Node, caller: Caller = EVERYONE) -> Response:
    """Stream the whole catalogue that is there for a caller, parents first, archived things too.

    The ids are listed at once, so that a child that is added meanwhile never comes without its parent.
    """
    catalogue = node.state.catalogue
    keys = [(kind, identity) for kind in MODELS for identity in catalogue.in_order(kind)]

    async def lines() -> AsyncIterator[bytes]:
        things = (
            thing
            for kind, key in keys
            if (thing := catalogue.get(kind, key)) and flow.seen(node, caller, (thing,))
        )
        async for piece in in_slices(things, b"\n"):
            yield piece + b"\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


async def in_slices(things: Iterable[Thing], separator: bytes) -> AsyncIterator[bytes]:
    """Encode documents a slice at a time, leaving the loop free between."""
    waiting = iter(things)
    while part := list(islice(waiting, THINGS_PER_SLICE)):
        yield separator.join(_encode(thing) for thing in part)
        await asyncio.sleep(0)


def _encode(thing: Thing) -> bytes:
    document: dict[str, Any] = to_document(thing)
    return _encoder.encode(document)
