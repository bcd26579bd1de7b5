"""Markup: macros filled, the pixel where it belongs, nothing of a creative's own braces touched."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import quote

import pytest

from app.domain.catalogue import Creative, Format
from app.web.links import AdLinks, Links
from app.web.markup import landing, needs_links, render
from app.web.tokens import KINDS, Tokens
from tests.web.test_tokens import AD

TOKENS = Tokens((b"m" * 32,), dict.fromkeys(KINDS, 86_400), b"process1")
LINKS: AdLinks = Links("https://ads.example", TOKENS).of(TOKENS.seal(AD))
PIXEL = f'<img src="{LINKS.impression_url}" width="1" height="1" alt="" style="display:none">'
BUSTER = str(int.from_bytes(LINKS.sealed[-8:], "big"))


def creative(markup: str | None, kind: Format = "banner", name: str = "") -> Creative:
    return Creative(
        id="cr-1",
        ad_group_id="g-1",
        format=kind,
        width=320,
        height=50,
        landing_url="https://shop.example/a?b=c",
        markup=markup,
        name=name,
    )


CLICK, SHOWN, CONVERSION = LINKS.click_url, LINKS.impression_url, LINKS.token("conversion")
CLICK_QUOTED = quote(CLICK, safe="")
#   markup                           OpenRTB adm                      pixel   why
TABLE = [
    ("<b>hi</b>",                    "<b>hi</b>",                     True,   "as it is, then our pixel"),
    ("<style>a{color:red}</style>",  "<style>a{color:red}</style>",   True,   "own braces are left alone"),
    ("{unknown}{{click}}",           "{unknown}{{click}}",            True,   "unknown macros too"),
    ("<a href='{click_url}'>",       f"<a href='{CLICK}'>",           True,   "the click URL"),
    ("{click_url}{click_url}",       CLICK * 2,                       True,   "the same macro twice"),
    ("x?u={click_url_encoded}",      f"x?u={CLICK_QUOTED}",           True,   "as a query value"),
    ("<img src='{impression_url}'>", f"<img src='{SHOWN}'>",          False,  "places the pixel itself"),
    ("{conversion_token}",           CONVERSION,                      True,   "for the landing page"),
    ("{cachebuster}",                BUSTER,                          True,   "differs for every ad"),
]  # fmt: skip


@pytest.mark.parametrize(("markup", "adm", "pixel", "why"), TABLE)
def test_a_banner(markup: str, adm: str, pixel: bool, why: str) -> None:
    assert render(creative(markup), LINKS, pixel=False) == adm, why
    assert render(creative(markup), LINKS) == adm + (PIXEL if pixel else ""), why


def test_vast_gets_macros_and_no_pixel() -> None:
    vast = "<VAST><Impression><![CDATA[{impression_url}]]></Impression></VAST>"
    assert render(creative(vast, "video"), LINKS) == vast.replace("{impression_url}", LINKS.impression_url)
    assert render(creative("<VAST/>", "audio"), LINKS) == "<VAST/>"
    assert render(creative(None, "native"), LINKS) == ""


class Tags(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_banner_without_markup_is_a_linked_box_and_its_name_is_text() -> None:
    html = render(creative(None, name='<script>alert("1")</script>{click_url}'), LINKS)
    seen = Tags()
    seen.feed(html)
    assert seen.tags == ["a", "img"]
    assert seen.words == '<script>alert("1")</script>{click_url}'
    assert html.count(LINKS.click_url) == 1
    assert "shop.example" in render(creative(None), LINKS)


def test_the_cachebuster_differs_from_ad_to_ad() -> None:
    links = [Links("", TOKENS).of(TOKENS.seal(AD)) for _ in range(50)]
    assert len({render(creative("{cachebuster}"), link, pixel=False) for link in links}) == 50


SHOP = "https://shop.example/"
#   landing_url                      sent to                                  why
LANDINGS = [
    (f"{SHOP}a?b=c#d",               f"{SHOP}a?b=c#d",                        "as it is"),
    (SHOP + "?t={conversion_token}", f"{SHOP}?t={CONVERSION}",                "filled"),
    (SHOP + "?c={click_url}",        f"{SHOP}?c={CLICK_QUOTED}",              "encoded: a query value"),
    (f"{SHOP}가방?q=a b",             f"{SHOP}%EA%B0%80%EB%B0%A9?q=a%20b",     "a header is ASCII"),
    (SHOP + "%EA?x={y}",             SHOP + "%EA?x={y}",                      "own braces, own escapes"),
    (f"{SHOP}\r\nX: y",              f"{SHOP}%0D%0AX:%20y",                   "no second header"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "sent_to", "why"), LANDINGS)
def test_a_landing_page(url: str, sent_to: str, why: str) -> None:
    assert landing(url, LINKS) == sent_to, why
    assert needs_links(url) == ("{c" in url), why
