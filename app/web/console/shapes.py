"""Forms of the catalogue: what kind of input each field of the API's documents is, and what it is called."""

from __future__ import annotations

from typing import NamedTuple

Choices = tuple[tuple[str, str], ...]


class Field(NamedTuple):
    """One input: the API's name of its field, its label, how it is written, and a word of help.

    `kind`  text, number, area, words, numbers (whole ones, and pairs of them), caps, time, yes, json, or
            choice (with `choices`).
    """

    name: str
    label: str
    kind: str = "text"
    hint: str = ""
    choices: Choices = ()
    money: bool = False
    required: bool = False


class Group(NamedTuple):
    """Fields under one heading; `folded` ones are out of sight until they are asked for."""

    title: str
    fields: tuple[Field, ...]
    folded: bool = False


class Shape(NamedTuple):
    """The form of one kind of thing."""

    kind: str
    groups: tuple[Group, ...]

    @property
    def fields(self) -> list[Field]:
        """All inputs in order."""
        return [field for group in self.groups for field in group.fields]

    @property
    def names(self) -> list[str]:
        """The API's names of the fields that have an input."""
        return [field.name for field in self.fields]


_OF_NUMBERS = frozenset({"age", "hour", "weekday"})
_TARGETS: tuple[tuple[str, str, str], ...] = (
    ("gender", "Gender", "F, M or O"),
    ("age", "Age", "as 20-29, 35"),
    ("region", "Region", "ISO 3166-2, as KR-11"),
    ("interest", "Interest", ""),
    ("segment", "Segment", ""),
    ("audience", "Audience list", "ids"),
    ("device", "Device", "as mobile, desktop"),
    ("os", "Operating system", "as ios, android"),
    ("placement", "Placement", "ids"),
    ("publisher", "Publisher", "ids"),
    ("site_category", "Site category", "as IAB12"),
    ("hour", "Hour", "as 9-18; the campaign's zone, both ends with it"),
    ("weekday", "Weekday", "0 is Monday, as 0-4"),
    ("deal", "Deal", ""),
    ("browser", "Browser", ""),
    ("site", "Site", "domains"),
    ("app", "App", ""),
    ("keyword", "Keyword", ""),
)
_STATUS = Field("status", "Status", "choice", choices=(("active", "Active"), ("paused", "Paused")))
_CAPS = Field("frequency_cap", "Frequency caps", "caps", "impressions for one person, as 3/day, 10/week")
_BUDGETS = (
    Field("budget_daily", "Daily budget", "number", "empty: no limit", money=True),
    Field("budget_total", "Total budget", "number", "empty: no limit", money=True),
)


def _targets() -> tuple[Field, ...]:
    made = []
    for name, label, hint in _TARGETS:
        kind = "numbers" if name in _OF_NUMBERS else "words"
        made.append(Field(f"targeting.{name}.include", label, kind, hint))
        made.append(Field(f"targeting.{name}.exclude", f"{label}: all but", kind))
    keys = Field("targeting.keys", "Own key-values", "json", 'JSON, as {"team": ["red"]}')
    return (*made, keys)


SHAPES: dict[str, Shape] = {
    "campaign": Shape("campaign", (
        Group("", (
            Field("name", "Name"),
            Field("status", "Status", "choice", choices=_STATUS.choices),
            *_BUDGETS,
            Field("pacing", "Pacing", "choice", "even spreads the day's budget over its traffic", choices=(
                ("even", "Even"), ("asap", "As fast as possible"),
            )),
        )),
        Group("Flight", (
            Field("starts_at", "Starts", "time", "as 2026-05-01 09:00, its zone; empty: at once"),
            Field("ends_at", "Ends", "time", "as it starts; empty: never"),
            Field("time_zone", "Time zone", "text", "IANA name, as Asia/Seoul: its day is the budget's day"),
        )),
        Group("More", (
            Field("objective", "Objective"),
            Field("prior_cvr", "Expected conversions per click", "number", "before any are seen, as 0.02"),
            _CAPS,
        ), folded=True),
    )),
    "ad_group": Shape("ad_group", (
        Group("", (Field("name", "Name"), _STATUS)),
        Group("Pricing", (
            Field("pricing.kind", "Paid", "choice", choices=(
                ("cpc", "per click (CPC)"), ("cpm", "per 1,000 impressions (CPM)"),
                ("cpa", "per conversion (CPA)"),
                ("ocpm", "per impression, towards a cost per conversion (oCPM)"),
            )),
            Field("pricing.bid", "Bid", "number", "for CPC, CPM and CPA", money=True),
            Field("pricing.target_cpa", "Target cost of a conversion", "number", "for oCPM", money=True),
            *_BUDGETS, _CAPS,
        )),
        Group("Targeting: an empty field lets everybody in", _targets(), folded=True),
    )),
    "creative": Shape("creative", (
        Group("", (
            Field("name", "Name"),
            _STATUS,
            Field("format", "Format", "choice", "stays as it is once made", choices=(
                ("banner", "Banner"), ("native", "Native"), ("video", "Video"), ("audio", "Audio"),
            )),
            Field("width", "Width", "number", "pixels"),
            Field("height", "Height", "number", "pixels"),
            Field("landing_url", "Landing page", "text", "absolute http or https", required=True),
            Field("markup", "Markup", "area", "HTML of a banner, the VAST document of video and audio"),
        )),
        Group("Native parts", (
            Field("native.title", "Title"), Field("native.body", "Text"),
            Field("native.sponsored", "Sponsored by"), Field("native.cta", "Call to action"),
            Field("native.icon_url", "Icon URL"),
            Field("native.image_url", "Image URL"), Field("native.image_width", "Image width", "number"),
            Field("native.image_height", "Image height", "number"),
        ), folded=True),
        Group("More", (
            Field("categories", "Categories", "words", "as IAB20"),
            Field("attributes", "Attributes", "numbers", "AdCOM numbers"),
            Field("secure", "Works on secure pages", "yes", choices=(("true", "Yes"), ("false", "No"))),
            Field("language", "Language", "text", "as ko"),
            Field("mimes", "Media types", "words", "as video/mp4"),
            Field("protocols", "Protocols", "numbers", "AdCOM numbers"),
            Field("api", "API frameworks", "numbers", "AdCOM numbers"),
            Field("duration_s", "Duration", "number", "seconds"),
            _CAPS,
        ), folded=True),
    )),
}  # fmt: skip
