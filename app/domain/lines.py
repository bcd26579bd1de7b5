"""The journal's lines: whatever happens, in the past tense. The state is their fold, and of nothing else.

Array-like structs in MessagePack: a field is only ever added, at the end, with a default; a kind is only
ever added. Every line carries the node's clock; charging and learning use it, never the sender's time.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from app.domain import ids
from app.domain.catalogue import Thing
from app.domain.decisions import ServedAd
from app.domain.keys import ApiKey
from app.domain.people import Profile

LINE_VERSION = 1
ACCIDENTAL = "accidental_click"  # the reason of a refund, and the code of a click too soon to be meant


class FoldSettings(Struct, frozen=True, kw_only=True, array_like=True):
    """The settings that the fold reads. They enter by a `Configured` line, so that replays agree."""

    prior_ctr: float = 0.01
    alpha: float = 0.1
    cross_alpha: float = 0.02
    beta: float = 1.0
    l1: float = 0.0
    cross_l1: float = 0.0
    l2: float = 1.0
    click_window_s: int = 600
    held_s: int = 600
    in_flight_s: int = 60
    silence_clicks: int = 30
    column_rest_s: int = 31 * 86_400
    time_zone: str = "Asia/Seoul"
    self_competition: str = "ad_group"
    # off: nothing is judged; mark: judged, but billed and learned as valid; on: neither billed nor learned.
    invalid_traffic: str = "off"
    retention_days: int = 30
    quality_prior: float = 5.0
    quality_strength: float = 0.5
    accidental_click_ms: int = 0
    accidental_return_ms: int = 1_000
    dismissal_s: int = 30 * 86_400
    prior_cvr: float = 0.02
    cpa_stop_conversions: int = 10
    in_flight_conversion_s: int = 86_400
    max_ecpm_micros: int = 0  # 0: none
    rates_micros: tuple[tuple[str, int], ...] = ()  # account micros per unit of a currency
    user_counters: int = 20_000_000
    caps_without_id: str = "serve"
    fatigue: str = "on"
    click_soonest_ms: int = 150
    double_click_s: int = 10
    traffic_limits: str = ""
    traffic_counters: int = 1 << 20
    publisher_ctr_factor: float = 5.0
    publisher_ctr_clicks: int = 30
    publisher_ctr_half_life_s: int = 86_400
    calibration_clicks: int = 0  # predicted clicks that calibration remembers; 0: off
    exploration: str = "off"
    exploration_scale: float = 1.0
    exploration_ceiling: float = 0.05
    uniform_share: float = 0.01
    uniform_best: int = 4
    learner: str = "linear"  # ffm: vectors of rows and columns learn with the cells of the clicks' matrix
    factor_alpha: float = 0.1
    exploration_campaign_ceiling: float = 1.0
    floor_factor: float = 1.0  # of placements' floors
    floor_micros: int = 0  # the least floor of any placement
    admission: float = (
        1.0  # chance that a sighting of a strange interest or segment admits it; 1: all at sight
    )
    unused_days: int = 0  # after which a row's weights are let go of; 0: never


class Configured(Struct, frozen=True, kw_only=True, array_like=True, tag="configured"):
    """The node's settings are these from here on."""

    at_ms: int
    settings: FoldSettings


class Ticked(Struct, frozen=True, kw_only=True, array_like=True, tag="ticked"):
    """A second passed. Brings what was decided since the last tick.

    Units   `requests`: per placement id, requests and eligible candidates since the last tick, of the names
            that nobody registered the first few hundred of a day, the others as one (`~others`);
            `in_flight`: per ad group id, the micros put in flight (price x probability of the action);
            `wins`: per ad group id, how many answers that were; `explored`: of the decisions measured, the
            expected eCPM of greedy choices and of those made, micros; `explored_by_variant`: the same, by
            variant; `explored_by_campaign`: what choosing its ads lost against greedy choices, micros;
            `exposed`: per variant and bucket, placements decided, and those that got an ad; `shadowed`: per
            shadow and bucket, placements decided, those where it would have chosen otherwise, and what was
            expected to be paid for 1,000 impressions of either choice, micros; `admitted`: hashes of words
            that light rows from here on, little-endian uint64.
    """

    at_ms: int
    requests: tuple[tuple[str, int, int], ...] = ()
    in_flight: tuple[tuple[str, int], ...] = ()
    wins: tuple[tuple[str, int], ...] = ()
    explored: tuple[int, int] = (0, 0)
    explored_by_variant: tuple[tuple[int, int, int], ...] = ()
    explored_by_campaign: tuple[tuple[str, int], ...] = ()
    exposed: tuple[tuple[int, int, int], ...] = ()
    shadowed: tuple[tuple[int, int, int, int, int], ...] = ()
    admitted: bytes = b""


class Lost(Struct, frozen=True, kw_only=True, array_like=True, tag="lost"):
    """What kept the ads of campaigns from winning, since the last such line: about one a minute.

    Shape   `counts` are (reasons, campaigns) little-endian uint32, for the reasons and campaigns named.
    """

    at_ms: int
    reasons: tuple[str, ...] = ()
    campaigns: tuple[str, ...] = ()
    counts: bytes = b""

    def of(self, campaign_id: str) -> dict[str, int]:
        """Tell one campaign's losses by reason.

        >>> counts = bytes(4) + b"\\x02\\0\\0\\0"
        >>> Lost(at_ms=0, reasons=("size",), campaigns=("a", "b"), counts=counts).of("b")
        {'size': 2}
        """
        if campaign_id not in self.campaigns:
            return {}
        column, step = self.campaigns.index(campaign_id), len(self.campaigns)
        counts = memoryview(self.counts).cast("I")[column::step].tolist()
        return {reason: count for reason, count in zip(self.reasons, counts, strict=True) if count}


class Catalogued(Struct, frozen=True, kw_only=True, array_like=True, tag="catalogued"):
    """A thing of the catalogue is this from here on (created or replaced; archived is a status)."""

    at_ms: int
    thing: Thing


class Sender(Struct, frozen=True, array_like=True):
    """What the door saw of whoever reported an event, as far as invalid traffic goes.

    `flaw` is the door's verdict, a code of `app.rules.invalid_traffic`, empty where nothing was found.
    `source` stands for the network address (a keyed hash of a secret of the day, never the address).
    `direct` says that the person's own device called, so that the line's time is the act's.
    """

    flaw: str = ""
    source: bytes = b""
    direct: bool = False


class Keyed(Struct, frozen=True, kw_only=True, array_like=True, tag="keyed"):
    """An API key is this from here on (made, or revoked)."""

    at_ms: int
    key: ApiKey


class Shown(Struct, frozen=True, kw_only=True, array_like=True, tag="shown"):
    """An impression was reported."""

    at_ms: int
    ad: ServedAd
    sent_at_ms: int | None = None
    media_cost_micros: int | None = None
    sender: Sender | None = None

    @property
    def event_id(self) -> bytes:
        return ids.event_id(key_of(self.ad), "impression")

    @property
    def refers_to(self) -> bytes | None:
        return None


class Clicked(Struct, frozen=True, kw_only=True, array_like=True, tag="clicked"):
    """A click was reported. It refers to its impression, whose fate it shares."""

    at_ms: int
    ad: ServedAd
    sent_at_ms: int | None = None
    sender: Sender | None = None

    @property
    def event_id(self) -> bytes:
        return ids.event_id(key_of(self.ad), "click")

    @property
    def refers_to(self) -> bytes | None:
        return ids.event_id(key_of(self.ad), "impression")


class Converted(Struct, frozen=True, kw_only=True, array_like=True, tag="converted"):
    """A conversion was reported; `own_id` tells the several conversions of one click apart."""

    at_ms: int
    ad: ServedAd
    own_id: str | None = None
    value: float | None = None
    sent_at_ms: int | None = None
    sender: Sender | None = None

    @property
    def event_id(self) -> bytes:
        return ids.event_id(key_of(self.ad), "conversion", self.own_id)

    @property
    def refers_to(self) -> bytes | None:
        return ids.event_id(key_of(self.ad), "click")


class Dismissed(Struct, frozen=True, kw_only=True, array_like=True, tag="dismissed"):
    """A person said: do not show me this."""

    at_ms: int
    ad: ServedAd
    reason: str | None = None
    sender: Sender | None = None

    @property
    def event_id(self) -> bytes:
        return ids.event_id(key_of(self.ad), "dismissal")

    @property
    def refers_to(self) -> bytes | None:
        return ids.event_id(key_of(self.ad), "impression")


class Returned(Struct, frozen=True, kw_only=True, array_like=True, tag="returned"):
    """A person who had clicked came back, or left the landing page: after `dwell_ms`, where that was told."""

    at_ms: int
    ad: ServedAd
    dwell_ms: int | None = None
    sender: Sender | None = None

    @property
    def event_id(self) -> bytes:
        return ids.event_id(key_of(self.ad), "return")

    @property
    def refers_to(self) -> bytes | None:
        return ids.event_id(key_of(self.ad), "click")


class Noticed(Struct, frozen=True, kw_only=True, array_like=True, tag="noticed"):
    """An exchange's win or loss notice. It bills nothing and teaches nothing."""

    at_ms: int
    ad: ServedAd
    kind: str  # win | loss
    reason: str | None = None
    price_micros: int | None = None

    @property
    def event_id(self) -> bytes:
        return ids.event_id(key_of(self.ad), self.kind)

    @property
    def refers_to(self) -> bytes | None:
        return None


class Refunded(Struct, frozen=True, kw_only=True, array_like=True, tag="refunded"):
    """An event is taken back: its money returned and, while fresh, its learning undone.

    `target` is the line taken back, `target_position` its place and `impression_position` that of a click's
    impression; they are copied here so that the fold need not read the journal. `code` is the rule by which
    the node itself found out later that the event was invalid.
    """

    at_ms: int
    target_id: bytes
    target_position: int
    target: Shown | Clicked | Converted
    reason: str = ""
    impression_position: int | None = None
    code: str | None = None

    @property
    def code_told(self) -> str | None:
        """The code that its target's verdict has from here on."""
        return ACCIDENTAL if self.reason == ACCIDENTAL else self.code

    @property
    def event_id(self) -> bytes:
        return self.target_id[:4] + ids.event_id(bytes(1) + self.target_id, "refund")[4:]

    @property
    def refers_to(self) -> bytes | None:
        return self.target_id


class Profiled(Struct, frozen=True, kw_only=True, array_like=True, tag="profiled"):
    """A person's profile is this from here on. `former_user` is the key they had in the period before."""

    at_ms: int
    user: bytes
    profile: Profile
    former_user: bytes = b""


class Listed(Struct, frozen=True, kw_only=True, array_like=True, tag="listed"):
    """An audience's people are those of this list from here on: a file named by its sha256, or none.

    `since_ms` is when they were uploaded, where that was earlier: a person was struck off since.
    """

    at_ms: int
    audience_id: str
    name: str = ""
    count: int = 0
    since_ms: int | None = None


class Clustered(Struct, frozen=True, kw_only=True, array_like=True, tag="clustered"):
    """Alike people, and alike placements, are told apart so from here on; nothing in it is one person's.

    Shape   `centroids` (k, dimensions) little-endian float32; `people` (k,): how many of the sample are in
            each, 0 where they were too few to be told. `placements`: whose cluster is another one, -1: none.
    Units   `sampled` people; `changed` and `placements_changed`: the share whose cluster is another one now.
    `projection`: which `projection_plain.PROJECTION` the centroids are of; those of another are nobody's.
    """

    at_ms: int
    centroids: bytes = b""
    people: tuple[int, ...] = ()
    placements: tuple[tuple[str, int], ...] = ()
    sampled: int = 0
    changed: float = 0.0
    placements_changed: float = 0.0
    projection: int = 1


class Loaded(Struct, frozen=True, kw_only=True, array_like=True, tag="loaded"):
    """A trained model takes the place of the one learned so far: a file named by its sha256.

    Where it was made of another file (`of`) and what the journal says since that one's archive ended: it
    knows the impressions in (after, through], of which `impressions` and `clicks` were learned on top;
    `homeless` cells of the other file had no place.
    """

    at_ms: int
    name: str
    of: str = ""
    after: int = 0
    through: int = 0
    impressions: int = 0
    clicks: int = 0
    homeless: int = 0


class Likened(Struct, frozen=True, kw_only=True, array_like=True, tag="likened"):
    """Whoever is like the people of a list is told so from here on; without `by`, by nothing.

    Shape   by `model`: `weights` (dimensions,) little-endian float32 of a profile's vector, alike from
            `threshold` on; by `cluster`: `clusters`.
    Units   `members` whose profile is known, `people` alike of the `sampled`; `auc` of members held out.
    `projection`: as of `Clustered`; a likeness of another is nobody's.
    """

    at_ms: int
    audience_id: str
    by: str = ""
    weights: bytes = b""
    threshold: float = 0.0
    clusters: tuple[int, ...] = ()
    members: int = 0
    people: int = 0
    sampled: int = 0
    auc: float | None = None
    projection: int = 1


class Erased(Struct, frozen=True, kw_only=True, array_like=True, tag="erased"):
    """A person is to be forgotten: what is known under any of these keys, and what they were served."""

    at_ms: int
    users: tuple[bytes, ...]


Feedback = Shown | Clicked | Converted | Dismissed | Noticed | Returned
Event = Feedback | Refunded | Returned
Line = (
    Configured | Ticked | Lost | Catalogued | Keyed | Profiled | Erased | Listed | Clustered | Loaded
    | Likened | Shown | Clicked | Converted | Dismissed | Noticed | Refunded | Returned
)  # fmt: skip


def key_of(ad: ServedAd) -> bytes:
    """Name the ad that an event belongs to."""
    return ids.ad_key(ad.decision_id, ad.ad_index)


class Verdict(Struct, frozen=True, array_like=True):
    """What the fold made of an event; written back to its id row.

    `fate`: learned, skipped (counted, not learned), held (click before its impression), invalid,
    refunded. Units: micros.
    """

    fate: str
    billed_micros: int = 0
    unbilled_micros: int = 0
    code: str | None = None


class Referred(Struct, frozen=True, array_like=True):
    """What the writer found, in the insert's own transaction, of the event that a line refers to.

    `verdict` is None where the fold's verdict had not been written back yet.
    """

    position: int
    verdict: Verdict | None = None


class Entry(Struct, frozen=True, array_like=True):
    """A line at its place in the journal. Positions start at 1 and have no gaps."""

    position: int
    line: Line
    referred: Referred | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Line)


def encode(line: Line) -> bytes:
    """Write a line as MessagePack.

    >>> decode(encode(Ticked(at_ms=5, requests=(("plc-1", 3, 2),)))).at_ms
    5
    """
    return _encoder.encode(line)


def decode(body: bytes) -> Line:
    """Read a line written by `encode`, now or by any earlier version.

    Errors  msgspec.DecodeError when it is damaged.
    """
    line: Line = _decoder.decode(body)
    return line
