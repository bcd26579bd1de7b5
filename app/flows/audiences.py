"""Uploaded lists of people: hashed as they come, kept as files named by their content, looked up by key.

A list never enters the journal, only its name does; what it means to one request is written into that request
(`Person.audiences`), so that a decision can be made again without it. An audience of fewer than
`k_anonymity` people matches nobody, and how many they are is not told.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog
from numpy.typing import NDArray

from app.domain.catalogue import Audience
from app.domain.lines import Listed
from app.domain.refusals import Busy, Refused
from app.domain.requests import USER_KEY_BYTES
from app.flows.hashing import hash_lines, pieces_of
from app.journal.lists import read_list, remove_lists, write_list

if TYPE_CHECKING:
    from app.flows.node import Node

LOG = structlog.get_logger()
FOLDER = "audiences"
_HEAD_BYTES = 8  # of a key, searched as one number; the rest tells the few apart that share it


class Lists:
    """Who is in which audience, over all lists: sorted arrays, found by halves.

    Shape   heads (m,) uint64, tails (m,) uint32 and owners (m,) uint16 are one entry for each person in each
            audience, ordered by person.
    Cost    14 bytes an entry; to ask about one person about a microsecond.

    >>> lists = Lists({"a": bytes(12), "b": bytes(12) + bytes([1] * 12)})
    >>> lists.of(bytes(12)), lists.of(bytes([1] * 12)), lists.of(bytes([2] * 12))
    (('a', 'b'), ('b',), ())
    """

    def __init__(
        self, members: Mapping[str, bytes] | None = None, files: Mapping[str, str] | None = None
    ) -> None:
        self.files = dict(files or {})  # names by audience, as they were when the lists were read
        self.names = sorted(members or {})
        keys = [np.frombuffer((members or {})[name], np.uint8) for name in self.names]
        shaped = [key.reshape(-1, USER_KEY_BYTES) for key in keys]
        everyone = np.concatenate(shaped) if shaped else np.zeros((0, USER_KEY_BYTES), np.uint8)
        owners = np.repeat(np.arange(len(shaped)), [len(key) for key in shaped]).astype(np.uint16)
        heads: NDArray[np.uint64] = np.ascontiguousarray(everyone[:, :_HEAD_BYTES]).view(">u8").reshape(-1)
        tails: NDArray[np.uint32] = np.ascontiguousarray(everyone[:, _HEAD_BYTES:]).view(">u4").reshape(-1)
        order = np.lexsort((owners, tails, heads))
        # As plain arrays: numpy's scalars cost ten times as much to read one by one.
        self._heads = array("Q", heads[order].astype(np.uint64).tobytes())
        self._tails = array("I", tails[order].astype(np.uint32).tobytes())
        self._owners = array("H", owners[order].tobytes())

    def __len__(self) -> int:
        return len(self._heads)

    def of(self, user: bytes | None) -> tuple[str, ...]:
        """Name the audiences that somebody is in."""
        if not user or not self._heads:
            return ()
        head, tail = int.from_bytes(user[:_HEAD_BYTES], "big"), int.from_bytes(user[_HEAD_BYTES:], "big")
        at = bisect_left(self._heads, head)
        found = []
        while at < len(self._heads) and self._heads[at] == head:
            if self._tails[at] == tail:
                found.append(self.names[self._owners[at]])
            at += 1
        return tuple(found)


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
