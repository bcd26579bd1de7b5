"""Paths to conversions, worked out while an hour is archived and the journal still says whose an event was.

The archive knows nobody: what comes out is, of each conversion, which campaigns touched its person before, in
which order and how many hours ago; and of touches that led to nothing, only how often each order of campaigns
occurred. Between one hour and the next, touches that may still lead somewhere wait in a file of their own
(`DIR/touches`, the owner's alone) with their persons' keys: no longer than the window, nobody who was erased.

A path is of one person and one advertiser. One without a conversion ends a window after its first touch; a
touch counts in one of those at most, and never once it led to a conversion.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from app.domain.ids import DAY_MS, HOUR_MS
from app.domain.lines import Clicked, Converted, Erased, Shown, Verdict
from app.journal.folders import sync_folder

FOLDER = "touches"
COUNTED = frozenset({"learned", "skipped"})
MOST_TOUCHES = 50  # of a path: the latest
_WHOSE = ["user", "advertiser"]
_AD = ["decision_id", "ad_index"]
_TOUCH: dict[str, Any] = {
    "user": pl.Binary, "advertiser": pl.String, "campaign": pl.String, "creative": pl.String,
    "decision_id": pl.Binary, "ad_index": pl.UInt8, "at_ms": pl.Int64, "clicked": pl.Boolean,
    "told": pl.Boolean,
}  # fmt: skip
_CONVERSION: dict[str, Any] = {
    **_TOUCH, "event_id": pl.Binary, "converted_ms": pl.Int64, "value": pl.Float64,
}  # fmt: skip
# Units: ages in whole hours. A path without a conversion has neither id nor ages, and stands for `count`.
PATH: dict[str, Any] = {
    "at_ms": pl.Int64, "event_id": pl.Binary, "advertiser": pl.String, "campaigns": pl.List(pl.String),
    "creatives": pl.List(pl.String), "clicked": pl.List(pl.Boolean), "ages_h": pl.List(pl.Int64),
    "value": pl.Float64, "count": pl.Int64,
}  # fmt: skip


class Touches:
    """The touches and conversions of one hour, and what waits from the hours before."""

    def __init__(self, data: Path, hour: int, window_days: int) -> None:
        self.folder, self.hour = data / FOLDER, hour
        self.window_ms = window_days * DAY_MS
        self._touches: list[tuple[Any, ...]] = []
        self._conversions: list[tuple[Any, ...]] = []
        self._frames: list[pl.DataFrame] = []
        self._renamed: dict[bytes, bytes] = {}
        self._erased: dict[bytes, int] = {}

    def take(
        self, at_ms: int, event_id: bytes, line: Shown | Clicked | Converted, verdict: Verdict,
        above: tuple[str, str],
    ) -> None:  # fmt: skip
        """Note an event that counts; `above` is the ad's (advertiser, campaign)."""
        if verdict.fate not in COUNTED or not self.window_ms or not above[0]:
            return
        ad = line.ad
        if ad.former_user and ad.user:
            self._renamed[ad.former_user] = ad.user
        key = (ad.user, *above, ad.creative_id, ad.decision_id, ad.ad_index)
        if isinstance(line, Converted):
            self._conversions.append((*key, ad.issued_at_ms, True, False, event_id, at_ms, line.value))
        elif ad.user:
            self._touches.append((*key, at_ms, isinstance(line, Clicked), False))

    def erase(self, line: Erased) -> None:
        """Note that a person asked to be forgotten."""
        self._erased.update(dict.fromkeys(line.users, line.at_ms))

    def pack(self) -> None:
        """Put what was noted into arrays: an hour may bring millions."""
        if self._touches:
            self._frames.append(pl.DataFrame(self._touches, schema=_TOUCH, orient="row"))
            self._touches = []

    def close(self) -> pl.DataFrame:
        """Work the hour's paths out, and have the touches that may lead further wait for the next."""
        if not self.window_ms:
            return pl.DataFrame(schema=PATH)
        self.pack()
        end_ms = (self.hour + 1) * HOUR_MS
        touches = self._known(pl.concat([self._waiting(), *self._frames]))
        made = pl.DataFrame(self._conversions, schema=_CONVERSION, orient="row")
        conversions = made.with_columns(_renamed(self._renamed))
        led = conversions.group_by(_WHOSE).agg(pl.col("converted_ms").max())
        touches = touches.join(led, on=_WHOSE, how="left").with_columns(
            told=pl.col("told") | (pl.col("at_ms") <= pl.col("converted_ms")).fill_null(value=False)
        )
        paths = _converting(conversions, touches, self.window_ms)
        touches = touches.drop("converted_ms").with_columns(
            start=pl.when(~pl.col("told")).then(pl.col("at_ms")).min().over(_WHOSE)
        )
        over = (
            (~pl.col("told"))
            & (pl.col("start") + self.window_ms <= end_ms)
            & (pl.col("at_ms") < pl.col("start") + self.window_ms)
        )
        ended = _leading_nowhere(touches.filter(over), end_ms)
        waiting = touches.with_columns(told=pl.col("told") | over.fill_null(value=False)).filter(
            ~pl.col("told") | (pl.col("at_ms") > end_ms - self.window_ms)
        )
        self._save(waiting.select(list(_TOUCH)))
        return pl.concat([paths, ended])

    def _known(self, touches: pl.DataFrame) -> pl.DataFrame:
        """Bring persons under their present keys, leave the erased out, make one of a view and its click."""
        if self._erased:
            gone = pl.DataFrame(list(self._erased.items()), schema={"user": pl.Binary, "gone_ms": pl.Int64},
                                orient="row")  # fmt: skip
            touches = touches.join(gone, on="user", how="left")
            stays = pl.col("gone_ms").is_null() | (pl.col("at_ms") > pl.col("gone_ms"))
            touches = touches.filter(stays).drop("gone_ms")
        one = touches.with_columns(_renamed(self._renamed)).sort("at_ms", "clicked")
        return one.group_by(*_WHOSE, "campaign", "creative", *_AD, maintain_order=True).agg(
            pl.col("at_ms").last(), pl.col("clicked").any(), pl.col("told").any()
        )

    def _waiting(self) -> pl.DataFrame:
        path = self.folder / f"{self.hour - 1}.parquet"
        try:
            return pl.read_parquet(path)
        except FileNotFoundError:  # the first hour, or the window was set to nothing
            return pl.DataFrame(schema=_TOUCH)

    def _save(self, waiting: pl.DataFrame) -> None:
        """Write what waits, whole; what the hour before left stays until this hour is in the archive."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        making = self.folder / "making"
        handle = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            waiting.write_parquet(file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        making.replace(self.folder / f"{self.hour}.parquet")
        for path in self.folder.glob("*.parquet"):
            if path.name not in {f"{self.hour}.parquet", f"{self.hour - 1}.parquet"}:
                path.unlink()
        sync_folder(self.folder)


def forget_touches(data: Path, before_ms: int) -> None:
    """Remove what waits of hours that ended before a time: nothing of it can lead anywhere any more."""
    for path in (data / FOLDER).glob("*.parquet"):
        if path.stem.isdigit() and (int(path.stem) + 1) * HOUR_MS <= before_ms:
            path.unlink(missing_ok=True)


def _renamed(names: Mapping[bytes, bytes]) -> pl.Expr:
    if not names:
        return pl.col("user")
    former, now = pl.Series(list(names), dtype=pl.Binary), pl.Series(list(names.values()), dtype=pl.Binary)
    return pl.col("user").replace(former, now)


def _converting(conversions: pl.DataFrame, touches: pl.DataFrame, window_ms: int) -> pl.DataFrame:
    """Find the touches before each conversion; that of its own ad is always among them."""
    wanted = conversions.select(*_WHOSE, "event_id", "converted_ms", "value")
    found = wanted.filter(pl.col("user") != b"").join(touches.drop("converted_ms"), on=_WHOSE)
    found = found.filter(
        (pl.col("at_ms") <= pl.col("converted_ms")) & (pl.col("at_ms") > pl.col("converted_ms") - window_ms)
    )
    own = conversions.join(found.select("event_id", *_AD), on=["event_id", *_AD], how="anti")
    columns = [
        "event_id", "advertiser", "converted_ms", "value", "campaign", "creative", "clicked", "at_ms", *_AD,
    ]  # fmt: skip
    every = pl.concat([found.select(columns), own.select(columns)])
    age_h = (pl.col("converted_ms") - pl.col("at_ms")).clip(0) // HOUR_MS
    lists = {"campaigns": pl.col("campaign"), "creatives": pl.col("creative"), "clicked": pl.col("clicked")}
    return (
        every.sort("converted_ms", "event_id", "at_ms", *_AD)
        .group_by("event_id", maintain_order=True)
        .agg(
            pl.col("advertiser", "value").first(),
            pl.col("converted_ms").first().alias("at_ms"),
            *(each.tail(MOST_TOUCHES).alias(name) for name, each in lists.items()),
            age_h.tail(MOST_TOUCHES).alias("ages_h"),
            pl.lit(1, pl.Int64).alias("count"),
        )
        .select(list(PATH))
    )


def _leading_nowhere(touches: pl.DataFrame, end_ms: int) -> pl.DataFrame:
    """Count the orders of touches that led nowhere."""
    orders = (
        touches.sort("at_ms", *_AD)
        .group_by(_WHOSE, maintain_order=True)
        .agg(
            pl.col("campaign").tail(MOST_TOUCHES).alias("campaigns"),
            pl.col("creative").tail(MOST_TOUCHES).alias("creatives"),
            pl.col("clicked").tail(MOST_TOUCHES),
        )
    )
    counted = orders.group_by("advertiser", "campaigns", "creatives", "clicked").agg(
        pl.len().cast(pl.Int64).alias("count")
    )
    sized = counted.sort("advertiser", "count").with_columns(
        at_ms=pl.lit(end_ms - 1, pl.Int64), event_id=pl.lit(None, pl.Binary), value=pl.lit(None, pl.Float64),
        ages_h=pl.lit(None, pl.List(pl.Int64)),
    )  # fmt: skip
    return sized.select(list(PATH))
