"""Answers that come later: asked for once, waited for a moment, told to all who wait, not kept for long."""

from __future__ import annotations

import asyncio

import pytest

from app.domain.refusals import Busy
from app.web.console import later
from app.web.console.later import Later


def test_one_answer_for_all_who_ask_meanwhile() -> None:
    async def work() -> None:
        answers, gate, made = Later(), asyncio.Event(), []

        async def make() -> int:
            made.append(1)
            await gate.wait()
            return len(made)

        assert await answers.get("a", make, wait_s=0.0) is None, "not there in time"
        waiting = [asyncio.ensure_future(answers.get("a", make, wait_s=None)) for _ in range(3)]
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(*waiting) == [1, 1, 1]
        assert await answers.get("a", make) == 1, "kept for some seconds"
        assert await answers.get("b", make) == 2
        answers.forget()
        assert await answers.get("a", make) == 3

    asyncio.run(work())


def test_a_refusal_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        answers, tries = Later(), []

        async def make() -> str:
            tries.append(1)
            if len(tries) == 1:
                raise Busy("workers_unavailable", 1_000)
            return "here"

        with pytest.raises(Busy):
            await answers.get("a", make)
        assert await answers.get("a", make) == "here"
        monkeypatch.setattr(later, "KEPT_S", -1.0)
        await answers.get("a", make)
        assert len(tries) == 3, "old answers are made anew"
        monkeypatch.setattr(later, "MOST_KEPT", 1)
        for name in "bcd":
            await answers.get(name, make)
        assert len(answers._asked) <= 2

    asyncio.run(work())
