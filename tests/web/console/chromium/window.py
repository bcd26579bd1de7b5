"""A browser's window on the console, which notes what should not happen in it; and what a page is held to.

It knows HTML, not the console: what a page says is for the tests to judge.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

ROOT = Path(__file__).resolve().parents[4]
PICTURES = ROOT / "artifacts" / "console"
WIDE: Final = 1440
NARROW: Final = 390
HEIGHTS = {WIDE: 900, NARROW: 844}
TIMEOUT_MS = 30_000  # for what takes a blink: a busy machine is no fault
Scheme = Literal["light", "dark"]

AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
# What a page would say where a value is missing or was never made into words.
STRANGE = ("NaN", "undefined", "Traceback", "None", "null", "{{", "}}", "Infinity")
INSIDE = Path(__file__).with_name("inside.js").read_text(encoding="utf-8")


class Window:
    """One window, with its own cookies. `faults` should stay empty; `refused`: what was answered 4xx, 5xx."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        width: int = WIDE,
        scheme: Scheme = "light",
        script: bool = True,
        cookies: Any = None,
    ) -> None:
        self.url = url
        self.faults: list[str] = []
        self.refused: list[tuple[int, str]] = []
        self.context = browser.new_context(
            base_url=url, viewport={"width": width, "height": HEIGHTS[width]}, color_scheme=scheme,
            java_script_enabled=script, locale="en-GB", timezone_id="Asia/Seoul", reduced_motion="reduce",
            storage_state=cookies,
        )  # fmt: skip
        self.context.set_default_timeout(TIMEOUT_MS)
        self.context.on("console", self._on_console)
        self.context.on("weberror", lambda told: self._note(f"uncaught: {told.error}"))
        self.context.on("request", self._on_request)
        self.context.on("requestfailed", self._on_failed)
        self.context.on("response", self._on_response)
        self.page: Page = self.context.new_page()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def open(self, path: str) -> Response:
        """Go to a page and wait until it has settled."""
        answer = self.page.goto(path)
        assert answer is not None
        self.settle()
        return answer

    def settle(self) -> None:
        """Wait until nothing that the page asked for at once is under way."""
        self.page.wait_for_load_state("load")
        self.page.wait_for_function("() => !document.querySelector('.htmx-request, [data-waiting]')")

    def picture(self, name: str, *, whole: bool = True) -> Path:
        """Leave a picture of the page."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / f"{name}.png"
        self.page.screenshot(path=path, full_page=whole)
        return path

    def path(self) -> str:
        """Tell where the window is: path and query."""
        parts = urlsplit(self.page.url)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def _note(self, fault: str) -> None:
        self.faults.append(f"{self.page.url}: {fault}")

    def _on_console(self, message: ConsoleMessage) -> None:
        # What was refused is in `refused`; a test that wants a refusal says so there.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self._note(f"console {message.type}: {message.text}")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.url}/", "data:")):
            self._note(f"a request left the node: {request.url}")

    def _on_failed(self, request: Request) -> None:
        if "ERR_ABORTED" not in (request.failure or ""):  # a refresh is dropped when its page is left
            self._note(f"{request.failure}: {request.url}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.refused.append((response.status, urlsplit(response.url).path))


def barriers(page: Page, rules: list[str] | None = None) -> list[str]:
    """Run axe-core in the page and list what it finds serious or critical, one line for each element."""
    page.evaluate(AXE)
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": rules}
    found = page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{told['id']} ({told['impact']}): {node['target']} {node['html'][:120]} {_why(node)}"
        for told in found["violations"]
        if told["impact"] in ("serious", "critical")
        for node in told["nodes"]
    ]


def _why(node: Any) -> str:
    return "; ".join(each["message"] for kind in ("any", "all", "none") for each in node[kind])


def faults_of_shape(page: Page) -> list[str]:
    """Hold a page to what every page has: a title, one heading, a language, nothing wider than the window."""
    shape = ask(page, "shape")
    found = []
    if not shape["title"].strip() or not shape["lang"]:
        found.append(f"no title or language: {shape['title']!r}, {shape['lang']!r}")
    if len(shape["headings"]) != 1 or shape["mains"] != 1:
        found.append(f"not one heading and one main: {shape['headings']}, {shape['mains']}")
    if shape["idsTwice"]:
        found.append(f"ids that stand twice: {shape['idsTwice']}")
    if shape["wider"] > 0:
        found.append(f"wider than the window by {shape['wider']} px: {shape['widest']}")
    return [*found, *(f"says {word!r}" for word in STRANGE if word in shape["words"])]


def tabbed(page: Page, at_most: int = 60) -> tuple[list[str], list[str]]:
    """Press the tab key through a page: what should be stopped at, in order, and what is wrong.

    Wrong is: another order, a focus that does not show, a stop that is out of sight.
    """
    expected: list[str] = ask(page, "startTabbing")
    wrong: list[str] = []
    at = -1
    while at + 1 < min(at_most, len(expected)):
        page.keyboard.press("Tab")
        stop = ask(page, "focused")
        if stop["at"] == at + 1:
            at += 1
        elif stop["told"].startswith(("div", "figure")):
            pass  # a region that scrolls is a stop of the browser's own
        else:
            return expected, [*wrong, f"{stop['told']}, stop {stop['at']}, came after stop {at}"]
        if not stop["marked"]:
            wrong.append(f"{stop['told']} does not show its focus")
        if not stop["seen"]:
            wrong.append(f"{stop['told']} has the focus out of sight")
    return expected, wrong


def ask(page: Page, name: str) -> Any:
    """Call one of the functions of `inside.js` in the page."""
    return page.evaluate(f"() => {{ const inside = {INSIDE.rstrip().rstrip(';')}; return inside.{name}(); }}")


def log_in(window: Window, key: str) -> None:
    """Log in by the form."""
    window.open("/console/login")
    window.page.get_by_label("Key").fill(key)
    window.page.get_by_role("button", name="Log in").click()
    window.page.wait_for_url(lambda url: "/login" not in url)
    window.settle()
