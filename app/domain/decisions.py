"""What was decided: the ads of each placement with their price, or the reason for none.

Loser reasons are small numbers inside (one byte per ad in the kernels) and these codes outside.
They are listed in the order in which they are checked: a loser leaves with the first that applies.
"""

from __future__ import annotations

from msgspec import Struct

from app.domain.requests import AdRequest

# code: what it tells. The position in this table is the byte that the kernels write.
REASONS: dict[str, str] = {
    "": "still in the auction",
    "archived": "the creative or something above it is archived, or the place is free (never counted)",
    "paused": "the creative, its ad group, campaign or advertiser is paused",
    "not_started": "the campaign's flight has not begun",
    "ended": "the campaign's flight is over",
    "budget": "billed and in-flight value has reached a budget",
    "no_conversions": "CPA: many conversions were expected since the last one, and none came",
    "hour": "outside the ad group's hours in the campaign's zone",
    "weekday": "outside the ad group's weekdays in the campaign's zone",
    "format": "the placement does not take this format",
    "size": "the placement does not take this size",
    "secure": "the page is secure, the creative is not",
    "mime": "none of the creative's media types is accepted",
    "protocol": "none of the creative's protocols is accepted",
    "api": "the creative needs an API framework that is not there",
    "attribute": "the creative has a blocked attribute",
    "native_asset": "the creative lacks a required native asset",
    "language": "the creative's language is not wanted",
    "seat": "the buyer's seat is not allowed",
    "category_blocked": "a category of the creative or advertiser is blocked",
    "duration": "the creative is too long or too short",
    "advertiser_blocked": "the advertiser is blocked",
    "creative_blocked": "the creative is blocked",
    "device": "targeting",
    "os": "targeting",
    "placement": "targeting",
    "publisher": "targeting",
    "site_category": "targeting",
    "deal": "the ad sells by a deal that was not offered to it, or the placement sells by deals alone",
    "keys": "targeting by own key-values",
    "browser": "targeting",
    "site": "targeting",
    "app": "targeting",
    "keyword": "targeting",
    "gender": "targeting",
    "age": "targeting",
    "region": "targeting",
    "interest": "targeting",
    "segment": "targeting",
    "audience": "targeting: audience lists, and who has clicked or converted already",
    "paced": "the campaign spreads its budget over the day and does not take part in this decision",
    "dismissed": "this user dismissed the creative or its advertiser",
    "same_advertiser": "an ad of this advertiser stands above, and the placement keeps them apart",
    "same_category": "an ad of a competing category stands above, and the placement keeps them apart",
    "frequency": "this person saw it as often as a frequency cap allows, or cannot be told from others",
    "same_creative": "the creative already stands above in this request",
    "below_deal_floor": "the offer is below the floor of every deal that it may enter",
    "below_floor": "the offer is below the floor",
    "outbid": "another ad was worth more",
}
REASON_CODES = tuple(REASONS)
REASON_NUMBER = {code: number for number, code in enumerate(REASON_CODES)}

# What the trade calls them (OpenRTB 3.0, List: Loss Reason Codes). It has no words for what the buyer's own
# controls do: those are ours, from 500 on. A reason that stands here under no name is 500.
_TRADE_CODES: dict[str, int] = {
    "below_floor": 100, "below_deal_floor": 101, "outbid": 102, "seat": 104,
    "duration": 200, "native_asset": 200, "creative_blocked": 200, "same_creative": 200,
    "size": 203, "format": 204, "mime": 204, "protocol": 204, "api": 204,
    "advertiser_blocked": 205, "same_advertiser": 205, "secure": 207, "language": 208,
    "category_blocked": 209, "same_category": 209, "attribute": 210, "deal": 213,
    "paused": 501, "not_started": 501, "ended": 501, "archived": 501, "budget": 502, "frequency": 504,
    "no_conversions": 502,
    **dict.fromkeys(
        (
            "hour", "weekday", "gender", "age", "region", "interest", "segment", "device", "os",
            "placement", "publisher", "site_category", "keys", "dismissed",
            "browser", "site", "app", "keyword",
        ),
        503,
    ),
}  # fmt: skip
OWN_LOSS_CODE = 500
LOSS_CODES: dict[str, int] = {code: _TRADE_CODES.get(code, OWN_LOSS_CODE) for code in REASON_CODES[1:]}


class Win(Struct, frozen=True, kw_only=True, array_like=True):
    """One ad chosen for one slot.

    Units   bid and price in micros of the pricing kind's unit (per 1,000 impressions for cpm);
            ecpm_micros is the winner's own worth per 1,000 impressions, cleared_ecpm_micros what it
            pays for them as expected. `rival_index` is the creative index that set the price, -1 the floor.
            `deal_id` names the deal that it was sold by; such a win stands beside the open ones, as another
            offer for the same place. `own_row` is the row that this ad alone lights (earlier views), 0 for
            none.
    """

    ad_index: int
    creative_index: int
    creative_id: str
    ad_group_id: str
    campaign_id: str
    advertiser_id: str
    kind: str
    bid_micros: int
    price_micros: int
    ecpm_micros: int
    cleared_ecpm_micros: int
    pctr: float
    columns: tuple[int, ...]
    generation: int
    rival_index: int = -1
    deal_id: str = ""
    pcvr: float = 0.0  # where the price is for a conversion (cpa, ocpm)
    own_row: int = 0
    propensity: float = 0.0  # of a pick by lot among the best: its chance; 0 where none was drawn

    @property
    def slot(self) -> int:
        """The place on the page, from the top; a deal's ad is offered for the top one."""
        return 0 if self.deal_id else self.ad_index


class Lot(Struct, frozen=True, kw_only=True, array_like=True):
    """One of the best among whom chance chose: what another way of choosing would have gone by.

    pctr and pcvr are expected, by the means; `own_row` as of a `Win`.
    """

    creative_id: str
    columns: tuple[int, ...]
    kind: str
    bid_micros: int
    quality: float
    pctr: float
    pcvr: float = 0.0
    own_row: int = 0


class Placed(Struct, frozen=True, kw_only=True, array_like=True):
    """What one placement got: wins from the top slot down, then one for each deal; or none and why.

    `code` is empty with a win; else the reason that took most ads (or `unknown_placement`).
    `reasons` counts the ads that each reason took. `rows` are the lit rows.

    Units   greedy_ecpm_micros: what the best by the means alone was expected to bring, chosen_ecpm_micros
            what the top ad was; both 0 where that was not measured.
    """

    name: str
    placement_id: str
    publisher_id: str
    decision_id: bytes
    wins: tuple[Win, ...]
    code: str
    reasons: dict[str, int]
    rows: tuple[int, ...]
    candidates: int
    greedy_ecpm_micros: int = 0
    chosen_ecpm_micros: int = 0
    lots: tuple[Lot, ...] = ()  # where the top ad was drawn by lot: all that it was drawn from, best first


class Shadowed(Struct, frozen=True, array_like=True):
    """What a shadow would have put on top of one placement: the ad (-1: none), and what it expects of it.

    Units   micros, of what 1,000 impressions would have paid.
    """

    creative_index: int
    pctr: float
    cleared_ecpm_micros: int


class Choice(Struct, frozen=True, kw_only=True, array_like=True):
    """The whole answer, decided at one journal position and one clock.

    `variant` numbers who decided, and the bucket of the user, as in `rules.splitting`; 0 is nobody's
    experiment. `shadows` are the numbers of those that only looked on, and what each would have chosen.
    """

    position: int
    clock_ms: int
    variant: int
    placed: tuple[Placed, ...]
    shadows: tuple[tuple[int, tuple[Shadowed, ...]], ...] = ()


class Record(Struct, frozen=True, kw_only=True, array_like=True):
    """A decision as it is kept: what was asked, enriched, and what was answered. Enough to decide again."""

    request_key: bytes
    request: AdRequest
    choice: Choice


class ServedAd(Struct, frozen=True, kw_only=True, array_like=True):
    """What an ad's tokens seal, and what its events' lines carry: enough to charge, learn and report.

    Units   price_micros per 1,000 impressions (cpm), click (cpc) or conversion (cpa, ocpm). rows and columns
            are the lit ones as little-endian uint16: a line is small, and a kernel can read it in place.
            user and former_user are the keys of the person it was served to (`Person`); b"" for nobody.
            deal_id is the deal that it was sold by; flaw is the request's.
    """

    decision_id: bytes
    ad_index: int
    creative_id: str
    creative_index: int
    generation: int
    placement_id: str
    publisher_id: str
    rows: bytes
    columns: bytes
    schema_version: int
    price_micros: int
    price_kind: str
    pctr: float
    variant: int
    issued_at_ms: int
    user: bytes = b""
    former_user: bytes = b""
    deal_id: str = ""
    pcvr: float = 0.0  # where the price is for a conversion
    flaw: str = ""
