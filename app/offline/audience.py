"""Simulated audiences: who asks for an ad where, and the hidden truth of what they click.

The truth is a logistic of effects drawn once from the seed: of the ad (creative, campaign, advertiser,
category), of the moment (placement, publisher, device, age, gender) and of some person x ad crosses.
It lives only here; a node sees requests, impressions and clicks. Ages are banded by decades, otherwise
than the node bands them: the learner is not handed the truth's own form.
"""

import math
from collections.abc import Iterable
from random import Random
from typing import Any

from msgspec import Struct

from app.offline.sample import Line
from app.offline.sample_words import INTERESTS, REGIONS

PEOPLE = 20_000
BASE_CTR = 0.01
# Standard deviations of the logit's effects. Those of the ad add up to a variance of 0.8 squared.
AD_SPREADS = {"creative": 0.35, "campaign": 0.35, "advertiser": 0.45, "category": 0.44}
MOMENT_SPREADS = {"placement": 0.25, "publisher": 0.15, "device": 0.15, "age": 0.1, "gender": 0.1}
CROSS_SPREADS = {
    "gender_category": 0.2, "age_category": 0.2, "interest_category": 0.2, "device_category": 0.1,
    "gender_advertiser": 0.15,
}  # fmt: skip


class Person(Struct, frozen=True):
    """Someone with a page open: what the page tells of them, and the device in their hand."""

    id: str
    gender: str
    age: int
    region: str
    interests: tuple[str, ...]
    device: str
    os: str


class Visit(Struct, frozen=True):
    """One ad request to come: who, where, and the body of `POST /v1/ads`."""

    person: Person
    placement_id: str
    body: dict[str, Any]


class Audience:
    """Draws visits to a catalogue's placements, and knows how likely each ad is to be clicked.

    `draw` moves its own chance on; `truth` is a pure function of the seed and its arguments.
    """

    def __init__(self, seed: int, catalogue: Iterable[Line]) -> None:
        self._seed = seed
        self._random = Random(f"visits:{seed}")
        self._lines = {line["id"]: line for line in catalogue}
        self._placements = [line for line in self._lines.values() if line["type"] == "placement"]
        # Earlier placements are busier; the last gets about a fifth of the first's visits.
        self._busyness = [1.0 / (12 + place) for place in range(len(self._placements))]
        self._effects: dict[tuple[str, str], float] = {}
        self._ad_logits: dict[str, tuple[float, str, str]] = {}
        spreads = (*AD_SPREADS.values(), *MOMENT_SPREADS.values(), *CROSS_SPREADS.values())
        # The mean of a log-normal lies half its variance above the median's.
        self._intercept = math.log(BASE_CTR / (1 - BASE_CTR)) - sum(s * s for s in spreads) / 2

    def draw(self) -> Visit:
        """Draw the next visit."""
        random = self._random
        placement = random.choices(self._placements, self._busyness)[0]
        number = int(PEOPLE * random.random() ** 2)  # some come often
        person = self._person(number, _is_desktop(placement))
        return Visit(person, placement["id"], _body(person, placement, random.getrandbits(40)))

    def truth(self, person: Person, placement_id: str, creative_id: str) -> float:
        """Tell how likely a person is to click an ad there: known to nobody else.

        Cost    about 10 us.
        """
        ad_logit, advertiser, category = self._ad(creative_id)
        placement = self._lines[placement_id]
        age = str(person.age // 10)
        logit = self._intercept + ad_logit
        for field, value in (
            ("placement", placement_id), ("publisher", placement["publisher_id"]),
            ("device", person.device), ("age", age), ("gender", person.gender),
        ):  # fmt: skip
            logit += self._effect(field, value, MOMENT_SPREADS[field])
        for field, value in (
            ("gender_category", f"{person.gender} {category}"), ("age_category", f"{age} {category}"),
            ("device_category", f"{person.device} {category}"),
            ("gender_advertiser", f"{person.gender} {advertiser}"),
            *(("interest_category", f"{interest} {category}") for interest in person.interests),
        ):  # fmt: skip
            logit += self._effect(field, value, CROSS_SPREADS[field])
        return 1.0 / (1.0 + math.exp(-logit))

    def clicks(self, p: float) -> bool:
        """Draw whether a click with this probability happens."""
        return self._random.random() < p

    def click_delay_s(self) -> float:
        """Draw how long a person takes to click: 0.2 to 2 seconds."""
        return self._random.uniform(0.2, 2.0)

    def _ad(self, creative_id: str) -> tuple[float, str, str]:
        """Sum an ad's own effects; returns them with its advertiser and category.

        An ad that is not of the catalogue (the node may hold others) is a stranger: its own effect alone.
        """
        known = self._ad_logits.get(creative_id)
        if known is None:
            values = {"creative": creative_id, **self._above(creative_id)}
            logit = sum(self._effect(field, value, AD_SPREADS[field]) for field, value in values.items())
            known = (logit, values.get("advertiser", ""), values.get("category", ""))
            self._ad_logits[creative_id] = known
        return known

    def _above(self, creative_id: str) -> dict[str, str]:
        """Name what an ad belongs to; nothing for a stranger."""
        creative = self._lines.get(creative_id)
        if creative is None:
            return {}
        campaign = self._lines[self._lines[creative["ad_group_id"]]["campaign_id"]]
        advertiser = self._lines[campaign["advertiser_id"]]
        return {
            "campaign": campaign["id"], "advertiser": advertiser["id"], "category": advertiser["category"],
        }  # fmt: skip

    def _effect(self, field: str, value: str, spread: float) -> float:
        """Look an effect up; drawn from its name, so that the order of questions does not matter."""
        effect = self._effects.get((field, value))
        if effect is None:
            effect = Random(f"truth:{self._seed}:{field}:{value}").gauss(0.0, spread)
            self._effects[field, value] = effect
        return effect

    def _person(self, number: int, desktop: bool) -> Person:
        random = Random(f"person:{self._seed}:{number}")
        phone = random.choice(("android", "android", "ios"))
        computer = random.choice(("windows", "windows", "windows", "macos"))
        return Person(
            id=f"u-{number}",
            gender=random.choice("FM"),
            age=min(79, max(14, round(random.gauss(38, 14)))),
            region=random.choices(list(REGIONS), list(REGIONS.values()))[0],
            interests=tuple(sorted(random.sample(INTERESTS, random.randint(1, 4)))),
            device="desktop" if desktop else "tablet" if random.random() < 0.08 else "mobile",
            os=computer if desktop else phone,
        )


def _is_desktop(placement: Line) -> bool:
    """Tell a page for computers by its sizes: banners wider, or taller, than a phone."""
    return any(size in placement["sizes"] for size in ("728x90", "970x90", "160x600"))


def _body(person: Person, placement: Line, number: int) -> dict[str, Any]:
    return {
        "request_id": f"demo-{number:010x}",
        "placements": [{"name": "slot", "placement_id": placement["id"]}],
        "user": {
            "id": person.id, "gender": person.gender, "age": person.age, "region": person.region,
            "interests": list(person.interests),
        },
        "context": {"device": person.device, "os": person.os},
    }  # fmt: skip
