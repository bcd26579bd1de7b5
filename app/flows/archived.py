"""Reading the archive for reports: DuckDB adds up, by the same dimensions as `tallies`, as integers.

An event that was refunded after its hour was archived counts as taken back, as it would in the journal.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb

from app.domain.ids import HOUR_MS
from app.domain.lines import Refunded, Verdict, decode
from app.flows.tallies import MINUTE_MS, OF_REQUESTS, TIMES, Tallies
from app.journal import archive
from app.journal.reader import SqliteReader
from app.rules.evaluation import SMALLEST_P
from app.rules.splitting import BUCKETS

EVENT_KINDS = ("impressions", "clicks", "conversions")
# As `tallies.loss_of` has it.
_LOSSES = {"impressions": "-ln(1.0 - p)", "clicks": "ln(1.0 - p) - ln(p)", "conversions": "0e0"}


def archived_hours(data: Path, reader: SqliteReader) -> list[int]:
    """List the hours that the archive tells of, in order; what they leave out the journal tells or nobody."""
    return archive.hours(data / "archive", first_whole_hour(reader))


def first_whole_hour(reader: SqliteReader) -> int:
    """Tell the hour (since 1970) from which on the journal has every line: 0 where nothing was trimmed."""
    first_ms = reader.first_ms() if reader.trimmed_through else None
    return 0 if first_ms is None else first_ms // HOUR_MS + 1


def archived_between(
    data: Path, reader: SqliteReader, from_ms: int, to_ms: int, not_after_ms: int
) -> tuple[int, int]:
    """Tell which part of [from_ms, to_ms) is to be read from the archive: nothing later than the hour given.

    Where nothing is, both ends are `from_ms`.
    """
    hours = archived_hours(data, reader)
    if not hours:
        return from_ms, from_ms
    first_ms = max(from_ms, hours[0] * HOUR_MS)
    last_ms = min(to_ms, (hours[-1] + 1) * HOUR_MS, not_after_ms // HOUR_MS * HOUR_MS)
    return (first_ms, last_ms) if first_ms < last_ms else (from_ms, from_ms)


def tally_archive(
    data: Path, reader: SqliteReader, tallies: Tallies, from_ms: int, to_ms: int, upto: int
) -> None:
    """Add up the archived events and requests of [from_ms, to_ms), with all refunds up to a position.

    Cost    some 30 ns an event, 1 ms an hour, and a look at every line of the journal behind the archive.
    """
    folder = data / "archive"
    hours = [each for each in archived_hours(data, reader) if from_ms < (each + 1) * HOUR_MS]
    told = [each for each in hours if each * HOUR_MS < to_ms]
    if not told:
        return
    with opened() as database:
        take_refunds(database, folder, hours, late_refunds(reader, folder, hours[-1], to_ms, upto))
        for kind in EVENT_KINDS:
            files = archive.files(folder, told, kind)
            if files:
                _tally_events(database, tallies, kind, files, (from_ms, to_ms))
        files = archive.files(folder, told, "requests") if tallies.counts_requests else []
        if files:
            _tally_requests(database, tallies, files, (from_ms, to_ms))


def archived_losses(
    data: Path, reader: SqliteReader, campaign_id: str, from_ms: int, to_ms: int
) -> dict[str, int]:
    """Add up, by reason, a campaign's lost ads of the archived lines of [from_ms, to_ms)."""
    told = [
        each
        for each in archived_hours(data, reader)
        if each * HOUR_MS < to_ms and from_ms < (each + 1) * HOUR_MS
    ]
    files = archive.files(data / "archive", told, "losses")
    if not files:
        return {}
    query = """
        SELECT reason, sum(count) FROM read_parquet(?, union_by_name = true, hive_partitioning = false)
        WHERE campaign = ? AND at_ms >= ? AND at_ms < ? GROUP BY ALL
    """
    with opened() as database:
        rows = database.execute(query, [files, campaign_id, from_ms, to_ms]).fetchall()
    return {reason: int(count) for reason, count in rows}


def opened() -> duckdb.DuckDBPyConnection:
    """Open a database of one's own, in memory, for one thread; it loads nothing from elsewhere."""
    return duckdb.connect(config={"threads": 1, "autoinstall_known_extensions": False})


def late_refunds(
    reader: SqliteReader, folder: Path, last_hour: int, to_ms: int, upto: int
) -> Iterable[tuple[bytes, str]]:
    """Read the refunds that are not archived yet, of events before a time."""
    after = archive.facts_of(folder, last_hour).through_position
    for rows in reader.scan(after, upto, ("refunded",)):
        for _, _, body in rows:
            line = decode(body)
            assert isinstance(line, Refunded)
            if line.target.at_ms < to_ms:  # the journal's time is this one or later
                yield line.target_id, line.code_told or ""


def take_refunds(
    database: duckdb.DuckDBPyConnection,
    folder: Path,
    hours: list[int],
    late: Iterable[tuple[bytes, str]],
) -> None:
    """Make a table `refunded` of the archived refunds of some hours and of later ones."""
    database.execute("CREATE TABLE refunded(target_id BLOB, code VARCHAR)")
    files = archive.files(folder, hours, "refunds")
    if files:
        insert = "INSERT INTO refunded SELECT target_id, coalesce(code, '') FROM read_parquet(?)"
        database.execute(insert, [files])
    pairs = list(late)
    if pairs:
        insert = "INSERT INTO refunded SELECT unnest(?::BLOB[]), unnest(?::VARCHAR[])"
        database.execute(insert, [[target for target, _ in pairs], [code for _, code in pairs]])


def _tally_events(
    database: duckdb.DuckDBPyConnection,
    tallies: Tallies,
    kind: str,
    files: list[str],
    between: tuple[int, int],
) -> None:
    names = [name for name in tallies.by if name not in TIMES]
    dimensions = "".join(f"{name}, " for name in names)
    minute = f"at_ms // {MINUTE_MS}" if set(TIMES) & set(tallies.by) else "0"
    loss = _LOSSES[kind]
    kept, bound = "", list[Any]()
    if tallies.advertisers is not None:
        kept, bound = " AND list_contains(?, advertiser)", [sorted(tallies.advertisers)]
    if tallies.only is not None:
        kept, bound = f"{kept} AND {tallies.only[0]} = ?", [*bound, tallies.only[1]]
    query = f"""
        SELECT {minute} AS minute, {dimensions} fate, code, count(*), sum(billed), sum(unbilled), sum(pctr),
          sum({loss})
        FROM (
            SELECT event.* REPLACE (
                CASE WHEN target_id IS NULL THEN fate ELSE 'refunded' END AS fate,
                CASE WHEN target_id IS NULL THEN event.code ELSE nullif(refunded.code, '') END AS code,
                variant // {BUCKETS} AS variant
              ),
              least(greatest(pctr, {SMALLEST_P!r}), {1.0 - SMALLEST_P!r}) AS p,
              CASE WHEN target_id IS NULL THEN billed_micros ELSE 0 END AS billed,
              CASE WHEN target_id IS NULL THEN unbilled_micros ELSE 0 END AS unbilled
            FROM read_parquet(?, union_by_name = true, hive_partitioning = false) AS event
            LEFT JOIN refunded ON target_id = event_id
            WHERE at_ms >= ? AND at_ms < ?{kept}
        )
        GROUP BY ALL
    """
    for row in database.execute(query, [files, *between, *bound]).fetchall():
        fate, code, count, billed, unbilled, pctr, loss_sum = row[-7:]
        verdict = Verdict(fate, int(billed), int(unbilled), code)
        named = dict(zip(names, row[1:-7], strict=True))
        tallies.take_events(row[0] * MINUTE_MS, named, kind, verdict, count, pctr, loss_sum)


def _tally_requests(
    database: duckdb.DuckDBPyConnection, tallies: Tallies, files: list[str], between: tuple[int, int]
) -> None:
    assert OF_REQUESTS.issuperset(tallies.by)
    query = f"""
        SELECT at_ms // {MINUTE_MS} AS minute, placement, sum(requests)
        FROM read_parquet(?, union_by_name = true, hive_partitioning = false)
        WHERE at_ms >= ? AND at_ms < ? GROUP BY ALL
    """
    for minute, placement, requests in database.execute(query, [files, *between]).fetchall():
        tallies.take_requests(minute * MINUTE_MS, placement, int(requests))
