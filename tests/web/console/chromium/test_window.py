"""What pages are held to. Goal: each fault that a page can have is found; a sound page has none.

Method: a page for each fault, from a server that only this window sees.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Route

from tests.web.console.chromium.window import Window, barriers, faults_of_shape, tabbed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]
URL = "http://127.0.0.1:9"
SOUND = "<h1>Sound</h1><p>Text</p><a href='/a'>One</a> <button>Two</button>"


def shown(browser: Browser, body: str, head: str = "<title>t</title>") -> Window:
    """Show a page; the address is one where nobody answers."""

    def answer(route: Route) -> None:
        html = f"<!doctype html><html lang=en><head>{head}</head><body><main>{body}</main></body></html>"
        headers = {"Content-Security-Policy": "default-src 'self'", "Content-Type": "text/html"}
        route.fulfill(status=200, headers=headers, body=html)

    window = Window(browser, URL)
    window.context.route(f"{URL}/page", answer)
    window.context.route(f"{URL}/favicon.ico", lambda route: route.fulfill(status=204))
    window.page.goto("/page")
    return window


#    body                                                                        says
SHAPES = [
    (SOUND,                                                                      ""),
    ("<p>none</p>",                                                              "not one heading"),
    (SOUND + "<h1>again</h1>",                                                   "not one heading"),
    (SOUND + "<i id=a></i><i id=a></i>",                                         "ids that stand twice"),
    (SOUND + "<table width=3000><tr><td>x</table>",                              "wider than the window"),
    (SOUND + "<p>NaN %</p>",                                                     "says 'NaN'"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "says"), SHAPES)
def test_the_shape_of_a_page(browser: Browser, body: str, says: str) -> None:
    with shown(browser, body) as window:
        found = faults_of_shape(window.page)
        assert bool(found) == bool(says)
        assert says in "".join(found)
        assert window.faults == []


#    body                                                                        says
NOTED = [
    ("<script>console.log(1)</script>",                                          "Content Security Policy"),
    ("<p onclick='x()' style='color:red'>x</p>",                                 "Content Security Policy"),
    ("<img src='http://elsewhere.example/x.png' alt=x>",                         "a request left the node"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "says"), NOTED)
def test_what_should_not_happen_is_noted(browser: Browser, body: str, says: str) -> None:
    with shown(browser, SOUND + body) as window:
        assert any(says in fault for fault in window.faults), window.faults


def test_errors_of_scripts_are_noted(browser: Browser) -> None:
    with shown(browser, SOUND) as window:
        window.page.evaluate("() => { console.error('spoken'); setTimeout(() => { throw Error('thrown') }) }")
        window.page.evaluate("() => new Promise(done => setTimeout(done, 20))")
        assert [fault.split(": ", 1)[1] for fault in window.faults] == [
            "console error: spoken",
            "uncaught: thrown",
        ]


def test_barriers_are_found(browser: Browser) -> None:
    with shown(browser, SOUND) as window:
        assert barriers(window.page) == []
        window.page.evaluate("() => { document.querySelector('p').style.color = '#ccc' }")
        assert "color-contrast (serious)" in barriers(window.page)[0]
        assert barriers(window.page, ["button-name"]) == []


def test_tab_stops(browser: Browser) -> None:
    with shown(browser, SOUND) as window:
        assert tabbed(window.page) == (['a "One"', 'button "Two"'], [])
        window.page.evaluate("() => { document.querySelector('button').style.outline = 'none' }")
        assert tabbed(window.page)[1] == ['button "Two" does not show its focus']
    with shown(browser, SOUND + "<a href='/b' tabindex=1>Three</a>") as window:
        assert "came after stop 1" in tabbed(window.page)[1][0]
