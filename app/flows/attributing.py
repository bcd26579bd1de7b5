"""Which touches earned the conversions: the archived paths, grouped by DuckDB and shared out by every rule.

A conversion is shared out among touches of its own advertiser alone, and one that was refunded since is none.
Only whole archived hours are told: a path is worked out when its hour is archived (`paths`).
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from app.domain.ids import HOUR_MS
from app.flows.archived import archived_hours, late_refunds, opened, take_refunds
from app.flows.reporting import in_worker, verdicts_until
from app.journal import archive
from app.journal.reader import SqliteReader
from app.rules.attribution import HALF_LIFE_H, NAMES, WHOLE, Path, credits_of

if TYPE_CHECKING:
    from app.flows.node import Node

By = Literal["campaign", "creative"]
Wanted = Literal["all", "clicks"]
_encode = msgspec.json.Encoder(decimal_format="number").encode


class AttributionAsked(Struct, frozen=True, kw_only=True):
    """What an attribution report is to tell of [from_ms, to_ms); `advertisers` keeps it to some.

    `touches`: clicks leaves views out of the paths that have a click.
    """

    from_ms: int
    to_ms: int
    by: By = "campaign"
    touches: Wanted = "all"
    half_life_h: float = HALF_LIFE_H
    advertisers: tuple[str, ...] | None = None


async def attribution(node: Node, asked: AttributionAsked) -> bytes:
    """Make a report of the archived conversions of a stretch of time.

    Errors  Busy when the verdicts are not written back in time, or no worker is left.
    """
    upto = node.state.position
    await verdicts_until(node, upto)
    return await in_worker(node, run_attribution, node.settings.data, upto, msgspec.json.encode(asked))


# In the worker.


def run_attribution(data: FilePath, upto: int | None, packed: bytes) -> bytes:
    """Read, share out and write an attribution report, up to a position of the journal (None: its last).

    Cost    some 10 us for each different path, one inversion for each advertiser.
    """
    asked = msgspec.json.decode(packed, type=AttributionAsked)
    reader = SqliteReader(data / "journal.db")
    try:
        hours = archived_hours(data, reader)
        told = [
            each for each in hours if asked.from_ms < (each + 1) * HOUR_MS and each * HOUR_MS < asked.to_ms
        ]
        paths = _paths(data / "archive", reader, asked, hours, told, upto) if told else {}
    finally:
        reader.close()
    rows = [row for advertiser in sorted(paths) for row in _rows(advertiser, paths[advertiser], asked)]
    conversions = sum(path.times for each in paths.values() for path in each if path.converted)
    totals = {"touches": sum(row["touches"] for row in rows), "conversions": conversions}
    totals |= {rule: sum((row[rule] for row in rows), Decimal(0)) for rule in NAMES}
    start, end = (told[0] * HOUR_MS, (told[-1] + 1) * HOUR_MS) if told else (None, None)
    return _encode({"archived_from_ms": start, "archived_to_ms": end, "rows": rows, "totals": totals})


def _rows(advertiser: str, paths: list[Path], asked: AttributionAsked) -> list[dict[str, Any]]:
    """Tell of each label how many touches it had on paths to conversions, and what it earned by each rule."""
    touches: defaultdict[str, int] = defaultdict(int)
    for path in paths:
        if path.converted:
            for label in path.labels:
                touches[label] += path.times
    earned = {rule: credits_of(rule, paths, asked.half_life_h) for rule in NAMES}
    return [
        {
            "advertiser": advertiser,
            asked.by: label,
            "touches": touches[label],
            **{rule: Decimal(earned[rule].get(label, 0)) / WHOLE for rule in NAMES},
        }
        for label in sorted({*touches, *(label for each in earned.values() for label in each)})
    ]


def _paths(
    folder: FilePath,
    reader: SqliteReader,
    asked: AttributionAsked,
    hours: list[int],
    told: list[int],
    upto: int | None,
) -> dict[str, list[Path]]:
    files = archive.files(folder, told, "paths")
    if not files:
        return {}
    behind = [hour for hour in hours if hour >= told[0]]
    last = reader.last_position if upto is None else upto
    kept, bound = "", list[Any]()
    if asked.advertisers is not None:
        kept, bound = " AND list_contains(?, advertiser)", [sorted(asked.advertisers)]
    query = f"""
        SELECT advertiser, {asked.by}s AS labels, clicked, ages_h, event_id IS NOT NULL, sum("count")
        FROM read_parquet(?, union_by_name = true, hive_partitioning = false)
        WHERE at_ms >= ? AND at_ms < ?{kept}
          AND (event_id IS NULL OR event_id NOT IN (SELECT target_id FROM refunded))
        GROUP BY ALL ORDER BY ALL
    """
    found: defaultdict[str, list[Path]] = defaultdict(list)
    with opened() as database:
        take_refunds(database, folder, behind, late_refunds(reader, folder, hours[-1], asked.to_ms, last))
        bindings = [files, asked.from_ms, asked.to_ms, *bound]
        for advertiser, labels, clicked, ages_h, converted, count in database.execute(
            query, bindings
        ).fetchall():
            ages = ages_h if converted else [0] * len(labels)
            kinds = list(zip(labels, ages, clicked, strict=True))
            if asked.touches == "clicks" and any(clicked):
                kinds = [kind for kind in kinds if kind[2]]
            path = Path(
                tuple(kind[0] for kind in kinds), tuple(kind[1] for kind in kinds), converted, int(count)
            )
            found[advertiser].append(path)
    return found


def attribution_table(told: bytes, by: str) -> str:
    """Lay a report out for people: a line for each that earned something, by every rule."""
    report = msgspec.json.decode(told)
    lines = [f"{by:28}{'touches':>9}" + "".join(f"{rule:>13}" for rule in NAMES)]
    lines += [
        f"{row[by]:28}{row['touches']:>9,}" + "".join(f"{row[rule]:>13,.3f}" for rule in NAMES)
        for row in report["rows"]
    ]
    totals = report["totals"]
    lines.append(f"{'conversions: ' + format(totals['conversions'], ','):28}{totals['touches']:>9,}")
    return "\n".join([*lines[:-1], lines[-1] + "".join(f"{totals[rule]:>13,.3f}" for rule in NAMES)])
