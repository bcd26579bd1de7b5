"""Times in queries of the admin port: how people write them, and what that means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

HOW = "must be RFC 3339, such as 2026-01-31T00:00:00+09:00, or a date"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_time(text: str, zone: str) -> int:
    """Read RFC 3339, or a date alone, which is its midnight in `zone`, as is a time without offset.

    Units   milliseconds since 1970, which is the earliest: no line is older.
    Errors  ValueError when it is no time.

    >>> read_time("1970-01-02", "UTC"), read_time("1970-01-01T09:00:00 09:00", "UTC")
    (86400000, 0)
    """
    # A plus sign in a query is a space when nobody escaped it; no RFC 3339 time has one after its `T`.
    moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return max(0, (moment - _EPOCH) // timedelta(milliseconds=1))
