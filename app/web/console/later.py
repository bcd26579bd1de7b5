"""Answers that may take a while: waited for a moment, else left to come, and kept for some seconds.

A page that reads the journal is fast on most nodes and slow on the busiest. So a part of it is rendered where
it is there in time; where it is not, the page has a place for it and fetches it once more (`ui.later`). Who
asks for the same meanwhile waits for the same answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from time import monotonic
from typing import Any

WAIT_S = 1.0
KEPT_S = 5.0
MOST_KEPT = 64


class Later:
    """Answers by what was asked: under way, or just come."""

    def __init__(self) -> None:
        self._asked: dict[Hashable, asyncio.Task[tuple[float, Any]]] = {}

    async def get(
        self, key: Hashable, make: Callable[[], Awaitable[Any]], wait_s: float | None = WAIT_S
    ) -> Any | None:
        """Give an answer, or None where it is not there in time (`wait_s` None: wait for it).

        Errors  those of `make`, to all who wait for it; they are not kept.
        """
        self._drop_old()
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.ensure_future(_timed(make))
        await asyncio.wait({task}, timeout=wait_s)
        if not task.done():
            return None
        if task.exception() is not None and self._asked.get(key) is task:
            del self._asked[key]
        return task.result()[1]

    def forget(self) -> None:
        """Keep nothing: something was changed from here, and is to be seen at once."""
        self._asked.clear()

    def _drop_old(self) -> None:
        over_s = monotonic() - KEPT_S
        old = [key for key, task in self._asked.items() if task.done() and _came_s(task) < over_s]
        for key in [*old, *list(self._asked)[: max(0, len(self._asked) - len(old) - MOST_KEPT)]]:
            self._asked.pop(key, None)


async def _timed(make: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    answer = await make()
    return monotonic(), answer


def _came_s(task: asyncio.Task[tuple[float, Any]]) -> float:
    """Tell when an answer came; one that failed while nobody waited is as old as can be."""
    return 0.0 if task.cancelled() or task.exception() is not None else task.result()[0]
