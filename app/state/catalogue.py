"""The catalogue as the fold knows it: every thing with its revision, who stands under whom, and the places
(ads, columns, rows, accounts) that things were given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.catalogue import (
    KINDS,
    AdGroup,
    Advertiser,
    Audience,
    Campaign,
    Creative,
    Experiment,
    Placement,
    Thing,
    audiences_in,
    kind_of,
    parent_of,
)  # fmt: skip
from app.domain.refusals import Refused
from app.rules import features, standing
from app.rules.counters import CAMPAIGN, CREATIVE, GROUP
from app.state.accounts import Accounts
from app.state.ads import Ads
from app.state.caps import Caps
from app.state.columns import OWN_COLUMN_FIELD, SHARED_COLUMN_KINDS, column_keys
from app.state.model import PADDING
from app.state.places import GroupedPlaces, Places


class Catalogue:
    """Things by kind and id; `columns` and `rows` are places in the matrix, `ads` those in the auction."""

    def __init__(self, columns: int, time_zone: str) -> None:
        self.changes = 0  # counts what may change what was worked out from the catalogue
        self.things: dict[str, dict[str, Thing]] = {kind: {} for kind in KINDS}
        self.revisions: dict[tuple[str, str], int] = {}
        self.children: defaultdict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)  # kind and id
        shared = columns // 5 // GroupedPlaces.RUN * GroupedPlaces.RUN or columns // 2
        self.columns = Places(shared, reserved=1)  # column 0: any ad; those that ads share
        self.first_ad_column = shared  # behind them each ad has a column of its own, in the ads' order
        self.column_fields = np.zeros(
            columns + PADDING, dtype=np.int32
        )  # as vectors of columns are told apart
        self.column_fields[shared:columns] = OWN_COLUMN_FIELD
        block = features.BLOCKS["placement"]
        self.rows = Places(block.end, reserved=block.start)
        self.ads = Ads(columns - shared)
        self.caps = Caps(self.ads)
        self.group_index: dict[str, int] = {}
        self.campaign_index: dict[str, int] = {}
        self.advertiser_index: dict[str, int] = {}
        self.advertisers_named: defaultdict[str, set[int]] = defaultdict(set)  # by id and domain
        self.group_accounts = Accounts()
        self.campaign_accounts = Accounts()
        self.group_campaign = np.zeros(64, dtype=np.int32)
        self.group_charge = np.zeros(64)  # micros of a charge, and of an answer's worth, at the group's bid
        self.group_answer = np.zeros(64)
        self.campaign_even = np.zeros(64, dtype=np.bool_)
        self.zones: list[str] = [time_zone]
        self.zone_since: dict[str, int] = {}  # campaigns whose zone was changed, and when (ms)
        self.groups = standing.Groups(
            given=np.zeros(64, dtype=np.uint8), starts_at_ms=np.zeros(64, dtype=np.int64),
            ends_at_ms=np.zeros(64, dtype=np.int64), hours=np.zeros(64, dtype=np.uint32),
            weekdays=np.zeros(64, dtype=np.uint8), zone=np.zeros(64, dtype=np.int32),
        )  # fmt: skip

    # What the doors ask.

    def get(self, kind: str, identity: str) -> Thing | None:
        """Find a thing, archived or not."""
        return self.things[kind].get(identity)

    def revision(self, kind: str, identity: str) -> int:
        """Count the changes of a thing; 0 when it never was."""
        return self.revisions.get((kind, identity), 0)

    def ids(self, kind: str) -> list[str]:
        """List the ids of a kind in order."""
        return sorted(self.things[kind])

    def in_order(self, kind: str) -> list[str]:
        """List the ids of a kind, those that others of it speak of first."""
        return sorted(self.ids(kind), key=lambda key: bool(audiences_in(self.things[kind][key])))

    def live_children(self, kind: str, identity: str) -> int:
        """Count the things directly under this one that are not archived."""
        return sum(child.status != "archived" for child in self.children_of(kind, identity))

    def check(self, thing: Thing) -> None:
        """Refuse what does not fit the catalogue as it is.

        Errors  unknown_parent, archived_parent, parent_fixed, unknown_audience, format_fixed,
                experiment_fixed, not_running, experiment_running, catalogue_full, in this order.
        """
        kind = kind_of(thing)
        link = parent_of(thing)
        old = self.get(kind, thing.id)
        if link is not None:
            field = f"{link[0]}_id"
            parent = self.get(*link)
            if parent is None:
                raise Refused("unknown_parent", f"there is no {link[0]} {link[1]}", field)
            if parent.status == "archived" and thing.status != "archived":
                raise Refused("archived_parent", f"{link[0]} {link[1]} is archived", field)
            if old is not None and parent_of(old) != link:
                raise Refused("parent_fixed", f"{kind} {thing.id} stands under another {link[0]}", field)
        self._check_audiences(thing)
        if isinstance(old, Creative) and isinstance(thing, Creative) and old.format != thing.format:
            raise Refused("format_fixed", "a creative keeps its format; register another", "format")
        if isinstance(thing, Experiment):
            assert old is None or isinstance(old, Experiment)
            self._check_experiment(thing, old)
        if self._full(thing):
            raise Refused("catalogue_full", f"no place is left for what {kind} {thing.id} brings", "type")

    def _check_audiences(self, thing: Thing) -> None:
        """Refuse an audience that is not there, or is another advertiser's, which nobody is to find out."""
        for audience_id in audiences_in(thing):
            assert isinstance(thing, AdGroup | Audience)
            audience = self.get("audience", audience_id)
            alike = isinstance(thing, Audience)
            owner = thing.advertiser_id if isinstance(thing, Audience) else self.above(thing)[1].id
            field = "lookalike.of" if alike else "targeting.audience"
            if not isinstance(audience, Audience) or audience.advertiser_id != owner:
                raise Refused("unknown_audience", f"there is no audience {audience_id}", field)
            if alike and audience.lookalike is not None:
                raise Refused("invalid", f"{audience_id} is a look-alike audience itself: name a list", field)

    def _check_experiment(self, new: Experiment, old: Experiment | None) -> None:
        """Refuse what would make results meaningless: other variants under way, or two experiments at once.

        An exposure is one number in a token, so that one experiment runs at a time.
        """
        if old is not None:
            if _frozen(new) != _frozen(old) or (old.promoted is not None and new.promoted != old.promoted):
                fixed = "its variants but for their shares, and what was promoted, stay as they are"
                raise Refused("experiment_fixed", fixed, "variants")
            if new.promoted != old.promoted and not old.runs:
                raise Refused("not_running", "only what runs can be promoted", "promoted")
        for other in self.things["experiment"].values():
            assert isinstance(other, Experiment)
            if new.runs and other.runs and other.id != new.id:
                raise Refused("experiment_running", f"experiment {other.id} runs already", "status")

    def wants_act(self, kind: str, campaign_id: str) -> bool:
        """Say whether an ad group of a campaign leaves out those who did something: click or conversion."""
        groups = self.children_of("campaign", campaign_id)
        return any(isinstance(each, AdGroup) and each.targeting.exclude_after == kind for each in groups)

    @property
    def width(self) -> int:
        """How many columns of the matrix may hold anything."""
        return self.first_ad_column + self.ads.places.used

    def room(self) -> int:
        """Count the new creatives or placements that certainly find a place, whatever they are."""
        return min(self.columns.left // len(SHARED_COLUMN_KINDS), self.rows.left, self.ads.places.left)

    def _full(self, thing: Thing) -> bool:
        """Say whether a thing would need more places than are left: its own, and of all it revives."""
        if isinstance(thing, Placement):
            return thing.status != "archived" and thing.id not in self.rows.by_key and not self.rows.left
        keys: set[tuple[str, str]] = set()
        ads: set[str] = set()
        for chain in self._live_under(thing):
            keys.update(key for key in column_keys(*chain) if key not in self.columns.by_key)
            ads.update(creative.id for creative in chain[:1] if creative.id not in self.ads.places.by_key)
        return len(keys) > self.columns.left or len(ads) > self.ads.places.left

    def _live_under(self, thing: Thing) -> Iterator[tuple[Creative, AdGroup, Campaign, Advertiser]]:
        """Go through the creatives that would be live under a thing, each with all above it."""
        stack: list[Thing] = [thing]
        while stack:
            one = stack.pop()
            if isinstance(one, Creative):
                chain = self.chain(one, thing)
                if all(each.status != "archived" for each in chain):
                    yield chain
            else:
                stack += self.children_of(kind_of(one), one.id)

    def children_of(self, kind: str, identity: str) -> Iterator[Thing]:
        """Go through what stands directly under a thing, in order."""
        for child_kind, child in sorted(self.children.get((kind, identity), ())):
            yield self.things[child_kind][child]

    # What the fold writes.

    def take(self, thing: Thing, at_ms: int) -> None:
        """Register or replace a thing; `settling.settle` then compiles what hangs on it."""
        self.changes += 1
        kind = kind_of(thing)
        old = self.things[kind].get(thing.id)
        if isinstance(old, Campaign) and isinstance(thing, Campaign) and old.time_zone != thing.time_zone:
            self.zone_since[thing.id] = at_ms
        self.things[kind][thing.id] = thing
        self.revisions[kind, thing.id] = self.revision(kind, thing.id) + 1
        link = parent_of(thing)
        if link is not None:
            self.children[link].add((kind, thing.id))
        self._open(thing)

    def _open(self, thing: Thing) -> None:
        """Give a thing its index and account, once and for all."""
        match thing:
            case Advertiser():
                self.advertiser_index.setdefault(thing.id, len(self.advertiser_index))
                self._name(thing)
            case Campaign() if thing.id not in self.campaign_index:
                self.campaign_index[thing.id] = self.campaign_accounts.open()
            case AdGroup() if thing.id not in self.group_index:
                index = self.group_index[thing.id] = self.group_accounts.open()
                self._grow(index + 1)
                self.group_campaign[index] = self.campaign_index[thing.campaign_id]
            case _:
                pass

    def _name(self, advertiser: Advertiser) -> None:
        index = self.advertiser_index[advertiser.id]
        for named in self.advertisers_named.values():
            named.discard(index)
        for name in (advertiser.id, *domains(advertiser.domain)):
            self.advertisers_named[name].add(index)

    def _grow(self, count: int) -> None:
        if count <= len(self.group_campaign):
            return
        size = 2 * len(self.group_campaign)
        self.group_campaign = np.resize(self.group_campaign, size)
        self.group_charge = np.resize(self.group_charge, size)
        self.group_answer = np.resize(self.group_answer, size)
        for field in self.groups.__slots__:
            setattr(self.groups, field, np.resize(getattr(self.groups, field), size))

    def above(self, group: AdGroup) -> tuple[Campaign, Advertiser]:
        """Find the campaign and advertiser of an ad group."""
        campaign = self.things["campaign"][group.campaign_id]
        assert isinstance(campaign, Campaign)
        advertiser = self.things["advertiser"][campaign.advertiser_id]
        assert isinstance(advertiser, Advertiser)
        return campaign, advertiser

    def chain(
        self, creative: Creative, instead: Thing | None = None
    ) -> tuple[Creative, AdGroup, Campaign, Advertiser]:
        """Find all above a creative; a thing of the same kind and id stands in for its own."""

        def known(kind: str, identity: str) -> Any:
            here = instead is not None and kind_of(instead) == kind and instead.id == identity
            return instead if here else self.things[kind][identity]

        group = known("ad_group", creative.ad_group_id)
        campaign = known("campaign", group.campaign_id)
        return creative, group, campaign, known("advertiser", campaign.advertiser_id)

    def payers(self, creative_id: str) -> tuple[AdGroup, Campaign]:
        """Find the ad group and campaign that pay for a creative."""
        creative: Any = self.things["creative"][creative_id]
        _, group, campaign, _ = self.chain(creative)
        return group, campaign

    def counted_under(self, creative_id: str) -> NDArray[np.int64]:
        """List what an impression of a creative counts under: each cap above it, and its own views.

        Shape   (k,) int64, as `rules.counters.what_of` names them; an ad whose place is another's has no own.
        """
        known = self.caps.counted.get(creative_id)
        if known is None:
            group, campaign = self.payers(creative_id)
            whats = self.caps.of(GROUP, self.group_index[group.id])
            whats += self.caps.of(CAMPAIGN, self.campaign_index[campaign.id])
            ad = self.ads.places.by_key.get(creative_id)
            if ad is not None:
                whats += [*self.caps.of(CREATIVE, ad), self.caps.views_of(ad)]
            known = self.caps.counted[creative_id] = np.array(whats, dtype=np.int64)
        return known

    def zone_index(self, zone: str) -> int:
        """Number a time zone; 0 is the node's own, which may change under a campaign's feet."""
        if zone not in self.zones[1:]:
            self.zones.append(zone)
        return self.zones.index(zone, 1)

    # Snapshots.

    def parts(self) -> dict[str, Any]:
        """Copy things, revisions and every place given out, in plain values."""
        places = {"columns": self.columns, "rows": self.rows, "ads": self.ads.places}
        return {
            "things": [self.things[kind][key] for kind in KINDS for key in self.ids(kind)],
            "revisions": [(kind, key, count) for (kind, key), count in sorted(self.revisions.items())],
            "indexes": [sorted(index.items()) for index in self._indexes()],
            "zones": self.zones,
            "zone_since": sorted(self.zone_since.items()),
            "places": {name: place.parts() for name, place in places.items()},
        }

    def _indexes(self) -> tuple[dict[str, int], ...]:
        return self.group_index, self.campaign_index, self.advertiser_index

    def restore(self, parts: dict[str, Any], things: Iterable[Thing]) -> None:
        """Take back what `parts` copied, each thing at its place; `settling.resettle` then compiles them."""
        for name, place in (("columns", self.columns), ("rows", self.rows), ("ads", self.ads.places)):
            place.restore(parts["places"][name])
        for key, column in self.columns.by_key.items():
            assert isinstance(key, tuple)
            self.column_fields[column] = SHARED_COLUMN_KINDS.index(key[0]) + 1
        self.zones = list(parts["zones"])
        self.zone_since = dict(parts["zone_since"])
        for index, pairs in zip(self._indexes(), parts["indexes"], strict=True):
            index.update((key, at) for key, at in pairs)
        for _ in self.group_index:
            self._grow(self.group_accounts.open() + 1)
        for _ in self.campaign_index:
            self.campaign_accounts.open()
        for thing in things:
            self.things[kind_of(thing)][thing.id] = thing
            link = parent_of(thing)
            if link is not None:
                self.children[link].add((kind_of(thing), thing.id))
            match thing:
                case AdGroup():
                    self.group_campaign[self.group_index[thing.id]] = self.campaign_index[thing.campaign_id]
                case Advertiser():
                    self._name(thing)
                case _:
                    pass
        self.revisions = {(kind, key): count for kind, key, count in parts["revisions"]}


def _frozen(experiment: Experiment) -> Experiment:
    """An experiment without what may change while it is under way."""
    variants = tuple(msgspec.structs.replace(variant, share=0.0) for variant in experiment.variants)
    return msgspec.structs.replace(experiment, variants=variants, name="", promoted=None, status="active")


def domains(domain: str | None) -> Iterator[str]:
    """Name a domain and those above it, but for the top level: a block of one blocks what lies under it.

    >>> list(domains("www.Shop.example"))
    ['www.shop.example', 'shop.example']
    """
    labels = (domain or "").lower().split(".")
    for start in range(len(labels) - 1):
        yield ".".join(labels[start:])
