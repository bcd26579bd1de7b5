"""The documents of the catalogue, one model per kind, and how each becomes a thing of the domain.

A model checks field by field. What concerns two fields at once stands in its `faults`, which is asked
only when every field alone is sound.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain.catalogue import (
    AdGroup,
    Advertiser,
    Audience,
    Blocked,
    Campaign,
    Creative,
    Experiment,
    FrequencyCap,
    Kind,
    Learning,
    Lookalike,
    Native,
    Placement,
    Pricing,
    PricingKind,
    Publisher,
    Thing,
    Variant,
)
from app.domain.refusals import FieldError
from app.web.catalogue import fields as f
from app.web.catalogue.targeting_in import TargetingIn

MAX_VARIANTS = 4  # each may have a matrix of its own
VARIANT_NAME = r"^[a-z][a-z0-9_-]{0,31}$"
CONTROL = "control"


def _required(field: str, why: str) -> FieldError:
    return FieldError(field, "required", f"is required: {why}")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ThingIn(_Model):
    """What all kinds share. `id` may be left out where the path names it or the node makes one."""

    id: f.Id | None = None
    status: f.StatusIn = "active"

    def faults(self) -> Iterator[FieldError]:
        """Name what is wrong between fields that are each right alone."""
        return iter(())

    def unenforced(self) -> Iterator[str]:
        """Name the fields that are kept but do not yet change a decision."""
        return iter(())

    @abstractmethod
    def to_domain(self, identity: str, zone: str) -> Thing:
        """Turn a sound document into the domain's thing; `zone` is the node's default time zone."""


class FrequencyCapIn(_Model):
    """At most `count` impressions to one user per period."""

    count: int = Field(ge=1, le=1_000_000)
    per: Literal["minute", "hour", "day", "week", "lifetime"]


FrequencyCaps = Annotated[list[FrequencyCapIn], Field(max_length=10)]


def _caps(sent: list[FrequencyCapIn]) -> tuple[FrequencyCap, ...]:
    return tuple(FrequencyCap(count=cap.count, per=cap.per) for cap in sent)


class AdvertiserIn(ThingIn):
    """Who pays."""

    type: Literal["advertiser"] = "advertiser"
    name: f.Name = ""
    domain: f.Domain | None = None
    category: f.Category | None = None
    seat: f.Label | None = None

    def to_domain(self, identity: str, zone: str) -> Advertiser:
        return Advertiser(
            id=identity,
            name=self.name,
            domain=self.domain,
            category=self.category,
            seat=self.seat,
            status=self.status,
        )


class LookalikeIn(_Model):
    """Who is like the people of another audience of the advertiser's: the share `reach` most alike."""

    of: f.Id
    by: Literal["model", "cluster"] = "model"
    reach: float = Field(default=0.05, ge=0.001, le=0.5)


class AudienceIn(ThingIn):
    """A list of people that an advertiser brings, uploaded apart; with `lookalike`, whoever is like them."""

    type: Literal["audience"] = "audience"
    advertiser_id: f.Id
    name: f.Name = ""
    lookalike: LookalikeIn | None = None

    def to_domain(self, identity: str, zone: str) -> Audience:
        alike = Lookalike(**self.lookalike.model_dump()) if self.lookalike is not None else None
        return Audience(
            id=identity, advertiser_id=self.advertiser_id, name=self.name, status=self.status, lookalike=alike
        )


class CampaignIn(ThingIn):
    """A goal with a budget and a flight."""

    type: Literal["campaign"] = "campaign"
    advertiser_id: f.Id
    name: f.Name = ""
    objective: str = Field(default="traffic", max_length=64)
    budget_daily: f.Micros | None = None
    budget_total: f.Micros | None = None
    starts_at: f.InstantMs | None = None
    ends_at: f.InstantMs | None = None
    time_zone: f.TimeZone | None = None
    pacing: Literal["even", "asap"] = "even"
    prior_cvr: f.Rate | None = None
    frequency_cap: FrequencyCaps = []

    def faults(self) -> Iterator[FieldError]:
        if self.starts_at is not None and self.ends_at is not None and self.starts_at >= self.ends_at:
            yield FieldError("ends_at", "order", "must be later than starts_at")

    def to_domain(self, identity: str, zone: str) -> Campaign:
        return Campaign(
            id=identity,
            advertiser_id=self.advertiser_id,
            name=self.name,
            objective=self.objective,
            budget_daily_micros=self.budget_daily,
            budget_total_micros=self.budget_total,
            starts_at_ms=self.starts_at,
            ends_at_ms=self.ends_at,
            time_zone=self.time_zone or zone,
            pacing=self.pacing,
            prior_cvr=self.prior_cvr,
            frequency_cap=_caps(self.frequency_cap),
            status=self.status,
        )


class PricingIn(_Model):
    """What is offered: `bid` per 1,000 impressions (cpm), click (cpc) or conversion (cpa); or `target_cpa`,
    what a conversion shall cost (ocpm)."""

    kind: PricingKind
    bid: f.PositiveMicros | None = None
    target_cpa: f.PositiveMicros | None = None


class AdGroupIn(ThingIn):
    """One audience and one bid."""

    type: Literal["ad_group"] = "ad_group"
    campaign_id: f.Id
    name: f.Name = ""
    pricing: PricingIn
    budget_daily: f.Micros | None = None
    budget_total: f.Micros | None = None
    frequency_cap: FrequencyCaps = []
    targeting: TargetingIn = TargetingIn()

    def faults(self) -> Iterator[FieldError]:
        needed, other = ("target_cpa", "bid") if self.pricing.kind == "ocpm" else ("bid", "target_cpa")
        if getattr(self.pricing, needed) is None:
            yield _required(f"pricing.{needed}", f"{self.pricing.kind} needs one")
        if getattr(self.pricing, other) is not None:
            whose = "every kind but ocpm" if other == "bid" else "ocpm alone"
            yield FieldError(f"pricing.{other}", "not_allowed", f"belongs to {whose}")

    def to_domain(self, identity: str, zone: str) -> AdGroup:
        bid = self.pricing.target_cpa if self.pricing.kind == "ocpm" else self.pricing.bid
        assert bid is not None, "faults() comes first"
        return AdGroup(
            id=identity,
            campaign_id=self.campaign_id,
            name=self.name,
            pricing=Pricing(kind=self.pricing.kind, bid_micros=bid),
            budget_daily_micros=self.budget_daily,
            budget_total_micros=self.budget_total,
            frequency_cap=_caps(self.frequency_cap),
            targeting=self.targeting.to_domain(),
            status=self.status,
        )


class NativeIn(_Model):
    """The parts of a native ad."""

    title: f.Name | None = None
    body: str | None = Field(default=None, max_length=4096)
    sponsored: f.Name | None = None
    cta: f.Name | None = None
    icon_url: f.HttpUrl | None = None
    image_url: f.HttpUrl | None = None
    image_width: f.Pixels | None = None
    image_height: f.Pixels | None = None


class CreativeIn(ThingIn):
    """One message in one format."""

    type: Literal["creative"] = "creative"
    ad_group_id: f.Id
    name: f.Name = ""
    format: f.FormatIn
    width: f.Pixels | None = None
    height: f.Pixels | None = None
    landing_url: f.HttpUrl
    markup: f.Markup | None = None
    categories: f.Categories = []
    attributes: list[f.ListCode] = Field(default=[], max_length=100)
    secure: bool = True
    language: f.Language | None = None
    mimes: list[f.MimeType] = Field(default=[], max_length=100)
    protocols: list[f.ListCode] = Field(default=[], max_length=100)
    api: list[f.ListCode] = Field(default=[], max_length=100)
    duration_s: f.Seconds | None = None
    native: NativeIn | None = None
    frequency_cap: FrequencyCaps = []

    def faults(self) -> Iterator[FieldError]:
        sized = self.format == "banner" or self.width is not None or self.height is not None
        if sized and self.width is None:
            yield _required("width", "the format has a size")
        if sized and self.height is None:
            yield _required("height", "the format has a size")
        if self.format in ("video", "audio"):
            if not self.markup:
                yield _required("markup", f"{self.format} carries its VAST document there")
            elif "<VAST" not in self.markup:
                yield FieldError("markup", "not_vast", "must be a VAST document")
        if self.format == "native" and self.native is None:
            yield _required("native", "a native ad is made of its parts")
        if self.format != "native" and self.native is not None:
            yield FieldError("native", "not_allowed", "belongs to the format native alone")

    def to_domain(self, identity: str, zone: str) -> Creative:
        return Creative(
            id=identity,
            ad_group_id=self.ad_group_id,
            name=self.name,
            format=self.format,
            width=self.width,
            height=self.height,
            landing_url=self.landing_url,
            markup=self.markup,
            categories=tuple(self.categories),
            attributes=tuple(self.attributes),
            secure=self.secure,
            language=self.language,
            mimes=tuple(self.mimes),
            protocols=tuple(self.protocols),
            api=tuple(self.api),
            duration_s=self.duration_s,
            native=Native(**self.native.model_dump()) if self.native else None,
            frequency_cap=_caps(self.frequency_cap),
            status=self.status,
        )


class PublisherIn(ThingIn):
    """Who owns placements."""

    type: Literal["publisher"] = "publisher"
    name: f.Name = ""
    domain: f.Domain | None = None

    def to_domain(self, identity: str, zone: str) -> Publisher:
        return Publisher(id=identity, name=self.name, domain=self.domain, status=self.status)


class BlockedIn(_Model):
    """What a placement never shows: category codes, advertiser ids or domains, creative ids."""

    categories: f.Categories = []
    advertisers: list[f.Label] = Field(default=[], max_length=10_000)
    creatives: list[f.Id] = Field(default=[], max_length=10_000)


class PlacementIn(ThingIn):
    """An ad slot of a publisher. The floor is per 1,000 impressions."""

    type: Literal["placement"] = "placement"
    publisher_id: f.Id
    name: f.Name = ""
    sizes: list[f.PageSize] = Field(default=[], max_length=100)
    formats: list[f.FormatIn] = Field(default=[], max_length=4)
    categories: f.Categories = []
    floor_cpm: f.Micros = 0
    prior_ctr: f.Rate | None = None
    separation: list[Literal["creative", "advertiser", "category"]] = Field(default=[], max_length=3)
    blocked: BlockedIn = BlockedIn()

    def to_domain(self, identity: str, zone: str) -> Placement:
        return Placement(
            id=identity,
            publisher_id=self.publisher_id,
            name=self.name,
            sizes=tuple(self.sizes),
            formats=tuple(self.formats),
            categories=tuple(self.categories),
            floor_micros=self.floor_cpm,
            prior_ctr=self.prior_ctr,
            separation=tuple(self.separation),
            blocked=Blocked(
                categories=tuple(self.blocked.categories),
                advertisers=tuple(self.blocked.advertisers),
                creatives=tuple(self.blocked.creatives),
            ),
            status=self.status,
        )


class LearningIn(_Model):
    """A variant's own learner and learning rates; what is left out is the node's."""

    kind: Literal["linear", "ffm"] | None = None
    alpha: float | None = Field(default=None, gt=0, le=100)
    cross_alpha: float | None = Field(default=None, gt=0, le=100)
    beta: float | None = Field(default=None, ge=0, le=1_000)
    l1: float | None = Field(default=None, ge=0, le=1_000)
    cross_l1: float | None = Field(default=None, ge=0, le=1_000)
    l2: float | None = Field(default=None, ge=0, le=1_000)
    factor_alpha: float | None = Field(default=None, gt=0, le=100)


class VariantIn(_Model):
    """What differs from the default. `share` is of the users, of a shadow's of the decisions."""

    share: float = Field(ge=0, le=1)
    shadow: bool = False
    learner: LearningIn | None = None
    calibration: Literal["shared", "own"] = "shared"
    exploration_scale: float | None = Field(default=None, ge=0, le=10)
    floor_factor: float | None = Field(default=None, ge=0, le=100)
    floor_cpm: f.Micros | None = None
    quality_strength: float | None = Field(default=None, ge=0, le=1)

    def to_domain(self, name: str) -> Variant:
        learner = Learning(**self.learner.model_dump()) if self.learner else None
        return Variant(
            name=name, share=self.share, shadow=self.shadow,
            learner=None if learner == Learning() else learner,
            own_calibration=self.calibration == "own" or self.learner is not None,
            exploration_scale=self.exploration_scale, floor_factor=self.floor_factor,
            floor_micros=self.floor_cpm, quality_strength=self.quality_strength,
        )  # fmt: skip


class ExperimentIn(ThingIn):
    """Variants beside the default, by name; the default is the control."""

    type: Literal["experiment"] = "experiment"
    name: f.Name = ""
    variants: dict[Annotated[str, Field(pattern=VARIANT_NAME)], VariantIn] = Field(
        min_length=1, max_length=MAX_VARIANTS
    )
    without_id: Literal["leave_out", "split"] = "leave_out"
    isolated: bool = False
    promoted: str | None = None

    def faults(self) -> Iterator[FieldError]:
        served = [name for name, variant in self.variants.items() if not variant.shadow]
        for name, variant in self.variants.items():
            if name == CONTROL:
                yield FieldError(f"variants.{name}", "not_allowed", "is the default's name here")
            if not variant.shadow and variant.share * len(served) > 1.0:
                most = f"{len(served)} variants take at most 1/{len(served)} of the users each"
                yield FieldError(f"variants.{name}.share", "out_of_range", most)
            if self.isolated and variant.shadow:
                yield FieldError(f"variants.{name}.shadow", "not_allowed", "has no bucket to learn from")
        if self.promoted is not None and self.promoted not in served:
            yield FieldError("promoted", "not_one_of", "must name a variant that is served")

    def to_domain(self, identity: str, zone: str) -> Experiment:
        variants = tuple(self.variants[name].to_domain(name) for name in sorted(self.variants))
        return Experiment(
            id=identity, name=self.name, variants=variants, without_id=self.without_id,
            isolated=self.isolated, promoted=self.promoted, status=self.status,
        )  # fmt: skip


MODELS: dict[Kind, type[ThingIn]] = {
    "advertiser": AdvertiserIn,
    "audience": AudienceIn,
    "campaign": CampaignIn,
    "ad_group": AdGroupIn,
    "creative": CreativeIn,
    "publisher": PublisherIn,
    "placement": PlacementIn,
    "experiment": ExperimentIn,
}
