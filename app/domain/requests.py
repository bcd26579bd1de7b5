"""What is asked: an ad request as `choose` takes it, already enriched (device, region, caps resolved).

The same value is kept in the decision record, so that a decision can be made again: nothing that
`choose` reads stands outside this value and the state at the recorded position.
"""

from __future__ import annotations

from msgspec import Struct

from app.domain.catalogue import Blocked

MAX_PLACEMENTS = 20
MAX_ADS_PER_PLACEMENT = 20
MAX_LIT_VALUES = 16  # interests and segments that light rows


class Creativity(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one format of an OpenRTB imp demands of a creative; empty means no demand.

    Units   durations in seconds. `blocked_attributes` are AdCOM creative attributes (battr).
    """

    mimes: tuple[str, ...] = ()
    protocols: tuple[int, ...] = ()
    api: tuple[int, ...] = ()
    blocked_attributes: tuple[int, ...] = ()
    duration_min_s: int | None = None
    duration_max_s: int | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    native_assets: tuple[str, ...] = ()  # required parts: title, body, sponsored, cta, icon_url, image_url


class Ask(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One placement of a request.

    `placement_id` names a registered placement, or with `unregistered` any name the publisher uses.
    Sizes and formats narrow the placement's own; the floor only raises its floor.
    `demands` holds what each offered format demands, by format (OpenRTB alone).
    """

    name: str
    placement_id: str
    unregistered: bool = False
    publisher_id: str = ""
    sizes: tuple[tuple[int, int], ...] = ()
    formats: tuple[str, ...] = ()
    count: int = 1
    floor_micros: int = 0
    secure: bool = False
    deal_only: bool = False
    demands: dict[str, Creativity] = {}


class Person(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The audience of one request; absent is unknown. `region` is ISO 3166-2."""

    id: str | None = None
    gender: str | None = None
    age: int | None = None
    region: str | None = None
    interests: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()


class Surroundings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the ad will stand: page or app, device, own key-values."""

    url: str | None = None
    site_category: tuple[str, ...] = ()
    device: str | None = None
    os: str | None = None
    bundle: str | None = None
    language: tuple[str, ...] = ()
    keys: dict[str, tuple[str | float, ...]] = {}


class AdRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request for ads, enriched. `person` is None where personal features are not allowed.

    `seats` (wseat) lets in only ads of these buyer seats; empty lets in all.
    Blocked app bundles (bapp) stand among the blocked advertisers.
    """

    request_id: str
    asks: tuple[Ask, ...]
    person: Person | None = None
    surroundings: Surroundings = Surroundings()
    blocked: Blocked = Blocked()
    seats: tuple[str, ...] = ()
    blocked_seats: tuple[str, ...] = ()
