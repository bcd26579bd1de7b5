"""`/console/system`: the journal, snapshots, memory, settings and keys of this node."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app.flows.health import Kept, health_of, is_late, snapshots_of
from app.flows.memory import Memory, memory_of
from app.flows.node import Node
from app.flows.telemetry import Stretch
from app.web.console.figures import Chart, Column, Table
from app.web.console.frame import may, node_of, page

STEP_S = 5
NOW_S = 60
SLOW_COMMIT_MS = 100.0
_SHARES = (("p50", 0.5), ("p99", 0.99))


async def system(request: Request) -> Response:
    """Show what an operator looks for first. Settings and keys are for those who may make keys."""
    node = node_of(request)
    telemetry, is_poll = node.telemetry, "live" in request.query_params
    values: dict[str, Any] = {
        "health": health_of(node),
        "now": telemetry.lately(NOW_S),
        "charts": _charts(telemetry.steps(STEP_S)),
        "slow_commit_ms": SLOW_COMMIT_MS,
    }
    if is_poll:
        return page(request, "system.html", live="now", **values)
    kept, owner = await snapshots_of(node), may(request, "GET", "/v1/keys")
    return page(
        request, "system.html", live="now", **values, late=is_late(node, kept), owner=owner,
        snapshots=_snapshots(kept), memory=_memory(await memory_of(node)),
        settings=_settings(node) if owner else None, keys=_keys(node) if owner else None,
    )  # fmt: skip


def _charts(steps: list[Stretch]) -> list[Chart]:
    x = [step.at_ms / 1000 for step in steps]
    return [
        Chart(
            id="commits", title="Time of a journal commit, with its sync", unit="ms", x=x,
            series={name: [step.committed_ms(share) for step in steps] for name, share in _SHARES},
        ),
        Chart(
            id="loop", title="How late the loop was at ticks, at worst", unit="ms", x=x,
            series={"late": [1000 * step.loop_lag_s for step in steps]},
        ),
    ]  # fmt: skip


def _snapshots(kept: list[Kept]) -> Table:
    return Table(
        id="snapshots", title="Snapshots",
        columns=[
            Column("made", "time"), Column("position", "number"), Column("size", "number", "MiB"),
            Column("state"),
        ],
        rows=[
            [each.made_at_ms or None, each.position, each.size / 2**20, each.damage or "sound"]
            for each in kept
        ],
        empty="No snapshot yet: the first is made after some minutes, or lines.",
    )  # fmt: skip


def _memory(memory: Memory) -> Table:
    """Tell what all takes, then the model's rows by kind, the largest first."""
    kinds = sorted(memory.kinds, key=lambda each: -each.bytes)
    total_rows, main = sum(each.rows for each in kinds), sum(each.main_cells for each in kinds)
    caps_mib = memory.user_counter_bytes / 2**20
    rows: list[list[str | float | int | None]] = [
        ["all cells", total_rows, main, memory.cells - main, memory.cell_bytes / 2**20],
        ["counters of frequency caps", memory.user_counters, None, None, caps_mib],
        ["profiles", memory.profiles, None, None, None],
    ]
    rows += [[each.kind, each.rows, each.main_cells, each.cross_cells, each.bytes / 2**20] for each in kinds]
    return Table(
        id="memory", title="What the model and people known take",
        columns=[
            Column("kind"), Column("rows", "number"), Column("main cells", "number"),
            Column("cross cells", "number"), Column("memory", "number", "MiB"),
        ],
        rows=rows,
    )  # fmt: skip


def _settings(node: Node) -> Table:
    """List the settings, those that somebody changed first."""
    told = sorted(node.settings.told, key=lambda each: not each.changed)
    return Table(
        id="settings", title="Settings",
        columns=[Column("setting"), Column("value"), Column("default"), Column("meaning")],
        rows=[[each.name, each.value, each.default if each.changed else "", each.meaning] for each in told],
    )  # fmt: skip


def _keys(node: Node) -> Table:
    keys = sorted(node.state.keys.by_id.values(), key=lambda key: key.made_at_ms)
    return Table(
        id="keys", title="Keys",
        columns=[
            Column("name"), Column("begins with"), Column("scopes"), Column("advertisers"),
            Column("made", "time"), Column("expires", "time"),
        ],
        rows=[
            [
                key.name, key.prefix, ", ".join(key.scopes),
                "all" if key.advertiser_ids is None else ", ".join(key.advertiser_ids), key.made_at_ms,
                key.expires_at_ms,
            ]
            for key in keys
        ],
        empty="The admin key alone; others are made at /v1/keys.",
    )  # fmt: skip
