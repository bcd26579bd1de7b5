"""What makes an event invalid, in words: the reasons, and what each one says.

Verdicts from lists are made at the door and stored in the event's line; everything else is judged in the
fold. An event leaves with the first reason that applies, in the order of this table. Whoever sent it is
never told.
"""

from __future__ import annotations

# code: what it tells. Codes stand in lines and verdicts: they are only ever added.
REASONS: dict[str, str] = {
    "no_impression": "a click whose impression never came",
    "invalid_impression": "a click of an impression that is invalid or was taken back",
    "bot": "the user agent is a known robot's",
    "non_browser": "the user agent is empty or no browser's",
    "data_centre": "the address belongs to a data centre",
}
# How heavily a list speaks: what a door finds first is what it reports.
DOOR_REASONS = ("bot", "non_browser", "data_centre")
