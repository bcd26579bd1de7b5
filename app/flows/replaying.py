"""Handing a stored decision to a worker, which makes it again, and taking its answer back.

A refusal crosses back as a value: an exception would have to be built anew by the pool, which cannot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from app.domain import ids
from app.domain.decisions import Choice, Record
from app.domain.ids import HOUR_MS
from app.domain.refusals import Refused
from app.flows.reporting import in_worker
from app.state.what_if import WhatIf

if TYPE_CHECKING:
    from app.flows.node import Node


class Replayed(Struct, frozen=True, tag="replayed"):
    """A decision made again; `agrees` is bit for bit."""

    agrees: bool
    then: Choice
    now: Choice


class NotReplayed(Struct, frozen=True, tag="refused"):
    """Why a decision could not be made again."""

    code: str
    message: str


async def find_record(node: Node, decision_id: bytes) -> Record:
    """Look a decision up, what is still in the store's buffer too.

    Errors  Refused `too_old` for an id from before what is kept, `unknown_decision`.
    """
    await asyncio.to_thread(node.decisions.flush)
    record = await asyncio.to_thread(node.decisions.get, decision_id)
    if record is not None and decision_id[-1] < len(record.choice.placed):
        return record
    age_ms = node.now_ms() - (ids.issue_hour(decision_id) + 1) * HOUR_MS
    if record is None and age_ms > node.settings.trace_hours * HOUR_MS:
        raise Refused("too_old", f"decisions are kept for {node.settings.trace_hours} hours", "id")
    raise Refused("unknown_decision", "no decision is kept under this id", "id")


async def find_by_request(
    node: Node, request_id: str, limit: int, wanted: Callable[[Record], bool]
) -> list[Record]:
    """List the decisions taken for a request id that are wanted, the latest first, `limit` at most."""
    await asyncio.to_thread(node.decisions.flush)
    return await asyncio.to_thread(node.decisions.by_request, request_id, limit, wanted)


async def replay(node: Node, record: Record) -> Replayed:
    """Make a decision again in a worker.

    Errors  Refused `too_old` when nothing reaches back to it; Busy when no worker is left.
    """
    packed = msgspec.msgpack.encode(record)
    settings = node.settings
    answer = await in_worker(node, replay_packed, settings.data, settings.columns, packed)
    found = msgspec.msgpack.decode(answer, type=Replayed | NotReplayed)
    if isinstance(found, NotReplayed):
        raise Refused(found.code, found.message)
    return found


def replay_packed(data: Path, columns: int, packed: bytes) -> bytes:
    """Make a packed record's decision again; runs in a worker, which loads the kernels only for this."""
    from app.flows.tracing import retrace

    record = msgspec.msgpack.decode(packed, type=Record)
    try:
        retraced = retrace(data, columns, [record])[0]
    except Refused as refused:
        return msgspec.msgpack.encode(NotReplayed(refused.code, refused.message))
    return msgspec.msgpack.encode(Replayed(retraced.agrees, retraced.then, retraced.now))


async def what_if(
    node: Node, record: Record, ordinal: int, creative_id: str, bid_micros: int | None
) -> WhatIf:
    """Ask a worker whether a creative would have won in a decision, by default at its own bid of then.

    Errors  Refused `too_old`, `unknown_creative`; Busy when no worker is left.
    """
    packed = msgspec.msgpack.encode(record)
    settings = node.settings
    answer = await in_worker(
        node, what_if_packed, settings.data, settings.columns, packed, ordinal, creative_id, bid_micros
    )
    found = msgspec.msgpack.decode(answer, type=WhatIf | NotReplayed)
    if isinstance(found, NotReplayed):
        field = "creative_id" if found.code == "unknown_creative" else None
        raise Refused(found.code, found.message, field)
    return found


def what_if_packed(
    data: Path, columns: int, packed: bytes, ordinal: int, creative_id: str, bid_micros: int | None
) -> bytes:
    """Hold one placement's auction of a packed record again; runs in a worker."""
    from app.flows.tracing import what_if_then

    record = msgspec.msgpack.decode(packed, type=Record)
    try:
        found = what_if_then(data, columns, record, ordinal, creative_id, bid_micros)
    except Refused as refused:
        return msgspec.msgpack.encode(NotReplayed(refused.code, refused.message))
    return msgspec.msgpack.encode(found)
