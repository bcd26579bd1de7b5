"""OpenRTB bodies as structs: the subset of 2.6 (and its 2.5 places) that we read. Lenient but for a list.

Unknown fields and enum values never fail; odd types ("728", 2.0, a string for a list) are repaired. A
body is `Malformed`, a 400, only for what `decode` lists: the validations of prebid-server that guard
against corrupt requests, with its messages.

Source  OpenRTB 2.6 section 3.2; prebid-server `ortb/request_validator*.go`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw, Struct

from app.web.openrtb.mend import mend


class Malformed(Exception):
    """The body is not a bid request: 400, without content."""


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
    """A deal that was offered."""

    id: str = ""


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


_typed = msgspec.json.Decoder(BidRequest, strict=False)
_typed_native = msgspec.json.Decoder(NativeRequest, strict=False)
_plain = msgspec.json.Decoder()
_KEPT_BYTES = 4_096  # a longer native request is read anew, so that strangers cannot fill the memory


def decode(body: bytes) -> BidRequest:
    """Read a body.

    Cost    about 10 us for 2 kB of sound types; a body to be mended some 20 times as much.
    Errors  Malformed, in this order: not JSON or not an object; no id; negative tmax; no imp; more than
            one of site, app and dooh; gdpr neither 0 nor 1; then imp by imp: no id, no format, negative
            sizes, a size that is fixed and a ratio, empty video.mimes, native.request no JSON, a deal
            without id; then imp ids that repeat.
    """
    try:
        request = _typed.decode(body)
    except msgspec.ValidationError:
        request = _mended(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed("Invalid request: not JSON") from error
    _check(request)
    return request


def decode_native(raw: Raw) -> NativeRequest | None:
    """Read a native imp's request, string or object, with or without a root; None when it says nothing.

    Cost    a slot sends the same request again and again: under 1 us when it is known.
    Errors  Malformed when it is a string that is not JSON.
    """
    body = bytes(raw)
    return _kept_native(body) if len(body) <= _KEPT_BYTES else _native(body)


def _native(body: bytes) -> NativeRequest | None:
    if not body or body in (b"null", b'""'):
        return None
    try:
        if body[:1] == b'"':
            body = _plain.decode(body).encode()
        try:
            return _typed_native.decode(body)
        except msgspec.ValidationError:
            plain = _plain.decode(body)
            return mend(plain, NativeRequest) if isinstance(plain, dict) else None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Malformed("Invalid request: native.request is not JSON") from error


_kept_native = lru_cache(maxsize=4_096)(_native)


def _mended(body: bytes) -> BidRequest:
    """Read a body whose JSON is sound but whose types are not."""
    try:
        plain: Any = _plain.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed("Invalid request: not JSON") from error
    if not isinstance(plain, dict):
        raise Malformed("Invalid request: not an object")
    try:
        return mend(plain, BidRequest)
    except RecursionError as error:
        raise Malformed("Invalid request: nested too deeply") from error


def _check(request: BidRequest) -> None:
    if not request.id:
        raise Malformed('Invalid request: request missing required field: "id"')
    if request.tmax is not None and request.tmax < 0:
        raise Malformed(f"Invalid request: request.tmax must be nonnegative. Got {request.tmax}")
    if not request.imp:
        raise Malformed("Invalid request: request.imp must contain at least one element.")
    if (request.site is not None) + (request.app is not None) + (request.dooh is not None) > 1:
        raise Malformed(
            "Invalid request: No more than one of request.site or request.app or request.dooh can be defined"
        )
    regs = request.regs
    if regs is not None:
        for gdpr in (regs.gdpr, regs.ext.gdpr if regs.ext else None):
            if gdpr is not None and gdpr not in (0, 1):
                raise Malformed("Invalid request: request.regs.gdpr must be either 0 or 1.")
    for place, imp in enumerate(request.imp):
        _check_imp(imp, f"request.imp[{place}]")
    if len(request.imp) > 1:
        _check_ids(request.imp)


def _check_imp(imp: Imp, path: str) -> None:
    if not imp.id:
        raise Malformed(f'Invalid request: {path} missing required field: "id"')
    video, banner, native = imp.video, imp.banner, imp.native
    if banner is None and video is None and native is None and imp.audio is None:
        raise Malformed(
            f'Invalid request: {path} must contain at least one of "banner", "video", "audio", or "native"'
        )
    if banner is not None:
        _check_banner(banner, path)
    if video is not None:
        if video.mimes is not None and not video.mimes:
            raise Malformed(
                f"Invalid request: {path}.video.mimes must contain at least one supported MIME type"
            )
        if video.w < 0 or video.h < 0:
            raise Malformed(
                f"Invalid request: {path}.video.{'w' if video.w < 0 else 'h'} must be a positive number"
            )
    if native is not None:
        decode_native(native.request)
    if imp.pmp is not None:
        for place, deal in enumerate(imp.pmp.deals):
            if not deal.id:
                raise Malformed(f'Invalid request: {path}.pmp.deals[{place}] missing required field: "id"')


def _check_banner(banner: Banner, path: str) -> None:
    if banner.w < 0 or banner.h < 0:
        raise Malformed(
            f"Invalid request: {path}.banner.{'w' if banner.w < 0 else 'h'} must be a positive number"
        )
    for place, size in enumerate(banner.format):
        where = f"{path}.banner.format[{place}]"
        for name in ("w", "h", "wratio", "hratio", "wmin"):
            if getattr(size, name) < 0:
                raise Malformed(f"Invalid request: {where}.{name} must be a positive number")
        if (size.w or size.h) and (size.wmin or size.wratio or size.hratio):
            raise Malformed(
                f"Invalid request: {where} should define *either* {{w, h}} *or* {{wmin, wratio, hratio}}, "
                'but not both. If both are valid, send two "format" objects in the request.'
            )


def _check_ids(imps: list[Imp]) -> None:
    first: dict[str, int] = {}
    for place, imp in enumerate(imps):
        if imp.id in first:
            raise Malformed(
                f"Invalid request: request.imp[{first[imp.id]}].id and request.imp[{place}].id are both "
                f'"{imp.id}". Imp IDs must be unique.'
            )
        first[imp.id] = place
