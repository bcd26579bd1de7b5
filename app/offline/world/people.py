"""Who lives in the simulated market: everybody's attributes, drawn once from the seed, as arrays."""

from dataclasses import dataclass

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from app.offline.sample_words import INTERESTS, REGIONS
from app.rules.learner import I32, NOTHING

PEOPLE = 20_000
MOST_INTERESTS = 4
GENDERS = ("F", "M")
DECADES = tuple(str(decade) for decade in range(1, 8))  # of an age from 14 to 79
DEVICES = ("mobile", "tablet", "desktop")
SYSTEMS = ("android", "ios", "windows", "macos")
_PHONES, _COMPUTERS = (0, 0, 1), (2, 2, 2, 3)
TABLET_SHARE = 0.08


class Person(Struct, frozen=True):
    """Someone with a page open: what the page tells of them, and the device in their hand."""

    id: str
    gender: str
    age: int
    region: str
    interests: tuple[str, ...]
    device: str
    os: str


@dataclass(frozen=True, slots=True)
class People:
    """Everybody; values are places in the tuples above. Shape (people,), interests (people, 4)."""

    gender: I32
    age: I32
    region: I32
    interests: I32
    hand: I32  # the device that is no desktop
    hand_system: I32
    desk_system: I32

    def devices(self, numbers: NDArray[np.int64], desktop: NDArray[np.bool_]) -> tuple[I32, I32]:
        """Device and operating system of people in front of a page for computers, or not."""
        device = np.where(desktop, DEVICES.index("desktop"), self.hand[numbers])
        system = np.where(desktop, self.desk_system[numbers], self.hand_system[numbers])
        return device.astype(np.int32), system.astype(np.int32)

    def person(self, number: int, device: int, system: int) -> Person:
        """One of them, in words."""
        interests = self.interests[number]
        return Person(
            id=f"u-{number}",
            gender=GENDERS[self.gender[number]],
            age=int(self.age[number]),
            region=list(REGIONS)[self.region[number]],
            interests=tuple(INTERESTS[one] for one in interests if one != NOTHING),
            device=DEVICES[device],
            os=SYSTEMS[system],
        )


def draw_people(random: np.random.Generator, count: int = PEOPLE) -> People:
    """Draw everybody: ages around 38, one to four interests, a phone or a tablet, and a computer."""
    shares = np.array(list(REGIONS.values()), np.float64)
    interests = np.argsort(random.random((count, len(INTERESTS))), axis=1)[:, :MOST_INTERESTS]
    how_many = random.integers(1, MOST_INTERESTS + 1, count)
    interests = np.where(np.arange(MOST_INTERESTS) < how_many[:, None], interests, NOTHING)
    tablet = random.random(count) < TABLET_SHARE
    return People(
        gender=random.integers(0, len(GENDERS), count).astype(np.int32),
        age=np.clip(np.round(random.normal(38, 14, count)), 14, 79).astype(np.int32),
        region=random.choice(len(shares), count, p=shares / shares.sum()).astype(np.int32),
        interests=interests.astype(np.int32),
        hand=np.where(tablet, DEVICES.index("tablet"), DEVICES.index("mobile")).astype(np.int32),
        hand_system=random.choice(_PHONES, count).astype(np.int32),
        desk_system=random.choice(_COMPUTERS, count).astype(np.int32),
    )
