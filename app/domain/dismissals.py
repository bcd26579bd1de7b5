"""Why a person does not want an ad: the reasons that are kept, what each weighs and how far it reaches.

What a caller writes is never kept as it is: a reason outside this table counts as `other`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Dismissal(NamedTuple):
    """What a reason means. `keeps_away` is what that person sees no more; `weight` is in plain complaints."""

    keeps_away: Literal["creative", "advertiser"]
    weight: int


# The position in this table is the number that the state counts by: append only.
DISMISSALS: dict[str, Dismissal] = {
    "not_interested": Dismissal("creative", 1),
    "repetitive": Dismissal("creative", 1),
    "irrelevant": Dismissal("creative", 1),
    "covers_content": Dismissal("creative", 2),
    "offensive": Dismissal("advertiser", 3),
    "misleading": Dismissal("advertiser", 3),
    "advertiser": Dismissal("advertiser", 1),
    "other": Dismissal("creative", 1),
}
DISMISSAL_CODES = tuple(DISMISSALS)
DISMISSAL_NUMBER = {code: number for number, code in enumerate(DISMISSAL_CODES)}


def reason_of(text: str | None) -> str:
    """Read a caller's word; silence is the plainest dismissal.

    >>> reason_of("Covers content"), reason_of(None), reason_of("my cat hates it")
    ('covers_content', 'not_interested', 'other')
    """
    word = (text or "not_interested").strip().lower().replace(" ", "_").replace("-", "_")
    return word if word in DISMISSALS else "other"
