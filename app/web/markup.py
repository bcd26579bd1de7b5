"""What a page or an exchange gets to show: a creative's markup with its macros filled in.

Macros: `{click_url}`, `{click_url_encoded}`, `{impression_url}`, `{conversion_token}`, `{return_url}`,
`{cachebuster}`. Other braces are the creative's own and stay. Text without a brace is not looked through.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from html import escape
from urllib.parse import quote, urlsplit

from app.domain.catalogue import Creative
from app.web.links import AdLinks

_MACRO = re.compile(
    r"\{(click_url|click_url_encoded|impression_url|conversion_token|return_url|cachebuster)\}"
)
# What a URL may hold as it is; anything else (a space, a Korean word) is percent-encoded.
_URL_SAFE = ":/%#?=@[]!$&'()*+,;~"


def render(creative: Creative, links: AdLinks, *, pixel: bool = True) -> str:
    """Write a creative's markup for one ad: banner HTML, or the VAST document of video and audio.

    A banner that does not place `{impression_url}` itself gets an invisible image of it appended, but
    for OpenRTB (`pixel=False`), where the billing notice is the impression. A banner without markup
    becomes a plain linked box. A native creative without markup has none: its parts are its answer.

    Cost    under 1 us beside the tokens it uses; the split of a markup is kept.
    """
    markup = creative.markup
    if not markup:
        if creative.format != "banner":
            return ""
        markup = _plain_banner(creative)
    text = _fill(markup, links, encoded=False) if "{" in markup else markup
    if pixel and creative.format == "banner" and "{impression_url}" not in markup:
        return f'{text}<img src="{links.impression_url}" width="1" height="1" alt="" style="display:none">'
    return text


def landing(url: str, links: AdLinks) -> str:
    """Write where a click is sent on to: the creative's landing page with its macros filled in.

    Every URL put into it is percent-encoded, since it can only be a part of a query there; what an
    HTTP header could not carry is percent-encoded too.
    """
    text = _fill(url, links, encoded=True) if "{" in url else url
    return text if text.isascii() and text.isprintable() and " " not in text else quote(text, safe=_URL_SAFE)


def needs_links(url: str) -> bool:
    """Tell whether a landing URL holds a macro, so that a click pays for links only then.

    >>> needs_links("https://shop.example/?t={conversion_token}"), needs_links("https://shop.example/{a}")
    (True, False)
    """
    return "{" in url and _MACRO.search(url) is not None


@lru_cache(maxsize=32_768)
def _split(text: str) -> tuple[str, ...]:
    """Cut a text at its macros: literal, macro, literal, macro, ..., literal."""
    return tuple(_MACRO.split(text))


def _fill(text: str, links: AdLinks, *, encoded: bool) -> str:
    parts = _split(text)
    if len(parts) == 1:
        return text
    values = _ENCODED if encoded else _VALUES
    filled = list(parts)
    for place in range(1, len(parts), 2):
        filled[place] = values[parts[place]](links)
    return "".join(filled)


# What stands for each macro, as it is and as a part of a query.
_VALUES: dict[str, Callable[[AdLinks], str]] = {
    "click_url": lambda links: links.click_url,
    "click_url_encoded": lambda links: links.encoded("click"),
    "impression_url": lambda links: links.impression_url,
    "return_url": lambda links: links.return_url,
    "conversion_token": lambda links: links.token("conversion"),
    # The seal's last bytes look random and differ for every ad: no need to draw chance.
    "cachebuster": lambda links: str(int.from_bytes(links.sealed[-8:], "big")),
}
_ENCODED = _VALUES | {
    "click_url": _VALUES["click_url_encoded"],
    "impression_url": lambda links: links.encoded("impression"),
    "return_url": lambda links: links.encoded("return"),
}


@lru_cache(maxsize=4_096)
def _plain_banner(creative: Creative) -> str:
    """Make a banner of nothing but the landing page: a linked box with the creative's name or the site's."""
    words = escape(creative.name or urlsplit(creative.landing_url).netloc).replace("{", "&#123;")
    size = f"width:{creative.width or 300}px;height:{creative.height or 250}px"
    style = f"{size};display:flex;align-items:center;justify-content:center;box-sizing:border-box"
    look = "border:1px solid #ccc;font:16px sans-serif;text-decoration:none;overflow:hidden"
    return f'<a href="{{click_url}}" target="_blank" rel="noopener" style="{style};{look}">{words}</a>'
