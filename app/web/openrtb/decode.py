"""Bytes as a bid request: lenient in types and unknown things, strict in a short list.

Unknown fields and enum values never fail; odd types ("728", 2.0, a string for a list) are repaired. A
body is `Malformed`, a 400, only for what `decode` lists: the validations of prebid-server that guard
against corrupt requests, with its messages.

Source  prebid-server `ortb/request_validator*.go`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw

from app.web.openrtb.mend import mend
from app.web.openrtb.wire import Banner, BidRequest, Imp, NativeRequest


class Malformed(Exception):
    """The body is not a bid request: 400, without content."""


_typed = msgspec.json.Decoder(BidRequest, strict=False)
_typed_native = msgspec.json.Decoder(NativeRequest, strict=False)
_plain = msgspec.json.Decoder()
_KEPT_BYTES = 4_096  # a longer native request is read anew, so that strangers cannot fill the memory


def decode(body: bytes, *, many_channels: bool = False) -> BidRequest:
    """Read a body. With `many_channels` it may have site and app both: the operator's policy judges that.

    Cost    about 4 us for 2 kB of sound types; a body to be mended some 20 times as much.
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
    _check(request, many_channels)
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


def _check(request: BidRequest, many_channels: bool) -> None:
    if not request.id:
        raise Malformed('Invalid request: request missing required field: "id"')
    if request.tmax is not None and request.tmax < 0:
        raise Malformed(f"Invalid request: request.tmax must be nonnegative. Got {request.tmax}")
    if not request.imp:
        raise Malformed("Invalid request: request.imp must contain at least one element.")
    channels = (request.site is not None) + (request.app is not None) + (request.dooh is not None)
    if channels > 1 and not many_channels:
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
