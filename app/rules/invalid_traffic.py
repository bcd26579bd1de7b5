"""What makes an event invalid: the reasons, the limits as people write them, an improbable CTR.

Verdicts from lists are made at the door and stored in the event's line; everything else is judged in the
fold. An event leaves with the first reason that applies, in the order of this table. Whoever sent it is never
told.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from app.rules.intervals import wilson

# code: what it tells. Codes stand in lines and verdicts: they are only ever added.
REASONS: dict[str, str] = {
    "no_impression": "a click whose impression never came",
    "invalid_impression": "a click of an impression that is invalid or was taken back",
    "invalid_click": "a conversion of a click that is invalid or was taken back",
    "bot": "the user agent is a known robot's",
    "non_browser": "the user agent is empty or no browser's",
    "data_centre": "the address belongs to a data centre",
    "too_soon": "a click sooner after its impression than anybody sees and decides",
    "double_click": "the same person clicked on the same ad a moment ago",
    "user_clicks": "too many clicks of one person",
    "ip_clicks": "too many clicks from one address",
    "placement_clicks": "too many clicks on one placement",
    "publisher_clicks": "too many clicks on one publisher's placements",
    "user_impressions": "too many impressions of one person",
    "ip_impressions": "too many impressions from one address",
    "placement_impressions": "too many impressions on one placement",
    "publisher_impressions": "too many impressions on one publisher's placements",
    "publisher_ctr": "the publisher's click rate is improbable beside everybody else's",
    "accidental_click": "a person's click, but too soon to be meant, or regretted at once",
}
# What a door may find. The place in this list stands in tokens: it is only ever added to.
DOOR_REASONS = ("bot", "non_browser", "data_centre")
WHOSE = ("user", "ip", "placement", "publisher")
MOST_LIMITS = 24
MOST_COUNT = 60_000
MOST_SECONDS = 86_400
Z_999 = 3.2905  # the normal quantile of 99.95 %: a publisher is judged at every click, for years
_LIMIT = re.compile(r"(user|ip|placement|publisher)_(clicks|impressions)=(\d{1,5})/(\d{1,5})")


class Limit(NamedTuple):
    """At most `most` events of a kind in any `seconds` of one user, ip, placement or publisher."""

    whose: str
    kind: str
    most: int
    seconds: int

    @property
    def code(self) -> str:
        """The reason that an event over this limit leaves with."""
        return f"{self.whose}_{self.kind}"


def read_limits(text: str) -> list[Limit]:
    """Read limits as people write them; nothing written is no limit.

    Errors  ValueError with what is wrong.

    >>> read_limits("user_clicks=6/60,ip_impressions=3000/60")[0]
    Limit(whose='user', kind='clicks', most=6, seconds=60)
    """
    limits = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _LIMIT.fullmatch(part)
        if found is None:
            raise ValueError(f"{part}: a limit is written user_clicks=6/60 (at most 6 in 60 seconds)")
        limit = Limit(found[1], found[2], int(found[3]), int(found[4]))
        if not (1 <= limit.most <= MOST_COUNT and 1 <= limit.seconds <= MOST_SECONDS):
            raise ValueError(f"{part}: at most {MOST_COUNT} in {MOST_SECONDS} seconds, and at least 1 in 1")
        limits.append(limit)
    if len(limits) > MOST_LIMITS:
        raise ValueError(f"at most {MOST_LIMITS} limits")
    return limits


def improbable_ctr(
    shown: float, clicked: float, declared: float, others_shown: float, others_clicked: float, factor: float
) -> bool:
    """Say whether a publisher's clicks cannot be explained by a rate `factor` times the usual one.

    The usual rate is the highest that everybody else's events allow, or the one declared for the placements
    (`declared`: the expected clicks of the publisher's impressions), whichever is higher. Intervals hold with
    99.9 %: few events prove nothing.

    >>> improbable_ctr(1_000, 150, 0, 100_000, 1_000, 5), improbable_ctr(20, 3, 0, 100_000, 1_000, 5)
    (True, False)
    """
    low, _ = wilson(clicked, shown, Z_999)
    _, usual = wilson(max(0.0, others_clicked), others_shown, Z_999)
    if low is None or usual is None:
        return False
    return low > factor * max(usual, declared / shown)
