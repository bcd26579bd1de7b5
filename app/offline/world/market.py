"""The simulated market: a catalogue's placements and ads, the people, and the hidden truth of what they do.

One generator with several drivers: `audience` sends its people to a node over HTTP, `simulate` writes a click
log, `contest` lets ways of choosing compete. It draws effects once; drivers draw what happens. Ages count by
decades, otherwise than a node bands them: no learner is handed the truth's own form.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from app.offline.sample import Line
from app.offline.sample_words import INTERESTS, REGIONS
from app.offline.world.people import DECADES, DEVICES, GENDERS, SYSTEMS, Person, draw_people
from app.offline.world.truth import Plan, Values, draw_truth
from app.rules.learner import I32, NOTHING

# Those of the ad add up to a variance of 0.8 squared.
AD_SPREADS = {"creative": 0.35, "campaign": 0.35, "advertiser": 0.45, "category": 0.44}
CLICKS = Plan(
    rate=0.01,
    rows={
        "placement": 0.25, "publisher": 0.15, "device": 0.15, "age": 0.1, "gender": 0.1, "region": 0.05,
        "hour": 0.1, "weekday": 0.05,
    },
    columns=AD_SPREADS,
    crosses={
        ("gender", "category"): 0.2, ("age", "category"): 0.2, ("interest", "category"): 0.2,
        ("device", "category"): 0.1, ("gender", "advertiser"): 0.15,
    },
    low_rank={
        ("placement", "campaign"): 0.2, ("region", "advertiser"): 0.15, ("interest", "campaign"): 0.2,
        ("age", "campaign"): 0.2,
    },
)  # fmt: skip
CONVERSIONS = Plan(
    rate=0.05,
    rows={"device": 0.2, "age": 0.15, "placement": 0.15},
    columns={"campaign": 0.5, "category": 0.3},
    crosses={("gender", "category"): 0.2},
)
POSITIONS = 5
POSITION_LOGIT = -0.35  # of each slot further down the page
VIEWS = ("0", "1", "2", "3", "4-5", "6-9", "10+")  # earlier views of the ad by the person
VIEW_EDGES = (1, 2, 3, 4, 6, 10)
VIEWS_LOGIT = -0.12  # of each step of VIEWS
# Mean delay of a campaign's conversions: half an hour to days, exponential.
DELAY_MEDIAN_S, DELAY_SPREAD = 6 * 3600.0, 1.0


class Market:
    """Everything of a market that does not happen but is.

    `low_rank` times as strong as in CLICKS are the crosses that are products of short vectors.

    >>> from app.offline.sample import sample_catalogue
    >>> market = Market(1, sample_catalogue(seed=1, creatives=100))
    >>> market.ads.shape, len(market.placements)
    ((100, 6), 60)
    """

    def __init__(self, seed: int, catalogue: Iterable[Line], low_rank: float = 1.0) -> None:
        self.seed = seed
        self._lines = {line["id"]: line for line in catalogue}
        of_type = {kind: [one for one in self._lines.values() if one["type"] == kind] for kind in _TYPES}
        self.placements, self.creatives = of_type["placement"], of_type["creative"]
        # Earlier placements are busier; the last gets about a fifth of the first's visits.
        busyness = 1.0 / (12.0 + np.arange(len(self.placements)))
        self.busyness = busyness / busyness.sum()
        self.desktop = np.array([_is_desktop(line) for line in self.placements])
        random = np.random.default_rng([seed, 3])  # 1 would do; 3 makes a telling demo
        self.people = draw_people(random)
        self.rows = Values(self._row_values([line["id"] for line in of_type["publisher"]]))
        ads = [self._words_of(line) for line in self.creatives]
        self.columns = Values({name: sorted({one[name] for one in ads}) for name in ads[0]})
        self._column_of = {
            (name, value): place
            for name, values in self.columns.names.items()
            for place, value in enumerate(values, start=self.columns.first[name])
        }
        self.ads = np.array([self._columns(one) for one in ads], np.int32)
        self._ad_of = {line["id"]: number for number, line in enumerate(self.creatives)}
        self._placement_of = {line["id"]: number for number, line in enumerate(self.placements)}
        self._publisher_of = np.array(
            [self.rows.names["publisher"].index(line["publisher_id"]) for line in self.placements]
        )
        stronger = {pair: sd * low_rank for pair, sd in CLICKS.low_rank.items()}
        self.clicks = draw_truth(random, replace(CLICKS, low_rank=stronger), self.rows, self.columns)
        self.conversions = draw_truth(random, CONVERSIONS, self.rows, self.columns)
        campaigns = len(self.columns.names["campaign"])
        self.delay_s = DELAY_MEDIAN_S * np.exp(random.normal(0.0, DELAY_SPREAD, campaigns))
        self.clicks.effects[self.rows.block("position"), 0] = POSITION_LOGIT * np.arange(POSITIONS)
        self.clicks.effects[self.rows.block("views"), 0] = VIEWS_LOGIT * np.arange(len(VIEWS))

    def _row_values(self, publishers: list[str]) -> dict[str, Sequence[str]]:
        return {
            "placement": [line["id"] for line in self.placements],
            "gender": GENDERS,
            "age": DECADES,
            "interest": INTERESTS,
            "publisher": publishers,
            "device": DEVICES,
            "os": SYSTEMS,
            "region": tuple(REGIONS),
            "hour": [str(hour) for hour in range(24)],
            "weekday": [str(weekday) for weekday in range(7)],
            "position": [str(position) for position in range(POSITIONS)],
            "views": VIEWS,
        }

    def _words_of(self, creative: Line) -> dict[str, str]:
        """What an ad belongs to, the ad itself first."""
        campaign = self._lines[self._lines[creative["ad_group_id"]]["campaign_id"]]
        advertiser = self._lines[campaign["advertiser_id"]]
        return {
            "creative": creative["id"], "campaign": campaign["id"], "advertiser": advertiser["id"],
            "category": advertiser["category"], "size": f"{creative['width']}x{creative['height']}",
        }  # fmt: skip

    def _columns(self, words: dict[str, str]) -> list[int]:
        return [0, *(self._column_of[name, value] for name, value in words.items())]

    def words(self, name: str, places: NDArray[np.int32]) -> NDArray[np.str_]:
        """The values that stand at places of a field of the ad."""
        return np.array(self.columns.names[name])[places - self.columns.first[name]]

    def draw_visitors(
        self, random: np.random.Generator, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw who comes, and to which placement: some people often, some placements."""
        people = (self.people.gender.size * random.random(count) ** 2).astype(np.int64)
        return people, random.choice(len(self.placements), count, p=self.busyness)

    def rows_of(self, people: NDArray[np.int64], placements: NDArray[np.int64]) -> I32:
        """The rows that visits light, but for the moment, the position and the views.

        Shape   (k, 12), NOTHING among them.
        """
        device, system = self.people.devices(people, self.desktop[placements])
        interests, first = self.people.interests[people], self.rows.first
        lit = [
            np.zeros(people.size, np.int32),
            first["placement"] + placements,
            first["gender"] + self.people.gender[people],
            first["age"] + self.people.age[people] // 10 - 1,
            *np.where(interests == NOTHING, NOTHING, first["interest"] + interests).T,
            first["publisher"] + self._publisher_of[placements],
            first["device"] + device,
            first["os"] + system,
            first["region"] + self.people.region[people],
        ]
        return np.stack(lit, axis=1).astype(np.int32)

    def views_rows(self, views: NDArray[np.int64]) -> I32:
        """The row of each number of earlier views."""
        return (self.rows.first["views"] + np.searchsorted(VIEW_EDGES, views, side="right")).astype(np.int32)

    def rows_of_person(self, person: Person, placement_id: str, views: int) -> list[int]:
        """The same for one visit, told in words."""
        first, names = self.rows.first, self.rows.names
        told = {
            "gender": person.gender, "age": str(person.age // 10), "device": person.device,
            "os": person.os, "region": person.region,
        }  # fmt: skip
        placement = self._placement_of[placement_id]
        rows = [0, first["placement"] + placement, first["publisher"] + int(self._publisher_of[placement])]
        rows += [first[name] + names[name].index(value) for name, value in told.items()]
        rows += [first["interest"] + names["interest"].index(one) for one in person.interests]
        rows.append(first["views"] + int(np.searchsorted(VIEW_EDGES, views, side="right")))
        return rows

    def ad(self, creative_id: str) -> I32:
        """The columns of an ad.

        One that is not of the catalogue (a node may hold others) is a stranger: one column, by its name.
        """
        number = self._ad_of.get(creative_id)
        if number is not None:
            return np.asarray(self.ads[number])
        borrowed = self.columns.first["creative"] + crc32(creative_id.encode()) % len(self.creatives)
        return np.array([0, borrowed], np.int32)

    def number_of(self, creative_id: str) -> int:
        """An ad's number; a stranger gets one too."""
        number = self._ad_of.get(creative_id)
        return crc32(creative_id.encode()) % len(self.creatives) if number is None else number


_TYPES = ("placement", "creative", "publisher")


def _is_desktop(placement: Line) -> bool:
    """Tell a page for computers by its sizes: banners wider, or taller, than a phone."""
    return any(size in placement["sizes"] for size in ("728x90", "970x90", "160x600"))
