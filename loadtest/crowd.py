"""A labelled crowd: honest people, robots, double-clickers and publishers that click on themselves.

It only says who does what and when, and what each act truly is; what the node makes of it is `invalid`'s to
tell. Everything is drawn from one seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

from app.domain.requests import USER_KEY_BYTES

SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_{} like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
ROBOT = "Mozilla/5.0 (compatible; Googlebot/2.{}; +http://www.google.com/bot.html)"
DATA_CENTRES = ["203.0.113.0/24", "198.51.100.0/24"]
HONEST = ""
CTR = 0.01
HOT = "pub-hot"  # honest, with three times everybody's click rate
SEARCH = "pub-search"  # honest, clicked on ten times as often, and says so
SELF = ("pub-self-1", "pub-self-2")
PUBLISHERS = 20
ADS = 40


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a browser, or something with none."""

    user: bytes
    ip: str
    agent: str
    label: str = HONEST  # what all this one's events truly are


@dataclass(frozen=True, slots=True)
class Act:
    """One impression, and when it was clicked on, if it was. Units: milliseconds since the beginning.

    `label` is what the impression truly is, `click_label` what its click is.
    """

    at_ms: int
    person: Person
    ad: int
    publisher: str
    label: str = HONEST
    clicked_after_ms: int | None = None
    click_label: str = HONEST


@dataclass
class Crowd:
    """A crowd of a size: `impressions` honest ones over `hours`, and a tenth as many of every other sort."""

    impressions: int
    hours: float
    seed: int = 1
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.span_ms = int(self.hours * 3_600_000)

    def acts(self) -> list[Act]:
        """Everything that happens, in order; the same at every call."""
        self.chance.seed(self.seed)
        acts = [*self._honest(), *self._robots(), *self._hosted(), *self._clickers(), *self._hurried()]
        acts += [*self._reloaders(), *self._double_clickers(), *self._publishers()]
        return sorted(acts, key=lambda act: act.at_ms)

    def _person(self, number: int, sort: str, label: str = HONEST, agent: str = SAFARI) -> Person:
        """Make a person; every tenth honest one shares an address with hundreds, as telephones do."""
        shared = not label and number % 10 == 0
        ip = (
            f"8.8.{number // 3000 % 250}.1"
            if shared
            else f"{20 + number % 60}.{number // 60 % 250}.7.{_of(sort)}"
        )
        user = _user(f"{sort} {number}")
        return Person(user, ip, agent.format(number % 7), label)

    def _at(self) -> int:
        return self.chance.randrange(self.span_ms)

    def _publisher(self) -> str:
        return f"pub-{int(PUBLISHERS * self.chance.random() ** 1.5)}"

    def _delay_ms(self) -> int:
        """Draw how long a person takes to see, decide and click: eight seconds in the middle."""
        return 350 + int(8_000 * self.chance.lognormvariate(0.0, 0.9))

    def _honest(self) -> Iterator[Act]:
        chance, people = self.chance, max(50, self.impressions // 12)
        for _ in range(self.impressions):
            number = int(people * chance.random() ** 1.4)
            publisher = chance.choices((HOT, SEARCH, ""), (0.04, 0.03, 0.93))[0] or self._publisher()
            rate = CTR * {HOT: 3.0, SEARCH: 10.0}.get(publisher, 0.5 + hash_of(publisher) % 100 / 66)
            yield self._seen(self._person(number, "honest"), publisher, rate)

    def _seen(self, person: Person, publisher: str, rate: float, at_ms: int | None = None) -> Act:
        """Show an ad to somebody who clicks at a rate; both are what the person is."""
        after_ms = self._delay_ms() if self.chance.random() < rate else None
        at_ms, ad = self._at() if at_ms is None else at_ms, self.chance.randrange(ADS)
        return Act(at_ms, person, ad, publisher, person.label, after_ms, person.label)

    def _robots(self) -> Iterator[Act]:
        """Robots that say what they are: they look at everything and click on a little."""
        for number in range(self.impressions // 10):
            yield self._seen(self._person(number % 40, "robot", "robot", ROBOT), self._publisher(), 0.05)

    def _hosted(self) -> Iterator[Act]:
        """Browsers on rented machines."""
        for number in range(self.impressions // 10):
            user, ip = _user(f"hosted {number}"), f"203.0.113.{number % 250}"
            yield self._seen(Person(user, ip, SAFARI.format(1), "hosted"), self._publisher(), 0.05)

    def _clickers(self) -> Iterator[Act]:
        """Programs in a browser that click on most of what they see, at a person's pace."""
        for number in range(max(3, self.impressions // 2_000)):
            person = self._person(number, "clicker", "clicker")
            start_ms = self._at()
            for step in range(50):
                at_ms = start_ms + step * 4_000 + self.chance.randrange(2_000)
                yield self._seen(person, self._publisher(), 0.8, at_ms)

    def _hurried(self) -> Iterator[Act]:
        """Programs that click as soon as the ad is there, each time as somebody else."""
        for number in range(self.impressions // 50):
            person = self._person(number, "hurried", "hurried")
            after_ms = self.chance.randrange(5, 140)
            yield Act(
                self._at(), person, self.chance.randrange(ADS), self._publisher(), HONEST, after_ms, "hurried"
            )

    def _reloaders(self) -> Iterator[Act]:
        """A page that reloads itself ten times a second, and nobody in front of it."""
        for number in range(max(1, self.impressions // 20_000)):
            person, start_ms = self._person(number, "reloader", "reloader"), self._at()
            for step in range(2_000):
                yield Act(
                    start_ms + step * 100, person, step % ADS, self._publisher(), "reloader", None, "reloader"
                )

    def _double_clickers(self) -> Iterator[Act]:
        """People who get the same ad in two places and hit both: the second click is no second interest."""
        for number in range(max(20, self.impressions // 200)):
            person, at_ms, ad = self._person(number, "double"), self._at(), self.chance.randrange(ADS)
            after_ms, publisher = self._delay_ms(), self._publisher()
            yield Act(at_ms, person, ad, publisher, HONEST, after_ms, HONEST)
            second_ms = after_ms + self.chance.randrange(150, 3_000)
            yield Act(at_ms, person, ad, publisher, HONEST, second_ms, "double")

    def _publishers(self) -> Iterator[Act]:
        """Publishers with a few readers, who click on their own ads, each time as somebody else."""
        for number in range(self.impressions // 25):
            publisher = SELF[number % len(SELF)]
            if self.chance.random() < 0.25:
                person = self._person(number, "self", "self")
                yield Act(
                    self._at(),
                    person,
                    self.chance.randrange(ADS),
                    publisher,
                    HONEST,
                    self._delay_ms(),
                    "self",
                )
            else:
                yield self._seen(self._person(number, "reader"), publisher, CTR)


def _user(name: str) -> bytes:
    """Name a person as a node does: by a hash."""
    return blake2b(name.encode(), digest_size=USER_KEY_BYTES).digest()


def hash_of(name: str) -> int:
    """Number a name, the same in every run."""
    return sum(name.encode()) * 2_654_435_761 >> 4


def _of(sort: str) -> int:
    return 1 + sum(sort.encode()) % 250
