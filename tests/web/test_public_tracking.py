"""The tracking routes over a real socket: what is answered, where a click goes, and what is counted once.

An event that counted is one line more in the journal: the tests look at the state's position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from app.domain.catalogue import Campaign
from tests.node import Answer
from tests.web.public_port import DAY_S, PUBLIC_URL, PublicPort, banner, placement, public_port

NO_STORE = "no-store, private"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    with public_port(tmp_path_factory.mktemp("tracking")) as port:
        yield port


@pytest.fixture
def later(port: PublicPort) -> Iterator[PublicPort]:
    """The port, and its clock back where it was afterwards."""
    yield port
    port.clock.ahead_ms = 0


def counted(port: PublicPort, call: Callable[[], Answer]) -> tuple[Answer, int]:
    """Make a call; return its answer and how many lines it left in the journal.

    A redirect may be answered before its click is durable: another ad's event, reported behind it and
    answered when applied, shows that nothing is still on its way.
    """
    marker = port.ad()["tokens"]["dismissal"]
    before = port.position
    answer = call()
    port.report({"token": marker, "kind": "dismissal"})
    return answer, port.position - before - 1


def forged(url: str) -> str:
    """Change one letter in the middle of a URL's token."""
    at = url.rindex("/") + 60
    return url[:at] + ("A" if url[at] != "A" else "B") + url[at + 1 :]


def is_pixel(answer: Answer) -> bool:
    return (
        answer.status == 200
        and answer.headers["content-type"] == "image/gif"
        and answer.headers["cache-control"] == NO_STORE
        and answer.body[:6] == b"GIF89a"
        and answer.body[6:10] == b"\x01\x00\x01\x00"  # one by one
        and answer.body[-1:] == b";"
    )


def test_a_pixel_is_always_answered_and_counted_once(port: PublicPort) -> None:
    url = port.ad()["impression_url"]
    first, lines = counted(port, lambda: port.get(url))
    assert is_pixel(first)
    assert lines == 1
    again, lines = counted(port, lambda: port.get(url))
    assert is_pixel(again)
    assert lines == 0, "a repeat"


def test_at_once_from_many_it_is_counted_once(port: PublicPort) -> None:
    ad = port.ad()
    urls = [ad["impression_url"], ad["impression_url"].replace("/i/", "/b/")] * 16

    def all_at_once() -> Answer:
        with ThreadPoolExecutor(8) as threads:
            return list(threads.map(port.get, urls))[-1]

    answer, lines = counted(port, all_at_once)
    assert is_pixel(answer)
    assert lines == 1


def test_the_billing_notice_is_the_same_event(port: PublicPort) -> None:
    url = port.ad()["impression_url"]
    billing = url.replace("/i/", "/b/") + "?price=1.25"
    answer, lines = counted(port, lambda: port.get(billing))
    assert is_pixel(answer)
    assert lines == 1
    answer, lines = counted(port, lambda: port.get(url))
    assert is_pixel(answer)
    assert lines == 0, "the exchange's server was first"


def test_pixels_of_tokens_that_do_not_count(later: PublicPort) -> None:
    ad = later.ad()
    click_token = ad["tokens"]["click"]
    #   path                          why
    cases = [
        (forged(ad["impression_url"]), "one letter changed"),
        (ad["impression_url"][:-1], "cut short"),
        (f"/i/{click_token}", "another kind's"),
        ("/i/x", "nonsense"),
        ("/b/%ff%00", "no text"),
        ("/i/" + "A" * 5_000, "very long"),
    ]
    for path, why in cases:
        answer, lines = counted(later, partial(later.get, path))
        assert is_pixel(answer), why
        assert lines == 0, why
    later.clock.ahead_ms = (DAY_S + 60) * 1000
    answer, lines = counted(later, lambda: later.get(ad["impression_url"]))
    assert is_pixel(answer)
    assert lines == 0, "expired"


def test_a_click_goes_to_the_landing_page_and_counts_once(port: PublicPort) -> None:
    ad = port.ad()
    port.get(ad["impression_url"])
    for expected in (1, 0, 0):  # a repeat still redirects
        answer, lines = counted(port, lambda: port.get(ad["click_url"]))
        assert (answer.status, answer.headers["location"]) == (302, "https://shop.example/")
        assert answer.headers["cache-control"] == NO_STORE
        assert answer.body == b""
        assert lines == expected
    assert port.report({"token": ad["tokens"]["click"], "kind": "click"})[0]["status"] == "repeat"


def test_an_expired_click_still_redirects_uncounted(later: PublicPort) -> None:
    ad = later.ad()
    later.clock.ahead_ms = (DAY_S + 60) * 1000
    answer, lines = counted(later, lambda: later.get(ad["click_url"]))
    assert (answer.status, answer.headers["location"]) == (302, "https://shop.example/")
    assert answer.headers["cache-control"] == NO_STORE
    assert lines == 0


def test_a_forged_click_goes_nowhere(port: PublicPort) -> None:
    ad = port.ad()
    #   path                              code          why
    cases = [
        (forged(ad["click_url"]), "forged", "one letter changed"),
        (ad["click_url"] + "A", "forged", "a letter more"),
        (f"/c/{ad['tokens']['impression']}", "wrong_kind", "another kind's"),
        ("/c/x?url=https://evil.example/", "forged", "a target in the URL"),
        ("/c/%ff%00", "forged", "no text"),
    ]
    for path, code, why in cases:
        answer, lines = counted(port, partial(port.get, path))
        assert (answer.status, answer.json()["code"], lines) == (400, code, 0), why
        assert "location" not in answer.headers, why
        assert answer.headers["content-type"] == "application/problem+json"


#   method  headers                                             why
UNCOUNTED = [
    ("HEAD", {}, "a HEAD is nobody's act"),
    ("GET", {"Purpose": "prefetch"}, "Chrome of old"),
    ("GET", {"Sec-Purpose": "prefetch;prerender"}, "Chrome"),
    ("GET", {"Sec-Purpose": "prefetch"}, "Firefox"),
    ("GET", {"X-Moz": "prefetch"}, "Firefox of old"),
]


@pytest.mark.parametrize(("method", "headers", "why"), UNCOUNTED)
def test_heads_and_prefetches_are_answered_and_not_counted(
    port: PublicPort, method: str, headers: dict[str, str], why: str
) -> None:
    ad = port.ad()
    urls = [
        ad["impression_url"],
        ad["impression_url"].replace("/i/", "/b/"),
        ad["click_url"],
        ad["dismiss_url"],
    ]
    for url, status in zip(urls, (200, 200, 302, 204), strict=True):
        answer, lines = counted(port, partial(port.get, url, headers, method))
        assert answer.status == status, why
        assert answer.headers["cache-control"] == NO_STORE
        assert lines == 0, (why, url)
    results = port.report(
        {"token": ad["tokens"]["impression"], "kind": "impression"},
        {"token": ad["tokens"]["click"], "kind": "click"},
        {"token": ad["tokens"]["dismissal"], "kind": "dismissal"},
    )
    assert [result["status"] for result in results] == ["counted"] * 3, "nothing had been counted"


def test_a_dismissal(later: PublicPort) -> None:
    ad = later.ad()
    for expected in (1, 0):
        answer, lines = counted(later, lambda: later.get(ad["dismiss_url"] + "?reason=covers+content"))
        assert (answer.status, answer.body, lines) == (204, b"", expected)
        assert answer.headers["cache-control"] == NO_STORE
        assert "content-type" not in answer.headers
    assert later.get(forged(ad["dismiss_url"])).json()["code"] == "forged"
    assert later.get(f"/x/{ad['tokens']['click']}").json()["code"] == "wrong_kind"
    late = later.ad()
    later.clock.ahead_ms = (DAY_S + 60) * 1000
    answer, lines = counted(later, lambda: later.get(late["dismiss_url"]))
    assert (answer.status, lines) == (204, 0), "expired"


def test_a_dismissal_before_its_impression_speaks_against_the_ad_when_that_comes(port: PublicPort) -> None:
    ad = port.ad()

    def complaints() -> int:
        told = port.node.state.quality.of(ad["creative_id"])
        assert told is not None
        found: int = told["own"]["complaints"]
        return found

    before = complaints()
    assert port.get(ad["dismiss_url"] + "?reason=offensive").status == 204
    assert complaints() == before
    assert port.get(ad["impression_url"]).status == 200
    assert complaints() == before + 3, "an offence weighs three"


def notices(port: PublicPort) -> dict[str, Any]:
    """Take a bid and return it."""
    bid = {"id": "a", "imp": [{"id": "1", "banner": {"w": 320, "h": 50}}], "cur": ["KRW"]}
    answer = port.post("/openrtb2/bid", bid)
    assert answer.status == 200
    found: dict[str, Any] = answer.json()["seatbid"][0]["bid"][0]
    return found


@pytest.mark.parametrize("field", ["nurl", "lurl"])
@pytest.mark.parametrize(
    ("price", "reason"),
    [
        ("1.25", "102"),
        ("${AUCTION_PRICE}", "${AUCTION_LOSS}"),
        ("", ""),
        ("abc", "x" * 500),
        ("1e999999", "\x00"),
    ],
)
def test_win_and_loss_notices_take_macros_filled_or_not(
    port: PublicPort, field: str, price: str, reason: str
) -> None:
    url = notices(port)[field]
    filled = url.replace("${AUCTION_PRICE}", quote(price, safe="")).replace(
        "${AUCTION_LOSS}", quote(reason, safe="")
    )
    for expected in (1, 0):
        answer, lines = counted(port, lambda: port.get(filled))
        assert (answer.status, answer.body, lines) == (204, b"", expected)
        assert answer.headers["cache-control"] == NO_STORE


def test_notices_without_a_query_and_forged_ones(port: PublicPort) -> None:
    bid = notices(port)
    answer, lines = counted(port, lambda: port.get(bid["nurl"].partition("?")[0]))
    assert (answer.status, lines) == (204, 1)
    answer, lines = counted(port, lambda: port.get(forged(bid["lurl"].partition("?")[0])))
    assert (answer.status, answer.json()["code"], lines) == (400, "forged", 0)
    answer, lines = counted(port, lambda: port.get(bid["nurl"].replace("/w/", "/l/")))
    assert (answer.status, answer.json()["code"], lines) == (400, "wrong_kind", 0)


def test_a_landing_page_with_macros(tmp_path: Path) -> None:
    """Its conversion token is genuine, and its target is the catalogue's of the moment of the click."""
    page = (
        "https://shop.example/가게?t={conversion_token}&again={click_url_encoded}&n={cachebuster}&x={other}"
    )
    with public_port(tmp_path) as port:
        port.register(placement("plc-m"), banner("cr-1-1", "g-1", landing_url=page))
        port.register(banner("cr-1-2", "g-1", landing_url=page))
        ad = port.ad("plc-m")
        location = port.get(ad["click_url"]).headers["location"]
        parts = urlsplit(location)
        query = parse_qs(parts.query)
        assert location.isascii()
        assert (parts.scheme, parts.netloc) == ("https", "shop.example")
        assert query["t"] == [ad["tokens"]["conversion"]]
        assert query["again"] == [ad["click_url"]]
        assert query["n"][0].isdigit()
        assert query["x"] == ["{other}"], "braces of the page's own"
        (result,) = port.report({"token": query["t"][0], "kind": "conversion", "value": 39_000})
        assert result["status"] == "counted"
        for creative in ("cr-1-1", "cr-1-2"):
            port.register(banner(creative, "g-1", landing_url="https://moved.example/"))
        assert port.get(ad["click_url"]).headers["location"] == "https://moved.example/"


def test_a_click_of_a_paused_campaign_still_redirects_and_counts(tmp_path: Path) -> None:
    with public_port(tmp_path) as port:
        ad = port.ad()
        port.get(ad["impression_url"])
        port.register(Campaign(id="c-1", advertiser_id="adv-1", status="paused"))
        assert port.ads().json()["no_ad"]["top"]["code"] == "paused"
        answer = port.get(ad["click_url"])
        assert (answer.status, answer.headers["location"]) == (302, "https://shop.example/")
        (result,) = port.report({"token": ad["tokens"]["click"], "kind": "click"})
        assert result["status"] == "repeat", "the redirect counted"


def test_urls_work_on_the_listener_that_the_public_url_stands_for(port: PublicPort) -> None:
    assert port.ad()["click_url"].startswith(f"{PUBLIC_URL}/c/")


def returned(ad: dict[str, Any], query: str = "") -> str:
    """Where a landing page reports that its visitor left."""
    return f"{PUBLIC_URL}/r/{ad['tokens']['conversion']}{query}"


def spent(port: PublicPort) -> int:
    return int(port.node.state.catalogue.campaign_accounts.spent.sum())


#   report                   refunded  why
RETURNS = [
    ("?dwell_ms=400",        True,     "looked at for less than a second"),
    ("",                     True,     "no word of how long: the time since the click"),
    ("?dwell_ms=soon",       True,     "no number: likewise"),
    ("?dwell_ms=1000",       False,    "a second is enough"),
    ("?dwell_ms=60000",      False,    "a visit"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "refunded", "why"), RETURNS)
def test_back_too_soon_the_click_is_refunded(port: PublicPort, query: str, refunded: bool, why: str) -> None:
    ad = port.ad()
    before = spent(port)
    port.report(
        {"token": ad["tokens"]["impression"], "kind": "impression"},
        {"token": ad["tokens"]["click"], "kind": "click"},
    )
    assert spent(port) > before
    answer, lines = counted(port, lambda: port.get(returned(ad, query)))
    assert (answer.status, answer.body) == (204, b"")
    assert lines == 1 + refunded, why
    assert (spent(port) == before) is refunded, why
    _, lines = counted(port, lambda: port.get(returned(ad, "?dwell_ms=0")))
    assert lines == 0, "told once, whatever the second report claims"


def test_a_return_without_a_click_takes_nothing_back(port: PublicPort) -> None:
    ad = port.ad()
    port.get(ad["impression_url"])
    before = spent(port)
    answer, lines = counted(port, lambda: port.get(returned(ad, "?dwell_ms=0")))
    assert (answer.status, lines) == (204, 1)
    assert spent(port) == before
    assert port.get(forged(returned(ad))).json()["code"] == "forged"


def test_a_return_claimed_long_after_the_click_takes_nothing_back(later: PublicPort) -> None:
    ad = later.ad()
    later.get(ad["impression_url"])
    later.get(ad["click_url"])
    after = spent(later)
    later.clock.ahead_ms = 700_000
    _, lines = counted(later, lambda: later.get(returned(ad, "?dwell_ms=0")))
    assert lines == 1
    assert spent(later) == after
