"""A click log of the simulated market: what was shown to whom when, what came of it, and the truth beside it.

Ads are shown as a site without any judgement would show them: by a popularity that has nothing to do with
their truth. So every ad and person meet, and what a learner makes of the log is the learner's doing.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from app.offline.world.market import CLICKS, CONVERSIONS, POSITIONS, Market
from app.offline.world.planted import zipf
from app.offline.world.truth import logit_of
from app.rules.learner import F64, I32

STARTS = datetime(2026, 1, 5, tzinfo=ZoneInfo("Asia/Seoul"))  # a Monday
HOUR_S, DAY_HOURS = 3_600, 24
BUSIEST_HOUR, DAILY_SWING, WEEKEND_SHARE = 21, 0.7, 1.3
POSITION_SHARES = np.array([0.4, 0.25, 0.15, 0.12, 0.08])
POPULARITY_POWER = 0.6
ARRIVING_SHARE, ENDING_SHARE = 0.25, 0.15  # of the ads, come or end within the log
ROBOT_CTR = 0.1
CLICK_DELAY_MEDIAN_S, CLICK_DELAY_SPREAD = 8.0, 0.9


@dataclass(frozen=True, slots=True)
class LogPlan:
    """How long a log, how often people click and convert, how many bots; each visit shows one ad.

    At the market's own rates (1 % and 5 %) a log of this size has some thousand clicks: more teach more.
    """

    samples: int = 300_000
    days: int = 7
    ctr: float = 0.04
    cvr: float = 0.1
    bots_share: float = 0.005
    seed: int = 1
    low_rank: float = 1.0  # times the strength of the market's low-rank crosses


@dataclass(frozen=True, slots=True)
class Shown:
    """What was shown when to whom. Units: seconds from the beginning. Shapes (k,); rows (k, R)."""

    at_s: F64
    people: NDArray[np.int64]
    placements: NDArray[np.int64]
    positions: NDArray[np.int64]
    ads: NDArray[np.int64]
    views: NDArray[np.int64]
    bots: NDArray[np.bool_]
    rows: I32


def lives(random: np.random.Generator, ads: int) -> tuple[F64, F64]:
    """When each ad begins and ends, as shares of the whole time: most are there throughout."""
    sort = random.random(ads)
    begins = np.where(sort < ARRIVING_SHARE, random.uniform(0.05, 0.9, ads), 0.0)
    ending = (sort >= ARRIVING_SHARE) & (sort < ARRIVING_SHARE + ENDING_SHARE)
    return begins, np.where(ending, random.uniform(0.1, 0.95, ads), 1.0)


def moments(random: np.random.Generator, count: int, days: int) -> F64:
    """Draw so many moments in order: few at night, more at weekends. Units: seconds."""
    hours = np.arange(days * DAY_HOURS)
    weights = 1.0 + DAILY_SWING * np.cos(2 * np.pi * (hours % DAY_HOURS - BUSIEST_HOUR) / DAY_HOURS)
    weights *= np.where(hours // DAY_HOURS % 7 >= 5, WEEKEND_SHARE, 1.0)
    chosen = random.choice(hours.size, count, p=weights / weights.sum())
    return np.sort((chosen + random.random(count)) * HOUR_S)


def draw_shown(market: Market, plan: LogPlan, random: np.random.Generator) -> Shown:
    """Draw the visits and the ads that they were shown."""
    count, ads = plan.samples, len(market.creatives)
    at_s = moments(random, count, plan.days)
    people, placements = market.draw_visitors(random, count)
    positions = random.choice(POSITIONS, count, p=POSITION_SHARES)
    shown = _live_ads(random, at_s / (plan.days * DAY_HOURS * HOUR_S), ads)
    views = earlier(people * ads + shown)
    hours = (at_s // HOUR_S).astype(np.int64)
    first = market.rows.first
    moment: list[NDArray[np.int64] | I32] = [
        first["hour"] + hours % DAY_HOURS,
        first["weekday"] + hours // DAY_HOURS % 7,
        first["position"] + positions,
        market.views_rows(views),
    ]
    rows = np.concatenate([market.rows_of(people, placements), np.stack(moment, axis=1)], axis=1)
    bots = random.random(count) < plan.bots_share
    return Shown(at_s, people, placements, positions, shown, views, bots, rows.astype(np.int32))


def _live_ads(random: np.random.Generator, at_share: F64, ads: int) -> NDArray[np.int64]:
    """Draw a living ad for each moment, by popularity: again where it is not alive."""
    begins, ends = lives(random, ads)
    popular = random.permutation(ads)
    shown = popular[zipf(random, ads, at_share.size, POPULARITY_POWER)]
    while True:
        dead = np.flatnonzero((at_share < begins[shown]) | (at_share > ends[shown]))
        if not dead.size:
            return shown
        shown[dead] = popular[zipf(random, ads, dead.size, POPULARITY_POWER)]


def earlier(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each key stood there before.

    >>> earlier(np.array([7, 8, 7, 7])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    lengths = np.diff(np.concatenate([starts, [keys.size]]))
    counts = np.empty(keys.size, np.int64)
    counts[order] = np.arange(keys.size) - np.repeat(starts, lengths)
    return counts


def draw_log(market: Market, plan: LogPlan) -> pl.DataFrame:
    """Draw a log, in order of time; `truth_ctr` and `truth_cvr` are what its clicks and conversions came by.

    Cost    about 3 s for 300,000 rows.

    >>> from app.offline.sample import sample_catalogue
    >>> log = draw_log(Market(1, sample_catalogue(1, 100)), LogPlan(samples=1_000))
    >>> log.height, log["views"].max() > 0
    (1000, True)
    """
    random = np.random.default_rng([market.seed, 4, plan.seed])
    shown = draw_shown(market, plan, random)
    columns = market.ads[shown.ads]
    true_ctr = market.clicks.p(shown.rows, columns, logit_of(plan.ctr) - logit_of(CLICKS.rate))
    true_cvr = market.conversions.p(shown.rows, columns, logit_of(plan.cvr) - logit_of(CONVERSIONS.rate))
    ctr, cvr = np.where(shown.bots, ROBOT_CTR, true_ctr), np.where(shown.bots, 0.0, true_cvr)
    clicked = random.random(plan.samples) < ctr
    converted = clicked & (random.random(plan.samples) < cvr)
    click_delay_s = CLICK_DELAY_MEDIAN_S * random.lognormal(0.0, CLICK_DELAY_SPREAD, plan.samples)
    campaign = columns[:, 2] - market.columns.first["campaign"]
    delay_s = random.exponential(market.delay_s[campaign])
    outcome: dict[str, NDArray[Any]] = {
        "click": clicked.astype(np.int8),
        "click_delay_s": np.where(clicked, click_delay_s.round(3), np.nan),
        "conversion": converted.astype(np.int8),
        "conversion_delay_s": np.where(converted, delay_s.round(3), np.nan),
        "bot": shown.bots.astype(np.int8),
        "truth_ctr": ctr,
        "truth_cvr": cvr,
    }
    return pl.DataFrame(_told(market, shown) | outcome).with_columns(
        pl.col("click_delay_s", "conversion_delay_s").fill_nan(None)
    )


def _told(market: Market, shown: Shown) -> dict[str, NDArray[Any]]:
    """What a log tells of a request and an ad, in words."""
    people, columns = market.people, market.ads[shown.ads]
    device, system = people.devices(shown.people, market.desktop[shown.placements])
    hours = (shown.at_s // HOUR_S).astype(np.int64)
    names = market.rows.names
    everybody = [market.people.person(number, 0, 0) for number in range(people.gender.size)]
    interests = np.array(["|".join(person.interests) for person in everybody])
    starts_ms = int(STARTS.timestamp() * 1_000)

    def word(name: str, places: NDArray[np.int32]) -> NDArray[np.str_]:
        return np.array(names[name])[places]

    return {
        "at_ms": starts_ms + (shown.at_s * 1_000).astype(np.int64),
        "user": np.char.add("u-", shown.people.astype(str)),
        "placement": np.array(names["placement"])[shown.placements],
        "gender": word("gender", people.gender[shown.people]),
        "age": people.age[shown.people],
        "interests": interests[shown.people],
        "publisher": np.array([line["publisher_id"] for line in market.placements])[shown.placements],
        "device": word("device", device),
        "os": word("os", system),
        "region": word("region", people.region[shown.people]),
        "hour": hours % DAY_HOURS,
        "weekday": hours // DAY_HOURS % 7,
        "position": shown.positions,
        "views": shown.views,
    } | {name: market.words(name, columns[:, k]) for k, name in enumerate(market.columns.names, start=1)}


# What a learner may know of the log: not the truth, and ages and views in bands of their own.
SCHEMA = """\
label = "click"
time = "at_ms"
truth = "truth_ctr"
rows = [
    {field = "placement", kind = "value"},
    {field = "gender", kind = "value"},
    {field = "age", kind = "bucket", edges = [18, 21, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70]},
    {field = "interests", kind = "value", split = "|"},
    {field = "publisher", kind = "value"},
    {field = "device", kind = "value"},
    {field = "os", kind = "value"},
    {field = "region", kind = "value"},
    {field = "hour", kind = "value"},
    {field = "weekday", kind = "value"},
    {field = "position", kind = "value"},
    {field = "views", kind = "bucket", edges = [1, 2, 3, 4, 6, 10]},
]
columns = [
    {field = "creative", kind = "value"},
    {field = "campaign", kind = "value"},
    {field = "advertiser", kind = "value"},
    {field = "category", kind = "value"},
    {field = "size", kind = "value"},
]
"""

# The same of its conversions: what a click becomes, and how late.
LATE = '''label = "conversion"
where = "click"
delay = "conversion_delay_s"
delay_by = "campaign"'''
CONVERSIONS_SCHEMA = SCHEMA.replace('label = "click"', LATE).replace("truth_ctr", "truth_cvr")
