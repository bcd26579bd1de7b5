"""The catalogue's entities as the journal and the state hold them: money in micros, times in ms.

The doors check what people send (`app/web/catalogue`); what arrives here is sound and complete.
A field added later gets a default, so that old lines stay readable.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Status = Literal["active", "paused", "archived"]
Format = Literal["banner", "video", "audio", "native"]
PricingKind = Literal["cpm", "cpc", "cpa", "ocpm"]

KINDS = (
    "advertiser", "audience", "campaign", "ad_group", "creative", "publisher", "placement", "experiment",
)  # fmt: skip
Kind = Literal[
    "advertiser", "audience", "campaign", "ad_group", "creative", "publisher", "placement", "experiment"
]


class Advertiser(Struct, frozen=True, kw_only=True, tag_field="type", tag="advertiser"):
    """Who pays. `category` is one content category code, `seat` its buyer seat at an exchange."""

    id: str
    name: str = ""
    domain: str | None = None
    category: str | None = None
    seat: str | None = None
    status: Status = "active"


class Lookalike(Struct, frozen=True, kw_only=True):
    """Who is like the people of another audience: the share `reach` of all that are most alike.

    By a model of who is in the list, or by the clusters in which its people are most often found.
    """

    of: str
    by: Literal["model", "cluster"] = "model"
    reach: float = 0.05


class Audience(Struct, frozen=True, kw_only=True, tag_field="type", tag="audience"):
    """A list of people that an advertiser brings; who is in it stands elsewhere (`Listed`).

    With `lookalike` it is no list: it is whoever is like the people of one.
    """

    id: str
    advertiser_id: str
    name: str = ""
    status: Status = "active"
    lookalike: Lookalike | None = None


class FrequencyCap(Struct, frozen=True, kw_only=True):
    """At most `count` impressions to one user per period."""

    count: int
    per: Literal["minute", "hour", "day", "week", "lifetime"]


class Campaign(Struct, frozen=True, kw_only=True, tag_field="type", tag="campaign"):
    """A goal with a budget and a flight, in a time zone of its own."""

    id: str
    advertiser_id: str
    name: str = ""
    objective: str = "traffic"
    budget_daily_micros: int | None = None
    budget_total_micros: int | None = None
    starts_at_ms: int | None = None
    ends_at_ms: int | None = None
    time_zone: str = "Asia/Seoul"
    pacing: Literal["even", "asap"] = "even"
    prior_cvr: float | None = None
    frequency_cap: tuple[FrequencyCap, ...] = ()
    status: Status = "active"


class Pricing(Struct, frozen=True, kw_only=True):
    """What the advertiser offers: per 1,000 impressions (cpm), click (cpc) or conversion (cpa).

    An ocpm bid is the target cost of a conversion, from which the auction's bid is worked out.
    """

    kind: PricingKind
    bid_micros: int


# A term is one value, or an inclusive pair of numbers.
Term = str | int | float | tuple[float, float]


class Rule(Struct, frozen=True, kw_only=True):
    """One targeting dimension: what it lets in (empty: everything) and what it keeps out."""

    include: tuple[Term, ...] = ()
    exclude: tuple[Term, ...] = ()


class Targeting(Struct, frozen=True, kw_only=True):
    """Whom and where an ad group wants; an absent dimension allows everything."""

    gender: Rule = Rule()
    age: Rule = Rule()
    region: Rule = Rule()
    interest: Rule = Rule()
    segment: Rule = Rule()
    audience: Rule = Rule()
    exclude_after: Literal["", "click", "conversion"] = ""  # those who did that with an ad of the campaign
    device: Rule = Rule()
    os: Rule = Rule()
    placement: Rule = Rule()
    publisher: Rule = Rule()
    site_category: Rule = Rule()
    hour: Rule = Rule()
    weekday: Rule = Rule()
    deal: Rule = Rule()
    keys: dict[str, Rule] = {}
    browser: Rule = Rule()
    site: Rule = Rule()
    app: Rule = Rule()
    keyword: Rule = Rule()
    boost: tuple[tuple[str, float], ...] = ()  # audience and factor: the bid for its people is so many times


class AdGroup(Struct, frozen=True, kw_only=True, tag_field="type", tag="ad_group"):
    """One audience and one bid; its creatives compete as one, so they never set each other's price."""

    id: str
    campaign_id: str
    name: str = ""
    pricing: Pricing
    budget_daily_micros: int | None = None
    budget_total_micros: int | None = None
    frequency_cap: tuple[FrequencyCap, ...] = ()
    targeting: Targeting = Targeting()
    status: Status = "active"


class Native(Struct, frozen=True, kw_only=True):
    """The parts of a native ad, put together by the asset ids of each request."""

    title: str | None = None
    body: str | None = None
    sponsored: str | None = None
    cta: str | None = None
    icon_url: str | None = None
    image_url: str | None = None
    image_width: int | None = None
    image_height: int | None = None


class Creative(Struct, frozen=True, kw_only=True, tag_field="type", tag="creative"):
    """One message in one format. Video and audio carry their VAST document in `markup`."""

    id: str
    ad_group_id: str
    name: str = ""
    format: Format
    width: int | None = None
    height: int | None = None
    landing_url: str
    markup: str | None = None
    categories: tuple[str, ...] = ()
    attributes: tuple[int, ...] = ()
    secure: bool = True
    language: str | None = None
    mimes: tuple[str, ...] = ()
    protocols: tuple[int, ...] = ()
    api: tuple[int, ...] = ()
    duration_s: int | None = None
    native: Native | None = None
    frequency_cap: tuple[FrequencyCap, ...] = ()
    status: Status = "active"


class Publisher(Struct, frozen=True, kw_only=True, tag_field="type", tag="publisher"):
    """Who owns placements."""

    id: str
    name: str = ""
    domain: str | None = None
    status: Status = "active"


class Blocked(Struct, frozen=True, kw_only=True):
    """What may not be shown: category codes (children with them), advertiser ids or domains, creative ids."""

    categories: tuple[str, ...] = ()
    advertisers: tuple[str, ...] = ()
    creatives: tuple[str, ...] = ()


class Placement(Struct, frozen=True, kw_only=True, tag_field="type", tag="placement"):
    """An ad slot of a publisher. The floor is per 1,000 impressions."""

    id: str
    publisher_id: str
    name: str = ""
    sizes: tuple[tuple[int, int], ...] = ()
    formats: tuple[Format, ...] = ()
    categories: tuple[str, ...] = ()
    floor_micros: int = 0
    prior_ctr: float | None = None
    separation: tuple[str, ...] = ()
    blocked: Blocked = Blocked()
    status: Status = "active"


class Learning(Struct, frozen=True, kw_only=True):
    """A variant's own learner (linear or ffm) and learning rates; None is the node's."""

    alpha: float | None = None
    cross_alpha: float | None = None
    beta: float | None = None
    l1: float | None = None
    cross_l1: float | None = None
    l2: float | None = None
    kind: Literal["linear", "ffm"] | None = None
    factor_alpha: float | None = None


class Variant(Struct, frozen=True, kw_only=True):
    """One way to decide, and what of it differs from the default (None: nothing).

    `share` is of all users, of a shadow's of all decisions. An exploration scale of 0 ranks by the means.
    A reserve is a floor: the placement's times `floor_factor`, and at least `floor_micros`.
    """

    name: str
    share: float = 0.0
    shadow: bool = False
    learner: Learning | None = None
    own_calibration: bool = False
    exploration_scale: float | None = None
    floor_factor: float | None = None
    floor_micros: int | None = None
    quality_strength: float | None = None


class Experiment(Struct, frozen=True, kw_only=True, tag_field="type", tag="experiment"):
    """Variants beside the default, which is the control. `variants` are in the order of their names.

    Those who cannot be told apart are left out, or each request of theirs is split by itself. `promoted`
    names the variant whose settings became the default: that ends an experiment for good.
    """

    id: str
    name: str = ""
    variants: tuple[Variant, ...] = ()
    without_id: Literal["leave_out", "split"] = "leave_out"
    isolated: bool = False
    promoted: str | None = None
    status: Status = "active"

    @property
    def runs(self) -> bool:
        """Whether it takes part in decisions."""
        return self.status == "active" and self.promoted is None

    @property
    def served(self) -> tuple[Variant, ...]:
        """The variants that users get."""
        return tuple(variant for variant in self.variants if not variant.shadow)

    @property
    def shadows(self) -> tuple[Variant, ...]:
        """The variants that score without serving."""
        return tuple(variant for variant in self.variants if variant.shadow)

    def of(self, name: str | None) -> Variant | None:
        """Find a variant by its name."""
        return next((variant for variant in self.variants if variant.name == name), None)


Thing = Advertiser | Audience | Campaign | AdGroup | Creative | Publisher | Placement | Experiment

# Which field of a thing names its parent, and the parent's kind.
PARENTS: dict[str, tuple[str, Kind]] = {
    "audience": ("advertiser_id", "advertiser"),
    "campaign": ("advertiser_id", "advertiser"),
    "ad_group": ("campaign_id", "campaign"),
    "creative": ("ad_group_id", "ad_group"),
    "placement": ("publisher_id", "publisher"),
}


def kind_of(thing: Thing) -> Kind:
    """Name a thing's kind as journal, doors and reports do.

    >>> kind_of(Publisher(id="p"))
    'publisher'
    """
    tag = type(thing).__struct_config__.tag
    assert isinstance(tag, str)
    return tag  # type: ignore[return-value]


def audiences_in(thing: Thing) -> tuple[str, ...]:
    """Name the audiences that a thing speaks of, by id.

    >>> audiences_in(Publisher(id="p"))
    ()
    """
    if isinstance(thing, Audience) and thing.lookalike is not None:
        return (thing.lookalike.of,)
    if not isinstance(thing, AdGroup):
        return ()
    rule, boosted = thing.targeting.audience, (name for name, _ in thing.targeting.boost)
    return tuple(dict.fromkeys(str(term) for term in (*rule.include, *rule.exclude, *boosted)))


def parent_of(thing: Thing) -> tuple[Kind, str] | None:
    """Name the thing above this one: its kind and id, or None at the top."""
    link = PARENTS.get(kind_of(thing))
    return (link[1], getattr(thing, link[0])) if link else None
