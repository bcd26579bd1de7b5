"""Native ads: which parts a request asks for, and the answer put together from a creative's parts.

Source  OpenRTB Native 1.2 sections 4 and 5; AdCOM lists of image and data asset types.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from app.domain.catalogue import Creative, Native
from app.web.openrtb.decode import decode_native
from app.web.openrtb.wire import Asset

# Asset types -> the creative's part. Image type 2 is the logo of old requests.
_IMAGES = {1: "icon_url", 2: "icon_url", 3: "image_url", 0: "image_url"}
_DATA = {1: "sponsored", 2: "body", 12: "cta"}


class Wanted(Struct, frozen=True, gc=False):
    """One asset asked for that we know how to fill. `length` is the most letters, 0 for any."""

    id: int
    part: str
    length: int


class NativeForm(Struct, frozen=True):
    """What a native request asks for; `required` names the parts that a creative must have."""

    ver: str
    rooted: bool
    wanted: tuple[Wanted, ...]
    required: tuple[str, ...]


def native_form(raw: Raw) -> NativeForm | None:
    """Read which of our parts a native imp's request asks for.

    None where it asks for nothing that we have, or requires what no creative of ours can hold.
    """
    request = decode_native(raw)
    if request is None:
        return None
    root = request.native or request
    wanted: list[Wanted] = []
    required: list[str] = []
    for asset in root.assets:
        part, length = _part_of(asset)
        if part:
            wanted.append(Wanted(asset.id, part, length))
            if asset.required == 1:
                required.append(part)
        elif asset.required == 1:
            return None
    if not wanted:
        return None
    ver = root.ver or request.ver
    return NativeForm(ver, request.native is not None, tuple(wanted), tuple(dict.fromkeys(required)))


def _part_of(asset: Asset) -> tuple[str, int]:
    if asset.title is not None:
        return "title", asset.title.len
    if asset.img is not None:
        return _IMAGES.get(asset.img.type, ""), 0
    if asset.data is not None:
        return _DATA.get(asset.data.type, ""), asset.data.len
    return "", 0


def native_adm(form: NativeForm, creative: Creative, click_url: str) -> str | None:
    """Write a native ad: the parts asked for, by their asset ids, and the click URL.

    It carries no impression trackers: the billing notice is the impression. Texts are cut to the length
    asked for. None when a required part is missing.
    """
    native = creative.native or Native()
    if any(not getattr(native, part) for part in form.required):
        return None
    assets = [
        {"id": one.id, **_filled(one, native, value)}
        for one in form.wanted
        if (value := getattr(native, one.part))
    ]
    if not assets:
        return None
    answer: dict[str, Any] = {"assets": assets, "link": {"url": click_url}}
    if form.ver:
        answer = {"ver": form.ver, **answer}
    return msgspec.json.encode({"native": answer} if form.rooted else answer).decode()


def _filled(wanted: Wanted, native: Native, value: str) -> dict[str, Any]:
    if wanted.part == "icon_url":
        return {"img": {"url": value}}
    if wanted.part == "image_url":
        image: dict[str, Any] = {"url": value}
        if native.image_width and native.image_height:
            image |= {"w": native.image_width, "h": native.image_height}
        return {"img": image}
    text = value if not wanted.length or len(value) <= wanted.length else value[: wanted.length - 1] + "…"
    return {"title": {"text": text}} if wanted.part == "title" else {"data": {"value": text}}
