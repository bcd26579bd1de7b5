"""Uploaded lists of people: hashed as they come, kept as files named by their content, looked up by key.

A list never enters the journal, only its name does; what it means to one request is written into that request
(`Person.audiences`), so that a decision can be made again without it. An audience of fewer than
`k_anonymity` people matches nobody, and how many they are is not told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import structlog

from app.domain.catalogue import Audience
from app.domain.lines import Listed
from app.domain.refusals import Busy, Refused
from app.domain.requests import USER_KEY_BYTES
from app.flows.hashing import hash_lines, pieces_of
from app.flows.lists import Lists
from app.flows.node import Node
from app.journal.lists import read_list, remove_lists, write_list

LOG = structlog.get_logger()
FOLDER = "audiences"


async def upload(node: Node, audience: Audience, body: bytes | bytearray) -> Listed:
    """Make the people of a body an audience's members, in place of those before: one id a line.

    Live when it returns. The ids are hashed in the workers and go no further.
    Errors  Refused `invalid` when the body is not UTF-8; Busy.
    """
    secret = node.user_keys.present(node.now_ms()).secret
    loop = asyncio.get_running_loop()
    try:
        hashed = [
            await loop.run_in_executor(node.workers, hash_lines, piece, secret) for piece in pieces_of(body)
        ]
    except BrokenExecutor as error:
        raise Busy("workers_unavailable", 1000) from error
    except UnicodeDecodeError as error:
        raise Refused("invalid", "the body is not UTF-8: one id a line", "body") from error
    content = await asyncio.to_thread(_distinct, hashed)
    async with node.lists_lock:
        line = await _store(node, audience.id, content)
        await _refresh(node)
    return line


async def _store(node: Node, audience_id: str, content: bytes, since_ms: int | None = None) -> Listed:
    name = sha256(content).hexdigest()
    await asyncio.to_thread(write_list, node.settings.data / FOLDER, name, content)
    count = len(content) // USER_KEY_BYTES
    line = Listed(at_ms=node.now_ms(), audience_id=audience_id, name=name, count=count, since_ms=since_ms)
    await node.submit(line)
    return line


async def withdraw(node: Node, audience: Audience) -> None:
    """Take an audience's members away; live when it returns. Safe to send twice."""
    async with node.lists_lock:
        if audience.id in node.state.audiences.lists:
            await node.submit(Listed(at_ms=node.now_ms(), audience_id=audience.id))
            await _refresh(node)


async def strike(node: Node, users: Sequence[bytes]) -> None:
    """Take a person off every list: a list with them becomes another one."""
    async with node.lists_lock:
        for audience_id, listed in sorted(node.state.audiences.lists.items()):
            content = await asyncio.to_thread(_without, node.settings.data / FOLDER, listed.name, users)
            if content is not None:
                await _store(node, audience_id, content, listed.at_ms)
        await _refresh(node)


async def refresh(node: Node) -> None:
    """Read the lists that are in force anew, and remove the files of those that are not."""
    async with node.lists_lock:
        await _refresh(node)


async def _refresh(node: Node) -> None:
    folder, in_force = node.settings.data / FOLDER, node.state.audiences.lists
    files = {key: listed.name for key, listed in in_force.items()}
    if files != node.lists.files:
        node.lists = await asyncio.to_thread(_load, folder, files)
        await asyncio.to_thread(remove_lists, folder, set(files.values()))


def audiences_of(node: Node, user: bytes | None) -> list[str]:
    """Name the audiences that somebody is in, of those that may be targeted now."""
    return [name for name in node.lists.of(user) if is_targetable(node, name)]


def is_targetable(node: Node, audience_id: str) -> bool:
    """Say whether an audience is in use, and large enough that nobody in it can be singled out."""
    listed = node.state.audiences.lists.get(audience_id)
    audience = node.state.catalogue.get("audience", audience_id)
    active = audience is not None and audience.status == "active"
    return active and listed is not None and listed.count >= node.settings.k_anonymity


def _distinct(hashed: Iterable[bytes]) -> bytes:
    keys = np.frombuffer(b"".join(hashed), f"S{USER_KEY_BYTES}")
    return np.unique(keys).tobytes() if keys.size else b""


def _without(folder: Path, name: str, users: Sequence[bytes]) -> bytes | None:
    """Copy a list without some people; None where none of them is in it."""
    try:
        keys = np.frombuffer(read_list(folder, name), f"S{USER_KEY_BYTES}")
    except (OSError, ValueError) as error:  # then it matches nobody, them neither
        LOG.error("list_refused", name=name, reason=str(error))  # noqa: TRY400
        return None
    struck = np.isin(keys, np.array(users, dtype=f"S{USER_KEY_BYTES}"))
    return keys[~struck].tobytes() if struck.any() else None


def _load(folder: Path, files: Mapping[str, str]) -> Lists:
    members = {}
    for audience_id, name in files.items():
        try:
            members[audience_id] = read_list(folder, name)
        except (OSError, ValueError) as error:
            LOG.error("list_refused", audience=audience_id, reason=str(error))  # noqa: TRY400
    return Lists(members, files)
