"""Every page of the console. Goal: each is well in every window that people open it in.

Method: follow the console's links from its navigation down, one page of each kind; hold each to what every
page is held to, and leave its picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.web.console.chromium.demo import Demo
from tests.web.console.chromium.window import (
    NARROW,
    WIDE,
    Scheme,
    Window,
    barriers,
    faults_of_shape,
    log_in,
    tabbed,
)  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chromium")]
OTHER: dict[Scheme, Scheme] = {"light": "dark", "dark": "light"}


@pytest.fixture(scope="module")
def cookies(browser: Browser, demo: Demo) -> Any:
    """Log in once."""
    with Window(browser, demo.url) as window:
        log_in(window, demo.key)
        return window.context.storage_state()


@pytest.fixture(scope="module")
def paths(browser: Browser, demo: Demo, cookies: Any) -> dict[str, str]:
    """Find a page of each kind: its name for pictures → its path."""
    with Window(browser, demo.url, cookies=cookies) as window:
        return dict(_found(window))


def _found(window: Window) -> Iterator[tuple[str, str]]:
    window.open("/console")
    waiting = _links(window, "nav")
    seen: set[str] = set()
    while waiting:
        path = waiting.pop(0)
        kind = _kind(path)
        if kind in seen:
            continue
        seen.add(kind)
        yield kind, path
        window.open(path)
        waiting += _links(window, "main")


def _links(window: Window, within: str) -> list[str]:
    """List where links lead to: pages of the console, without those that only change what a page shows."""
    found: list[str] = window.page.eval_on_selector_all(
        f"{within} a[href]", "links => links.map(each => each.pathname)"
    )
    return [path for path in found if path.startswith("/console/")]


def _kind(path: str) -> str:
    """Name the kind of page by its path: ids of things are all alike.

    >>> _kind("/console/campaigns/cmp-7/edit"), _kind("/console/overview"), _kind("/console/campaigns/new")
    ('campaigns-one-edit', 'overview', 'campaigns-new')
    """
    first, *rest = path.removeprefix("/console/").strip("/").split("/")
    return "-".join([first, *("one" if re.search(r"\d", part) else part for part in rest)])


@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_every_page_is_well(
    browser: Browser, demo: Demo, cookies: Any, paths: dict[str, str], width: int, scheme: Scheme
) -> None:
    faults: list[str] = []
    titles: dict[str, str] = {}
    with Window(browser, demo.url, width=width, scheme=scheme, cookies=cookies) as window:
        for name, path in paths.items():
            answer = window.open(path)
            found = [f"answered {answer.status}"] if answer.status != 200 else []
            if answer.header_value("content-security-policy") != "default-src 'self'":
                found.append("has another policy")
            found += faults_of_shape(window.page) + barriers(window.page)
            window.picture(f"{name}-{width}-{scheme}")
            window.page.emulate_media(color_scheme=OTHER[scheme])
            window.settle()
            found += [f"{OTHER[scheme]}: {each}" for each in barriers(window.page, ["color-contrast"])]
            window.picture(f"{name}-{width}-{OTHER[scheme]}")
            window.page.emulate_media(color_scheme=scheme)
            title = window.page.title()
            if title in titles:
                found.append(f"has the title of {titles[title]}: {title}")
            titles[title] = path
            faults += [f"{path}: {each}" for each in found]
        assert faults + window.faults == []
        assert window.refused == []
    assert len(paths) > 1


def test_every_page_by_keyboard(browser: Browser, demo: Demo, cookies: Any, paths: dict[str, str]) -> None:
    """The tab key reaches everything in order and shows where it is; a link skips the navigation."""
    faults: list[str] = []
    with Window(browser, demo.url, cookies=cookies) as window:
        page = window.page
        for path in paths.values():
            window.open(path)
            stops, wrong = tabbed(page)
            if "Skip to content" not in stops[0]:
                wrong.append(f"the first stop is {stops[0]}")
            page.reload()
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
            if page.evaluate("() => document.activeElement.id") != "main":
                wrong.append("the skip link does not skip the navigation")
            faults += [f"{path}: {each}" for each in wrong]
        assert faults + window.faults == []


def test_every_page_without_scripts(
    browser: Browser, demo: Demo, cookies: Any, paths: dict[str, str]
) -> None:
    """What a page says, it says without scripts too; charts as tables."""
    faults: list[str] = []
    with Window(browser, demo.url, script=False, cookies=cookies) as window:
        for name, path in paths.items():
            answer = window.page.goto(path)
            assert answer is not None
            if answer.status != 200:
                faults.append(f"{path}: answered {answer.status}")
            if window.page.locator("main h1").count() != 1:
                faults.append(f"{path}: not one heading")
            charts = window.page.locator("figure.chart:has(.plot)")
            tables = window.page.locator("figure.chart:has(.plot) details:is(:has(table), :has(a))")
            if charts.count() != tables.count():
                faults.append(f"{path}: {charts.count()} charts have {tables.count()} tables")
            window.picture(f"{name}-{WIDE}-without-scripts")
        assert faults + window.faults == []


def test_every_csv(browser: Browser, demo: Demo, cookies: Any, paths: dict[str, str]) -> None:
    """Each is a table: a head, and rows as wide as it."""
    faults: list[str] = []
    with Window(browser, demo.url, cookies=cookies) as window:
        for path in paths.values():
            window.open(path)
            links: list[str] = window.page.eval_on_selector_all(
                "main a.csv", "links => links.map(each => each.href)"
            )
            for link in links:
                answer = window.context.request.get(link)
                rows = answer.text().strip().splitlines()
                if answer.status != 200 or "text/csv" not in answer.headers["content-type"] or len(rows) < 2:
                    faults.append(f"{link}: {answer.status}, {len(rows)} rows")
        assert faults == []


def test_the_description_of_the_api(browser: Browser, demo: Demo) -> None:
    """`/docs` shows both ports' routes, from this node alone."""
    with Window(browser, demo.url) as window:
        for path, route in (("/docs", "/v1/campaigns"), ("/docs/public", "/v1/events")):
            window.open(path)
            window.page.locator(f'[data-path="{route}"]').first.wait_for()
        assert window.faults == []
