"""The market's people as visitors of a node: who asks for an ad where, and what they click.

The truth lives in the market alone (`app/offline/world`); a node sees requests, impressions and clicks.
"""

from collections.abc import Iterable
from random import Random
from typing import Any

import numpy as np
from msgspec import Struct

from app.offline.sample import Line
from app.offline.world.market import Market
from app.offline.world.people import Person

DRAWN_AT_ONCE = 512
MOST_VIEWS = 255
ROBOTS_SHARE = 0.005
ROBOT_CTR = 0.1
BROWSERS = {
    "android": "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 "
    "Mobile Safari/537.36",
    "ios": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1",
    "windows": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "macos": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Safari/605.1.15",
}
# A robot that says so, a program that is no browser, and a script in a browser, which clicks at once.
ROBOTS = (
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "okhttp/4.12.0",
    BROWSERS["windows"],
)


class Visit(Struct, frozen=True):
    """One ad request to come: who, where, and the body of `POST /v1/ads`."""

    person: Person
    placement_id: str
    body: dict[str, Any]
    user_agent: str
    robot: bool = False

    @property
    def address(self) -> str:
        """Where this person is on the network: each has an address of its own."""
        number = int(self.person.id.removeprefix("u-"))
        return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


class Audience:
    """Draws visits to a catalogue's placements, and knows how likely each ad is to be clicked.

    `draw` moves its own chance on; `truth` is a pure function of the seed and its arguments.
    """

    def __init__(self, seed: int, catalogue: Iterable[Line]) -> None:
        self._market = Market(seed, catalogue)
        self._random = Random(f"visits:{seed}")
        self._robots = Random(f"robots:{seed}")
        self._visitors = np.random.default_rng([seed, 2])
        self._waiting: list[tuple[int, int]] = []
        self._views = np.zeros((self._market.people.gender.size, len(self._market.creatives)), np.uint8)

    def draw(self) -> Visit:
        """Draw the next visit."""
        if not self._waiting:
            people, placements = self._market.draw_visitors(self._visitors, DRAWN_AT_ONCE)
            self._waiting = list(zip(people.tolist(), placements.tolist(), strict=True))[::-1]
        number, place = self._waiting.pop()
        placement = self._market.placements[place]
        at = np.array([number]), self._market.desktop[[place]]
        device, system = self._market.people.devices(*at)
        person = self._market.people.person(number, int(device[0]), int(system[0]))
        body = _body(person, placement, self._random.getrandbits(40))
        robot = self._robots.random() < ROBOTS_SHARE
        agent = self._robots.choice(ROBOTS) if robot else BROWSERS[person.os]
        return Visit(person, placement["id"], body, agent, robot)

    def seen(self, person: Person, creative_id: str) -> int:
        """Tell how often a person has seen an ad, and count one view more."""
        at = int(person.id.removeprefix("u-")), self._market.number_of(creative_id)
        views = int(self._views[at])
        self._views[at] = min(views + 1, MOST_VIEWS)
        return views

    def truth(self, person: Person, placement_id: str, creative_id: str, views: int = 0) -> float:
        """Tell how likely a person is to click an ad there, seen so often before: known to nobody else.

        Cost    about 20 us.
        """
        rows = self._market.rows_of_person(person, placement_id, views)
        columns = self._market.ad(creative_id)
        return float(self._market.clicks.p_of_all(np.array(rows), columns[None, :])[0])

    def clicks(self, p: float) -> bool:
        """Draw whether a click with this probability happens."""
        return self._random.random() < p

    def robot_clicks(self) -> bool:
        """Draw whether a robot clicks what it was shown: it does so at once, whatever it is."""
        return self._robots.random() < ROBOT_CTR

    def click_delay_s(self) -> float:
        """Draw how long a person takes to click: 0.2 to 2 seconds."""
        return self._random.uniform(0.2, 2.0)


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
