"""Telling of silent click streams. Goal: once when one falls silent, by name, and once when it is back.

Method: a node's state with streams set by hand; structlog's own capture.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from structlog.testing import capture_logs

from app.flows.silence import tell_of_silence
from tests.node import running_node, small_catalogue


def test_a_stream_is_told_of_once_by_name(tmp_path: Path) -> None:
    async def live() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            silence = node.state.silence
            placement = node.state.catalogue.rows.by_key["plc-1"]
            streams = silence.streams_of(placement, "pub-1")
            with capture_logs() as logs:
                silence.shown(streams, silence.limit)
                known = tell_of_silence(node, frozenset())
                known = tell_of_silence(node, known)
                silence.heard(streams)
                assert tell_of_silence(node, known) == frozenset()
            told = [(entry["log_level"], entry["event"], entry["stream"]) for entry in logs]
            names = ["all", "placement:plc-1", "publisher:pub-1"]
            assert told == [("warning", "clicks_silent", name) for name in names] + [
                ("info", "clicks_back", name) for name in names
            ]

    asyncio.run(live())
