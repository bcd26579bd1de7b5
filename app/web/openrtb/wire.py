"""OpenRTB bodies as structs: the subset of 2.6, and its 2.5 places, that we read.

Every field has a default, so that whatever is left out, or was too odd to mend, reads as unknown.

Source  OpenRTB 2.6 section 3.2, Native 1.2 section 4.
"""

from __future__ import annotations

from msgspec import Raw, Struct


class Size(Struct, frozen=True, gc=False):
    """One allowed size of a banner: fixed, or as a ratio with a least width."""

    w: int = 0
    h: int = 0
    wratio: int = 0
    hratio: int = 0
    wmin: int = 0


class Banner(Struct, frozen=True):
    """A banner's place."""

    w: int = 0
    h: int = 0
    format: list[Size] = []
    mimes: list[str] = []
    api: list[int] = []
    battr: list[int] = []


class Video(Struct, frozen=True):
    """A video's or an audio's place; audio knows no width and height. Durations in seconds."""

    mimes: list[str] | None = None
    w: int = 0
    h: int = 0
    minduration: int = 0
    maxduration: int = 0
    rqddurs: list[int] = []
    protocols: list[int] = []
    protocol: int = 0
    api: list[int] = []
    battr: list[int] = []


class NativePlace(Struct, frozen=True):
    """A native ad's place. `request` is a JSON string, or in real bodies also the object itself."""

    request: Raw = Raw()
    api: list[int] = []
    battr: list[int] = []


class Title(Struct, frozen=True, gc=False):
    """A title asset."""

    len: int = 0


class Image(Struct, frozen=True, gc=False):
    """An image asset: type 1 is the icon, 3 the main image."""

    type: int = 0


class Data(Struct, frozen=True, gc=False):
    """A data asset: type 1 is sponsored by, 2 the body, 12 the call to action."""

    type: int = 0
    len: int = 0


class Asset(Struct, frozen=True):
    """One part that a native ad is asked for."""

    id: int = 0
    required: int = 0
    title: Title | None = None
    img: Image | None = None
    data: Data | None = None


class NativeRequest(Struct, frozen=True):
    """What `native.request` holds. Native 1.0 wraps it in a root object `native`."""

    ver: str = ""
    assets: list[Asset] = []
    native: NativeRequest | None = None


class Deal(Struct, frozen=True):
    """A deal that was offered. Its floor's currency is not the imp's; with `at` 3 the floor is the price."""

    id: str = ""
    bidfloor: float = 0.0
    bidfloorcur: str = "USD"
    at: int = 2
    wseat: list[str] = []
    wadomain: list[str] = []


class Pmp(Struct, frozen=True):
    """The private marketplace of an imp."""

    private_auction: int = 0
    deals: list[Deal] = []


class Imp(Struct, frozen=True):
    """One place for an ad. The floor is per 1,000 impressions."""

    id: str = ""
    banner: Banner | None = None
    video: Video | None = None
    audio: Video | None = None
    native: NativePlace | None = None
    pmp: Pmp | None = None
    tagid: str = ""
    bidfloor: float = 0.0
    bidfloorcur: str = "USD"
    secure: int = 0
    exp: int = 0


class Owner(Struct, frozen=True, gc=False):
    """A publisher."""

    id: str = ""
    domain: str = ""


class Channel(Struct, frozen=True):
    """A site, an app or a digital out-of-home screen."""

    id: str = ""
    domain: str = ""
    page: str = ""
    bundle: str = ""
    cat: list[str] = []
    sectioncat: list[str] = []
    pagecat: list[str] = []
    publisher: Owner | None = None
    keywords: str = ""
    kwarray: list[str] = []


class Geo(Struct, frozen=True, gc=False):
    """A place, as coarse as we use it."""

    country: str = ""
    region: str = ""


class Platform(Struct, frozen=True, gc=False):
    """A brand in the client hints."""

    brand: str = ""


class ClientHints(Struct, frozen=True):
    """The structured user agent; it wins over `ua`."""

    platform: Platform | None = None
    mobile: int | None = None
    browsers: list[Platform] = []


class Device(Struct, frozen=True):
    """What the ad will be shown on."""

    ua: str = ""
    sua: ClientHints | None = None
    ip: str = ""
    ipv6: str = ""
    geo: Geo | None = None
    dnt: int = 0
    lmt: int = 0
    devicetype: int = 0
    os: str = ""
    ifa: str = ""


class Segment(Struct, frozen=True, gc=False):
    """A segment that a data provider put the user in."""

    id: str = ""
    name: str = ""


class Provider(Struct, frozen=True):
    """A data provider's segments."""

    segment: list[Segment] = []


class Uid(Struct, frozen=True, gc=False):
    """One id of a user."""

    id: str = ""


class Eid(Struct, frozen=True):
    """The ids that one source gave a user."""

    uids: list[Uid] = []


class UserExt(Struct, frozen=True):
    """Where OpenRTB 2.5 put what 2.6 has in the user itself."""

    consent: str = ""
    eids: list[Eid] = []


class User(Struct, frozen=True):
    """Whom the ad will be shown to."""

    id: str = ""
    buyeruid: str = ""
    yob: int = 0
    gender: str = ""
    keywords: str = ""
    kwarray: list[str] = []
    consent: str = ""
    geo: Geo | None = None
    data: list[Provider] = []
    eids: list[Eid] = []
    ext: UserExt | None = None


class RegsExt(Struct, frozen=True):
    """Where OpenRTB 2.5 put what 2.6 has in regs itself."""

    gdpr: int | None = None
    us_privacy: str = ""
    gpp: str = ""
    gpp_sid: list[int] = []


class Regs(Struct, frozen=True):
    """The law that applies."""

    coppa: int = 0
    gdpr: int | None = None
    us_privacy: str = ""
    gpp: str = ""
    gpp_sid: list[int] = []
    ext: RegsExt | None = None


class ChainNode(Struct, frozen=True, gc=False):
    """Who passed a request on: the system's domain."""

    asi: str = ""


class SupplyChain(Struct, frozen=True):
    """Everybody who was paid on the way, if `complete`."""

    complete: int = 0
    nodes: list[ChainNode] = []


class SourceExt(Struct, frozen=True):
    """Where OpenRTB 2.5 put the supply chain."""

    schain: SupplyChain | None = None


class Source(Struct, frozen=True):
    """Where a request comes from."""

    schain: SupplyChain | None = None
    ext: SourceExt | None = None


class BidRequest(Struct, frozen=True):
    """A bid request, checked. `tmax` in milliseconds."""

    id: str = ""
    imp: list[Imp] = []
    site: Channel | None = None
    app: Channel | None = None
    dooh: Channel | None = None
    device: Device | None = None
    user: User | None = None
    regs: Regs | None = None
    test: int = 0
    tmax: int | None = None
    wseat: list[str] = []
    bseat: list[str] = []
    cur: list[str] = []
    wlang: list[str] = []
    wlangb: list[str] = []
    bcat: list[str] = []
    badv: list[str] = []
    bapp: list[str] = []
    source: Raw = Raw()  # read where the operator's policy wants it
    ext: Raw = Raw()
