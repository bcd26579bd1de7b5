"""What is asked: an ad request as `choose` takes it, already enriched (device, region, caps resolved).

The same value is kept in the decision record, so that a decision can be made again: nothing that
`choose` reads stands outside this value and the state at the recorded position.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import astuple

from app.domain.catalogue import Blocked

MAX_PLACEMENTS = 20
MAX_ADS_PER_PLACEMENT = 20
MAX_LIT_VALUES = 16  # interests and segments that light rows
MAX_DEALS = 200  # per placement: with its slots they number the ads of a decision in one byte
FIXED_PRICE = 3  # a deal's `at`: its floor is the agreed price
USER_KEY_BYTES = 12  # of the keyed hash that stands for a person's id
_BEHIND_PATH = re.compile(r"[?#]")
MAX_KEYWORDS = 64
_HOST = re.compile(r"https?://(?:[^/@?#]*@)?([^/:?#@]{1,253})", re.IGNORECASE)
_LOGIN = re.compile(r"(?<=//)[^/@]*@")


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


class Deal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A deal offered for a placement: an auction of its own, among the ads that target it, at its own floor.

    `at` is OpenRTB's (1 first price, 2 second price plus, 3 the floor is the agreed price). `seats` lets in
    only these buyer seats, `advertisers` only these advertisers, by id or domain; empty lets in all.
    """

    id: str
    floor_micros: int = 0
    at: int = 2
    seats: tuple[str, ...] = ()
    advertisers: tuple[str, ...] = ()


class Ask(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One placement of a request.

    `placement_id` names a registered placement, or with `unregistered` any name the publisher uses.
    Sizes and formats narrow the placement's own; the floor only raises its floor.
    `demands` holds what each offered format demands, by format (OpenRTB alone). With `deal_only` (a private
    auction) nothing but the deals is sold.
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
    deals: tuple[Deal, ...] = ()


class Person(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The audience of one request; absent is unknown. `region` is ISO 3166-2.

    `key` is the keyed hash that stands for the person's id, `former_key` the one it had in the period before,
    None outside the overlap of the two. The id itself never gets here. `audiences` are those that the person
    is in, and what they did (`click@c-1`: clicked an ad of campaign c-1) where an ad group asks for it.
    """

    key: bytes | None = None
    former_key: bytes | None = None
    gender: str | None = None
    age: int | None = None
    region: str | None = None
    interests: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()


def used_of(person: Person | None) -> list[str]:
    """Name what of a person a decision may use.

    >>> used_of(Person(key=bytes(12), gender="F"))
    ['id', 'gender']
    """
    if person is None:
        return []
    attributes = zip(_ATTRIBUTES, astuple(person)[_KEYS:], strict=True)
    told = [name for name, value in attributes if value is not None and value != ()]
    return ["id", *told] if person.key is not None else told


_KEYS = 2  # of its fields, before the attributes
_ATTRIBUTES = Person.__struct_fields__[_KEYS:]


class Surroundings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the ad will stand: page or app (a URL without its query), device, own key-values.

    `site` is the page's domain, `bundle` the app's; both and the keywords in lower case.
    """

    url: str | None = None
    site_category: tuple[str, ...] = ()
    device: str | None = None
    os: str | None = None
    bundle: str | None = None
    language: tuple[str, ...] = ()
    keys: dict[str, tuple[str | float, ...]] = {}
    browser: str | None = None
    site: str | None = None
    keywords: tuple[str, ...] = ()


class AdRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request for ads, enriched. `withheld` names the signal for which personal features are not used
    (consent, law, the person's own wish); `person` is then None, or tells the country alone.

    `flaw` is what the door's lists said against the device that it names; empty for nothing.

    `seats` (wseat) lets in only ads of these buyer seats; empty lets in all.
    `just_served` are the ads (creative indexes) given to this person a moment ago, impressions still to come.
    Blocked app bundles (bapp) stand among the blocked advertisers.
    """

    request_id: str
    asks: tuple[Ask, ...]
    person: Person | None = None
    surroundings: Surroundings = Surroundings()
    blocked: Blocked = Blocked()
    seats: tuple[str, ...] = ()
    blocked_seats: tuple[str, ...] = ()
    withheld: str | None = None
    just_served: tuple[int, ...] = ()
    flaw: str = ""


def words_of(texts: Sequence[str], most: int = MAX_KEYWORDS) -> tuple[str, ...]:
    """Write keywords as they are compared: trimmed, in lower case, each once.

    >>> words_of([" Baduk ", "baduk", ""])
    ('baduk',)
    """
    if not texts:
        return ()
    return tuple(dict.fromkeys(word for text in texts if (word := text.strip().lower())))[:most]


def site_of(url: str | None) -> str | None:
    """Name the host of a page.

    >>> site_of("https://www.News.example:8080/a"), site_of("news.example"), site_of(None)
    ('www.news.example', None, None)
    """
    found = _HOST.match(url) if url else None
    return found[1].lower() if found else None


def bare_url(url: str | None) -> str | None:
    """Cut off what may tell of a person: a URL's query, fragment and login.

    >>> bare_url("https://me:pw@news.example/a?session=5#top")
    'https://news.example/a'
    """
    return _LOGIN.sub("", _BEHIND_PATH.split(url, maxsplit=1)[0]) or None if url else None
