"""The environment, read once: every `ADJUDGE_*` setting with its default and what it means."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import available_timezones

from maxminddb import InvalidDatabaseError
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.domain.lines import FoldSettings
from app.domain.money import MICROS, to_micros
from app.domain.refusals import Refused
from app.flows.clients import Clients, Networks, read_bots, read_networks
from app.flows.geo import Geo
from app.flows.node import NodeSettings, Setting
from app.rules.invalid_traffic import read_limits

Seconds = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_SECRETS = frozenset({"admin_key"})  # never shown
Probability = Annotated[float, Field(gt=0, lt=1)]


class Settings(BaseSettings):
    """All settings. Frozen; a wrong value is refused at start, by name."""

    model_config = SettingsConfigDict(
        env_prefix="ADJUDGE_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    currency: str = Field(default="KRW", pattern="^[A-Z]{3}$", description="account currency (ISO 4217)")
    rates: str = Field(default="", description="account currency per unit of others, e.g. USD=1350,EUR=1480")
    time_zone: str = Field(
        default="Asia/Seoul", description="the node's zone: report days, hour and weekday rows"
    )
    public_url: str = Field(
        default="", description="start of all tracking URLs; default: the public listener"
    )
    open_doors: bool = Field(default=False, description="open ad and event doors when not bound to loopback")
    schain: Literal["ignore", "require_complete"] = Field(
        default="ignore", description="OpenRTB: no bid (16) without a complete supply chain"
    )
    schain_blocked: str = Field(
        default="", description="OpenRTB: no bid (17) where one of these domains is in the chain"
    )
    inventory: Literal["any", "one_named"] = Field(
        default="any",
        description="OpenRTB: one_named bids for one site with domain or page, app with bundle, dooh with "
        "id or domain, else no bid (503 for several, 504 for none or nameless); any: several are malformed",
    )
    max_waiting: Annotated[int, Field(ge=1)] = Field(
        default=1_000, description="ad requests waiting for their turn before others are refused"
    )
    max_wait_ms: Annotated[int, Field(ge=1)] = Field(
        default=50, description="how long an ad request may have to wait before others are refused"
    )
    read_s: Annotated[int, Field(ge=1)] = Field(
        default=30,
        description="how long a request may take to arrive, and a second more for each 16 KiB that have",
    )
    admin_key: str = Field(default="", description="admin key for this run; nothing is stored then")

    prior_ctr: Probability = Field(default=0.01, description="pCTR before any data")
    prior_cvr: Probability = Field(
        default=0.02,
        description="pCVR (conversions of clicks) before any data",
    )
    alpha: Rate = Field(default=0.1, description="learning rate of main cells")
    cross_alpha: Rate = Field(default=0.02, description="learning rate of cross cells")
    beta: Penalty = Field(default=1.0, description="FTRL beta")
    l1: Penalty = Field(default=0.0, description="L1 of main cells")
    cross_l1: Penalty = Field(default=0.0, description="L1 of cross cells")
    l2: Penalty = Field(default=1.0, description="L2 of all cells")
    learner: Literal["linear", "ffm"] = Field(
        default="linear",
        description="what predicts clicks: the matrix's cells, or field-aware vectors with them (ffm), which "
        "begin anew whenever this becomes ffm",
    )
    factor_alpha: Rate = Field(default=0.1, description="learning rate of field-aware vectors")
    columns: Annotated[int, Field(ge=1_024, le=65_535)] = Field(
        default=16_384,
        description="columns of the matrix: creatives, campaigns, advertisers, shapes, categories",
    )
    invalid_traffic: Literal["off", "mark", "on"] = Field(
        default="on",
        description="invalid events: not billed, not learned (on), only told of (mark), not looked for (off)",
    )
    click_soonest_ms: Count = Field(
        default=150, description="a click sooner after its impression is no person's, in milliseconds"
    )
    double_click_s: Count = Field(
        default=10, description="a second click of one person on one ad within so long is invalid"
    )
    traffic_limits: str = Field(
        default="user_clicks=6/60,user_clicks=30/3600,ip_clicks=30/60,user_impressions=300/60,"
        "ip_impressions=3000/60",
        description="at most so many in so many seconds, of a user, ip, placement or publisher",
    )
    traffic_counters: Annotated[int, Field(ge=1_024, le=1 << 26, multiple_of=8)] = Field(
        default=1 << 20,
        description="counters for those limits, of 20 bytes; beyond, the oldest are forgotten",
    )
    publisher_ctr_factor: Rate = Field(
        default=5.0, description="a publisher's clicks are invalid beyond so many times the others' CTR"
    )
    publisher_ctr_clicks: Count = Field(
        default=30, description="clicks before a publisher's CTR is judged; 0 never judges"
    )
    publisher_ctr_half_life_s: Seconds = Field(
        default=86_400, description="after so long a publisher's events weigh half"
    )
    bots: str = Field(
        default="", description="file of robots' user agents, in place of crawler-user-agents' list"
    )
    data_centres: str = Field(default="", description="file of data centres' networks, one CIDR a line")
    geo_file: str = Field(default="", description="file in MaxMind's format: regions of IP addresses")
    trusted_proxies: str = Field(
        default="",
        description="networks whose X-Forwarded-For and X-Device-IP are believed: 10.0.0.0/8,2001:db8::/32",
    )

    click_window_s: Seconds = Field(default=600, description="a click later than this is not in the log loss")
    held_s: Seconds = Field(
        default=600,
        description="how long a click, or a complaint, waits for its impression, a conversion for its click",
    )
    in_flight_s: Seconds = Field(default=60, description="how late charges are expected before any came")
    in_flight_conversion_s: Seconds = Field(
        default=86_400, description="how late conversions of cpa clicks are expected before any came"
    )
    cpa_stop_conversions: Annotated[int, Field(ge=0)] = Field(
        default=10, description="expected conversions without one before a CPA campaign stops; 0: never"
    )
    max_ecpm: str = Field(
        default="0",
        description="most that 1,000 impressions are worth, in account currency; 0: no limit",
    )
    floor_factor: Annotated[float, Field(ge=0, le=100)] = Field(
        default=1.0, description="by which placements' own floors are multiplied"
    )
    floor_cpm: str = Field(default="0", description="least floor of any placement, in account currency")
    silence_clicks: Seconds = Field(
        default=30, description="predicted clicks without any before learning stops"
    )
    quality_prior: Rate = Field(
        default=5.0, description="expected complaints that speak for the mean in an ad's quality index"
    )
    quality_strength: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="power of the complaint ratio in the quality index; 0: always 1"
    )
    accidental_click_ms: Annotated[int, Field(ge=0, le=60_000)] = Field(
        default=300,
        description="a click that a device reports sooner after its impression is accidental; 0: none",
    )
    accidental_return_ms: Annotated[int, Field(ge=0, le=60_000)] = Field(
        default=1_000, description="back from the landing page sooner: the click was accidental; 0: never"
    )
    dismissal_s: Annotated[int, Field(gt=0, le=30 * 86_400)] = Field(
        default=30 * 86_400, description="how long what a user dismissed stays away from that user"
    )
    exploration: Literal["off", "thompson"] = Field(
        default="thompson", description="off: the best by the model's means wins; thompson: new ads are tried"
    )
    exploration_scale: Annotated[float, Field(gt=0, le=10)] = Field(
        default=0.5, description="of the model's doubt about an ad, as it is explored"
    )
    exploration_ceiling: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.05, description="share of expected eCPM that exploring may cost before it is turned down"
    )
    exploration_campaign_ceiling: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.02,
        description="share of expected eCPM that exploring one campaign may cost before that is turned down",
    )
    uniform_share: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.01, description="share of decisions that draw among the best by lot, while exploring"
    )
    uniform_best: Annotated[int, Field(ge=2, le=100)] = Field(
        default=4, description="among how many of the best such a lot is drawn"
    )
    calibration_clicks: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=500,
        description="how many predicted clicks calibration remembers; 0: no calibration",
    )
    life_impression_s: Seconds = Field(default=86_400, description="life of impression tokens")
    life_click_s: Seconds = Field(default=86_400, description="life of click tokens")
    life_conversion_s: Annotated[int, Field(gt=0, le=30 * 86_400)] = Field(
        default=30 * 86_400, description="life of conversion tokens"
    )
    life_dismissal_s: Seconds = Field(default=86_400, description="life of dismissal tokens")
    life_win_s: Seconds = Field(default=86_400, description="life of win notice tokens")
    life_loss_s: Seconds = Field(default=86_400, description="life of loss notice tokens")

    user_key_days: Seconds = Field(
        default=30, description="days after which users' ids are hashed with a new secret"
    )
    retention_days: Seconds = Field(
        default=30, description="days after which nothing that belongs to a person is left"
    )
    user_counters: Seconds = Field(
        default=20_000_000, description="counters of frequency caps and views kept at most, ~28 bytes each"
    )
    caps_without_id: Literal["serve", "withhold"] = Field(
        default="serve", description="what becomes of ads with a frequency cap where nobody can be told apart"
    )
    just_served_s: Seconds = Field(
        default=60, description="how long an ad given to someone counts under its caps before its impression"
    )
    fatigue: Literal["on", "off"] = Field(
        default="on", description="whether earlier views of an ad by the same person are a feature"
    )
    k_anonymity: Seconds = Field(
        default=50, description="audiences of fewer people match nobody; what fits fewer is not forecast"
    )
    admission: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0,
        description="chance that a sighting of a strange interest or segment gives it its row; 1: at sight",
    )
    unused_days: Count = Field(
        default=90, description="a row that no impression lit for so long loses its weights; 0: never"
    )
    clusters: Annotated[int, Field(ge=0, le=256)] = Field(
        default=64,
        description="clusters of alike people, a row of the model each; 0: none, nor of placements",
    )
    placement_clusters: Annotated[int, Field(ge=0, le=64)] = Field(
        default=32, description="clusters of alike placements, a row of the model each"
    )
    clusters_every_s: Seconds = Field(default=600, description="seconds between two fits of the clusters")
    clusters_most_changed: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.01,
        description="share of people, and of placements, that a fit may put into another cluster",
    )
    archive: Literal["on", "off"] = Field(
        default="on", description="closed hours are written to Parquet files under DIR/archive"
    )
    journal_days: Count = Field(
        default=2, description="days for which archived lines stay in the journal, 2 or more; 0: for ever"
    )
    attribution_days: Annotated[int, Field(ge=0, le=30)] = Field(
        default=7, description="days before a conversion whose touches are archived as its path; 0: none are"
    )
    trace_hours: Seconds = Field(default=24, description="hours for which decisions can be traced")
    snapshots: Seconds = Field(default=3, description="snapshots kept beside one an hour")
    snapshot_every_s: Seconds = Field(default=600, description="seconds between snapshots")
    snapshot_every_lines: Seconds = Field(default=100_000, description="journal lines between snapshots")
    decisions_mib: Seconds = Field(default=2_048, description="bound of the decision file")
    log_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.01, description="share of answered ads, bids and events in the log; refusals always are"
    )
    otel_url: str = Field(
        default="", description="where spans go (OTLP over HTTP), e.g. http://127.0.0.1:4318/v1/traces"
    )
    otel_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.01, description="share of ads, bids and events that are traced to it"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="log level")

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("not an IANA time zone")
        return value

    @field_validator("journal_days")
    @classmethod
    def _enough_days(cls, value: int) -> int:
        if value == 1:
            raise ValueError("two days are told from the journal: 2 or more, or 0 for ever")
        return value

    @field_validator("rates")
    @classmethod
    def _sound_rates(cls, value: str) -> str:
        read_rates(value)
        return value

    @field_validator("traffic_limits")
    @classmethod
    def _sound_limits(cls, value: str) -> str:
        read_limits(value)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _sound_networks(cls, value: str) -> str:
        Networks(_listed(value))
        return value

    @field_validator("bots")
    @classmethod
    def _readable_bots(cls, value: str) -> str:
        if value:
            _readable(read_bots, value)
        return value

    @field_validator("data_centres")
    @classmethod
    def _readable_networks(cls, value: str) -> str:
        if value:
            _readable(read_networks, value)
        return value

    @field_validator("geo_file")
    @classmethod
    def _readable_geo(cls, value: str) -> str:
        if value:
            try:
                Geo(Path(value))
            except (OSError, ValueError, InvalidDatabaseError) as error:
                raise ValueError(f"cannot be read: {error}") from error
        return value

    def geo(self) -> Geo:
        """The regions of addresses, where there is a file of them."""
        return Geo(Path(self.geo_file) if self.geo_file else None)

    def clients(self) -> Clients:
        """The lists that the doors hold clients against, read from their files."""
        return Clients(
            bots=read_bots(Path(self.bots)) if self.bots else None,
            data_centres=read_networks(Path(self.data_centres)) if self.data_centres else (),
            proxies=_listed(self.trusted_proxies),
        )

    @field_validator("max_ecpm", "floor_cpm")
    @classmethod
    def _sound_amount(cls, value: str) -> str:
        to_micros(value)
        return value

    def fold(self) -> FoldSettings:
        """The settings that the fold reads.

        The fold forgets people so early that the snapshots kept for traces do not outlive the retention.
        """
        shared = set(FoldSettings.__struct_fields__) & set(type(self).model_fields)
        told = {name: getattr(self, name) for name in shared}
        told["retention_days"] = max(1, self.retention_days - -(-self.trace_hours // 24))
        return FoldSettings(
            **told,
            max_ecpm_micros=to_micros(self.max_ecpm),
            floor_micros=to_micros(self.floor_cpm),
            rates_micros=tuple(sorted(read_rates(self.rates).items())),
        )

    def lives_s(self) -> dict[str, int]:
        """Token lives by kind."""
        kinds = ("impression", "click", "conversion", "dismissal", "win", "loss")
        return {kind: getattr(self, f"life_{kind}_s") for kind in kinds}

    def node(self, data: Path, public_url: str, *, loopback: bool) -> NodeSettings:
        """What flows and doors need of the settings."""
        return NodeSettings(
            data=data,
            columns=self.columns,
            fold=self.fold(),
            currency=self.currency,
            public_url=self.public_url or public_url,
            open_doors=loopback or self.open_doors,
            schain=self.schain,
            schain_blocked=frozenset(
                filter(None, (name.strip().lower() for name in self.schain_blocked.split(",")))
            ),
            inventory=self.inventory,
            max_waiting=self.max_waiting,
            max_wait_ms=self.max_wait_ms,
            read_s=self.read_s,
            trace_hours=self.trace_hours,
            k_anonymity=self.k_anonymity,
            retention_days=self.retention_days,
            clusters=self.clusters,
            placement_clusters=self.placement_clusters,
            clusters_every_s=self.clusters_every_s,
            clusters_most_changed=self.clusters_most_changed,
            archive=self.archive == "on",
            journal_days=self.journal_days,
            attribution_days=min(self.attribution_days, self.retention_days),
            snapshots=self.snapshots,
            snapshot_every_s=self.snapshot_every_s,
            snapshot_every_lines=self.snapshot_every_lines,
            told=self.told(),
        )

    def told(self) -> tuple[Setting, ...]:
        """All settings by their variables, as people may read them: secrets only as set or not."""
        return tuple(
            Setting(
                f"ADJUDGE_{name.upper()}", _masked(name, str(getattr(self, name))), str(field.default),
                field.description or "",
            )
            for name, field in type(self).model_fields.items()
        )  # fmt: skip


def read_settings() -> Settings:
    """Read the environment.

    Errors  Refused("setting") naming the variable.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "ADJUDGE_" + str(first["loc"][0]).upper()
        raise Refused("setting", f"{name}: {first['msg']}", name) from error


def _masked(name: str, value: str) -> str:
    """Hide a secret, and whatever stands before the host of an address.

    >>> _masked("admin_key", "adj_x"), _masked("admin_key", ""), _masked("otel_url", "http://me:pw@host/v1")
    ('(set)', '', 'http://(hidden)@host/v1')
    """
    if name in _SECRETS:
        return "(set)" if value else ""
    return re.sub(r"://[^/@]*@", "://(hidden)@", value)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _readable(read: Callable[[Path], list[str]], path: str) -> None:
    try:
        read(Path(path))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error


def read_rates(text: str) -> dict[str, int]:
    """Read `USD=1350,EUR=1480`: account micros per unit of each currency.

    >>> read_rates("USD=1350,EUR=1480.5")
    {'USD': 1350000000, 'EUR': 1480500000}
    """
    rates: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, amount = part.partition("=")
        try:
            micros = int(Decimal(amount) * MICROS)
        except (InvalidOperation, ValueError, OverflowError) as error:
            raise ValueError(f"{part}: a rate is written USD=1350") from error
        if len(name) != 3 or not name.isupper() or micros <= 0:
            raise ValueError(f"{part}: a rate is written USD=1350")
        rates[name] = micros
    return rates
